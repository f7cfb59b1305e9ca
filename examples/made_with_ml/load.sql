-- 764 machine learning projects, each with a title, a description and one of four tags.
SET client_min_messages = warning; -- nothing to drop the first time
DROP TABLE IF EXISTS projects CASCADE;
RESET client_min_messages;
CREATE TABLE projects (id int PRIMARY KEY, created_on timestamp, title text, description text, tag text);
\copy projects FROM 'examples/made_with_ml/projects.csv' WITH (FORMAT csv, HEADER)

-- A model reads one text. A quarter of every tag is held out: rows that the model never sees, to judge it by.
-- The md5 shuffles the rows, in the same order each time.
CREATE VIEW tagged_projects AS
SELECT id, title || '. ' || description AS text, tag,
       ntile(4) OVER (PARTITION BY tag ORDER BY md5('17 ' || id)) = 4 AS held_out
FROM projects;

CREATE VIEW projects_to_learn AS SELECT text, tag FROM tagged_projects WHERE NOT held_out;
CREATE VIEW projects_held_out AS SELECT id, text, tag FROM tagged_projects WHERE held_out;

\echo
SELECT tag, count(*) FILTER (WHERE NOT held_out) AS to_learn, count(*) FILTER (WHERE held_out) AS held_out
FROM tagged_projects GROUP BY tag ORDER BY tag;
