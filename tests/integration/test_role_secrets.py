"""Secrets that a role keeps, and tokens that an administrator gives it: who may use them, and who may read them."""

from __future__ import annotations

import psycopg
import pytest
from psycopg import sql
from tests.integration.hub_calls import CLASSIFIER, transform
from tests.integration.hub_database import copy_to_private
from tests.integration.jobs import make_role, refusal
from tests.integration.traces import files_with

PRIVATE = "tester/for-role-with-secret"
KEPT, GIVEN = "keptInThe+Safe/of.one=role", "givenByThe+Administrator=2026"
FORBIDDEN, UNDEFINED = "42501", "42704"


@pytest.fixture(scope="module")
def roles(with_hub, shared_hub):
    """A private model, and roles: one has a token for it as a secret, one is a member of that role, one a stranger."""
    for number, token in enumerate((KEPT, GIVEN)):
        shared_hub.add_token(token, name=f"kept {number}", user="tester")
    copy_to_private(shared_hub, CLASSIFIER, PRIVATE)
    for role in ("secretive", "sworn", "nosy"):
        make_role(with_hub, role)
    with_hub.run("GRANT secretive TO sworn")
    with_hub.run("SELECT pgml.set_secret('hub_token', %s)", KEPT, user="secretive")
    return with_hub


def works(database, query, user, *before):
    """Whether a statement of a new session works; it may only fail for want of a token."""
    with database.connect(user) as connection:
        for statement in before:
            connection.execute(statement)
        try:
            connection.execute(query)
        except psycopg.errors.UndefinedObject:
            return False
        return True


def test_a_secret_is_of_use_to_its_role_only(roles):
    assert works(roles, transform(PRIVATE), "secretive")
    assert not works(roles, transform(PRIVATE), "nosy")
    assert not works(roles, transform(PRIVATE), "sworn")  # to be a member is not to be the role
    assert works(roles, transform(PRIVATE), "sworn", "SET ROLE secretive")
    assert roles.run("SELECT pgml.secret_names()", user="secretive") == [("hub_token",)]
    assert roles.run("SELECT pgml.secret_names()", user="nosy") == []


def test_a_secret_lies_where_only_the_server_can_read_it(roles):
    directory = roles.cluster.data / "pgml/secrets"
    assert directory.stat().st_mode & 0o777 == 0o700
    files = files_with([KEPT], roles.cluster.data)
    assert [path.parent for path in files] == [directory]
    assert files[0].stat().st_mode & 0o777 == 0o600


def test_a_secret_has_a_name_by_which_calls_name_it(roles):
    roles.run("SELECT pgml.set_secret('for models', %s)", GIVEN, user="nosy")
    assert works(roles, transform(PRIVATE, token="secret:for models"), "nosy")
    assert not works(roles, transform(PRIVATE), "nosy")
    with roles.connect("nosy") as connection:
        said = refusal(connection, transform(PRIVATE, token="secret:for data"))
        assert (said.sqlstate, "for data" in said.message_primary) == (UNDEFINED, True)
        assert "pgml.set_secret" in said.message_hint
        connection.execute("SELECT pgml.set_secret('for models', NULL)")
        assert connection.execute("SELECT pgml.secret_names()").fetchall() == []
        assert refusal(connection, transform(PRIVATE, token="secret:for models")).sqlstate == UNDEFINED


def test_a_role_of_the_same_name_does_not_inherit_the_secret(roles):
    make_role(roles, "fleeting")
    roles.run("SELECT pgml.set_secret('hub_token', %s)", KEPT, user="fleeting")
    roles.run("DROP ROLE fleeting")
    make_role(roles, "fleeting")
    assert roles.run("SELECT pgml.secret_names()", user="fleeting") == []
    assert not works(roles, transform(PRIVATE), "fleeting")


def test_the_administrator_gives_a_role_a_token_that_it_cannot_read(roles):
    make_role(roles, "trusted")
    given = sql.SQL("LOAD 'pgml'; ALTER ROLE trusted SET pgml.hub_token = {}").format(sql.Literal(GIVEN))
    roles.run(given)
    assert works(roles, transform(PRIVATE), "trusted")
    with roles.connect("trusted") as connection:
        connection.execute("SELECT pgml.version()")
        for query in ("SHOW pgml.hub_token", "SELECT current_setting('pgml.hub_token')"):
            assert refusal(connection, query).sqlstate == FORBIDDEN
        assert connection.execute("SELECT setting FROM pg_settings WHERE name = 'pgml.hub_token'").fetchall() == []
        shown = connection.execute("SELECT * FROM pg_show_all_settings()").fetchall()
    assert not [row for row in shown if GIVEN in str(row)]
