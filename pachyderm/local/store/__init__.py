"""The state of the local runner on disk."""
