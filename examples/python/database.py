"""How the programs beside this one reach the database."""

import os

from sqlalchemy import Engine, create_engine, make_url


def engine() -> Engine:
    """An engine for PGML_DATABASE_URL, or for what libpq finds in the environment."""
    url = make_url(os.environ.get("PGML_DATABASE_URL", "postgresql://"))
    return create_engine(url.set(drivername="postgresql+psycopg"))
