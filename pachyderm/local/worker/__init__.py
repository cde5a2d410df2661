"""What runs one datum."""
