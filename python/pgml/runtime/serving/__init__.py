"""The server process' parts: requests, loaded models, and the cache of stored ones."""
