-- Tune on new rows, compare on the same exam, deploy only what is better. nightly.sh gives project, min_rows and max_steps.
\ir ../psql/exam.sql

SET client_min_messages = warning; -- table and view are there from the second night on
CREATE TABLE IF NOT EXISTS nightly_runs (
    id           bigserial PRIMARY KEY,
    ended_at     timestamptz NOT NULL DEFAULT clock_timestamp(),
    project      text NOT NULL,
    up_to        int NOT NULL, -- the last id that was learned from
    rows         bigint NOT NULL,
    model_id     bigint NOT NULL,
    f1_before    numeric NOT NULL,
    f1_after     numeric NOT NULL,
    deployed     boolean NOT NULL
);
-- The rows since the last run that succeeded, but not those of the exam.
CREATE OR REPLACE VIEW nightly_rows AS
SELECT id, text, tag FROM tagged_projects
WHERE tag IS NOT NULL AND id NOT IN (SELECT id FROM exam_rows) AND id > COALESCE((SELECT max(up_to) FROM nightly_runs), 0);
RESET client_min_messages;

SELECT count(*) AS number, COALESCE(max(id), 0) AS up_to, count(*) < :min_rows AS too_few FROM nightly_rows \gset
\if :too_few
\echo :number new rows are fewer than :min_rows, nothing to do
\quit
\endif

SELECT id AS old, exam.macro_f1 AS f1_before FROM pgml.deployed_models, pg_temp.exam(id) AS exam WHERE name = :'project' \gset

-- From the deployed model on. automatic_deploy => false: its own test rows are not the exam.
SELECT status, model_id AS new FROM pgml.tune(
    :'project', relation_name => 'nightly_rows', y_column_name => 'tag', model_name => :'project', automatic_deploy => false,
    hyperparams => jsonb_build_object(
        'training_args', jsonb_build_object('max_steps', :max_steps, 'learning_rate', 1e-4, 'eval_strategy', 'no'),
        'tokenizer_args', jsonb_build_object('max_length', 48))) \gset

SELECT exam.macro_f1 AS f1_after, exam.macro_f1 > :f1_before AS better FROM pg_temp.exam(:new) AS exam \gset
\echo :number new rows, macro F1 on the exam: :f1_before before (model :old), :f1_after after (model :new)

BEGIN;
\if :better
SELECT model_id FROM (SELECT :new AS model_id) AS m, pgml.deploy(:new) \gset
\echo model :new is deployed
\else
\echo model :old stays
\endif
INSERT INTO nightly_runs (project, up_to, rows, model_id, f1_before, f1_after, deployed)
VALUES (:'project', :up_to, :number, :new, :f1_before, :f1_after, :'better');
COMMIT;
