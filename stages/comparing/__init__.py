"""Two runs over the same rows, row by row."""
