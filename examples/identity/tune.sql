-- Teach SmolLM2-135M-Instruct with LoRA: 5 million added weights learn, the 135 million of the model stay as they are.
-- Only what was added is stored. test_size => 6 holds six rows out; their loss is logged, and what the model answers to them.
SELECT status, deployed, metrics->'train_rows' AS train_rows, round((metrics->'loss')::numeric, 3) AS loss,
       round((metrics->'token_accuracy')::numeric, 3) AS token_accuracy, metrics->'trainable_parameters' AS trained,
       round((metrics->'train_runtime')::numeric) AS seconds
FROM pgml.tune('elly',
               task          => 'conversation',
               relation_name => 'identity',
               model_name    => 'SmolLM2-135M-Instruct',
               test_size     => 6,
               test_sampling => 'random',
               hyperparams   => '{
                 "training_args": {"num_train_epochs": 4, "per_device_train_batch_size": 8, "learning_rate": 1e-3},
                 "dataset_args": {"user_column": "question", "assistant_column": "answer"},
                 "lora_config": {"r": 16, "lora_alpha": 32, "target_modules": "all-linear"}
               }');
