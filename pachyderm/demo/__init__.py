"""The pipelines over the samples, on this machine alone."""
