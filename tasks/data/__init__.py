"""Image data sets: those of packages, those in the files of the user, and pictures of their own."""
