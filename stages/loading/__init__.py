"""What `load` needs: the table, the connection, COPY."""
