-- What \d+ and \df+ show, and what the reference of the documentation is made of. A line "name: …" of a function's comment is
-- about the argument of that name, a line "Errors: …" lists SQLSTATEs; the first line says it all in a sentence.

COMMENT ON SCHEMA pgml IS 'Tuning and serving of language models. Start with pgml.tune, pgml.predict and the view pgml.jobs.';

COMMENT ON FUNCTION pgml.tune(text, text, text, text, text, jsonb, real, pgml.sampling, boolean, boolean, boolean, text) IS
'Tunes a model on the rows of a table or view, as a job that every session can watch in pgml.jobs and pgml.logs.
A call without relation_name repeats the project''s last job: rows, label, hyperparams. One without model_name tunes the same base.
project_name: the project that the model belongs to. The first job makes it, with its task and the caller as its owner.
task: text-classification, text-pair-classification, conversation or text-generation. May be left out for a project that exists.
relation_name: table or view with the rows. It is read as the caller, in the caller''s snapshot.
y_column_name: column of the labels, if hyperparams.dataset_args.class_column names none.
model_name: the base, as a project, ''pgml:<model id>'', a directory below pgml.model_directories, or a repository of the Hugging Face Hub (''org/name'', ''org/name@revision'').
hyperparams: an object with training_args (fields of Hugging Face TrainingArguments; push_to_hub, hub_model_id, hub_private_repo …; resume_from_checkpoint), dataset_args (text_column, class_column; text1_column, text2_column; messages_column, or system_column, user_column, assistant_column; prompt_column, completion_column; on_overflow), tokenizer_args, max_seq_length, prompt_template (text with {column} in braces), lora_config (fields of LoraConfig of peft; null: tune all weights; absent: LoRA above pgml.full_tuning_limit), load_in_8bit, load_in_4bit, revision, token.
test_size: share of the rows that are held out for testing; above 1 their number.
test_sampling: which rows are held out: last, random, or stratified by label. The last two are seeded by training_args.seed.
automatic_deploy: deploy the model if its f1 (classifiers) or loss (else) is at least as good as the deployed model''s; in the caller''s transaction, if it waits.
materialize_snapshot: keep a copy of the rows as the table pgml.snapshot_<model id>.
wait: false returns once the job is recorded, and the job goes on by itself.
_y_column_name: former name of y_column_name.
Errors: 22023 bad arguments, all of them at once; 42P01, 42703, 42501 relation, column or privilege is missing; 42704 no such model; 57014 canceled.';

COMMENT ON FUNCTION pgml.transform(jsonb, jsonb, text[], boolean) IS
'Runs a model on an array of texts: one JSON array, in order, null for NULL.
text-classification gives {"label", "score"} for each input; conversation gives the answer; other tasks give what the Hugging Face pipelines give.
task: {"task": …, "model": …}; the task may be left out for a tuned model. Other keys say how the model is loaded, or are taken as args.
args: arguments of the task, such as {"top_k": 3}. Of generated text: max_tokens, temperature (0: the most probable text), top_p, top_k, min_p, stop, seed, n, repetition_penalty, choices (the answer is one of them), chat_template, return_full_text, continue_final_message, details (give {"text", "finish_reason", "prompt_tokens", "completion_tokens"} instead of the text).
inputs: the texts. Many in one call are faster than one call each.
cache: taken for compatibility, without effect.
Errors: 22023 unknown task or argument; 42704 no such model.';
COMMENT ON FUNCTION pgml.transform(text, jsonb, text[], boolean) IS
'As transform(jsonb, …), with the task as a name or as an uncast JSON text.';
COMMENT ON FUNCTION pgml.transform(jsonb, jsonb, jsonb[], boolean) IS
'As transform(jsonb, …, text[]), for inputs of several parts: {"text", "text_pair"}, {"question", "context"};
for task conversation one conversation as messages {"role", "content"}, or several as arrays of messages.';
COMMENT ON FUNCTION pgml.transform(text, jsonb, jsonb[], boolean) IS
'As transform(jsonb, …, jsonb[]), with the task as a name or as an uncast JSON text.';

COMMENT ON FUNCTION pgml.transform_stream(jsonb, jsonb, text, boolean) IS
'Generates text for one input and gives it as it is made: each row is a JSON array with the new text of each sequence, "" where there is none.
In the select list the rows arrive one by one (DECLARE a cursor, or psycopg''s stream()); in FROM, PostgreSQL collects them first. Ending the statement stops the generation.
task: {"task": …, "model": …}, as for pgml.transform.
args: as for pgml.transform; with {"details": true} an element is null or {"text", "finish_reason", "prompt_tokens", "completion_tokens"}.
input: the text, or what a user says.
cache: taken for compatibility, without effect.
Errors: 22023 unknown task or argument; 42704 no such model.';
COMMENT ON FUNCTION pgml.transform_stream(text, jsonb, text, boolean) IS
'As transform_stream(jsonb, …), with the task as a name or as an uncast JSON text.';
COMMENT ON FUNCTION pgml.transform_stream(jsonb, jsonb, jsonb[], boolean) IS
'As transform_stream(jsonb, …, text), for one conversation as messages {"role", "content"}, or for several as arrays of messages.';
COMMENT ON FUNCTION pgml.transform_stream(text, jsonb, jsonb[], boolean) IS
'As transform_stream(jsonb, …, jsonb[]), with the task as a name or as an uncast JSON text.';

COMMENT ON FUNCTION pgml.generate(text, text, jsonb) IS
'What a project''s deployed model answers to a message, or how it goes on with a text; NULL for NULL.
project_name: the project.
inputs: the message or the text.
config: max_tokens, temperature (0: the most probable text), top_p, top_k, min_p, stop, seed, repetition_penalty, choices, and what else pgml.transform takes for the task.
Errors: 42704 no such project; 55000 nothing deployed; 42809 its task generates no text; 22023 bad config.';
COMMENT ON FUNCTION pgml.generate(text, text[], jsonb) IS
'As generate(text, text, …) for many inputs at once, in order, NULL for NULL; they are computed together.';

COMMENT ON FUNCTION pgml.embed(text, text, jsonb) IS
'The embedding of a text: a vector of as many numbers as the model is wide, by the pooling that its files name (sentence-transformers), else the mean over its tokens. NULL for NULL.
transformer: a project, ''pgml:<model id>'', a directory below pgml.model_directories, or a repository of the Hub.
text: the text.
kwargs: prompt (a text put before), prompt_name (one of the model''s prompts), normalize_embeddings, truncate_dim, revision, token.
Errors: 22023 unknown argument; 42704 no such model.';
COMMENT ON FUNCTION pgml.embed(text, text[], jsonb) IS
'As embed(text, text, …) for many texts at once: one row each, in order, NULL for NULL. Faster than one call a row.';

COMMENT ON FUNCTION pgml.predict(text, text) IS
'The answer of a project''s deployed model to one input, for example {"label": "positive", "score": 0.98}; NULL for NULL.
project_name: the project.
input: the text; a pair of texts is a JSON text: {"text": …, "text_pair": …}.
Errors: 42704 no such project; 55000 nothing deployed.';
COMMENT ON FUNCTION pgml.predict(text, text[]) IS
'The answers of a project''s deployed model to many inputs at once: a JSON array, in order, null for NULL. Faster than one call a row.';

COMMENT ON FUNCTION pgml.load_dataset(text, text, bigint, jsonb) IS
'Loads a data set into a table, in the caller''s transaction and with the caller''s privileges: any failure leaves no table.
source: a repository of the Hugging Face Hub; a file or directory below pgml.data_directories; an address of pgml.data_urls; or csv, json, parquet, arrow or text, with kwargs.data_files.
subset: a configuration of the repository.
limit: the most rows, over all splits; NULL: all.
kwargs: table (as SQL writes it; without it pgml."<source>", for files pgml.<name of the file>); if_exists (error; replace, which empties a table with the same columns and drops any other; append, by the names of the columns); split, revision, token, columns, label_names, data_files, data_dir, streaming, and options of the format.
Errors: 22023 bad arguments; 42P07 the table exists; 42501 no privilege; 42939 a name of an extension; 42703 a column that the table lacks.';

COMMENT ON FUNCTION pgml.deploy(bigint) IS
'Makes one finished model answer for its project.
model_id: the model.
Errors: 42704 no such model; 55000 it is not finished.';
COMMENT ON FUNCTION pgml.deploy(text, pgml.strategy, text) IS
'Makes a finished model of a project answer.
project_name: the project.
strategy: most_recent; best_score, by f1 or loss, as the task has it; rollback, to the model that was deployed before.
algorithm: only models of this algorithm.
Errors: 42704 no such project; 55000 no model to deploy.';
COMMENT ON FUNCTION pgml.cancel(bigint) IS
'Asks a tuning job to stop; within two seconds it is ''cancelled'' and keeps its logs. False when it is over already.
model_id: the job.
Errors: 42704 no such model.';
COMMENT ON FUNCTION pgml.resume(bigint, boolean) IS
'Goes on with a job that failed, was cancelled or lost its machine, from its last checkpoint on this server (pgml.jobs.resumable): the same steps, and the same model in the end.
A push to the Hub needs a token that is set (pgml.set_secret, pgml.hub_token). The result is that of pgml.tune.
model_id: the job.
wait: as of pgml.tune.
Errors: 42704 no such model; 55000 nothing to go on from.';
COMMENT ON FUNCTION pgml.push_to_hub(text, text, boolean, text, text) IS
'Pushes a project''s deployed model to the Hugging Face Hub, with a model card: facts of the registry, never the data. Files that are there are not sent again.
project_name: the project.
repo_id: the repository; by default the project''s name, blanks as _, in the token''s namespace.
private: whether a repository that is new is private.
token: used and forgotten. Without it pgml.set_secret(''hub_token'', …), then pgml.hub_token, serve; ''secret:<name>'' is a secret of the role.
revision: a branch, made if need be.
Errors: 42501 token lacks or is refused; 22023 bad name; 08006 Hub not reached.';
COMMENT ON FUNCTION pgml.push_to_hub(bigint, text, boolean, text, text) IS 'As push_to_hub(text, …), for one model by its id.';
COMMENT ON FUNCTION pgml.pull_from_hub(text, text, text, text) IS
'Stores a model of the Hugging Face Hub in pgml.files as a model of a project, and deploys it.
repo_id: the repository.
project_name: by default the name of the repository. A new project gets the model''s task.
revision: branch, tag or commit.
token: as of pgml.push_to_hub.
Errors: 42704 no such repository; 42501 not allowed; 0A000 no safetensors, or no task that pgml serves; 08006 Hub not reached.';
COMMENT ON FUNCTION pgml.set_secret(text, text) IS
'Keeps a secret of the current role outside of all tables. It is no part of dumps and of replication, takes effect at once and is not rolled back.
name: hub_token serves whenever a call of that role names no token; others are named as ''secret:<name>'' where a token is asked for.
value: the secret, NULL to forget it. Give it as a parameter: statements may be logged.';
COMMENT ON FUNCTION pgml.secret_names() IS 'The names of the current role''s secrets.';
COMMENT ON FUNCTION pgml._job_is_resumable(bigint) IS 'Whether a job left a checkpoint. For the view pgml.jobs.';
COMMENT ON FUNCTION pgml.runtime_status() IS
'The process that answers predictions: state (stopped, starting, ready, backoff; embedded in embedded mode), process ids, interpreter, how the one before it ended and what it said last,
device, resident memory in bytes, versions of its packages. Starts nothing.';
COMMENT ON FUNCTION pgml.restart_runtime() IS
'Ends the process that answers predictions and waits until a new one is ready. Requests in flight fail; tuning jobs go on. For administrators: GRANT EXECUTE to let others do it.';
COMMENT ON FUNCTION pgml.version() IS 'The version of the extension''s library.';
COMMENT ON FUNCTION pgml._loaded_models() IS 'For the view pgml.loaded_models.';
COMMENT ON FUNCTION pgml._loads() IS 'What pgml.load_dataset does now in this database, for roles that the current one is a member of. For the view pgml.jobs.';
COMMENT ON FUNCTION pgml._job_is_alive(bigint) IS 'False when the worker of a job was lost. For the view pgml.jobs.';
COMMENT ON FUNCTION pgml._project_owner(text) IS 'Owner of a project, also of a hidden one: names are taken for all. For pgml.tune.';
COMMENT ON AGGREGATE pgml._sha256(bytea) IS
'SHA-256, in hexadecimal digits, of values one after the other, together of any size: _sha256(data ORDER BY part) is that of a file of pgml.files. NULL counts as empty.';
COMMENT ON FUNCTION pgml._sha256_step(internal, bytea) IS 'For the aggregate pgml._sha256.';
COMMENT ON FUNCTION pgml._sha256_end(internal) IS 'For the aggregate pgml._sha256.';
COMMENT ON FUNCTION pgml.set_updated_at() IS 'Trigger: keeps updated_at.';
COMMENT ON FUNCTION pgml.forget_model() IS 'Trigger: a deleted model takes its deployments and logs with it.';

COMMENT ON TYPE pgml.task IS 'What a project is for.';
COMMENT ON TYPE pgml.sampling IS 'How the rows held out for testing are chosen.';
COMMENT ON TYPE pgml.strategy IS 'How the model to deploy is chosen.';
COMMENT ON TYPE pgml.status IS 'The life of a job.';
COMMENT ON TYPE pgml.runtime IS 'What runs a model; always python. Kept for scripts of PostgresML.';
COMMENT ON TYPE pgml.search IS 'Hyperparameter search. Kept for scripts of PostgresML.';

COMMENT ON TABLE pgml.projects IS 'One row a project: a name, a task, an owner. Rows are seen by the owner and the members of that role.';
COMMENT ON COLUMN pgml.projects.id IS 'Number of the project.';
COMMENT ON COLUMN pgml.projects.name IS 'Name of the project, unique in the database.';
COMMENT ON COLUMN pgml.projects.task IS 'What its models do.';
COMMENT ON COLUMN pgml.projects.created_at IS 'When it was made.';
COMMENT ON COLUMN pgml.projects.updated_at IS 'When the row changed last.';
COMMENT ON COLUMN pgml.projects.owner IS 'Whose members see and use the project.';

COMMENT ON TABLE pgml.snapshots IS 'The rows that a job was tuned on: where from, how split, what they were.';
COMMENT ON COLUMN pgml.snapshots.id IS 'Number of the snapshot.';
COMMENT ON COLUMN pgml.snapshots.relation_name IS 'The table or view, as it was named.';
COMMENT ON COLUMN pgml.snapshots.y_column_name IS 'The column of the labels.';
COMMENT ON COLUMN pgml.snapshots.test_size IS 'The share of rows held out for testing; above 1, their number.';
COMMENT ON COLUMN pgml.snapshots.test_sampling IS 'How the rows held out were chosen.';
COMMENT ON COLUMN pgml.snapshots.status IS 'Always successful. Kept for scripts of PostgresML.';
COMMENT ON COLUMN pgml.snapshots.columns IS 'The columns that were read: [{"role", "name"}].';
COMMENT ON COLUMN pgml.snapshots.analysis IS 'Counts of rows read, used and skipped by cause, and of each label.';
COMMENT ON COLUMN pgml.snapshots.created_at IS 'When the rows were read.';
COMMENT ON COLUMN pgml.snapshots.updated_at IS 'When the row changed last.';
COMMENT ON COLUMN pgml.snapshots.materialized IS 'Whether the rows were copied to pgml.snapshot_<model id>.';
COMMENT ON COLUMN pgml.snapshots.seed IS 'Seed of the split: the same seed and rows give the same split.';
COMMENT ON COLUMN pgml.snapshots.train_rows IS 'Rows that are learned from.';
COMMENT ON COLUMN pgml.snapshots.test_rows IS 'Rows that are held out.';
COMMENT ON COLUMN pgml.snapshots.digest IS 'sha256 of the used rows, in order, and of the split.';
COMMENT ON COLUMN pgml.snapshots.owner IS 'The role that ran the job.';

COMMENT ON TABLE pgml.models IS 'One row a job of pgml.tune, and the model it made.';
COMMENT ON COLUMN pgml.models.id IS 'Number of the model, and of the job that makes it.';
COMMENT ON COLUMN pgml.models.project_id IS 'The project.';
COMMENT ON COLUMN pgml.models.snapshot_id IS 'The rows it was tuned on; NULL for a model that was pulled from the Hub.';
COMMENT ON COLUMN pgml.models.num_features IS 'Number of columns that a prediction takes.';
COMMENT ON COLUMN pgml.models.algorithm IS 'Always transformers. Kept for scripts of PostgresML.';
COMMENT ON COLUMN pgml.models.runtime IS 'Always python. Kept for scripts of PostgresML.';
COMMENT ON COLUMN pgml.models.hyperparams IS 'As checked before the job; never with a token in it.';
COMMENT ON COLUMN pgml.models.status IS 'queued, in_progress, successful, failed or cancelled.';
COMMENT ON COLUMN pgml.models.metrics IS 'On the rows held out: loss; accuracy, f1 (macro), classes, confusion_matrix of a classifier; perplexity, token_accuracy of generated text. Parameters, speed, memory in bytes, FLOPs.';
COMMENT ON COLUMN pgml.models.search IS 'Always NULL. Kept for scripts of PostgresML.';
COMMENT ON COLUMN pgml.models.search_params IS 'Always empty. Kept for scripts of PostgresML.';
COMMENT ON COLUMN pgml.models.search_args IS 'Always empty. Kept for scripts of PostgresML.';
COMMENT ON COLUMN pgml.models.created_at IS 'When the job was recorded.';
COMMENT ON COLUMN pgml.models.updated_at IS 'When the row changed last.';
COMMENT ON COLUMN pgml.models.base_model IS 'What was tuned: a directory''s name, pgml:<model id>, or a repository of the Hub.';
COMMENT ON COLUMN pgml.models.error IS 'Why the job failed or was cancelled.';
COMMENT ON COLUMN pgml.models.sqlstate IS 'SQLSTATE of that error.';
COMMENT ON COLUMN pgml.models.started_at IS 'When the job left the queue.';
COMMENT ON COLUMN pgml.models.stepping_since IS 'When the first optimizer step began: after rows and model were loaded.';
COMMENT ON COLUMN pgml.models.finished_at IS 'When the job ended.';
COMMENT ON COLUMN pgml.models.step IS 'Optimizer steps done.';
COMMENT ON COLUMN pgml.models.max_steps IS 'Optimizer steps to do.';
COMMENT ON COLUMN pgml.models.digest IS 'sha256 over path, size and sha256 of the files; names the model in the runtime''s cache.';
COMMENT ON COLUMN pgml.models.resumed_at_step IS 'The step from which the job went on last; 0 if it began anew.';
COMMENT ON COLUMN pgml.models.base_revision IS 'Commit of a base that is a repository of the Hub.';
COMMENT ON COLUMN pgml.models.hub IS 'Where the model was pushed, or pulled from: {"repo_id", "url", "commit", "private"}; or why it was not pushed: {"repo_id", "error", "sqlstate"}.';

COMMENT ON TABLE pgml.deployments IS 'Which model answers for a project: the latest row of the project.';
COMMENT ON COLUMN pgml.deployments.id IS 'Number of the deployment; the highest one of a project counts.';
COMMENT ON COLUMN pgml.deployments.project_id IS 'The project.';
COMMENT ON COLUMN pgml.deployments.model_id IS 'The model that answers.';
COMMENT ON COLUMN pgml.deployments.strategy IS 'Why it was chosen: new_score by pgml.tune, specific by its id, else what pgml.deploy was asked.';
COMMENT ON COLUMN pgml.deployments.created_at IS 'When it was deployed.';

COMMENT ON TABLE pgml.files IS 'The files of finished models, in parts of at most 4 MiB. Of a model tuned with LoRA the adapter alone: pgml.json names its base.';
COMMENT ON COLUMN pgml.files.id IS 'Number of the part.';
COMMENT ON COLUMN pgml.files.model_id IS 'The model.';
COMMENT ON COLUMN pgml.files.path IS 'Name of the file, as save_pretrained writes it.';
COMMENT ON COLUMN pgml.files.part IS 'Number of the part, from 0.';
COMMENT ON COLUMN pgml.files.created_at IS 'When it was stored.';
COMMENT ON COLUMN pgml.files.updated_at IS 'When the row changed last.';
COMMENT ON COLUMN pgml.files.data IS 'The bytes of the part.';
COMMENT ON COLUMN pgml.files.size IS 'Bytes of the whole file.';
COMMENT ON COLUMN pgml.files.sha256 IS 'sha256 of the whole file, in hexadecimal.';

COMMENT ON TABLE pgml.logs IS 'What a training said, as it said it.';
COMMENT ON COLUMN pgml.logs.id IS 'Number of the row, in the order in which things were said.';
COMMENT ON COLUMN pgml.logs.model_id IS 'The job.';
COMMENT ON COLUMN pgml.logs.project_id IS 'Its project.';
COMMENT ON COLUMN pgml.logs.created_at IS 'When it was said.';
COMMENT ON COLUMN pgml.logs.logs IS 'loss, grad_norm, learning_rate, epoch, step, max_steps, timestamp; eval_* and eval_samples (prompt, wanted, answer) after an evaluation.';

COMMENT ON SEQUENCE pgml.projects_id_seq IS 'Ids of pgml.projects.';
COMMENT ON SEQUENCE pgml.snapshots_id_seq IS 'Ids of pgml.snapshots.';
COMMENT ON SEQUENCE pgml.models_id_seq IS 'Ids of pgml.models.';
COMMENT ON SEQUENCE pgml.deployments_id_seq IS 'Ids of pgml.deployments.';
COMMENT ON SEQUENCE pgml.files_id_seq IS 'Ids of pgml.files.';
COMMENT ON SEQUENCE pgml.logs_id_seq IS 'Ids of pgml.logs.';

COMMENT ON VIEW pgml.jobs IS 'All jobs with how far they are. A job whose worker was lost shows as failed. Running loads of data sets are there too.';
COMMENT ON COLUMN pgml.jobs.model_id IS 'The job: id of the model that it makes; NULL for a load of a data set.';
COMMENT ON COLUMN pgml.jobs.project IS 'The project; of a load its table.';
COMMENT ON COLUMN pgml.jobs.task IS 'What is tuned, or load_dataset.';
COMMENT ON COLUMN pgml.jobs.status IS 'queued, in_progress, successful, failed or cancelled.';
COMMENT ON COLUMN pgml.jobs.step IS 'Optimizer steps done; of a load the rows.';
COMMENT ON COLUMN pgml.jobs.max_steps IS 'Optimizer steps to do.';
COMMENT ON COLUMN pgml.jobs.share_done IS 'step / max_steps; of a load the share of bytes, while it downloads.';
COMMENT ON COLUMN pgml.jobs.steps_per_second IS 'Speed since the first step; of a load in rows.';
COMMENT ON COLUMN pgml.jobs.time_left IS 'How long it takes at that speed.';
COMMENT ON COLUMN pgml.jobs.base_model IS 'What is tuned; of a load its source.';
COMMENT ON COLUMN pgml.jobs.owner IS 'The owner of the project.';
COMMENT ON COLUMN pgml.jobs.created_at IS 'When the job was recorded.';
COMMENT ON COLUMN pgml.jobs.started_at IS 'When it left the queue.';
COMMENT ON COLUMN pgml.jobs.finished_at IS 'When it ended.';
COMMENT ON COLUMN pgml.jobs.error IS 'Why it failed or was cancelled.';
COMMENT ON COLUMN pgml.jobs.sqlstate IS 'SQLSTATE of that error.';
COMMENT ON COLUMN pgml.jobs.resumable IS 'Whether pgml.resume can go on with it.';

COMMENT ON VIEW pgml.overview IS 'The deployed model of each project and the rows it was tuned on.';
COMMENT ON COLUMN pgml.overview.name IS 'The project.';
COMMENT ON COLUMN pgml.overview.deployed_at IS 'When its model was deployed.';
COMMENT ON COLUMN pgml.overview.task IS 'What the model does.';
COMMENT ON COLUMN pgml.overview.algorithm IS 'Always transformers.';
COMMENT ON COLUMN pgml.overview.runtime IS 'Always python.';
COMMENT ON COLUMN pgml.overview.relation_name IS 'The table or view it was tuned on.';
COMMENT ON COLUMN pgml.overview.y_column_name IS 'The column of the labels.';
COMMENT ON COLUMN pgml.overview.test_sampling IS 'How the rows held out were chosen.';
COMMENT ON COLUMN pgml.overview.test_size IS 'The share of rows held out; above 1, their number.';

COMMENT ON VIEW pgml.trained_models IS 'Finished models, newest first.';
COMMENT ON COLUMN pgml.trained_models.id IS 'Number of the model.';
COMMENT ON COLUMN pgml.trained_models.name IS 'The project.';
COMMENT ON COLUMN pgml.trained_models.task IS 'What the model does.';
COMMENT ON COLUMN pgml.trained_models.algorithm IS 'Always transformers.';
COMMENT ON COLUMN pgml.trained_models.runtime IS 'Always python.';
COMMENT ON COLUMN pgml.trained_models.created_at IS 'When its job was recorded.';
COMMENT ON COLUMN pgml.trained_models.test_sampling IS 'How the rows held out were chosen.';
COMMENT ON COLUMN pgml.trained_models.test_size IS 'The share of rows held out; above 1, their number.';
COMMENT ON COLUMN pgml.trained_models.deployed IS 'Whether it answers for its project.';

COMMENT ON VIEW pgml.deployed_models IS 'The model that answers for each project.';
COMMENT ON COLUMN pgml.deployed_models.id IS 'Number of the model.';
COMMENT ON COLUMN pgml.deployed_models.name IS 'The project.';
COMMENT ON COLUMN pgml.deployed_models.task IS 'What the model does.';
COMMENT ON COLUMN pgml.deployed_models.algorithm IS 'Always transformers.';
COMMENT ON COLUMN pgml.deployed_models.runtime IS 'Always python.';
COMMENT ON COLUMN pgml.deployed_models.deployed_at IS 'When it was deployed.';

COMMENT ON VIEW pgml.loaded_models IS 'Models in the memory of the runtime. Tuned models only for those who may see them.';
COMMENT ON COLUMN pgml.loaded_models.name IS 'pgml:<model id>, a directory or a repository of the Hub.';
COMMENT ON COLUMN pgml.loaded_models.task IS 'What it was loaded for.';
COMMENT ON COLUMN pgml.loaded_models.bytes IS 'Its memory; of an adapter its own.';
COMMENT ON COLUMN pgml.loaded_models.device IS 'cpu, or the GPU.';
COMMENT ON COLUMN pgml.loaded_models.uses IS 'Requests that it answered.';
COMMENT ON COLUMN pgml.loaded_models.loaded_at IS 'When it was loaded.';
COMMENT ON COLUMN pgml.loaded_models.last_used_at IS 'When it answered last. The least recently used model leaves first.';
COMMENT ON COLUMN pgml.loaded_models.digest IS 'sha256 of a stored model.';
COMMENT ON COLUMN pgml.loaded_models.base IS 'The base that an adapter shares with others.';
