-- Two models side by side: each answers for half of the rows, always the same half, as two groups of users would meet them.
-- -v a=ID -v b=ID: ids of pgml.models; without them the newest two of the project.
\set ON_ERROR_STOP on
\if :{?project} \else \set project tags \endif
\if :{?a} \else
SELECT min(id) AS a FROM (SELECT id FROM pgml.trained_models WHERE name = :'project' ORDER BY id DESC LIMIT 2) AS two \gset
\endif
\if :{?b} \else
SELECT max(id) AS b FROM pgml.trained_models WHERE name = :'project' \gset
\endif

\ir exam.sql
SET client_min_messages = warning; -- the table is there from the second time on
CREATE TABLE IF NOT EXISTS ab_answers (
    id          int REFERENCES projects ON DELETE CASCADE,
    variant     text NOT NULL,
    model_id    bigint NOT NULL,
    prediction  text NOT NULL,
    score       real NOT NULL,
    answered_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (id, model_id)
);

-- The hash of the id decides: it is spread evenly, and gives a row the same side each time.
WITH sides AS (
    SELECT CASE WHEN hashint4(id) & 1 = 0 THEN 'a' ELSE 'b' END AS variant, id, text FROM exam_rows
), arrays AS (
    SELECT variant, CASE variant WHEN 'a' THEN :a ELSE :b END AS model_id, array_agg(id) AS ids, array_agg(text) AS texts
    FROM sides GROUP BY variant
)
INSERT INTO ab_answers (id, variant, model_id, prediction, score)
SELECT id, variant, model_id, answer->>'label', (answer->>'score')::real
FROM arrays, ROWS FROM (unnest(ids), jsonb_array_elements(
    pgml.transform(jsonb_build_object('model', 'pgml:' || model_id), inputs => texts))) AS row (id, answer)
ON CONFLICT DO NOTHING;

\echo What came of it, now that the truth is known:
CREATE TEMPORARY TABLE outcome AS
SELECT variant, model_id, count(*) AS n, avg((prediction = tag)::int) AS accuracy
FROM ab_answers JOIN exam_rows USING (id)
WHERE (variant, model_id) IN (('a', :a), ('b', :b))
GROUP BY variant, model_id;

SELECT variant, model_id, n AS rows, round(accuracy, 3) AS accuracy, round(1.96 * sqrt(accuracy * (1 - accuracy) / n), 3) AS "±"
FROM outcome ORDER BY variant;

-- Above 2 or below -2 the difference is hardly chance; in between, more rows are needed to tell.
\echo Difference of b and a in standard errors:
SELECT round((b.accuracy - a.accuracy) / NULLIF(sqrt(a.accuracy * (1 - a.accuracy) / a.n + b.accuracy * (1 - b.accuracy) / b.n), 0), 2) AS z
FROM outcome a JOIN outcome b ON a.variant = 'a' AND b.variant = 'b';
