"""The commands, one module each, such as `python -m stages.answer`, and a folder for what each of them needs."""
