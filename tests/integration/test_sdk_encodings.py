"""The client and databases that are not in UTF8."""

from __future__ import annotations

import psycopg
import pytest
from psycopg import sql
from tests.cluster import Database, drop_database
from tests.integration.sdk import url_of

from pgml.connections import Connections
from pgml.doctor import examine

TEXT = "Größe ✓"


@pytest.fixture(params=["SQL_ASCII", "LATIN1"])
def database(cluster, request):
    name = f"in_{request.param}"
    with cluster.connect() as connection:
        create = "CREATE DATABASE {} TEMPLATE template0 LOCALE 'C' ENCODING {}"
        connection.execute(sql.SQL(create).format(sql.Identifier(name), sql.Literal(request.param)))
    yield Database(cluster, name)
    drop_database(Database(cluster, name))


def test_texts_are_texts(database):
    connections = Connections(url_of(database))
    with connections.connection() as connection:
        assert connection.execute("SELECT current_database()::text").fetchone() == (database.name,)
        if database.name.endswith("LATIN1"):
            with pytest.raises(psycopg.errors.UntranslatableCharacter):
                connection.execute("SELECT %s", [TEXT])
        else:
            assert connection.execute("SELECT %s", [TEXT]).fetchone() == (TEXT,)
    connections.close()


def test_the_doctor_warns_of_it(database):
    found = {finding.what.partition(":")[0]: finding for finding in examine(url_of(database))}
    assert (found["encoding"].state, found["extension"].state) == ("warning", "problem")
    assert found["encoding"].what.startswith(f"encoding: {database.name.removeprefix('in_')}; ")
