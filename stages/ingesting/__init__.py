"""What `ingest` needs: sources, formats, encodings, and admission."""
