"""The pipeline specs, and what runs them on one machine."""
