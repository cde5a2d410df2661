"""Tests of `pachyderm/`."""
