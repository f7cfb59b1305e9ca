-- Predict what has no prediction by the deployed model: new rows, and all rows after a deployment.
-- Run it as often as you like. -v chunk=N: rows a statement, and so a transaction; what is done stays done when the rest fails.
\set ON_ERROR_STOP on
\if :{?project} \else \set project tags \endif
\if :{?chunk} \else \set chunk 500 \endif

SET client_min_messages = warning; -- the table is there from the second time on
CREATE TABLE IF NOT EXISTS project_predictions (
    id           int PRIMARY KEY REFERENCES projects ON DELETE CASCADE,
    prediction   text NOT NULL,
    score        real NOT NULL,
    model_id     bigint NOT NULL,
    predicted_at timestamptz NOT NULL DEFAULT clock_timestamp()
);

SELECT id AS model FROM pgml.deployed_models WHERE name = :'project' \gset

-- One statement a chunk, written by a query and run by \gexec.
SELECT format($$
    WITH arrays AS (
        SELECT array_agg(id) AS ids, array_agg(title || '. ' || description) AS texts FROM projects WHERE id = ANY (%L::int[])
    )
    INSERT INTO project_predictions (id, prediction, score, model_id)
    SELECT id, answer->>'label', (answer->>'score')::real, %s
    FROM arrays, ROWS FROM (unnest(ids), jsonb_array_elements(pgml.predict(%L, texts))) AS row (id, answer)
    ON CONFLICT (id) DO UPDATE SET prediction = excluded.prediction, score = excluded.score,
                                   model_id = excluded.model_id, predicted_at = excluded.predicted_at
    $$, array_agg(id), :model, :'project')
FROM (SELECT id, (row_number() OVER (ORDER BY id) - 1) / :chunk AS chunk
      FROM projects
      WHERE NOT EXISTS (SELECT FROM project_predictions p WHERE p.id = projects.id AND p.model_id = :model)) AS missing
GROUP BY chunk ORDER BY chunk
\gexec

SELECT count(*) AS predicted, count(*) FILTER (WHERE predicted_at >= now() - interval '1 hour') AS in_the_last_hour FROM project_predictions;
