-- SQL functions: names, arguments, order and defaults are those of PostgresML; what is ours comes after them.

CREATE FUNCTION pgml.tune(
    project_name text, task text DEFAULT NULL, relation_name text DEFAULT NULL, y_column_name text DEFAULT NULL,
    model_name text DEFAULT NULL, hyperparams jsonb DEFAULT '{}', test_size real DEFAULT 0.25,
    test_sampling pgml.sampling DEFAULT 'stratified', automatic_deploy boolean DEFAULT true,
    materialize_snapshot boolean DEFAULT false, wait boolean DEFAULT true, _y_column_name text DEFAULT NULL
) RETURNS TABLE (status text, task text, algorithm text, deployed boolean, model_id bigint, metrics jsonb)
LANGUAGE c VOLATILE PARALLEL UNSAFE COST 1000000 ROWS 1 AS 'MODULE_PATHNAME', 'tune_wrapper';

-- An argument after one with a default needs a default too, so PostgreSQL asks for one on inputs. Leaving inputs out is ambiguous and refused by it.
CREATE FUNCTION pgml.transform(
    task jsonb, args jsonb DEFAULT '{}', inputs text[] DEFAULT NULL, cache boolean DEFAULT false
) RETURNS jsonb
LANGUAGE c VOLATILE PARALLEL RESTRICTED COST 10000 AS 'MODULE_PATHNAME', 'transform_json_text_wrapper';
CREATE FUNCTION pgml.transform(
    task text, args jsonb DEFAULT '{}', inputs text[] DEFAULT NULL, cache boolean DEFAULT false
) RETURNS jsonb
LANGUAGE c VOLATILE PARALLEL RESTRICTED COST 10000 AS 'MODULE_PATHNAME', 'transform_text_text_wrapper';
CREATE FUNCTION pgml.transform(
    task jsonb, args jsonb DEFAULT '{}', inputs jsonb[] DEFAULT NULL, cache boolean DEFAULT false
) RETURNS jsonb
LANGUAGE c VOLATILE PARALLEL RESTRICTED COST 10000 AS 'MODULE_PATHNAME', 'transform_json_json_wrapper';
CREATE FUNCTION pgml.transform(
    task text, args jsonb DEFAULT '{}', inputs jsonb[] DEFAULT NULL, cache boolean DEFAULT false
) RETURNS jsonb
LANGUAGE c VOLATILE PARALLEL RESTRICTED COST 10000 AS 'MODULE_PATHNAME', 'transform_text_json_wrapper';

CREATE FUNCTION pgml.transform_stream(
    task jsonb, args jsonb DEFAULT '{}', input text DEFAULT '', cache boolean DEFAULT false
) RETURNS SETOF jsonb
LANGUAGE c VOLATILE STRICT PARALLEL RESTRICTED COST 10000 ROWS 100 AS 'MODULE_PATHNAME', 'transform_stream_json_text_wrapper';
CREATE FUNCTION pgml.transform_stream(
    task text, args jsonb DEFAULT '{}', input text DEFAULT '', cache boolean DEFAULT false
) RETURNS SETOF jsonb
LANGUAGE c VOLATILE STRICT PARALLEL RESTRICTED COST 10000 ROWS 100 AS 'MODULE_PATHNAME', 'transform_stream_text_text_wrapper';
CREATE FUNCTION pgml.transform_stream(
    task jsonb, args jsonb DEFAULT '{}', inputs jsonb[] DEFAULT ARRAY[]::jsonb[], cache boolean DEFAULT false
) RETURNS SETOF jsonb
LANGUAGE c VOLATILE STRICT PARALLEL RESTRICTED COST 10000 ROWS 100 AS 'MODULE_PATHNAME', 'transform_stream_json_json_wrapper';
CREATE FUNCTION pgml.transform_stream(
    task text, args jsonb DEFAULT '{}', inputs jsonb[] DEFAULT ARRAY[]::jsonb[], cache boolean DEFAULT false
) RETURNS SETOF jsonb
LANGUAGE c VOLATILE STRICT PARALLEL RESTRICTED COST 10000 ROWS 100 AS 'MODULE_PATHNAME', 'transform_stream_text_json_wrapper';

CREATE FUNCTION pgml.generate(project_name text, inputs text, config jsonb DEFAULT '{}') RETURNS text
LANGUAGE c VOLATILE STRICT PARALLEL RESTRICTED COST 10000 AS 'MODULE_PATHNAME', 'generate_one_wrapper';
CREATE FUNCTION pgml.generate(project_name text, inputs text[], config jsonb DEFAULT '{}') RETURNS text[]
LANGUAGE c VOLATILE STRICT PARALLEL RESTRICTED COST 10000 AS 'MODULE_PATHNAME', 'generate_many_wrapper';

CREATE FUNCTION pgml.embed(transformer text, text text, kwargs jsonb DEFAULT '{}') RETURNS real[]
LANGUAGE c STABLE STRICT PARALLEL RESTRICTED COST 10000 AS 'MODULE_PATHNAME', 'embed_one_wrapper';
CREATE FUNCTION pgml.embed(transformer text, inputs text[], kwargs jsonb DEFAULT '{}') RETURNS SETOF real[]
LANGUAGE c STABLE STRICT PARALLEL RESTRICTED COST 10000 ROWS 100 AS 'MODULE_PATHNAME', 'embed_many_wrapper';

CREATE FUNCTION pgml.predict(project_name text, input text) RETURNS jsonb
LANGUAGE c STABLE STRICT PARALLEL RESTRICTED COST 10000 AS 'MODULE_PATHNAME', 'predict_one_wrapper';
CREATE FUNCTION pgml.predict(project_name text, inputs text[]) RETURNS jsonb
LANGUAGE c STABLE STRICT PARALLEL RESTRICTED COST 10000 AS 'MODULE_PATHNAME', 'predict_many_wrapper';

CREATE FUNCTION pgml.load_dataset(source text, subset text DEFAULT NULL, "limit" bigint DEFAULT NULL, kwargs jsonb DEFAULT '{}')
RETURNS TABLE (table_name text, rows bigint)
LANGUAGE c VOLATILE PARALLEL UNSAFE COST 1000000 ROWS 1 AS 'MODULE_PATHNAME', 'load_dataset_wrapper';

CREATE FUNCTION pgml.deploy(model_id bigint) RETURNS TABLE (project text, strategy text, algorithm text)
LANGUAGE c VOLATILE STRICT PARALLEL UNSAFE ROWS 1 AS 'MODULE_PATHNAME', 'deploy_model_wrapper';
CREATE FUNCTION pgml.deploy(project_name text, strategy pgml.strategy, algorithm text DEFAULT NULL)
RETURNS TABLE (project text, strategy text, algorithm text)
LANGUAGE c VOLATILE PARALLEL UNSAFE ROWS 1 AS 'MODULE_PATHNAME', 'deploy_project_wrapper';

CREATE FUNCTION pgml.cancel(model_id bigint) RETURNS boolean
LANGUAGE c VOLATILE STRICT PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'cancel_wrapper';

CREATE FUNCTION pgml.resume(model_id bigint, wait boolean DEFAULT true)
RETURNS TABLE (status text, task text, algorithm text, deployed boolean, model_id bigint, metrics jsonb)
LANGUAGE c VOLATILE STRICT PARALLEL UNSAFE COST 1000000 ROWS 1 AS 'MODULE_PATHNAME', 'resume_wrapper';

CREATE FUNCTION pgml.push_to_hub(
    project_name text, repo_id text DEFAULT NULL, private boolean DEFAULT true, token text DEFAULT NULL, revision text DEFAULT NULL
) RETURNS TABLE (model_id bigint, repo_id text, url text, commit text)
LANGUAGE c VOLATILE PARALLEL UNSAFE COST 1000000 ROWS 1 AS 'MODULE_PATHNAME', 'push_project_wrapper';
CREATE FUNCTION pgml.push_to_hub(
    model_id bigint, repo_id text DEFAULT NULL, private boolean DEFAULT true, token text DEFAULT NULL, revision text DEFAULT NULL
) RETURNS TABLE (model_id bigint, repo_id text, url text, commit text)
LANGUAGE c VOLATILE PARALLEL UNSAFE COST 1000000 ROWS 1 AS 'MODULE_PATHNAME', 'push_model_wrapper';
CREATE FUNCTION pgml.pull_from_hub(
    repo_id text, project_name text DEFAULT NULL, revision text DEFAULT NULL, token text DEFAULT NULL
) RETURNS TABLE (project text, task text, model_id bigint, commit text)
LANGUAGE c VOLATILE PARALLEL UNSAFE COST 1000000 ROWS 1 AS 'MODULE_PATHNAME', 'pull_from_hub_wrapper';

CREATE FUNCTION pgml.set_secret(name text, value text) RETURNS void
LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'set_secret_wrapper';
CREATE FUNCTION pgml.secret_names() RETURNS SETOF text
LANGUAGE c VOLATILE PARALLEL UNSAFE ROWS 10 AS 'MODULE_PATHNAME', 'secret_names_wrapper';

CREATE FUNCTION pgml.runtime_status() RETURNS TABLE (
    state text, pid integer, supervisor_pid integer, python text, started_at timestamptz, starts bigint,
    last_exit text, last_words text, device text, memory_bytes bigint, packages jsonb
)
LANGUAGE c VOLATILE PARALLEL UNSAFE ROWS 1 AS 'MODULE_PATHNAME', 'runtime_status_wrapper';
CREATE FUNCTION pgml.restart_runtime() RETURNS boolean
LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'restart_runtime_wrapper';
CREATE FUNCTION pgml.version() RETURNS text
LANGUAGE c IMMUTABLE PARALLEL SAFE AS 'MODULE_PATHNAME', 'version_wrapper';

-- For the views and checks below; not meant to be called by hand.
CREATE FUNCTION pgml._loaded_models() RETURNS jsonb
LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'loaded_models_wrapper';
CREATE FUNCTION pgml._loads() RETURNS jsonb
LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'loads_wrapper';
CREATE FUNCTION pgml._job_is_alive(model_id bigint) RETURNS boolean
LANGUAGE c VOLATILE STRICT PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'job_is_alive_wrapper';
CREATE FUNCTION pgml._job_is_resumable(model_id bigint) RETURNS boolean
LANGUAGE c VOLATILE STRICT PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'job_is_resumable_wrapper';
-- Who owns a project, also one that row-level security hides: its name is taken all the same.
CREATE FUNCTION pgml._project_owner(project_name text) RETURNS regrole
LANGUAGE sql STABLE STRICT SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS 'SELECT owner FROM pgml.projects WHERE name = $1';
-- For files whose parts together are larger than a value can be.
CREATE FUNCTION pgml._sha256_step(state internal, data bytea) RETURNS internal
LANGUAGE c IMMUTABLE PARALLEL SAFE AS 'MODULE_PATHNAME', 'sha256_step_wrapper';
CREATE FUNCTION pgml._sha256_end(state internal) RETURNS text
LANGUAGE c IMMUTABLE PARALLEL SAFE AS 'MODULE_PATHNAME', 'sha256_end_wrapper';
CREATE AGGREGATE pgml._sha256(data bytea) (SFUNC = pgml._sha256_step, STYPE = internal, FINALFUNC = pgml._sha256_end, PARALLEL = SAFE);
