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
