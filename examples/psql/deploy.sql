-- Deploy a model if it is at least as good as the deployed one on the same rows; else leave everything as it is, with exit status 3.
-- -v candidate=ID: the model; without it the newest of the project.
\set ON_ERROR_STOP on
\if :{?project} \else \set project tags \endif
\if :{?candidate} \else
SELECT max(id) AS candidate FROM pgml.trained_models WHERE name = :'project' \gset
\endif
\ir exam.sql

CREATE TEMPORARY TABLE result AS
SELECT 'deployed' AS role, id AS model_id, exam.* FROM pgml.deployed_models, pg_temp.exam(id) AS exam WHERE name = :'project'
UNION ALL
SELECT 'candidate', :candidate, exam.* FROM pg_temp.exam(:candidate) AS exam;
SELECT * FROM result;

SELECT (SELECT macro_f1 FROM result WHERE role = 'candidate')
       >= COALESCE((SELECT macro_f1 FROM result WHERE role = 'deployed'), 0) AS passed \gset
\if :passed
    SELECT * FROM pgml.deploy(:candidate);
\else
    DO $$ BEGIN RAISE EXCEPTION 'the candidate did not pass the exam, the deployed model stays'; END $$;
\endif
