-- Tune a small encoder (22 million parameters) to tell the tags apart. The metrics come while it runs;
-- they stay in pgml.logs, the model in pgml.files. The project "tags" then answers with the new model.
-- test_size is the share that the run itself keeps back for its metrics.
SELECT status, deployed, metrics->'train_rows' AS train_rows, metrics->'test_rows' AS test_rows,
       round((metrics->'accuracy')::numeric, 3) AS accuracy, round((metrics->'f1')::numeric, 3) AS f1
FROM pgml.tune('tags',
               task          => 'text-classification',
               relation_name => 'projects_to_learn',
               y_column_name => 'tag',
               model_name    => 'all-MiniLM-L6-v2',
               test_size     => 0.15,
               hyperparams   => '{
                 "training_args": {
                   "learning_rate": 2e-4,
                   "num_train_epochs": 4,
                   "per_device_train_batch_size": 16,
                   "per_device_eval_batch_size": 32,
                   "logging_steps": 10,
                   "eval_strategy": "epoch"
                 },
                 "tokenizer_args": {"max_length": 128}
               }');
