\echo Use "CREATE EXTENSION pgml" to load this file. \quit

-- Types and tables of the registry. The columns that PostgresML had come first and keep their names; ours follow.

-- A schema pgml that is not ours would be used silently, with whatever its owner put into it.
DO $$
BEGIN
    IF (SELECT nspowner FROM pg_catalog.pg_namespace WHERE nspname = 'pgml')
       IS DISTINCT FROM (SELECT oid FROM pg_catalog.pg_roles WHERE rolname = current_user)
    THEN
        RAISE EXCEPTION 'schema "pgml" belongs to another role'
            USING ERRCODE = 'insufficient_privilege',
                  HINT = 'Drop or rename the schema, then run CREATE EXTENSION again.';
    END IF;
END
$$;

CREATE TYPE pgml.task AS ENUM (
    'regression', 'classification', 'decomposition', 'clustering', 'question_answering', 'summarization', 'translation',
    'text_classification', 'text_generation', 'text2text', 'embedding', 'text_pair_classification', 'conversation'
);
CREATE TYPE pgml.sampling AS ENUM ('random', 'last', 'stratified');
CREATE TYPE pgml.strategy AS ENUM ('new_score', 'best_score', 'most_recent', 'rollback', 'specific');
CREATE TYPE pgml.status AS ENUM ('queued', 'in_progress', 'successful', 'failed', 'cancelled');
CREATE TYPE pgml.runtime AS ENUM ('python', 'rust', 'openai');
CREATE TYPE pgml.search AS ENUM ('grid', 'random');

CREATE TABLE pgml.projects (
    id          bigserial PRIMARY KEY,
    name        text NOT NULL,
    task        pgml.task NOT NULL,
    created_at  timestamp NOT NULL DEFAULT pg_catalog.clock_timestamp(),
    updated_at  timestamp NOT NULL DEFAULT pg_catalog.clock_timestamp(),
    owner       regrole NOT NULL DEFAULT current_user::regrole,
    CONSTRAINT projects_name_idx UNIQUE (name)
);

CREATE TABLE pgml.snapshots (
    id            bigserial PRIMARY KEY,
    relation_name text NOT NULL,
    y_column_name text[],
    test_size     real NOT NULL,
    test_sampling pgml.sampling NOT NULL,
    status        text NOT NULL,
    columns       jsonb,
    analysis      jsonb,
    created_at    timestamp NOT NULL DEFAULT pg_catalog.clock_timestamp(),
    updated_at    timestamp NOT NULL DEFAULT pg_catalog.clock_timestamp(),
    materialized  boolean DEFAULT false,
    seed          bigint,
    train_rows    bigint,
    test_rows     bigint,
    digest        text,
    owner         regrole NOT NULL DEFAULT current_user::regrole
);

CREATE TABLE pgml.models (
    id            bigserial PRIMARY KEY,
    project_id    bigint NOT NULL REFERENCES pgml.projects ON DELETE CASCADE,
    snapshot_id   bigint REFERENCES pgml.snapshots ON DELETE SET NULL,
    num_features  integer NOT NULL,
    algorithm     text NOT NULL,
    runtime       pgml.runtime DEFAULT 'python',
    hyperparams   jsonb NOT NULL,
    status        text NOT NULL CHECK (status IN ('queued', 'in_progress', 'successful', 'failed', 'cancelled')),
    metrics       jsonb,
    search        text,
    search_params jsonb NOT NULL DEFAULT '{}',
    search_args   jsonb NOT NULL DEFAULT '{}',
    created_at    timestamp NOT NULL DEFAULT pg_catalog.clock_timestamp(),
    updated_at    timestamp NOT NULL DEFAULT pg_catalog.clock_timestamp(),
    base_model    text,
    error         text,
    sqlstate      text,
    started_at    timestamptz,
    stepping_since timestamptz,
    finished_at   timestamptz,
    step          integer,
    max_steps     integer,
    digest        text,
    resumed_at_step integer NOT NULL DEFAULT 0,
    base_revision text,
    hub           jsonb
);
CREATE INDEX models_project_id_idx ON pgml.models (project_id);
CREATE INDEX models_snapshot_id_idx ON pgml.models (snapshot_id);

-- No foreign keys: under REPEATABLE READ the waiting caller cannot see the rows that the job worker committed,
-- and a foreign key would refuse the deployment that the caller's own transaction inserts. Triggers clean up instead.
CREATE TABLE pgml.deployments (
    id         bigserial PRIMARY KEY,
    project_id bigint NOT NULL,
    model_id   bigint NOT NULL,
    strategy   pgml.strategy NOT NULL,
    created_at timestamp NOT NULL DEFAULT pg_catalog.clock_timestamp()
);
CREATE INDEX deployments_project_id_idx ON pgml.deployments (project_id, id DESC);
CREATE INDEX deployments_model_id_idx ON pgml.deployments (model_id);

CREATE TABLE pgml.files (
    id         bigserial PRIMARY KEY,
    model_id   bigint NOT NULL REFERENCES pgml.models ON DELETE CASCADE,
    path       text NOT NULL,
    part       integer NOT NULL,
    created_at timestamp NOT NULL DEFAULT pg_catalog.clock_timestamp(),
    updated_at timestamp NOT NULL DEFAULT pg_catalog.clock_timestamp(),
    data       bytea NOT NULL,
    size       bigint NOT NULL,
    sha256     text NOT NULL,
    CONSTRAINT files_model_id_path_part_idx UNIQUE (model_id, path, part)
);
-- Weights do not compress; stored as they are, a part is read without being decompressed.
ALTER TABLE pgml.files ALTER COLUMN data SET STORAGE EXTERNAL;

-- No foreign keys: a log row never waits for a lock on the rows it speaks of.
CREATE TABLE pgml.logs (
    id         bigserial PRIMARY KEY,
    model_id   bigint,
    project_id bigint,
    created_at timestamp DEFAULT pg_catalog.clock_timestamp(),
    logs       jsonb
);
CREATE INDEX logs_model_id_idx ON pgml.logs (model_id, id);
CREATE INDEX logs_project_id_idx ON pgml.logs (project_id);

CREATE FUNCTION pgml.set_updated_at() RETURNS trigger LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    NEW.updated_at := clock_timestamp();
    RETURN NEW;
END
$$;
CREATE TRIGGER set_updated_at BEFORE UPDATE ON pgml.projects FOR EACH ROW EXECUTE FUNCTION pgml.set_updated_at();
CREATE TRIGGER set_updated_at BEFORE UPDATE ON pgml.snapshots FOR EACH ROW EXECUTE FUNCTION pgml.set_updated_at();
CREATE TRIGGER set_updated_at BEFORE UPDATE ON pgml.models FOR EACH ROW EXECUTE FUNCTION pgml.set_updated_at();
CREATE TRIGGER set_updated_at BEFORE UPDATE ON pgml.files FOR EACH ROW EXECUTE FUNCTION pgml.set_updated_at();

CREATE FUNCTION pgml.forget_model() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    DELETE FROM pgml.deployments WHERE model_id = OLD.id;
    DELETE FROM pgml.logs WHERE model_id = OLD.id;
    RETURN OLD;
END
$$;
CREATE TRIGGER forget_model AFTER DELETE ON pgml.models FOR EACH ROW EXECUTE FUNCTION pgml.forget_model();

-- All data of the registry belongs to a dump. One statement each: a statement cannot update the extension's row twice.
DO $$
DECLARE
    relation regclass;
BEGIN
    FOREACH relation IN ARRAY ARRAY[
        'pgml.projects', 'pgml.projects_id_seq', 'pgml.snapshots', 'pgml.snapshots_id_seq', 'pgml.models',
        'pgml.models_id_seq', 'pgml.deployments', 'pgml.deployments_id_seq', 'pgml.files', 'pgml.files_id_seq',
        'pgml.logs', 'pgml.logs_id_seq'
    ]::regclass[] LOOP
        PERFORM pg_catalog.pg_extension_config_dump(relation, '');
    END LOOP;
END
$$;

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

-- What users look at. Views run with the reader's privileges, so row-level security applies.

CREATE VIEW pgml.overview WITH (security_invoker = true) AS
SELECT p.name, d.created_at AS deployed_at, p.task, m.algorithm, m.runtime, s.relation_name, s.y_column_name, s.test_sampling, s.test_size
FROM pgml.projects p
JOIN (SELECT DISTINCT ON (project_id) project_id, model_id, created_at FROM pgml.deployments ORDER BY project_id, id DESC) d
  ON d.project_id = p.id
JOIN pgml.models m ON m.id = d.model_id
LEFT JOIN pgml.snapshots s ON s.id = m.snapshot_id
ORDER BY d.created_at DESC;

CREATE VIEW pgml.deployed_models WITH (security_invoker = true) AS
SELECT m.id, p.name, p.task, m.algorithm, m.runtime, d.created_at AS deployed_at
FROM pgml.projects p
JOIN (SELECT DISTINCT ON (project_id) project_id, model_id, created_at FROM pgml.deployments ORDER BY project_id, id DESC) d
  ON d.project_id = p.id
JOIN pgml.models m ON m.id = d.model_id
ORDER BY p.name;

CREATE VIEW pgml.trained_models WITH (security_invoker = true) AS
SELECT m.id, p.name, p.task, m.algorithm, m.runtime, m.created_at, s.test_sampling, s.test_size,
       COALESCE(d.model_id = m.id, false) AS deployed
FROM pgml.models m
JOIN pgml.projects p ON p.id = m.project_id
LEFT JOIN pgml.snapshots s ON s.id = m.snapshot_id
LEFT JOIN (SELECT DISTINCT ON (project_id) project_id, model_id FROM pgml.deployments ORDER BY project_id, id DESC) d
  ON d.project_id = p.id
WHERE m.status = 'successful'
ORDER BY m.created_at DESC;

CREATE VIEW pgml.jobs WITH (security_invoker = true) AS
SELECT m.id AS model_id, p.name AS project, p.task::text AS task,
       CASE WHEN lost THEN 'failed' ELSE m.status END AS status,
       m.step::bigint AS step, m.max_steps::bigint AS max_steps,
       round(m.step::numeric / NULLIF(m.max_steps, 0), 3) AS share_done,
       round((done_now / NULLIF(extract(epoch FROM stepping), 0))::numeric, 2) AS steps_per_second,
       CASE WHEN m.status = 'in_progress' AND NOT lost AND done_now > 0
            THEN date_trunc('second', stepping * (m.max_steps - m.step) / done_now) END AS time_left,
       m.base_model, p.owner, m.created_at, m.started_at, m.finished_at,
       CASE WHEN lost THEN 'the job worker ended without a word' ELSE m.error END AS error,
       m.sqlstate,
       (lost OR m.status IN ('failed', 'cancelled')) AND pgml._job_is_resumable(m.id) AS resumable
FROM pgml.models m
JOIN pgml.projects p ON p.id = m.project_id
CROSS JOIN LATERAL (SELECT m.status IN ('queued', 'in_progress') AND NOT pgml._job_is_alive(m.id) AS lost) AS life
CROSS JOIN LATERAL (SELECT COALESCE(m.finished_at, clock_timestamp()) - m.stepping_since AS stepping,
                           m.step - m.resumed_at_step AS done_now) AS clock
UNION ALL
-- Loads of data sets, which are in no table before their transaction ends: steps are rows.
SELECT NULL, l."table", 'load_dataset', CASE WHEN l.phase = 'starting' THEN 'queued' ELSE 'in_progress' END, l.rows, NULL,
       CASE WHEN l.phase = 'downloading' THEN round(l.bytes::numeric / NULLIF(l.total, 0), 3) END,
       round((l.rows / NULLIF(extract(epoch FROM clock_timestamp() - l.started_at), 0))::numeric, 2), NULL,
       l.source, l.role::regrole, l.started_at::timestamp, l.started_at, NULL, NULL, NULL, false
FROM jsonb_to_recordset(pgml._loads())
     AS l(role oid, source text, "table" text, phase text, rows bigint, bytes bigint, total bigint, started_at timestamptz)
ORDER BY model_id DESC;

-- The runtime knows a stored model by its digest; under which number it is stored here, this database knows.
CREATE VIEW pgml.loaded_models WITH (security_invoker = true) AS
SELECT COALESCE('pgml:' || m.id, l.name) AS name, l.task, l.bytes, l.device, l.uses, l.loaded_at, l.last_used_at, l.digest, l.base
FROM jsonb_to_recordset(pgml._loaded_models())
     AS l(name text, task text, bytes bigint, device text, uses bigint, loaded_at timestamptz, last_used_at timestamptz, digest text, base text)
LEFT JOIN LATERAL (SELECT id FROM pgml.models WHERE models.digest = l.digest ORDER BY id LIMIT 1) m ON true
WHERE l.digest IS NULL OR m.id IS NOT NULL
ORDER BY l.last_used_at DESC;

-- Everybody may use pgml; rows belong to the owner of their project and to the members of that role.

GRANT USAGE ON SCHEMA pgml TO PUBLIC;
GRANT SELECT, INSERT, UPDATE, DELETE ON pgml.projects, pgml.snapshots, pgml.models, pgml.deployments, pgml.files, pgml.logs TO PUBLIC;
GRANT USAGE, SELECT ON ALL SEQUENCES IN SCHEMA pgml TO PUBLIC;
GRANT SELECT ON pgml.overview, pgml.deployed_models, pgml.trained_models, pgml.jobs, pgml.loaded_models TO PUBLIC;
REVOKE EXECUTE ON FUNCTION pgml.restart_runtime() FROM PUBLIC;

ALTER TABLE pgml.projects ENABLE ROW LEVEL SECURITY;
ALTER TABLE pgml.snapshots ENABLE ROW LEVEL SECURITY;
ALTER TABLE pgml.models ENABLE ROW LEVEL SECURITY;
ALTER TABLE pgml.deployments ENABLE ROW LEVEL SECURITY;
ALTER TABLE pgml.files ENABLE ROW LEVEL SECURITY;
ALTER TABLE pgml.logs ENABLE ROW LEVEL SECURITY;

CREATE POLICY members ON pgml.projects USING (pg_catalog.pg_has_role(owner::oid, 'MEMBER'));
CREATE POLICY members ON pgml.snapshots USING (pg_catalog.pg_has_role(owner::oid, 'MEMBER'));
CREATE POLICY members ON pgml.models USING (EXISTS (SELECT FROM pgml.projects p WHERE p.id = project_id));
CREATE POLICY members ON pgml.deployments USING (EXISTS (SELECT FROM pgml.projects p WHERE p.id = project_id));
CREATE POLICY members ON pgml.files USING (EXISTS (SELECT FROM pgml.models m WHERE m.id = model_id));
CREATE POLICY members ON pgml.logs USING (EXISTS (SELECT FROM pgml.projects p WHERE p.id = project_id));

-- What \d+ and \df+ show: meaning, units, shapes, errors.

COMMENT ON SCHEMA pgml IS 'Tuning and serving of language models. Start with pgml.tune, pgml.predict and the view pgml.jobs.';

COMMENT ON FUNCTION pgml.tune(text, text, text, text, text, jsonb, real, pgml.sampling, boolean, boolean, boolean, text) IS
'Tunes a model on the rows of a table or view, as a job that every session can watch in pgml.jobs and pgml.logs.
task: text-classification, text-pair-classification, conversation or text-generation. relation_name: read as the caller, in the caller''s snapshot.
model_name: the base, as a project, ''pgml:<model id>'', a directory below pgml.model_directories, or a repository of the Hugging Face Hub (''org/name'', ''org/name@revision'').
y_column_name: the label, if hyperparams.dataset_args.class_column names none (_y_column_name: its former name).
hyperparams: training_args (fields of Hugging Face TrainingArguments), tokenizer_args, max_seq_length; dataset_args: text_column, class_column; text1_column, text2_column;
for conversation system_column, user_column, assistant_column or messages_column ([{"role", "content"}, …]), and on_overflow (truncate, drop, error);
prompt_template ({column} in braces); lora_config (fields of peft''s LoraConfig; null: tune all weights; absent: LoRA above pgml.full_tuning_limit); load_in_8bit, load_in_4bit;
revision and token for a base of the Hub; in training_args push_to_hub, hub_model_id, hub_private_repo, hub_strategy, hub_always_push, hub_revision, hub_token, resume_from_checkpoint.
test_size: the share of rows held OUT for testing, above 1 their number. test_sampling: last, random, stratified by label; seeded by training_args.seed.
automatic_deploy: deploy when f1 (classification) or loss (else) is at least as good as the deployed model''s, in this transaction. wait: false returns once the job is recorded.
A call without relation_name repeats the project''s last job: rows, label, hyperparams; one without model_name tunes the same base. Errors: 22023 bad arguments, all at once; 42P01, 42703, 42501 relation, column, privilege; 57014 canceled.';

COMMENT ON FUNCTION pgml.transform(jsonb, jsonb, text[], boolean) IS
'Runs a model on an array of texts: one JSON array, in order, null for NULL.
task: {"task": …, "model": …}; the task may be left out for a tuned model. args: arguments of the task, such as {"top_k": 3}.
text-classification gives {"label", "score"} per input; conversation the answer; the other tasks give what the Hugging Face pipelines give.
For generated text: max_tokens, temperature (0: the most probable text), top_p, top_k, min_p, stop, seed, n, repetition_penalty, choices (the answer is one of them), chat_template,
return_full_text, continue_final_message, details ({"text", "finish_reason", "prompt_tokens", "completion_tokens"} instead of the text). cache: taken for compatibility, ignored.
Errors: 22023 unknown task or argument, 42704 no such model.';
COMMENT ON FUNCTION pgml.transform(text, jsonb, text[], boolean) IS
'As transform(jsonb, …), with the task as a name or as an uncast JSON text.';
COMMENT ON FUNCTION pgml.transform(jsonb, jsonb, jsonb[], boolean) IS
'As transform(jsonb, …, text[]), for inputs of several parts: {"text", "text_pair"}, {"question", "context"};
for task conversation one conversation as messages {"role", "content"}, or several as arrays of messages.';
COMMENT ON FUNCTION pgml.transform(text, jsonb, jsonb[], boolean) IS
'As transform(jsonb, …, jsonb[]), with the task as a name or as an uncast JSON text.';

COMMENT ON FUNCTION pgml.transform_stream(jsonb, jsonb, text, boolean) IS
'Generates text for one input and gives it as it is made: each row is a JSON array with the new text of each sequence, "" where there is none.
In the select list the rows arrive one by one (DECLARE a cursor, or psycopg''s stream()); in FROM, PostgreSQL collects them first. Ending the statement stops the generation.
args as for transform; with {"details": true} an element is null or {"text", "finish_reason", "prompt_tokens", "completion_tokens"}.';
COMMENT ON FUNCTION pgml.transform_stream(text, jsonb, text, boolean) IS
'As transform_stream(jsonb, …), with the task as a name or as an uncast JSON text.';
COMMENT ON FUNCTION pgml.transform_stream(jsonb, jsonb, jsonb[], boolean) IS
'As transform_stream(jsonb, …, text), for one conversation as messages {"role", "content"}, or for several as arrays of messages.';
COMMENT ON FUNCTION pgml.transform_stream(text, jsonb, jsonb[], boolean) IS
'As transform_stream(jsonb, …, jsonb[]), with the task as a name or as an uncast JSON text.';

COMMENT ON FUNCTION pgml.generate(text, text, jsonb) IS
'What a project''s deployed model answers to a message, or how it goes on with a text; NULL for NULL.
config: max_tokens, temperature (0: the most probable text), top_p, top_k, min_p, stop, seed, repetition_penalty, choices, and what else transform takes for the task.
Errors: 42704 no such project, 55000 nothing deployed, 42809 its task generates no text, 22023 bad config.';
COMMENT ON FUNCTION pgml.generate(text, text[], jsonb) IS
'As generate(text, text, …) for many inputs at once, in order, NULL for NULL; they are computed together.';

COMMENT ON FUNCTION pgml.embed(text, text, jsonb) IS
'The embedding of a text: a vector of as many numbers as the model is wide, by the pooling that its files name (sentence-transformers), else the mean over its tokens. NULL for NULL.
transformer: a project, ''pgml:<model id>'', a directory below pgml.model_directories, or a repository of the Hub. kwargs: prompt (text put before), prompt_name, normalize_embeddings, truncate_dim, revision, token.
Errors: 22023 unknown argument, 42704 no such model.';
COMMENT ON FUNCTION pgml.embed(text, text[], jsonb) IS
'As embed(text, text, …) for many texts at once: one row each, in order, NULL for NULL. Faster than one call a row.';

COMMENT ON FUNCTION pgml.predict(text, text) IS
'The answer of a project''s deployed model to one input, for example {"label": "positive", "score": 0.98}; NULL for NULL.
A pair is a JSON text: {"text": …, "text_pair": …}. Errors: 42704 no such project, 55000 nothing deployed.';
COMMENT ON FUNCTION pgml.predict(text, text[]) IS
'The answers of a project''s deployed model to many inputs at once: a JSON array, in order, null for NULL. Faster than one call a row.';

COMMENT ON FUNCTION pgml.load_dataset(text, text, bigint, jsonb) IS
'Loads a data set into a table, in the caller''s transaction and with the caller''s privileges: any failure leaves no table.
source: a repository of the Hugging Face Hub, a file below pgml.data_directories, an address of pgml.data_urls. subset: a configuration of the repository. limit: rows; NULL: all.
kwargs.table: the table, as SQL writes it; without it pgml."<source>", for files pgml.<name of the file>.
kwargs.if_exists: error; replace, which empties a table with the same columns and else drops it; append, by the names of the columns. kwargs.token: access token of the Hub.
The rest of kwargs is for the reader. Errors: 22023 bad arguments; 42P07 the table exists; 42501 no privilege; 42939 a name of an extension; 42703 a column that the table lacks.';

COMMENT ON FUNCTION pgml.deploy(bigint) IS 'Makes one finished model answer for its project.';
COMMENT ON FUNCTION pgml.deploy(text, pgml.strategy, text) IS
'Makes a finished model of a project answer: most_recent, best_score (by f1 or loss, as the task has it), rollback to the model deployed before.
algorithm: only models of this algorithm.';
COMMENT ON FUNCTION pgml.cancel(bigint) IS
'Asks a tuning job to stop; within two seconds it is ''cancelled'' and keeps its logs. False when it is over already. Error: 42704 no such model.';
COMMENT ON FUNCTION pgml.resume(bigint, boolean) IS
'Goes on with a job that failed, was cancelled or lost its machine, from its last checkpoint on this server (pgml.jobs.resumable): the same steps, and the same model in the end.
Result and wait as of pgml.tune. A push needs a token that is set (pgml.set_secret, pgml.hub_token). Errors: 42704 no such model, 55000 nothing to go on from.';
COMMENT ON FUNCTION pgml.push_to_hub(text, text, boolean, text, text) IS
'Pushes a project''s deployed model to the Hugging Face Hub, with a model card: facts of the registry, never the data. Files that are there are not sent again.
repo_id: default the project''s name, blanks as _, in the token''s namespace. private: for a repository that is new. revision: a branch, made if need be.
token: used and forgotten; without it pgml.set_secret(''hub_token'', …), then pgml.hub_token, serve; ''secret:<name>'' is a secret of the role.
Errors: 42501 token lacks or is refused, 22023 bad name, 08006 Hub not reached.';
COMMENT ON FUNCTION pgml.push_to_hub(bigint, text, boolean, text, text) IS 'As push_to_hub(text, …), for one model by its id.';
COMMENT ON FUNCTION pgml.pull_from_hub(text, text, text, text) IS
'Stores a model of the Hugging Face Hub in pgml.files as a model of a project, and deploys it. project_name: default the name of the repository; a new project gets the model''s task.
revision: branch, tag or commit. Errors: 42704 no such repository, 42501 not allowed, 0A000 no safetensors or no task that pgml serves, 08006 Hub not reached.';
COMMENT ON FUNCTION pgml.set_secret(text, text) IS
'Keeps a secret of the current role outside of all tables; NULL forgets it. The one called hub_token serves whenever a call of that role names no token; others as ''secret:<name>''.
It is no part of dumps and of replication, takes effect at once and is not rolled back. Give it as a parameter: statements may be logged.';
COMMENT ON FUNCTION pgml.secret_names() IS 'The names of the current role''s secrets.';
COMMENT ON FUNCTION pgml._job_is_resumable(bigint) IS 'Whether a job left a checkpoint. For the view pgml.jobs.';
COMMENT ON FUNCTION pgml.runtime_status() IS
'The process that answers predictions: state (stopped, starting, ready, backoff), process ids, interpreter, how the one before it ended and what it said last,
device, resident memory in bytes, versions of its packages. Starts nothing.';
COMMENT ON FUNCTION pgml.restart_runtime() IS
'Ends the process that answers predictions and waits until a new one is ready. Requests in flight fail; tuning jobs go on. For administrators: GRANT EXECUTE to let others do it.';
COMMENT ON FUNCTION pgml.version() IS 'The version of the extension''s library.';
COMMENT ON FUNCTION pgml._loaded_models() IS 'For the view pgml.loaded_models.';
COMMENT ON FUNCTION pgml._loads() IS 'What pgml.load_dataset does now in this database, for roles that the current one is a member of. For the view pgml.jobs.';
COMMENT ON FUNCTION pgml._job_is_alive(bigint) IS 'False when the worker of a job was lost. For the view pgml.jobs.';
COMMENT ON FUNCTION pgml._project_owner(text) IS 'Owner of a project, also of a hidden one: names are taken for all. For pgml.tune.';
COMMENT ON FUNCTION pgml.set_updated_at() IS 'Trigger: keeps updated_at.';
COMMENT ON FUNCTION pgml.forget_model() IS 'Trigger: a deleted model takes its deployments and logs with it.';

COMMENT ON TYPE pgml.task IS 'What a project is for.';
COMMENT ON TYPE pgml.sampling IS 'How the rows held out for testing are chosen.';
COMMENT ON TYPE pgml.strategy IS 'How the model to deploy is chosen.';
COMMENT ON TYPE pgml.status IS 'The life of a job.';
COMMENT ON TYPE pgml.runtime IS 'What runs a model; always python. Kept for scripts of PostgresML.';
COMMENT ON TYPE pgml.search IS 'Hyperparameter search. Kept for scripts of PostgresML.';

COMMENT ON TABLE pgml.projects IS 'One row a project: a name, a task, an owner. Rows are seen by the owner and the members of that role.';
COMMENT ON COLUMN pgml.projects.owner IS 'Whose members see and use the project.';
COMMENT ON TABLE pgml.snapshots IS 'The rows that a job was tuned on: where from, how split, what they were.';
COMMENT ON COLUMN pgml.snapshots.test_size IS 'The share of rows held out for testing; above 1, their number.';
COMMENT ON COLUMN pgml.snapshots.columns IS 'The columns that were read: [{"role", "name"}].';
COMMENT ON COLUMN pgml.snapshots.analysis IS 'Counts of rows read, used and skipped by cause, and of each label.';
COMMENT ON COLUMN pgml.snapshots.materialized IS 'Whether the rows were copied to pgml.snapshot_<model id>.';
COMMENT ON COLUMN pgml.snapshots.seed IS 'Seed of the split: the same seed and rows give the same split.';
COMMENT ON COLUMN pgml.snapshots.digest IS 'sha256 of the used rows, in order, and of the split.';
COMMENT ON TABLE pgml.models IS 'One row a job of pgml.tune, and the model it made.';
COMMENT ON COLUMN pgml.models.hyperparams IS 'As checked before the job; never with a token in it.';
COMMENT ON COLUMN pgml.models.status IS 'queued, in_progress, successful, failed or cancelled.';
COMMENT ON COLUMN pgml.models.metrics IS 'On the rows held out: loss; accuracy, f1 (macro), classes, confusion_matrix of a classifier; perplexity, token_accuracy of generated text. Parameters, speed, memory in bytes, FLOPs.';
COMMENT ON COLUMN pgml.models.base_model IS 'What was tuned: a directory''s name, pgml:<model id>, or a repository of the Hub.';
COMMENT ON COLUMN pgml.models.error IS 'Why the job failed or was cancelled.';
COMMENT ON COLUMN pgml.models.sqlstate IS 'SQLSTATE of that error.';
COMMENT ON COLUMN pgml.models.started_at IS 'When the job left the queue.';
COMMENT ON COLUMN pgml.models.stepping_since IS 'When the first optimizer step began: after rows and model were loaded.';
COMMENT ON COLUMN pgml.models.step IS 'Optimizer steps done.';
COMMENT ON COLUMN pgml.models.max_steps IS 'Optimizer steps to do.';
COMMENT ON COLUMN pgml.models.digest IS 'sha256 over path, size and sha256 of the files; names the model in the runtime''s cache.';
COMMENT ON COLUMN pgml.models.resumed_at_step IS 'The step from which the job went on last; 0 if it began anew.';
COMMENT ON COLUMN pgml.models.base_revision IS 'Commit of a base that is a repository of the Hub.';
COMMENT ON COLUMN pgml.models.hub IS 'Where the model was pushed, or pulled from: {"repo_id", "url", "commit", "private"}; or why it was not pushed: {"repo_id", "error", "sqlstate"}.';
COMMENT ON TABLE pgml.deployments IS 'Which model answers for a project: the latest row of the project.';
COMMENT ON TABLE pgml.files IS 'The files of finished models, in parts of at most 4 MiB. Of a model tuned with LoRA the adapter alone: pgml.json names its base.';
COMMENT ON COLUMN pgml.files.part IS 'Number of the part, from 0.';
COMMENT ON COLUMN pgml.files.size IS 'Bytes of the whole file.';
COMMENT ON COLUMN pgml.files.sha256 IS 'sha256 of the whole file, in hexadecimal.';
COMMENT ON TABLE pgml.logs IS 'What a training said, as it said it.';
COMMENT ON COLUMN pgml.logs.created_at IS 'When it was said.';
COMMENT ON COLUMN pgml.logs.logs IS 'loss, grad_norm, learning_rate, epoch, step, max_steps, timestamp; eval_* and eval_samples (prompt, wanted, answer) after an evaluation.';

COMMENT ON SEQUENCE pgml.projects_id_seq IS 'Ids of pgml.projects.';
COMMENT ON SEQUENCE pgml.snapshots_id_seq IS 'Ids of pgml.snapshots.';
COMMENT ON SEQUENCE pgml.models_id_seq IS 'Ids of pgml.models.';
COMMENT ON SEQUENCE pgml.deployments_id_seq IS 'Ids of pgml.deployments.';
COMMENT ON SEQUENCE pgml.files_id_seq IS 'Ids of pgml.files.';
COMMENT ON SEQUENCE pgml.logs_id_seq IS 'Ids of pgml.logs.';

COMMENT ON VIEW pgml.jobs IS 'All jobs with how far they are: share done, steps a second, time left. A job whose worker was lost shows as failed; resumable: pgml.resume can go on with it. Running loads of data sets are there too: project is the table, step counts rows.';
COMMENT ON VIEW pgml.overview IS 'The deployed model of each project and the rows it was tuned on.';
COMMENT ON VIEW pgml.trained_models IS 'Finished models, newest first.';
COMMENT ON VIEW pgml.deployed_models IS 'The model that answers for each project.';
COMMENT ON VIEW pgml.loaded_models IS 'Models in the memory of the runtime: bytes, device, number of requests; of an adapter its own bytes and the base that it shares. Tuned models only for those who may see them.';
