"""What must be there before a task runs: where it lies, how it is checked and fetched."""
