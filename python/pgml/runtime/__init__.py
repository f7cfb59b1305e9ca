"""The Python side of pgml: the server process and the trainer. Knows nothing of tables, connections and SQL."""
