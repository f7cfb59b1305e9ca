-- What a database has in PostgresML after some years. The files of the language models are stored by tests/integration/postgresml.py.
INSERT INTO pgml.projects (id, name, task, created_at, updated_at) VALUES
    (3, 'Diabetes', 'regression', '2023-04-05 06:07:08', '2023-04-05 06:07:08'),
    (4, 'iris', 'classification', '2023-05-05', '2023-05-05'),
    (7, 'Отзывы "2024"', 'text_classification', '2024-01-02 03:04:05.678', '2024-02-02'),
    (8, 'assistant', 'conversation', '2024-03-03', '2024-03-03'),
    (9, 'templated', 'conversation', '2024-03-04', '2024-03-04'),
    (10, 'pickled', 'text_classification', '2023-06-06', '2023-06-06'),
    (11, 'pairs', 'text-pair-classification', '2024-06-06', '2024-06-06'),
    (12, 'half', 'text_classification', '2024-07-07', '2024-07-07');
SELECT setval('pgml.projects_id_seq', 20);

INSERT INTO pgml.snapshots (id, relation_name, y_column_name, test_size, test_sampling, status, columns, analysis, created_at, materialized) VALUES
    (1, 'pgml.diabetes', '{target}', 0.25, 'last', 'successful', '[{"name": "target", "type": "float4"}]', '{"samples": 442}', '2023-04-05', true),
    (2, 'pgml.iris', '{target}', 0.5, 'random', 'successful', '[]', '{}', '2023-05-05', NULL),
    (5, 'public."Отзывы, все"', '{"Тон"}', 0.2, 'stratified', 'in_progress', '[{"name": "Тон", "position": 1}]', NULL, '2024-01-02', false),
    (6, 'public.talks', NULL, 0.8, 'last', 'in_progress', NULL, NULL, '2024-03-03', false);
SELECT setval('pgml.snapshots_id_seq', 6);

INSERT INTO pgml.models (id, project_id, snapshot_id, num_features, algorithm, runtime, hyperparams, status, metrics, search, search_params, search_args, created_at) VALUES
    (11, 3, 1, 10, 'linear', 'python', '{}', 'successful', '{"r2": 0.46, "fit_time": 0.01}', NULL, '{}', '{}', '2023-04-05'),
    (12, 4, 2, 4, 'xgboost', 'rust', '{"n_estimators": 10}', 'successful', '{"f1": 0.97, "accuracy": 0.98}', 'grid', '{"max_depth": [1, 2]}', '{}', '2023-05-05'),
    (21, 7, 5, 1, 'transformers', 'python', '{"model_name": "bert", "project_name": "Отзывы \"2024\"", "token": "hf_0123456789abcdef",
        "training_args": {"num_train_epochs": 1, "hub_token": "secret", "hub_model_id": "me/отзывы"}, "dataset_args": {"text_column": "Текст", "class_column": "Тон"}}',
        'successful', '{"f1": 0.8, "accuracy": 0.75, "eval_loss": 0.5, "step": 40}', NULL, '{}', '{}', '2024-01-02'),
    (22, 7, 5, 1, 'transformers', 'python', '{"model_name": "bert", "training_args": {}, "dataset_args": {}}',
        'successful', '{"f1": 0.9, "accuracy": 0.95, "eval_loss": 0.3}', NULL, '{}', '{}', '2024-02-02'),
    (23, 7, 5, 1, 'transformers', 'python', '{}', 'successful', '{"f1": 0.99}', NULL, '{}', '{}', '2024-02-03'),
    (31, 8, 6, 3, 'transformers', 'python', '{"model_name": "llama-chat", "lora_config": {"r": 2}}', 'successful', '{"eval_loss": 1.5}', NULL, '{}', '{}', '2024-03-03'),
    (32, 9, NULL, 3, 'transformers', 'python', '{"model_name": "llama-chat", "prompt_template": "<<{system}>>\n\"{user}\" {{now}}: {assistant}{eos_token}"}',
        'successful', NULL, NULL, '{}', '{}', '2024-03-04'),
    (41, 10, 5, 1, 'transformers', 'python', '{}', 'successful', '{"f1": 1}', NULL, '{}', '{}', '2023-06-06'),
    (42, 11, 5, 2, 'transformers', 'python', '{}', 'in_progress', NULL, NULL, '{}', '{}', '2024-06-06'),
    (45, 11, NULL, 2, 'transformers', 'python', '{"model_name": "bert"}', 'successful', '{"f1": 0.5}', NULL, '{}', '{}', '2024-06-07'),
    (43, 12, 5, 1, 'transformers', 'python', '{}', 'successful', '{"f1": 0.5}', NULL, '{}', '{}', '2024-07-07'),
    (44, 12, 5, 1, 'transformers', 'python', '{}', 'successful', '{"f1": 0.6}', NULL, '{}', '{}', '2024-07-08');
SELECT setval('pgml.models_id_seq', 50);

INSERT INTO pgml.deployments (id, project_id, model_id, strategy, created_at) VALUES
    (1, 3, 11, 'new_score', '2023-04-05'),
    (2, 4, 12, 'best_score', '2023-05-05'),
    (5, 7, 21, 'new_score', '2024-01-02'),
    (6, 7, 22, 'best_score', '2024-02-02'),
    (7, 7, 21, 'rollback', '2024-02-03'),
    (8, 7, 22, 'most_recent', '2024-02-04'),
    (9, 7, 21, 'specific', '2024-02-05'),
    (10, 8, 31, 'new_score', '2024-03-03'),
    (11, 9, 32, 'new_score', '2024-03-04'),
    (14, 11, 45, 'most_recent', '2024-06-07'),
    (12, 12, 43, 'new_score', '2024-07-07'),
    (13, 12, 44, 'new_score', '2024-07-08');
SELECT setval('pgml.deployments_id_seq', 14);

INSERT INTO pgml.files (model_id, path, part, data) VALUES
    (11, 'estimator.rmp', 0, '\x80'),
    (12, 'estimator.rmp', 0, '\xdeadbeef'),
    (41, 'config.json', 0, '{}'), (41, 'pytorch_model.bin', 0, '\x80'),
    (44, 'config.json', 0, '{}'), (44, 'model.safetensors', 1, '\x00');

INSERT INTO pgml.logs (model_id, project_id, created_at, logs)
SELECT 21, 7, '2024-01-02', jsonb_build_object('loss', 1.0 / step, 'step', step, 'epoch', step / 10.0) FROM generate_series(1, 20) AS step;
INSERT INTO pgml.logs (model_id, project_id, logs) VALUES (42, 11, '{"loss": 9}'), (NULL, NULL, NULL);

CREATE TABLE pgml.snapshot_1 AS SELECT 1.0 AS target;
CREATE TABLE pgml.imdb AS SELECT 'a film'::text AS text, 1 AS label;
CREATE VIEW pgml."Отзывы" AS SELECT text FROM pgml.imdb;
CREATE FUNCTION pgml.my_words(text) RETURNS integer LANGUAGE sql AS 'SELECT length($1)';
CREATE TABLE public."Отзывы, все" AS
SELECT CASE i % 2 WHEN 0 THEN 'wonderful film, a joy ' ELSE 'terrible waste, no sense ' END || i AS "Текст",
       CASE i % 2 WHEN 0 THEN 'хорошо 👍' ELSE 'плохо' END AS "Тон"
FROM generate_series(1, 80) AS i;
