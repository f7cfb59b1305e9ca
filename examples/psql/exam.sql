-- exam(model id): what a model makes of the rows that no model learns from. Included by the scripts that compare models.

-- Written down once: in the view, a row may change sides when others come.
SET client_min_messages = warning; -- it is there from the second time on
CREATE TABLE IF NOT EXISTS exam_rows AS SELECT id, text, tag FROM projects_held_out;
RESET client_min_messages;

CREATE OR REPLACE FUNCTION pg_temp.exam(model bigint, OUT accuracy numeric, OUT macro_f1 numeric) LANGUAGE sql AS $$
    WITH arrays AS (
        SELECT array_agg(text) AS texts, array_agg(tag) AS tags FROM exam_rows
    ), answers AS (
        SELECT tag, answer->>'label' AS prediction
        FROM arrays, ROWS FROM (unnest(tags), jsonb_array_elements(
            pgml.transform(jsonb_build_object('model', 'pgml:' || model), inputs => texts))) AS row (tag, answer)
    ), classes AS (
        SELECT class, 2.0 * count(*) FILTER (WHERE tag = class AND prediction = class)
                      / NULLIF(count(*) FILTER (WHERE tag = class) + count(*) FILTER (WHERE prediction = class), 0) AS f1
        FROM answers, (SELECT DISTINCT tag AS class FROM answers) AS all_classes
        GROUP BY class
    )
    SELECT (SELECT round(avg((tag = prediction)::int), 3) FROM answers), (SELECT round(avg(f1), 3) FROM classes)
$$;
