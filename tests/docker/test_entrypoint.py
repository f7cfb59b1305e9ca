"""How the image starts: variables, files and arguments, as people know them from the official image of PostgreSQL."""

from __future__ import annotations

import gzip
import json
import lzma
import os

import psycopg
import pytest
from tests.cluster import wait_until
from tests.docker.containers import IMAGE, PASSWORD, Container, container, docker, volume

TOKEN = "hf_" + "docker0secret" * 3


def refused(*options, command=()):
    """What a container says that ends before a server runs."""
    done = docker("run", "--rm", *options, IMAGE, *command, check=False)
    assert done.returncode == 1, done
    return done.stderr


def test_a_superuser_without_password_is_refused():
    said = refused()
    assert "the superuser needs a password" in said
    assert "POSTGRES_PASSWORD_FILE" in said
    assert "POSTGRES_HOST_AUTH_METHOD=trust" in said


def test_a_value_and_a_file_for_it_are_refused():
    said = refused("--env", "POSTGRES_PASSWORD=a", "--env", "POSTGRES_PASSWORD_FILE=/etc/hostname")
    assert "POSTGRES_PASSWORD and POSTGRES_PASSWORD_FILE are both set" in said


def test_a_file_that_is_not_there_is_named():
    assert "/run/secrets/password" in refused("--env", "POSTGRES_PASSWORD_FILE=/run/secrets/password")


def test_a_data_directory_of_somebody_else_is_refused(shared_directory):
    directory = shared_directory / "not 999's"
    directory.mkdir()
    said = refused("--volume", f"{directory}:/var/lib/postgresql/data", "--env", "POSTGRES_PASSWORD=a")
    assert "chown 999:999" in said


def test_a_directory_that_holds_something_else_is_refused(shared_directory):
    directory = shared_directory / "something"
    directory.mkdir()
    (directory / "file").touch()
    os.chown(directory, 999, 999)
    said = refused("--volume", f"{directory}:/var/lib/postgresql/data", "--env", "POSTGRES_PASSWORD=a")
    assert "is not empty, and no data directory" in said


def test_scripts_that_cannot_be_listed_are_not_passed_over(shared_directory):
    directory = shared_directory / "hidden"
    directory.mkdir(mode=0o700)
    said = refused("--volume", f"{directory}:/docker-entrypoint-initdb.d:ro", "--env", "POSTGRES_PASSWORD=a")
    assert "cannot read /docker-entrypoint-initdb.d" in said


def test_a_locale_that_is_not_there_can_be_mended():
    with volume() as data:
        options = ("--volume", f"{data}:/var/lib/postgresql/data", "--env", "POSTGRES_PASSWORD=a")
        for _ in range(2):
            assert "invalid locale name" in refused(*options, "--env", "POSTGRES_INITDB_ARGS=--locale=xx_XX.utf8")


def test_a_server_that_asks_for_passwords_everywhere_and_is_embedded():
    """In the locale of the official image, and with variables for a client of another server."""
    arguments = "POSTGRES_INITDB_ARGS=--auth-local=scram-sha-256 --locale=en_US.utf8"
    command = ("-c", "pgml.runtime=embedded", "-c", "port=5432")
    with container("--env", arguments, "--env", "PGHOST=elsewhere", command=command) as made:
        assert made.database().value("SHOW lc_messages") == "en_US.utf8"
        assert made.database().value("SELECT state FROM pgml.runtime_status()") == "stopped"


def test_another_command_runs_as_it_is():
    assert docker("run", "--rm", IMAGE, "id", "-u").stdout == "999\n"
    assert docker("run", "--rm", IMAGE, "postgres", "--version").stdout.startswith("postgres (PostgreSQL) 15.")
    assert docker("run", "--rm", IMAGE, "--version").stdout.startswith("postgres (PostgreSQL) 15.")


def test_the_image_is_small_and_says_how_it_stops():
    size, user, signal = docker(
        "image", "inspect", "--format", "{{.Size}} {{.Config.User}} {{.Config.StopSignal}}", IMAGE
    ).stdout.split()
    assert int(size) < 2_500_000_000
    assert (user, signal) == ("postgres", "SIGINT")
    said = docker("image", "inspect", IMAGE).stdout
    assert '"healthcheck"' in said  # Docker and podman have it in different places
    assert set(json.loads(said)[0]["Config"]["Volumes"]) == {
        "/var/lib/postgresql/data",
        "/var/cache/pgml",
        "/srv/models",
    }


@pytest.fixture(scope="module")
def scripts(shared_directory):
    """Files of all kinds; each says in which order it ran, and the last ones what they saw."""
    directory = shared_directory / "initdb.d"
    directory.mkdir()
    append = "INSERT INTO ran (name) VALUES ('{}');"
    psql = 'psql -v ON_ERROR_STOP=1 --username "$POSTGRES_USER" --dbname "$POSTGRES_DB"'
    files = {
        "1.sql": "CREATE TABLE ran (id serial, name text);" + append.format("sql"),
        "2.sh": f'#!/bin/bash\n{psql} -c "{append.format("executable")}"\n',
        "3.sh": f'[ -n "$NOT_SET" ] || {psql} -c "{append.format("sourced")}"\n',
        "5.txt": "not to be read",
        "6.sql": "SELECT pgml.version();",
    }
    for name, text in files.items():
        (directory / name).write_text(text)
    (directory / "2.sh").chmod(0o755)
    (directory / "3.sh").chmod(0o644)
    (directory / "4.sql.gz").write_bytes(gzip.compress(append.format("compressed").encode()))
    (directory / "7.sql.xz").write_bytes(lzma.compress(append.format("more so").encode()))
    return directory


@pytest.fixture(scope="module")
def secrets(shared_directory):
    directory = shared_directory / "secrets"
    directory.mkdir()
    values = {"user": "ada", "password": PASSWORD, "database": "Models of Ada", "token": TOKEN}
    for name, value in values.items():
        (directory / name).write_text(f"{value}\n")
    return directory


@pytest.fixture(scope="module")
def configured(scripts, secrets):
    """A container with everything from files."""
    files = {"POSTGRES_USER": "user", "POSTGRES_PASSWORD": "password", "POSTGRES_DB": "database", "HF_TOKEN": "token"}
    variables = [f"--env={name}_FILE=/run/secrets/{file}" for name, file in files.items()]
    mounts = [f"--volume={secrets}:/run/secrets:ro", f"--volume={scripts}:/docker-entrypoint-initdb.d:ro"]
    variables += [
        "--env=POSTGRES_INITDB_ARGS=--data-checksums --locale='C.UTF-8'",
        "--env=PGDATA=/var/lib/postgresql/data/15",
    ]
    made = Container(
        *variables, *mounts, user="ada", command=("-c", "max_connections=17", "-c", "cluster_name=two words")
    )
    made.wait_until_healthy()
    yield made
    made.remove()


def test_user_password_and_database_come_from_files(configured):
    database = configured.database("Models of Ada")
    assert database.run("SELECT current_user::text, rolsuper FROM pg_roles WHERE rolname = current_user") == [
        ("ada", True)
    ]
    assert database.value("SELECT rolpassword LIKE 'SCRAM-SHA-256$%%' FROM pg_authid WHERE rolname = current_user")
    assert database.value("SELECT count(*) FROM pg_roles WHERE rolname = 'postgres'") == 0


@pytest.mark.parametrize("password", ["", "wrong"])
def test_who_does_not_know_the_password_stays_outside(configured, password):
    configured.server.connect("postgres").close()
    with pytest.raises(psycopg.OperationalError, match="password"):
        psycopg.connect(**configured.server.known | {"dbname": "postgres", "password": password})


def test_arguments_reach_initdb_and_postgres(configured):
    database = configured.database("Models of Ada")
    for name, value in (
        ("max_connections", "17"),
        ("cluster_name", "two words"),
        ("data_checksums", "on"),
        ("data_directory", "/var/lib/postgresql/data/15"),
        ("shared_preload_libraries", "pgml"),
    ):
        assert database.value(f"SHOW {name}") == value


def test_files_run_in_order_in_the_database(configured):
    database = configured.database("Models of Ada")
    assert database.run("SELECT name FROM ran ORDER BY id") == [
        ("sql",),
        ("executable",),
        ("sourced",),
        ("compressed",),
        ("more so",),
    ]
    assert "ignoring /docker-entrypoint-initdb.d/5.txt" in configured.logs()


def test_every_database_has_the_extension(configured):
    installed = "SELECT count(*) FROM pg_extension WHERE extname = 'pgml'"
    configured.database().run("CREATE DATABASE later")
    for name in ("Models of Ada", "postgres", "template1", "later"):
        assert configured.database(name).value(installed) == 1, name


def test_secrets_stay_in_memory(configured):
    """The password not even there; the token reaches the runtime, and nothing that is written."""
    environments = configured.sh("cat /proc/[0-9]*/environ 2>/dev/null | tr '\\0' '\\n'").splitlines()
    assert f"HF_TOKEN={TOKEN}" in environments
    server = configured.sh("cat /proc/$(head -n 1 $PGDATA/postmaster.pid)/environ | tr '\\0' '\\n'")
    assert "POSTGRES_USER=ada" in server
    assert PASSWORD not in server
    configured.database("Models of Ada").run("CHECKPOINT")
    for secret in (PASSWORD, TOKEN):
        assert secret not in configured.logs()
        assert configured.sh(f'grep -rlF "{secret}" $PGDATA /var/cache/pgml /tmp || true') == ""


def test_a_process_that_dies_without_a_parent_ends_no_connection(configured):
    """PostgreSQL as process 1 would inherit it, and take its death for that of a backend."""
    with configured.server.connect("postgres") as connection:
        connection.execute("COPY (SELECT 1) TO PROGRAM 'sh -c \"sleep 1; kill -9 \\$\\$\" >/dev/null 2>&1 &'")
        connection.execute("SELECT pg_sleep(3)")
    assert "terminated by signal 9" not in configured.logs()


def test_trust_lets_everybody_in_and_says_so():
    options = ("--env", "POSTGRES_HOST_AUTH_METHOD=trust", "--env", "POSTGRES_PASSWORD=")
    with container(*options) as open_to_all:
        open_to_all.server.known["password"] = ""
        assert open_to_all.database().value("SELECT 1") == 1
        assert "warning: POSTGRES_HOST_AUTH_METHOD is trust" in open_to_all.logs()


def test_a_first_start_that_failed_is_told_and_not_taken_for_a_server(shared_directory):
    broken = shared_directory / "broken.sql"
    broken.write_text("SELECT no_such_column;")
    with volume() as data:
        options = ("--env", "POSTGRES_PASSWORD=a", "--volume", f"{data}:/var/lib/postgresql/data")
        done = docker(
            "run", "--rm", *options, "--volume", f"{broken}:/docker-entrypoint-initdb.d/b.sql:ro", IMAGE, check=False
        )
        assert done.returncode != 0
        assert 'column "no_such_column" does not exist' in done.stderr
        assert "the first start with this data directory was interrupted" in refused(*options)


def test_stopped_while_it_starts_for_the_first_time(shared_directory):
    slow = shared_directory / "slow.sh"
    slow.write_text("sleep 60\n")
    made = Container("--env", "POSTGRES_PASSWORD=a", "--volume", f"{slow}:/docker-entrypoint-initdb.d/s.sh:ro")
    try:
        wait_until(lambda: "running /docker-entrypoint-initdb.d/s.sh" in made.logs(), "the script to run", 60)
        assert "the first start is not over" in made.healthcheck().stdout
        docker("stop", "--time", "30", made.name)
        assert made.exit_status not in (0, 137)
        assert "database system is shut down" in made.logs()
    finally:
        made.remove()
