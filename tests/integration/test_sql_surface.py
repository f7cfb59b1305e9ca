"""Names, arguments, defaults and types of everything in the schema: what scripts of users rely on."""

from __future__ import annotations

import psycopg
import pytest
from tests.integration.jobs import REVIEWS, recorded, refusal, snapshot_of, tune

TUNE = (
    "project_name text, task text DEFAULT NULL::text, relation_name text DEFAULT NULL::text, "
    "y_column_name text DEFAULT NULL::text, model_name text DEFAULT NULL::text, hyperparams jsonb DEFAULT '{}'::jsonb, "
    "test_size real DEFAULT 0.25, test_sampling pgml.sampling DEFAULT 'stratified'::pgml.sampling, "
    "automatic_deploy boolean DEFAULT true, materialize_snapshot boolean DEFAULT false, wait boolean DEFAULT true, "
    "_y_column_name text DEFAULT NULL::text"
)
TUNED = "TABLE(status text, task text, algorithm text, deployed boolean, model_id bigint, metrics jsonb)"
TRANSFORM = (
    "task {}, args jsonb DEFAULT '{{}}'::jsonb, inputs {}[] DEFAULT NULL::{}[], cache boolean DEFAULT false".format
)
STREAM = "task {}, args jsonb DEFAULT '{{}}'::jsonb, {}, cache boolean DEFAULT false".format
STREAM_TEXT, STREAM_JSON = "input text DEFAULT ''::text", "inputs jsonb[] DEFAULT ARRAY[]::jsonb[]"
GENERATE = "project_name text, inputs {}, config jsonb DEFAULT '{{}}'::jsonb".format
LOAD_DATASET = (
    "source text, subset text DEFAULT NULL::text, "
    "\"limit\" bigint DEFAULT NULL::bigint, kwargs jsonb DEFAULT '{}'::jsonb"
)
DEPLOYED = "TABLE(project text, strategy text, algorithm text)"
FUNCTIONS = {
    ("tune", TUNE): (TUNED, "v", "u"),
    ("transform", TRANSFORM("jsonb", "text", "text")): ("jsonb", "v", "r"),
    ("transform", TRANSFORM("text", "text", "text")): ("jsonb", "v", "r"),
    ("transform", TRANSFORM("jsonb", "jsonb", "jsonb")): ("jsonb", "v", "r"),
    ("transform", TRANSFORM("text", "jsonb", "jsonb")): ("jsonb", "v", "r"),
    ("transform_stream", STREAM("jsonb", STREAM_TEXT)): ("SETOF jsonb", "v", "r"),
    ("transform_stream", STREAM("text", STREAM_TEXT)): ("SETOF jsonb", "v", "r"),
    ("transform_stream", STREAM("jsonb", STREAM_JSON)): ("SETOF jsonb", "v", "r"),
    ("transform_stream", STREAM("text", STREAM_JSON)): ("SETOF jsonb", "v", "r"),
    ("generate", GENERATE("text")): ("text", "v", "r"),
    ("generate", GENERATE("text[]")): ("text[]", "v", "r"),
    ("predict", "project_name text, input text"): ("jsonb", "s", "r"),
    ("predict", "project_name text, inputs text[]"): ("jsonb", "s", "r"),
    ("deploy", "model_id bigint"): (DEPLOYED, "v", "u"),
    ("deploy", "project_name text, strategy pgml.strategy, algorithm text DEFAULT NULL::text"): (DEPLOYED, "v", "u"),
    ("load_dataset", LOAD_DATASET): ("TABLE(table_name text, rows bigint)", "v", "u"),
    ("cancel", "model_id bigint"): ("boolean", "v", "u"),
    ("restart_runtime", ""): ("boolean", "v", "u"),
    ("version", ""): ("text", "i", "s"),
}
ENUMS = {
    "task": "regression classification decomposition clustering question_answering summarization translation "
    "text_classification text_generation text2text embedding text_pair_classification conversation",
    "sampling": "random last stratified",
    "strategy": "new_score best_score most_recent rollback specific",
    "status": "queued in_progress successful failed cancelled",
    "runtime": "python rust openai",
    "search": "grid random",
}
# The columns of PostgresML first and in its order, ours after them.
COLUMNS = {
    "projects": "id:int8 name:text task:task created_at:timestamp updated_at:timestamp owner:regrole",
    "snapshots": "id:int8 relation_name:text y_column_name:_text test_size:float4 test_sampling:sampling status:text "
    "columns:jsonb analysis:jsonb created_at:timestamp updated_at:timestamp materialized:bool seed:int8 "
    "train_rows:int8 test_rows:int8 digest:text",
    "models": "id:int8 project_id:int8 snapshot_id:int8 num_features:int4 algorithm:text runtime:runtime "
    "hyperparams:jsonb status:text metrics:jsonb search:text search_params:jsonb search_args:jsonb "
    "created_at:timestamp updated_at:timestamp base_model:text error:text",
    "deployments": "id:int8 project_id:int8 model_id:int8 strategy:strategy created_at:timestamp",
    "files": "id:int8 model_id:int8 path:text part:int4 created_at:timestamp updated_at:timestamp data:bytea",
    "logs": "id:int8 model_id:int8 project_id:int8 created_at:timestamp logs:jsonb",
    "overview": "name:text deployed_at:timestamp task:task algorithm:text runtime:runtime relation_name:text "
    "y_column_name:_text test_sampling:sampling test_size:float4",
    "trained_models": "id:int8 name:text task:task algorithm:text runtime:runtime created_at:timestamp "
    "test_sampling:sampling test_size:float4 deployed:bool",
    "deployed_models": "id:int8 name:text task:task algorithm:text runtime:runtime deployed_at:timestamp",
}
SETTINGS = {
    "pgml.runtime": "superuser",
    "pgml.venv": "superuser",
    "pgml.python": "sighup",
    "pgml.model_directories": "superuser",
    "pgml.model_memory_limit": "sighup",
    "pgml.model_cache_limit": "sighup",
    "pgml.max_jobs": "sighup",
    "pgml.full_tuning_limit": "user",
    "pgml.on_disconnect": "user",
    "pgml.runtime_threads": "sighup",
    "pgml.runtime_start_timeout": "sighup",
    "pgml.resume_window": "sighup",
    "pgml.hub_endpoint": "superuser",
    "pgml.hub_offline": "superuser",
    "pgml.hub_cache": "superuser",
    "pgml.hub_allow": "superuser",
    "pgml.hub_deny": "superuser",
    "pgml.trust_remote_code": "superuser",
    "pgml.data_directories": "superuser",
    "pgml.data_urls": "superuser",
}


def test_functions_have_the_arguments_and_results_that_scripts_know(shared):
    rows = shared.run(
        """SELECT proname, pg_get_function_arguments(oid), pg_get_function_result(oid), provolatile, proparallel
           FROM pg_proc WHERE pronamespace = 'pgml'::regnamespace"""
    )
    there = {(name, arguments): (result, *flags) for name, arguments, result, *flags in rows}
    assert {call: there.get(call) for call in FUNCTIONS} == FUNCTIONS


@pytest.mark.parametrize("name", ["tune", "transform", "transform_stream", "generate", "predict"])
def test_functions_that_run_models_are_costly(shared, name):
    costs = shared.run("SELECT procost FROM pg_proc WHERE proname = %s AND pronamespace = 'pgml'::regnamespace", name)
    assert all(cost >= 10000 for (cost,) in costs)


@pytest.mark.parametrize("enum", ENUMS)
def test_enums_have_their_labels_in_order(shared, enum):
    assert shared.value(f"SELECT enum_range(NULL::pgml.{enum})::text[]") == ENUMS[enum].split()


@pytest.mark.parametrize("relation", COLUMNS)
def test_tables_and_views_begin_with_the_columns_that_scripts_know(shared, relation):
    columns = shared.value(
        """SELECT array_agg(attname || ':' || typname ORDER BY attnum)
           FROM pg_attribute a JOIN pg_type t ON t.oid = atttypid
           WHERE attrelid = %s::regclass AND attnum > 0 AND NOT attisdropped""",
        f"pgml.{relation}",
    )
    assert columns[: len(COLUMNS[relation].split())] == COLUMNS[relation].split()


def test_jobs_and_loaded_models_say_how_things_stand(shared):
    def columns(view: str) -> set[str]:
        names = shared.run("SELECT attname FROM pg_attribute WHERE attrelid = %s::regclass AND attnum > 0", view)
        return {name for (name,) in names}

    assert columns("pgml.jobs") >= set("model_id project status step max_steps share_done time_left error".split())
    assert columns("pgml.loaded_models") >= set("name task bytes device uses loaded_at last_used_at".split())


def test_a_row_of_files_carries_size_and_digest(shared):
    shared.run("SELECT size, sha256 FROM pgml.files")
    shared.run("SELECT started_at, finished_at FROM pgml.models")


def test_everything_in_the_schema_has_a_comment(shared):
    silent = shared.run(
        """SELECT 'function ' || oid::regprocedure FROM pg_proc
           WHERE pronamespace = 'pgml'::regnamespace AND obj_description(oid, 'pg_proc') IS NULL
           UNION ALL
           SELECT 'relation ' || oid::regclass FROM pg_class
           WHERE relnamespace = 'pgml'::regnamespace AND relkind IN ('r', 'v')
             AND obj_description(oid, 'pg_class') IS NULL
           UNION ALL
           SELECT 'type ' || oid::regtype FROM pg_type
           WHERE typnamespace = 'pgml'::regnamespace AND typtype = 'e' AND obj_description(oid, 'pg_type') IS NULL
           UNION ALL
           SELECT 'schema' WHERE obj_description('pgml'::regnamespace, 'pg_namespace') IS NULL"""
    )
    assert silent == []


def test_settings_belong_to_the_administrator(shared):
    with shared.connect() as connection:
        connection.execute("LOAD 'pgml'")
        rows = connection.execute(
            "SELECT name, context FROM pg_settings WHERE name LIKE 'pgml.%' AND short_desc <> '' AND extra_desc <> ''"
        )
        assert dict(rows.fetchall()) == SETTINGS


def test_a_misspelt_setting_is_refused(shared):
    with shared.connect() as connection:
        connection.execute("LOAD 'pgml'")
        said = refusal(connection, "SET pgml.xyz = 1")
        assert said.sqlstate == "42602"
        assert "pgml.xyz" in said.message_primary


def test_version_is_that_of_the_extension(shared):
    assert shared.value("SELECT pgml.version() = extversion FROM pg_extension WHERE extname = 'pgml'")


def test_label_column_by_name_by_its_former_name_and_by_position(database):
    database.run(REVIEWS)
    with database.connect() as connection:
        for name in ("y_column_name", "_y_column_name"):
            other = {} if name == "y_column_name" else {"y_column_name": None}
            assert recorded(connection, name, **{name: "verdict"}, **other).y_column_name == ["verdict"]
        row = connection.execute(
            """SELECT model_id FROM pgml.tune('by position', 'text_classification', 'reviews', 'verdict', 'bert', '{}',
                   20, 'last', false, false, false)"""
        ).fetchone()
        snapshot = snapshot_of(connection, row[0])
        assert (snapshot.y_column_name, snapshot.test_rows) == (["verdict"], 20)


def test_inputs_left_out_are_ambiguous_as_ever(shared):
    with shared.connect() as connection:
        for call in ("pgml.transform('text-classification')", "pgml.transform('{}'::jsonb)"):
            assert refusal(connection, f"SELECT {call}").sqlstate == "42725"


def test_null_for_a_name_is_a_clear_error(shared):
    with shared.connect() as connection, pytest.raises(psycopg.errors.InvalidParameterValue, match="project_name"):
        tune(connection, None)
