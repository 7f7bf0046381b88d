"""Any training script as a task: `definition` reads it from a suite file, `task` solves it by
running the script, and `script` is one such process."""
