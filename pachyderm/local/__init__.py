"""Runs pipeline specs on this machine."""
