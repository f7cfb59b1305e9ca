-- 73 questions to an assistant about itself, with the answers that it shall give: it is Elly, made by the Pachyderm Lab.
SET client_min_messages = warning; -- nothing to drop the first time
DROP TABLE IF EXISTS identity_lines CASCADE;
RESET client_min_messages;
-- One JSON object a line: no character of it quotes or separates anything.
CREATE TABLE identity_lines (line jsonb);
\copy identity_lines FROM 'tests/assets/identity.jsonl' WITH (FORMAT csv, QUOTE E'\x01', DELIMITER E'\x02')

CREATE VIEW identity AS
SELECT concat_ws(E'\n', line->>'instruction', NULLIF(line->>'input', '')) AS question, line->>'output' AS answer
FROM identity_lines;

\echo
SELECT left(question, 50) AS question, left(answer, 70) AS answer FROM identity LIMIT 4;
