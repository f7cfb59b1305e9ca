"""A database of PostgresML is moved to pgml, in place: what can be served is served, and nothing is lost."""

from __future__ import annotations

import hashlib
import subprocess
from pathlib import Path

import pytest
from psycopg.rows import namedtuple_row
from tests.assets.make_models import LABELS
from tests.cluster import Cluster, Database, throwaway
from tests.integration import postgresml
from tests.integration.jobs import tune
from tests.relocated import Installation, relocated_postgresql

SQL = Path(__file__).parents[2] / "sql"
TABLES = ("projects", "snapshots", "models", "deployments", "files", "logs")
GREEDY = """'{"max_tokens": 8, "temperature": 0}'"""


def run_script(
    database: Database, *options: str, script: str = "migrate_postgresml.sql"
) -> subprocess.CompletedProcess:
    command = database.psql(*options, "-f", SQL / script)
    return subprocess.run(command, capture_output=True, text=True, check=False)


def contents(database: Database, schema: str, tables: tuple[str, ...] = TABLES) -> dict[str, list[tuple]]:
    """A digest of each row of tables of PostgresML."""
    return {table: database.run(f"SELECT id, md5(t::text) FROM {schema}.{table} t ORDER BY id") for table in tables}


@pytest.fixture(scope="module")
def models(model_directory):
    with postgresml.tuned_models(model_directory) as made:
        yield made


@pytest.fixture(scope="module")
def installation():
    with relocated_postgresql() as installation:
        postgresml.install_postgresml(installation)
        yield installation


@pytest.fixture(scope="module")
def server(installation: Installation, model_directory):
    with throwaway(model_directory, installation.pg_config) as cluster:
        yield cluster


@pytest.fixture(scope="module")
def before(server: Cluster, installation: Installation, models, model_directory):
    """A database of PostgresML on a server that has the files of pgml now, and what was in its tables."""
    database = postgresml.make_database(server, "before")
    database.run("CREATE ROLE app LOGIN")
    for model_id, name in {21: "classifier", 31: "adapter", 32: "templated"}.items():
        postgresml.store(database, model_id, models[name])
    for model_id in (22, 43, 45):
        postgresml.store(database, model_id, model_directory / "bert-classifier")
    database.run("CREATE VIEW public.all_models AS SELECT id, status FROM pgml.models")
    database.run("CREATE TABLE public.runs (model_id bigint REFERENCES pgml.models, sampling pgml.sampling)")
    database.run('CREATE SEQUENCE pgml."Läufe"')
    rows = contents(database, "pgml")
    early = run_script(database)
    assert early.returncode
    assert "CREATE EXTENSION pgml has made PostgresML again" in early.stderr
    installation.install_extension()
    assert contents(database, "pgml") == rows
    return database, rows


@pytest.fixture(scope="module")
def moved(before):
    """The same database, moved, with what the script said."""
    database, _ = before
    done = run_script(database, "-v", "owner=app")
    assert not done.returncode, done.stderr
    return database, done.stdout


def test_objects_that_need_functions_of_postgresml_stop_it(before):
    database, rows = before
    database.run("CREATE VIEW public.lengths AS SELECT pgml.embed('m', text) FROM pgml.imdb")
    done = run_script(database)
    assert done.returncode
    assert "view public.lengths depends on function pgml.embed" in done.stderr
    assert "Nothing was changed." in done.stderr
    assert contents(database, "pgml") == rows
    assert database.value("SELECT extversion FROM pg_extension WHERE extname = 'pgml'") == "2.10.0"
    database.run("DROP VIEW public.lengths")


def test_a_classifier_answers_as_before(moved, models):
    database, _ = moved
    query = "SELECT pgml.predict('Отзывы \"2024\"', %s::text[])"
    assert [one["label"] for one in database.value(query, postgresml.TEXTS, user="app")] == postgresml.labels(
        models["classifier"]
    )
    transformed = database.value(
        'SELECT pgml.transform(\'{"model": "pgml:21"}\'::jsonb, inputs => %s::text[])', postgresml.TEXTS
    )
    assert {one["label"] for one in transformed} == set(postgresml.CLASSES)


def test_adapters_answer_as_before(moved, models, model_directory):
    database, _ = moved
    base = model_directory / "llama-chat"
    chat = "<|im_start|>user\nWho?<|im_end|>\n<|im_start|>assistant\n"
    wanted = postgresml.answer(base, models["adapter"], chat, 8)
    assert database.value(f"SELECT pgml.generate('assistant', 'Who?', {GREEDY})", user="app") == wanted
    wanted = postgresml.answer(base, models["templated"], '<<Be brief.>>\n"Who?" {now}: ', 8)
    messages = """ARRAY['{"role": "system", "content": "Be brief."}', '{"role": "user", "content": "Who?"}']::jsonb[]"""
    query = f"""SELECT pgml.transform('{{"model": "templated"}}'::jsonb, {GREEDY}, {messages})->>0"""
    assert database.value(query, user="app") == wanted


def test_rows_keep_their_ids_times_and_values(moved):
    database, _ = moved
    with database.connect("app", row_factory=namedtuple_row) as connection:
        projects = connection.execute("SELECT * FROM pgml.projects ORDER BY id").fetchall()
        assert [(p.id, p.task) for p in projects] == [
            (7, "text_classification"),
            (8, "conversation"),
            (9, "conversation"),
            (11, "text_pair_classification"),
            (12, "text_classification"),
        ]
        assert str(projects[0].created_at) == "2024-01-02 03:04:05.678000"
        model = connection.execute("SELECT * FROM pgml.models WHERE id = 21").fetchone()
        assert str(model.created_at) == "2024-01-02 00:00:00"
        assert (model.base_model, model.snapshot_id) == ("bert", 5)
        assert model.hyperparams["token"] == model.hyperparams["training_args"]["hub_token"] == "[redacted]"
        assert model.hyperparams["dataset_args"] == {"text_column": "Текст", "class_column": "Тон"}
        assert model.metrics["loss"] == 0.5
        snapshot = connection.execute("SELECT * FROM pgml.snapshots WHERE id = 5").fetchone()
        assert (snapshot.relation_name, snapshot.y_column_name) == ('public."Отзывы, все"', ["Тон"])
        logs = connection.execute("SELECT id, logs->>'step' AS step FROM pgml.logs ORDER BY id").fetchall()
        assert [(log.id, log.step) for log in logs] == [(n, str(n)) for n in range(1, 21)]
        strategies = connection.execute("SELECT id, strategy FROM pgml.deployments WHERE project_id = 7 ORDER BY id")
        assert [s.strategy for s in strategies] == ["new_score", "best_score", "rollback", "most_recent", "specific"]
        parts = connection.execute(
            "SELECT max(octet_length(data)) AS longest, count(*) AS parts, sum(octet_length(data)) = max(size) AS whole"
            " FROM pgml.files WHERE model_id = 21 AND path = 'model.safetensors'"
        ).fetchone()
        assert (parts.longest, parts.whole) == (4 << 20, True)
        assert parts.parts >= 3
        assert not connection.execute("SELECT FROM pgml.files WHERE path LIKE '%%.bin'").fetchall()


def test_files_may_be_larger_than_a_value(moved):
    database, _ = moved
    hashed = "SELECT pgml._sha256(convert_to(repeat(chr(96 + part), 100000000), 'UTF8') ORDER BY part DESC) FROM "
    wanted = hashlib.sha256()
    for part in range(11, 0, -1):
        wanted.update(chr(96 + part).encode() * 100_000_000)
    assert database.value(f"{hashed} generate_series(1, 11) AS part") == wanted.hexdigest()  # 1.1 GB
    empty = hashlib.sha256().hexdigest()
    assert database.value(f"{hashed} generate_series(1, 0) AS part") == empty
    assert database.value("SELECT pgml._sha256(NULL)") == empty


def test_what_is_deployed_stays_deployed(moved):
    database, _ = moved
    assert database.run("SELECT id, name FROM pgml.deployed_models ORDER BY id", user="app") == [
        (21, 'Отзывы "2024"'),
        (31, "assistant"),
        (32, "templated"),
        (45, "pairs"),
    ]
    overview = database.run("SELECT name, relation_name FROM pgml.overview ORDER BY name", user="app")
    assert ('Отзывы "2024"', 'public."Отзывы, все"') in overview
    assert database.run("SELECT id, deployed FROM pgml.trained_models ORDER BY id", user="app") == [
        (21, True),
        (22, False),
        (31, True),
        (32, True),
        (43, False),
        (45, True),
    ]
    pair = '{"text": "a joy", "text_pair": "a waste"}'
    assert database.value("SELECT pgml.predict('pairs', %s)->>'label'", pair, user="app") in LABELS


def test_nothing_is_lost_and_nothing_silent(before, moved):
    database, said = moved
    assert contents(database, "postgresml") == before[1]
    left = dict(database.run("SELECT id, note FROM postgresml.migration WHERE kind = 'model' AND NOT taken_over"))
    assert left == {
        11: "pgml has no models of the algorithm linear",
        12: "pgml has no models of the algorithm xgboost",
        23: "it has no files",
        41: "its weights are not stored as safetensors",
        42: "its status is in_progress",
        44: "parts of its files are missing",
    }
    for table in ("projects", "snapshots", "models", "deployments"):
        told = "SELECT id FROM postgresml.migration WHERE kind = %s"
        assert set(database.run(told, table[:-1])) == set(database.run(f"SELECT id FROM postgresml.{table}"))
        taken = set(database.run(f"{told} AND taken_over", table[:-1]))
        assert taken == set(database.run(f"SELECT id FROM pgml.{table}"))
    files = dict(database.run("SELECT name, taken_over FROM postgresml.migration WHERE kind = 'file' AND id = 21"))
    assert files["model.safetensors"]
    assert not files["training_args.bin"]
    for shown in ("Diabetes", "no model answers", "my_words", "is an adapter of llama-chat"):
        assert shown in said


def test_what_users_made_in_the_schema_stays_there(moved):
    database, _ = moved
    assert database.run('SELECT text FROM pgml."Отзывы"') == [("a film",)]
    assert database.value("SELECT count(*) FROM postgresml.snapshot_1") == 1


def test_what_still_uses_the_old_tables_is_told(moved):
    database, said = moved
    told = dict(database.run("SELECT name, note FROM postgresml.migration WHERE kind = 'dependent'"))
    used = {
        "rule _RETURN on view public.all_models": "table postgresml.models",
        "constraint runs_model_id_fkey on table public.runs": "table postgresml.models",
        "column sampling of table public.runs": "type postgresml.sampling",
    }
    assert told == {name: f"uses {what}, which pgml no longer changes" for name, what in used.items()}
    assert "public.all_models" in said
    assert database.value("SELECT nextval('pgml.\"Läufe\"')") == 1


@pytest.mark.parametrize(
    "template",
    ["{{user}}{assistant}", "{user}{assistant} | {user}", "{assistant}{assistant}", "{user!s}{assistant}", "{user}"],
)
def test_templates_that_are_not_plain_are_left_out(moved, template):
    database, _ = moved
    script = (SQL / "migrate_postgresml.sql").read_text()
    start = script.index("CREATE FUNCTION pg_temp.is_plain")
    with database.connect() as connection:
        connection.execute(script[start : script.index("CREATE TEMP TABLE template")])
        is_plain = lambda text: connection.execute("SELECT pg_temp.is_plain(%s)", [text]).fetchone()[0]  # noqa: E731
        assert not is_plain(template)
        assert is_plain("<<{system}>>\n{user} {{now}}: {assistant}{eos_token}")


def test_a_second_run_is_refused(moved):
    database, _ = moved
    done = run_script(database)
    assert done.returncode
    assert "this database was moved from PostgresML already" in done.stderr


def test_models_are_deployed_and_tuned_under_the_next_ids(moved):
    database, _ = moved
    label = "SELECT pgml.predict(project, 'a joy')->>'label' FROM pgml.deploy(43)"
    assert database.value(label, user="app") in LABELS
    assert database.value("SELECT max(id) FROM pgml.deployments") == 15
    database.run('GRANT SELECT ON public."Отзывы, все" TO app')
    columns = {"text_column": "Текст", "class_column": "Тон"}
    with database.connect("app") as connection:
        again = tune(connection, 'Отзывы "2024"', hyperparams={"dataset_args": columns}, wait=False)
        connection.execute("SELECT pgml.cancel(%s)", [again.model_id])
    assert again.model_id == 51
    assert database.run("SELECT id, train_rows + test_rows FROM pgml.snapshots WHERE id > 6") == [(7, 80)]


def test_a_database_that_is_set_aside_can_be_dumped_and_moved_elsewhere(server, before, models):
    old = postgresml.make_database(server, "old")
    postgresml.store(old, 21, models["classifier"])
    # A new installation has none.
    old.run("ALTER EXTENSION pgml DROP TABLE pgml.logs; ALTER EXTENSION pgml DROP SEQUENCE pgml.logs_id_seq")
    old.run("DROP TABLE pgml.logs")
    rows = contents(old, "pgml", TABLES[:-1])
    assert not run_script(old, script="set_aside_postgresml.sql").returncode
    assert not old.run("SELECT FROM pg_extension WHERE extname = 'pgml'")
    new = postgresml.empty_database(server, "new")
    dump = subprocess.check_output([server.bin / "pg_dump", "-h", server.root, "-U", "postgres", old.name])
    subprocess.run(new.psql("-q", "-v", "ON_ERROR_STOP=1"), input=dump, check=True, capture_output=True)
    done = run_script(new)
    assert not done.returncode, done.stderr
    assert contents(new, "postgresml", TABLES[:-1]) == rows
    answers = new.value("SELECT pgml.predict('Отзывы \"2024\"', %s::text[])", postgresml.TEXTS)
    assert [one["label"] for one in answers] == postgresml.labels(models["classifier"])


def test_a_database_without_postgresml_is_left_alone(server, before):
    database = postgresml.empty_database(server, "nothing")
    done = run_script(database)
    assert done.returncode
    assert "there are no tables of PostgresML in this database" in done.stderr
    assert not database.run("SELECT FROM pg_extension WHERE extname = 'pgml'")
