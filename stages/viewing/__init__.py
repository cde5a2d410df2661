"""Answers and runs as HTML pages for people."""
