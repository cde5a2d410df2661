"""What `ingest` needs: sources, encodings, and the gate."""
