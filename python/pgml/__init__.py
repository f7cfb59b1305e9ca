"""pgml: tuning and serving of language models inside PostgreSQL. Importing this package imports nothing else."""

__version__ = "0.1.0"
