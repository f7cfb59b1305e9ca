"""Data sets as rows for a table: from the Hub, or from files of this machine. Knows nothing of SQL and of models."""
