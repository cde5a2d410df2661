"""The pipeline's steps, one module each: `python -m stages.NAME INPUT OUTPUT [options]`."""
