"""The rules for CSVs, and their reader."""
