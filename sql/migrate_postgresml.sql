-- Moves a database from PostgresML 2.10 to pgml, in one transaction: all of it, or nothing.
--
--   psql -X -d DATABASE -v owner=ROLE -f migrate_postgresml.sql
--
-- 1. Sets PostgresML aside, in the schema postgresml (set_aside_postgresml.sql).
-- 2. Creates pgml, and copies the language models that it can serve, with their projects, snapshots, deployments and logs,
--    under their ids. The projects belong to owner, or else to the user who runs this.
-- 3. Writes into postgresml.migration what was taken over and what was not, and why. All rows stay in postgresml as they are.
--
-- docs/how-to/migrate-from-postgresml.md says the rest.
\set ON_ERROR_STOP on
\set QUIET on
\if :{?owner}
\else
    \set owner :USER
\endif
\pset footer off

BEGIN;
SET LOCAL search_path = pg_catalog, pg_temp;
SET LOCAL client_min_messages = warning;

\ir set_aside_postgresml.sql

DO $$
BEGIN
    IF to_regclass('postgresml.projects') IS NULL OR to_regclass('postgresml.files') IS NULL THEN
        RAISE EXCEPTION 'there are no tables of PostgresML in this database' USING ERRCODE = 'undefined_table';
    ELSIF to_regclass('postgresml.migration') IS NOT NULL THEN
        RAISE EXCEPTION 'this database was moved from PostgresML already'
            USING ERRCODE = 'object_not_in_prerequisite_state', HINT = 'SELECT * FROM postgresml.migration; says what was taken over.';
    END IF;
END
$$;

CREATE EXTENSION IF NOT EXISTS pgml;

DO $$
BEGIN
    IF NOT EXISTS (SELECT FROM pg_attribute WHERE attrelid = to_regclass('pgml.projects') AND attname = 'owner') THEN
        RAISE EXCEPTION 'CREATE EXTENSION pgml has made PostgresML again'
            USING ERRCODE = 'object_not_in_prerequisite_state',
                  HINT = 'Install the files of pgml over those of PostgresML, restart the server, and run this again. Nothing was changed.';
    ELSIF EXISTS (SELECT FROM pgml.projects) OR EXISTS (SELECT FROM pgml.models) THEN
        RAISE EXCEPTION 'pgml has projects already in this database, whose ids may be those of projects of PostgresML'
            USING ERRCODE = 'object_not_in_prerequisite_state', HINT = 'Run this in a database where pgml has no projects. Nothing was changed.';
    END IF;
END
$$;

\echo Looking at the models of PostgresML ...

-- The files that pgml reads; the rest are pickles, among them training_args.bin with the token for the Hub in it.
CREATE TEMP TABLE file ON COMMIT DROP AS
SELECT model_id, path, sum(octet_length(data)) AS size, count(*) = max(part) + 1 AS is_whole, NULL::text AS sha256
FROM postgresml.files
WHERE path ~ '\.(jinja|json|model|safetensors|txt)$'
GROUP BY model_id, path;

CREATE TEMP TABLE model ON COMMIT DROP AS
SELECT m.id, m.project_id, m.snapshot_id, replace(p.task::text, '-', '_') AS task, f.is_adapter, NULL::text AS digest,
       CASE
           WHEN m.algorithm <> 'transformers' THEN 'pgml has no models of the algorithm ' || m.algorithm
           WHEN p.task::text !~ '^(conversation|question.answering|summarization|text.classification|text.generation|text.pair.classification|translation)$'
               THEN 'pgml has no models for the task ' || p.task::text
           WHEN m.status <> 'successful' THEN 'its status is ' || m.status
           WHEN f.model_id IS NULL THEN 'it has no files'
           WHEN NOT is_adapter AND NOT has_config THEN 'it has neither config.json nor adapter_config.json'
           WHEN NOT has_weights THEN 'its weights are not stored as safetensors'
           WHEN NOT is_whole THEN 'parts of its files are missing'
       END AS refusal
FROM postgresml.models m
JOIN postgresml.projects p ON p.id = m.project_id
LEFT JOIN (
    SELECT model_id, bool_and(is_whole) AS is_whole, bool_or(path = 'config.json') AS has_config,
           bool_or(path = 'adapter_config.json') AND NOT bool_or(path = 'config.json') AS is_adapter,
           CASE WHEN bool_or(path = 'config.json') THEN bool_or(path ~ '\.safetensors$')
                ELSE bool_or(path = 'adapter_model.safetensors') END AS has_weights
    FROM file GROUP BY model_id
) f ON f.model_id = m.id;

DELETE FROM file USING model WHERE file.model_id = model.id AND refusal IS NOT NULL;

-- A conversation that was taught with a prompt_template is to be asked with it too: pgml reads it as the template of the adapter.
CREATE FUNCTION pg_temp.jinja(template text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    parts text[] := string_to_array(template, '{assistant}');
    name text;
    value text;
BEGIN
    FOR i IN 1..2 LOOP
        parts[i] := to_json(parts[i])::text;
        FOR name, value IN VALUES ('{system}', 'ns.system'), ('{user}', 'message[''content'']'), ('{eos_token}', 'eos_token') LOOP
            parts[i] := replace(parts[i], name, '" ~ ' || value || ' ~ "');
        END LOOP;
        parts[i] := replace(replace(parts[i], '{{', '{'), '}}', '}');
    END LOOP;
    RETURN '{%- set ns = namespace(system="") -%}{%- for message in messages -%}'
        || '{%- if message["role"] == "system" -%}{%- set ns.system = message["content"] -%}'
        || '{%- elif message["role"] == "user" -%}{{- ' || parts[1] || ' -}}'
        || '{%- else -%}{{- message["content"] ~ ' || parts[2] || CASE WHEN template LIKE '%{eos_token}%' THEN '' ELSE ' ~ eos_token' END
        || ' -}}{%- endif -%}{%- endfor -%}';
END
$$;
-- Whether that function converts it: one answer, after the question, and no braces that Python's str.format reads otherwise.
CREATE FUNCTION pg_temp.is_plain(template text) RETURNS boolean LANGUAGE sql
RETURN template ~ '^((?!\{assistant\}).)*\{assistant\}((?!\{(assistant|user|system)\}).)*$'
   AND template !~ '\{\{(system|user|assistant|eos_token)\}\}'
   AND regexp_replace(template, '\{(system|user|assistant|eos_token)\}|\{\{|\}\}', '', 'g') !~ '[{}]';
CREATE TEMP TABLE template ON COMMIT DROP AS
SELECT m.id AS model_id, is_plain, CASE WHEN is_plain THEN convert_to(pg_temp.jinja(given), 'UTF8') END AS data
FROM postgresml.models m JOIN model USING (id)
CROSS JOIN LATERAL (SELECT m.hyperparams->>'prompt_template', pg_temp.is_plain(m.hyperparams->>'prompt_template')) AS t(given, is_plain)
WHERE refusal IS NULL AND is_adapter AND task = 'conversation' AND given IS NOT NULL
  AND NOT EXISTS (SELECT FROM file WHERE file.model_id = m.id AND path = 'chat_template.jinja');
INSERT INTO file
SELECT model_id, 'chat_template.jinja', octet_length(data), true, encode(sha256(data), 'hex') FROM template WHERE is_plain;

UPDATE file SET sha256 = (
    SELECT pgml._sha256(f.data ORDER BY f.part)
    FROM postgresml.files f WHERE (f.model_id, f.path) = (file.model_id, file.path))
WHERE sha256 IS NULL;

-- The name of the files in the runtime's cache: sha256 of the lines "path NUL size NUL sha256 LF", sorted by path.
UPDATE model SET digest = (
    SELECT encode(sha256(string_agg(
               convert_to(path, 'UTF8') || '\x00' || convert_to(size::text, 'UTF8') || '\x00' || convert_to(sha256, 'UTF8') || '\x0a',
               '' ORDER BY convert_to(path, 'UTF8'))), 'hex')
    FROM file WHERE file.model_id = model.id)
WHERE refusal IS NULL;

\echo Copying ...

-- New ids begin after all of PostgresML's.
SELECT setval('pgml.projects_id_seq', last_value, is_called) FROM postgresml.projects_id_seq
UNION ALL SELECT setval('pgml.snapshots_id_seq', last_value, is_called) FROM postgresml.snapshots_id_seq
UNION ALL SELECT setval('pgml.models_id_seq', last_value, is_called) FROM postgresml.models_id_seq
UNION ALL SELECT setval('pgml.deployments_id_seq', last_value, is_called) FROM postgresml.deployments_id_seq
UNION ALL SELECT setval('pgml.files_id_seq', last_value, is_called) FROM postgresml.files_id_seq
\g /dev/null

INSERT INTO pgml.projects (id, name, task, created_at, updated_at, owner)
SELECT id, name, replace(task::text, '-', '_')::pgml.task, created_at, updated_at, quote_ident(:'owner')::regrole
FROM postgresml.projects p
WHERE EXISTS (SELECT FROM model WHERE project_id = p.id AND refusal IS NULL);

INSERT INTO pgml.snapshots (
    id, relation_name, y_column_name, test_size, test_sampling, status, columns, analysis, created_at, updated_at, materialized, owner)
SELECT id, relation_name, y_column_name, test_size, test_sampling::text::pgml.sampling, status, columns, analysis, created_at, updated_at,
       materialized, quote_ident(:'owner')::regrole
FROM postgresml.snapshots s
WHERE EXISTS (SELECT FROM model WHERE snapshot_id = s.id AND refusal IS NULL);

-- Tokens that were given in a call are in its hyperparams.
CREATE FUNCTION pg_temp.redacted(given jsonb) RETURNS jsonb LANGUAGE plpgsql AS $$
BEGIN
    RETURN CASE jsonb_typeof(given)
        WHEN 'object' THEN (
            SELECT COALESCE(jsonb_object_agg(key, CASE
                WHEN lower(key) ~ '(token|password|secret|api_?key)$' AND key !~ '(bos|cls|eos|mask|pad|sep|unk)_token$' AND value <> 'null'
                THEN '"[redacted]"' ELSE pg_temp.redacted(value) END), '{}')
            FROM jsonb_each(given))
        WHEN 'array' THEN (
            SELECT COALESCE(jsonb_agg(pg_temp.redacted(value) ORDER BY number), '[]')
            FROM jsonb_array_elements(given) WITH ORDINALITY AS element(value, number))
        WHEN 'string' THEN to_jsonb(regexp_replace(given #>> '{}', 'hf_[A-Za-z0-9]{10,}', '[redacted]', 'g'))
        ELSE given
    END;
END
$$;

INSERT INTO pgml.models (
    id, project_id, snapshot_id, num_features, algorithm, runtime, hyperparams, status, metrics, search, search_params, search_args,
    created_at, updated_at, started_at, finished_at, base_model, digest)
SELECT id, m.project_id, m.snapshot_id, num_features, algorithm, runtime::text::pgml.runtime, pg_temp.redacted(hyperparams), status,
       -- Where pgml looks for it.
       metrics || CASE WHEN metrics ? 'eval_loss' AND NOT metrics ? 'loss' THEN jsonb_build_object('loss', metrics->'eval_loss') ELSE '{}' END,
       search, search_params, search_args, created_at, updated_at, created_at, updated_at, hyperparams->>'model_name', digest
FROM postgresml.models m JOIN model USING (id)
WHERE refusal IS NULL;

INSERT INTO pgml.files (model_id, path, part, created_at, updated_at, data, size, sha256)
SELECT model_id, path, cut.part, f.created_at, f.updated_at, substr(f.data, cut.start, 4194304), size, sha256
FROM (
    SELECT f.id, slice.start, row_number() OVER (PARTITION BY f.model_id, f.path ORDER BY f.part, slice.start) - 1 AS part
    FROM postgresml.files f
    JOIN file USING (model_id, path)
    CROSS JOIN generate_series(1, greatest(octet_length(f.data), 1), 4194304) AS slice(start)
) cut
JOIN postgresml.files f USING (id)
JOIN file USING (model_id, path);
INSERT INTO pgml.files (model_id, path, part, data, size, sha256)
SELECT model_id, path, 0, data, size, sha256 FROM template JOIN file USING (model_id) WHERE is_plain AND path = 'chat_template.jinja';

-- Where the model that answers was not taken over, none answers, rather than another one.
INSERT INTO pgml.deployments (id, project_id, model_id, strategy, created_at)
SELECT d.id, d.project_id, d.model_id, d.strategy::text::pgml.strategy, d.created_at
FROM postgresml.deployments d
JOIN model ON model.id = d.model_id AND refusal IS NULL
JOIN (SELECT DISTINCT ON (project_id) project_id, model_id FROM postgresml.deployments ORDER BY project_id, created_at DESC, id DESC) current
  ON current.project_id = d.project_id
JOIN model deployed ON deployed.id = current.model_id AND deployed.refusal IS NULL;

SELECT to_regclass('postgresml.logs') IS NOT NULL AS has_logs
\gset
\if :has_logs
    INSERT INTO pgml.logs (id, model_id, project_id, created_at, logs)
    SELECT l.id, l.model_id, l.project_id, l.created_at, pg_temp.redacted(l.logs)
    FROM postgresml.logs l JOIN model ON model.id = l.model_id AND refusal IS NULL;
    SELECT setval('pgml.logs_id_seq', last_value, is_called) FROM postgresml.logs_id_seq
    \g /dev/null
\endif

CREATE TABLE postgresml.migration (kind text NOT NULL, id bigint, name text NOT NULL, taken_over boolean NOT NULL, note text);
COMMENT ON TABLE postgresml.migration IS 'What pgml took over of PostgresML, and what it did not, and why.';

INSERT INTO postgresml.migration
SELECT 'project', p.id, p.name, ours.id IS NOT NULL,
       CASE WHEN ours.id IS NULL THEN 'none of its models was taken over'
            WHEN NOT EXISTS (SELECT FROM pgml.deployments WHERE project_id = p.id)
            THEN 'no model answers, as none was deployed or it was not taken over; SELECT pgml.deploy(<model id>); deploys one' END
FROM postgresml.projects p LEFT JOIN pgml.projects ours USING (id);
INSERT INTO postgresml.migration
SELECT 'model', m.id, p.name, refusal IS NULL,
       COALESCE(refusal, CASE WHEN is_adapter THEN concat_ws('; ',
           'is an adapter of ' || (m.hyperparams->>'model_name') || ', which must be there to answer',
           CASE WHEN NOT is_plain THEN 'its prompt_template could not be made a chat template: it is asked with the template of its tokenizer' END) END)
FROM postgresml.models m JOIN model USING (id) JOIN postgresml.projects p ON p.id = m.project_id LEFT JOIN template ON model_id = m.id;
INSERT INTO postgresml.migration
SELECT 'snapshot', s.id, s.relation_name, ours.id IS NOT NULL, CASE WHEN ours.id IS NULL THEN 'no model that was taken over is of it' END
FROM postgresml.snapshots s LEFT JOIN pgml.snapshots ours USING (id);
INSERT INTO postgresml.migration
SELECT 'deployment', d.id, p.name, ours.id IS NOT NULL,
       CASE WHEN ours.id IS NULL THEN 'its model, or the one that is deployed now, was not taken over' END
FROM postgresml.deployments d JOIN postgresml.projects p ON p.id = d.project_id LEFT JOIN pgml.deployments ours ON ours.id = d.id;
-- One line a file, however many parts it has, for models that were taken over.
INSERT INTO postgresml.migration
SELECT DISTINCT 'file', f.model_id, f.path, file.path IS NOT NULL, CASE WHEN file.path IS NULL THEN 'pgml does not read such files' END
FROM postgresml.files f JOIN model ON model.id = f.model_id AND refusal IS NULL LEFT JOIN file USING (model_id, path)
UNION ALL
SELECT 'file', model_id, 'chat_template.jinja', true, 'made of the prompt_template that it was tuned with' FROM template WHERE is_plain;
\if :has_logs
    INSERT INTO postgresml.migration
    SELECT 'log', l.model_id, count(*) || ' rows', model.id IS NOT NULL, CASE WHEN model.id IS NULL THEN 'their model was not taken over' END
    FROM postgresml.logs l LEFT JOIN model ON model.id = l.model_id AND refusal IS NULL GROUP BY l.model_id, model.id;
\endif

-- Tables, views and sequences that users made in the schema pgml, such as those of load_dataset, stay where their queries look for them.
DO $$
DECLARE
    relation record;
BEGIN
    FOR relation IN
        SELECT oid::regclass AS name, relname, to_regclass(format('pgml.%I', relname)) IS NULL AS can_move
        FROM pg_class
        WHERE relnamespace = 'postgresml'::regnamespace AND relkind IN ('f', 'm', 'p', 'r', 'S', 'v') AND relname !~ '^snapshot_[0-9]+$'
          -- The sequence of a column goes with its table.
          AND NOT EXISTS (SELECT FROM pg_depend d WHERE relkind = 'S' AND d.classid = 'pg_class'::regclass AND d.objid = pg_class.oid AND d.deptype IN ('a', 'i'))
          AND relname <> ALL ('{projects,snapshots,models,deployments,files,logs,overview,trained_models,deployed_models,migration}')
    LOOP
        IF relation.can_move THEN
            EXECUTE format('ALTER TABLE %s SET SCHEMA pgml', relation.name);
        END IF;
        INSERT INTO postgresml.migration
        VALUES ('relation', NULL, relation.relname, relation.can_move,
                CASE WHEN NOT relation.can_move THEN 'pgml has a relation of that name' END);
    END LOOP;
    INSERT INTO postgresml.migration
    SELECT 'relation', NULL, relname, false, 'the rows of a snapshot; it stays in the schema postgresml'
    FROM pg_class WHERE relnamespace = 'postgresml'::regnamespace AND relname ~ '^snapshot_[0-9]+$' AND relkind = 'r';
    INSERT INTO postgresml.migration
    SELECT 'function', NULL, proname, false, 'it stays in the schema postgresml'
    FROM pg_proc WHERE pronamespace = 'postgresml'::regnamespace AND proname <> 'set_updated_at';
END
$$;
-- What of the database still uses the old tables and types: it would go with DROP SCHEMA postgresml CASCADE.
INSERT INTO postgresml.migration
SELECT DISTINCT 'dependent', NULL::bigint, pg_describe_object(d.classid, d.objid, d.objsubid), false,
       'uses ' || pg_describe_object(d.refclassid, d.refobjid, 0) || ', which pgml no longer changes'
FROM pg_depend d
JOIN (
    SELECT 'pg_class'::regclass, oid FROM pg_class WHERE relnamespace = 'postgresml'::regnamespace
    UNION ALL SELECT 'pg_type'::regclass, oid FROM pg_type WHERE typnamespace = 'postgresml'::regnamespace
) AS old(classid, oid) ON d.refclassid = old.classid AND d.refobjid = old.oid
CROSS JOIN LATERAL pg_identify_object_as_address(d.classid, d.objid, d.objsubid) AS dependent
WHERE d.deptype = 'n' AND dependent.object_names[1] <> 'postgresml' AND dependent.object_names[1] !~ '^(postgresml\.|pg_temp)';
COMMIT;

\echo
\echo What was taken over, and what stays in the schema postgresml alone:
SELECT kind, count(*) FILTER (WHERE taken_over) AS taken_over, count(*) FILTER (WHERE NOT taken_over) AS stays
FROM postgresml.migration GROUP BY kind ORDER BY kind;
\echo What to know of it:
SELECT kind, id, name, taken_over, note FROM postgresml.migration
WHERE note IS NOT NULL AND kind IN ('project', 'model', 'relation', 'function', 'dependent') ORDER BY kind, id, name;
