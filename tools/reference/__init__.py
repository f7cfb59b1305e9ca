"""Writes the reference pages of the documentation from the running system: its catalog, settings and Python code."""
