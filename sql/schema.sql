-- Types and tables of the registry. The columns that PostgresML had come first and keep their names; ours follow.

-- A schema pgml that is not ours would be used silently, with whatever its owner put into it.
DO $$
BEGIN
    IF NOT EXISTS (SELECT FROM pg_catalog.pg_namespace n JOIN pg_catalog.pg_roles r ON r.oid = n.nspowner
                   WHERE n.nspname = 'pgml' AND (r.rolname = current_user OR r.rolsuper)) -- a dump keeps its owner
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
