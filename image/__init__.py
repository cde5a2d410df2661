"""Tools for the container image: what it holds, and the digests that its build checks."""
