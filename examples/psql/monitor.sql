-- What an operator wants to know, from top to bottom. Reads only.
\set ON_ERROR_STOP on
\if :{?project} \else \set project tags \endif

\echo Jobs that run or wait:
SELECT model_id, project, status, share_done, time_left FROM pgml.jobs WHERE status IN ('queued', 'in_progress');

\echo Jobs of the last week that did not succeed:
SELECT model_id, project, status, left(error, 80) AS error, resumable FROM pgml.jobs
WHERE status IN ('failed', 'cancelled') AND finished_at > now() - interval '7 days' ORDER BY model_id DESC LIMIT 10;

\echo The process that answers, and what it holds in memory:
SELECT state, starts, last_exit, device, pg_size_pretty(memory_bytes) AS memory FROM pgml.runtime_status();
SELECT name, pg_size_pretty(bytes) AS memory, uses, last_used_at FROM pgml.loaded_models;

\echo Disk that models take, and whether they are deployed:
SELECT m.name, m.id AS model_id, m.deployed, pg_size_pretty(sum(octet_length(f.data))) AS disk
FROM pgml.trained_models m JOIN pgml.files f ON f.model_id = m.id
GROUP BY m.name, m.id, m.deployed ORDER BY sum(octet_length(f.data)) DESC LIMIT 10;

\echo How the loss of the newest model of the project fell:
SELECT l.logs->'step' AS step, round((l.logs->>'loss')::numeric, 3) AS loss,
       repeat('*', (20 * (l.logs->>'loss')::numeric / max((l.logs->>'loss')::numeric) OVER ())::int) AS "0 to the highest"
FROM pgml.logs l
WHERE l.logs ? 'loss'
  AND l.model_id = (SELECT max(m.id) FROM pgml.models m JOIN pgml.projects p ON p.id = m.project_id WHERE p.name = :'project' AND m.status = 'successful')
ORDER BY l.id;

-- Drift: predictions become less sure, or their shares change, before anybody has labels to prove it.
\echo Predictions a month of the rows (predict_missing.sql makes them):
SELECT to_regclass('project_predictions') IS NOT NULL AS predicted \gset
\if :predicted
SELECT date_trunc('month', created_on)::date AS month, count(*) AS rows, round(avg(score)::numeric, 2) AS mean_score,
       count(*) FILTER (WHERE score < 0.5) AS unsure, mode() WITHIN GROUP (ORDER BY prediction) AS most_frequent
FROM projects JOIN project_predictions USING (id) GROUP BY 1 ORDER BY 1;
\endif
