"""Checkpoint -> bundle. Runs at build time, and is the only room with torch, transformers and optimum."""
