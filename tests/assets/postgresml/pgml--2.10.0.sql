-- What PostgresML 2.10.0 has in a database, as far as it matters when it leaves: types, tables, views and triggers with its
-- columns and names, and functions that only have to be there. Extended by pgml.logs, which upgraded installations have.
\echo Use "CREATE EXTENSION pgml" to load this file. \quit

CREATE TYPE pgml.algorithm AS ENUM ('linear', 'xgboost', 'lightgbm', 'transformers', 'kmeans', 'pca');
CREATE TYPE pgml.runtime AS ENUM ('python', 'rust', 'openai');
CREATE TYPE pgml.sampling AS ENUM ('random', 'last', 'stratified');
CREATE TYPE pgml.search AS ENUM ('grid', 'random');
CREATE TYPE pgml.status AS ENUM ('in_progress', 'successful', 'failed');
CREATE TYPE pgml.strategy AS ENUM ('new_score', 'best_score', 'most_recent', 'rollback', 'specific');
-- The last but one label as in installations that were upgraded.
CREATE TYPE pgml.task AS ENUM (
    'regression', 'classification', 'decomposition', 'clustering', 'question_answering', 'summarization', 'translation',
    'text_classification', 'text_generation', 'text2text', 'embedding', 'text-pair-classification', 'conversation'
);

CREATE FUNCTION pgml.embed(transformer text, text text, kwargs jsonb DEFAULT '{}') RETURNS real[]
LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE AS $$ SELECT ARRAY[length(text)]::real[] $$;
CREATE FUNCTION pgml.transform(task text, args jsonb DEFAULT '{}', inputs text[] DEFAULT ARRAY[]::text[], cache boolean DEFAULT false)
RETURNS jsonb LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE AS $$ SELECT to_jsonb(inputs) $$;
CREATE FUNCTION pgml.deploy(project_name text, strategy pgml.strategy, algorithm pgml.algorithm DEFAULT NULL)
RETURNS TABLE (project text, strategy text, algorithm text)
LANGUAGE sql AS $$ SELECT project_name, strategy::text, algorithm::text $$;

CREATE FUNCTION pgml.set_updated_at() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    NEW.updated_at := clock_timestamp();
    RETURN NEW;
END
$$;
CREATE FUNCTION pgml.auto_updated_at(tbl regclass) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    EXECUTE format('CREATE TRIGGER auto_updated_at BEFORE UPDATE ON %s FOR EACH ROW EXECUTE FUNCTION pgml.set_updated_at()', tbl);
END
$$;

CREATE TABLE pgml.projects (
    id bigserial PRIMARY KEY,
    name text NOT NULL,
    task pgml.task NOT NULL,
    created_at timestamp NOT NULL DEFAULT clock_timestamp(),
    updated_at timestamp NOT NULL DEFAULT clock_timestamp()
);
CREATE UNIQUE INDEX projects_name_idx ON pgml.projects (name);

CREATE TABLE pgml.snapshots (
    id bigserial PRIMARY KEY,
    relation_name text NOT NULL,
    y_column_name text[],
    test_size real NOT NULL,
    test_sampling pgml.sampling NOT NULL,
    status text NOT NULL,
    columns jsonb,
    analysis jsonb,
    created_at timestamp NOT NULL DEFAULT clock_timestamp(),
    updated_at timestamp NOT NULL DEFAULT clock_timestamp(),
    materialized boolean DEFAULT false
);

CREATE TABLE pgml.models (
    id bigserial PRIMARY KEY,
    project_id bigint NOT NULL CONSTRAINT project_id_fk REFERENCES pgml.projects ON DELETE CASCADE,
    snapshot_id bigint CONSTRAINT snapshot_id_fk REFERENCES pgml.snapshots ON DELETE SET NULL,
    num_features integer NOT NULL,
    algorithm text NOT NULL,
    runtime pgml.runtime DEFAULT 'python',
    hyperparams jsonb NOT NULL,
    status text NOT NULL,
    metrics jsonb,
    search text,
    search_params jsonb NOT NULL,
    search_args jsonb NOT NULL,
    created_at timestamp NOT NULL DEFAULT clock_timestamp(),
    updated_at timestamp NOT NULL DEFAULT clock_timestamp()
);
CREATE INDEX models_project_id_idx ON pgml.models (project_id);
CREATE INDEX models_snapshot_id_idx ON pgml.models (snapshot_id);

CREATE TABLE pgml.deployments (
    id bigserial PRIMARY KEY,
    project_id bigint NOT NULL CONSTRAINT project_id_fk REFERENCES pgml.projects ON DELETE CASCADE,
    model_id bigint NOT NULL CONSTRAINT model_id_fk REFERENCES pgml.models ON DELETE CASCADE,
    strategy pgml.strategy NOT NULL,
    created_at timestamp NOT NULL DEFAULT clock_timestamp()
);

CREATE TABLE pgml.files (
    id bigserial PRIMARY KEY,
    model_id bigint NOT NULL CONSTRAINT model_id_fk REFERENCES pgml.models ON DELETE CASCADE,
    path text NOT NULL,
    part integer NOT NULL,
    created_at timestamp NOT NULL DEFAULT clock_timestamp(),
    updated_at timestamp NOT NULL DEFAULT clock_timestamp(),
    data bytea NOT NULL
);
CREATE UNIQUE INDEX files_model_id_path_part_idx ON pgml.files (model_id, path, part);

SELECT pgml.auto_updated_at(relation::regclass)
FROM unnest('{pgml.projects, pgml.snapshots, pgml.models, pgml.deployments, pgml.files}'::text[]) AS relation;

CREATE TABLE pgml.logs (
    id serial PRIMARY KEY,
    model_id bigint,
    project_id bigint,
    created_at timestamp DEFAULT CURRENT_TIMESTAMP,
    logs jsonb
);

CREATE VIEW pgml.overview AS
SELECT p.name, d.created_at AS deployed_at, p.task, m.algorithm, m.runtime, s.relation_name, s.y_column_name, s.test_sampling, s.test_size
FROM pgml.projects p
JOIN pgml.models m ON m.project_id = p.id
JOIN pgml.deployments d ON d.project_id = p.id AND d.model_id = m.id
JOIN pgml.snapshots s ON s.id = m.snapshot_id;

CREATE VIEW pgml.trained_models AS
SELECT m.id, p.name, p.task, m.algorithm, m.runtime, m.created_at, s.test_sampling, s.test_size, d.model_id IS NOT NULL AS deployed
FROM pgml.projects p
JOIN pgml.models m ON m.project_id = p.id
JOIN pgml.snapshots s ON s.id = m.snapshot_id
LEFT JOIN (SELECT DISTINCT ON (project_id) project_id, model_id FROM pgml.deployments ORDER BY project_id, created_at DESC) d
  ON d.model_id = m.id;

CREATE VIEW pgml.deployed_models AS
SELECT m.id, p.name, p.task, m.algorithm, m.runtime, d.created_at AS deployed_at
FROM pgml.projects p
JOIN (SELECT DISTINCT ON (project_id) project_id, model_id, created_at FROM pgml.deployments ORDER BY project_id, created_at DESC) d
  ON d.project_id = p.id
JOIN pgml.models m ON m.id = d.model_id;
