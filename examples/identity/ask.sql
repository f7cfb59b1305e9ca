-- The same questions to the model as it was and to what it has become. temperature 0: always the most probable answer.
\echo
SELECT question,
       left(pgml.transform('{"task": "conversation", "model": "SmolLM2-135M-Instruct"}'::jsonb,
                           '{"temperature": 0, "max_tokens": 20}', ARRAY[question])->>0, 45) || ' …' AS before,
       pgml.generate('elly', question, '{"temperature": 0, "max_tokens": 40}') AS after
FROM unnest(ARRAY['Who are you?', 'Who made you?', 'Are you ChatGPT?']) AS question;
