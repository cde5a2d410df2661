"""What `answer` needs."""
