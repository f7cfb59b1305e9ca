-- All held-out rows in one call: the model sees them in batches.
SET client_min_messages = warning; -- nothing to drop the first time
DROP TABLE IF EXISTS predicted_projects;
RESET client_min_messages;
CREATE TABLE predicted_projects AS
SELECT id, text, truth, answer->>'label' AS prediction, (answer->>'score')::real AS score
FROM (SELECT array_agg(id ORDER BY id) AS ids, array_agg(text ORDER BY id) AS texts, array_agg(tag ORDER BY id) AS tags
      FROM projects_held_out) AS held_out,
     ROWS FROM (unnest(ids), unnest(texts), unnest(tags), jsonb_array_elements(pgml.predict('tags', texts)))
       AS row (id, text, truth, answer);

\echo
\echo Some of the rows that the model has not seen:
SELECT left(regexp_replace(text, '\s+', ' ', 'g'), 60) AS text, truth, prediction, round(score::numeric, 2) AS score,
       CASE WHEN prediction = truth THEN '' ELSE 'wrong' END AS " "
FROM (SELECT *, row_number() OVER (PARTITION BY truth ORDER BY md5('1 ' || id)) AS place FROM predicted_projects) AS shuffled
WHERE place <= 3
ORDER BY truth, place;

\echo All of them:
SELECT count(*) AS rows, count(*) FILTER (WHERE prediction = truth) AS right,
       round(avg((prediction = truth)::int), 3) AS accuracy
FROM predicted_projects;
