"""Files that a task needs before it runs: their places, and how they are checked and fetched."""
