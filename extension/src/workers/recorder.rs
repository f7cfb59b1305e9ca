//! A job in the registry: its rows, its logs, its files, its end. Each call is a short transaction, but for the files:
//! they, and the status that says they are complete, are one transaction.

use super::spec::JobSpec;
use crate::error::{Error, Result};
use crate::{catalog, transaction};
use pgrx::JsonB;
use pgrx::PgSqlErrorCode;
use serde_json::{Value, json};
use std::panic::AssertUnwindSafe;

/// How a job ended.
pub enum Outcome {
    Successful { metrics: Value },
    Failed(Error),
    Cancelled(Error),
}

impl Outcome {
    pub fn status(&self) -> &'static str {
        match self {
            Self::Successful { .. } => "successful",
            Self::Failed(_) => "failed",
            Self::Cancelled(_) => "cancelled",
        }
    }

    pub fn error(&self) -> Option<&Error> {
        match self {
            Self::Successful { .. } => None,
            Self::Failed(error) | Self::Cancelled(error) => Some(error),
        }
    }
}

pub struct Recorder {
    spec: JobSpec,
    project_id: Option<i64>,
    /// Whether the transaction of the files is open.
    storing: bool,
    /// The metrics of the model, once it is recorded as successful.
    succeeded: Option<Value>,
}

impl Recorder {
    pub fn new(spec: &JobSpec) -> Self {
        Self { spec: spec.clone(), project_id: None, storing: false, succeeded: None }
    }

    /// For a job whose worker was lost, perhaps before it recorded anything.
    pub fn of_lost(spec: &JobSpec) -> Self {
        let mut recorder = Self::new(spec);
        let known = transaction::run(|| catalog::project(&spec.project));
        recorder.project_id = known.ok().flatten().map(|p| p.id);
        recorder
    }

    /// The project, once it is recorded.
    pub fn project_id(&self) -> Option<i64> {
        self.project_id
    }

    /// Commits the rows of project, snapshot and model.
    pub fn begin(&mut self, has_slot: bool) -> Result<()> {
        let spec = &self.spec;
        let status = if has_slot { "in_progress" } else { "queued" };
        let project_id = transaction::run(|| {
            let project_id = catalog::find_or_create_project(&spec.project, &spec.task)?;
            let snapshot_id = insert_snapshot(spec)?;
            insert_model(spec, project_id, snapshot_id, status)?;
            Ok(project_id)
        })
        .map_err(explain_lock)?;
        self.project_id = Some(project_id);
        Ok(())
    }

    /// Puts a job that ended back to its beginning, as far as its row goes; what it logged stays until `resumed`.
    pub fn begin_again(&mut self, has_slot: bool) -> Result<()> {
        const AGAIN: &str = "
            UPDATE pgml.models
            SET status = $2, error = NULL, sqlstate = NULL, finished_at = NULL, started_at = NULL, stepping_since = NULL
            WHERE id = $1 AND status <> 'successful' RETURNING project_id";
        let status = if has_slot { "in_progress" } else { "queued" };
        let id = self.spec.model_id;
        let project_id =
            transaction::run(|| catalog::scalar(AGAIN, &[id.into(), status.into()])).map_err(explain_lock)?;
        self.project_id = Some(project_id);
        Ok(())
    }

    /// The trainer goes on from a step: what was logged of later ones comes again.
    pub fn resumed(&self, step: i64) -> Result<()> {
        const RESUMED: &str = "UPDATE pgml.models SET resumed_at_step = $2, step = $2 WHERE id = $1";
        const FORGET: &str = "DELETE FROM pgml.logs WHERE model_id = $1 AND ($2 = 0 OR (logs->>'step')::numeric > $2)";
        let id = self.spec.model_id;
        transaction::run(|| {
            catalog::execute(FORGET, &[id.into(), step.into()])?;
            catalog::execute(RESUMED, &[id.into(), (step as i32).into()])
        })
    }

    /// The job left the queue.
    pub fn start(&self) -> Result<()> {
        const START: &str = "
            UPDATE pgml.models SET status = 'in_progress', started_at = pg_catalog.clock_timestamp() WHERE id = $1";
        let id = self.spec.model_id;
        transaction::run(|| catalog::execute(START, &[id.into()]))
    }

    pub fn log(&self, logs: Value) -> Result<()> {
        let (model_id, project_id) = (self.spec.model_id, self.project_id.unwrap_or_default());
        transaction::run(AssertUnwindSafe(|| catalog::insert_log(model_id, project_id, logs)))
    }

    pub fn progress(&self, step: Option<i64>, max_steps: Option<i64>) -> Result<()> {
        const PROGRESS: &str = "
            UPDATE pgml.models
            SET step = $2, max_steps = $3, stepping_since = COALESCE(stepping_since, pg_catalog.clock_timestamp())
            WHERE id = $1";
        let id = self.spec.model_id;
        let small = |n: Option<i64>| n.and_then(|n| i32::try_from(n).ok());
        transaction::run(|| catalog::execute(PROGRESS, &[id.into(), small(step).into(), small(max_steps).into()]))
    }

    /// Stores a part of a file; the first opens the transaction that `succeed` commits.
    pub fn part(&mut self, header: &Value, data: &[u8]) -> Result<()> {
        if !self.storing {
            transaction::begin();
            self.storing = true;
        }
        let (Some(path), Some(part), Some(size), Some(sha256)) =
            (header["path"].as_str(), header["part"].as_i64(), header["size"].as_i64(), header["sha256"].as_str())
        else {
            return Err(Error::protocol("A part of a file lacks its path, number, size or sha256."));
        };
        let id = self.spec.model_id;
        transaction::catch(AssertUnwindSafe(|| catalog::insert_part(id, path, part as i32, data, size, sha256)))
    }

    /// All files are stored: the model is complete.
    pub fn succeed(&mut self, metrics: Value) -> Result<Outcome> {
        if !self.storing {
            return Err(Error::protocol("The trainer was done without sending a file."));
        }
        let (spec, project_id) = (&self.spec, self.project_id.unwrap_or_default());
        transaction::catch(AssertUnwindSafe(|| {
            catalog::complete_model(spec.model_id, &metrics)?;
            if spec.automatic_deploy && !spec.wait && catalog::is_improvement(project_id, &spec.task, &metrics)? {
                catalog::insert_deployment(project_id, spec.model_id, "new_score")?;
            }
            transaction::commit();
            Ok(())
        }))?;
        self.storing = false;
        self.succeeded = Some(metrics.clone());
        Ok(Outcome::Successful { metrics })
    }

    /// The outcome, once the model is recorded as successful: nothing that comes after changes it.
    pub fn success(&self) -> Option<Outcome> {
        self.succeeded.clone().map(|metrics| Outcome::Successful { metrics })
    }

    /// Records where the model was pushed, or why not.
    pub fn pushed(&self, hub: Value) -> Result<()> {
        let id = self.spec.model_id;
        transaction::run(AssertUnwindSafe(|| catalog::set_hub(id, hub)))
    }

    /// Records how the job ended, if its beginning was. What cannot be recorded is at least in the server log.
    pub fn end(&mut self, outcome: &Outcome) {
        let (Some(error), Some(_)) = (outcome.error(), self.project_id) else { return };
        transaction::roll_back(); // what was stored of the files, or what the error interrupted
        self.storing = false;
        const END: &str = "
            UPDATE pgml.models SET status = $2, error = $3, sqlstate = $4, finished_at = pg_catalog.clock_timestamp()
            WHERE id = $1 AND status IN ('queued', 'in_progress')";
        let (id, status, text, code) = (self.spec.model_id, outcome.status(), error.sentence(), error.sqlstate());
        let record = || {
            transaction::run(|| {
                catalog::execute(END, &[id.into(), status.into(), text.as_str().into(), code.as_str().into()])
            })
        };
        // A second cancel may hit the first attempt.
        if let Err(cause) = record().or_else(|_| record()) {
            pgrx::log!("pgml job {id} ended as {status} ({text}), which could not be recorded: {}", cause.sentence());
        }
    }

    /// The last frame to the waiting backend.
    pub fn end_frame(&self, outcome: &Outcome) -> Value {
        let metrics = match outcome {
            Outcome::Successful { metrics } => metrics.clone(),
            _ => Value::Null,
        };
        json!({
            "event": "end", "status": outcome.status(), "project_id": self.project_id, "metrics": metrics,
            "error": outcome.error().map(Error::to_frame),
        })
    }
}

// Most of all the caller's own transaction: it waits for this job, and the job would wait for it.
fn explain_lock(error: Error) -> Error {
    if error.code != PgSqlErrorCode::ERRCODE_LOCK_NOT_AVAILABLE {
        return error;
    }
    let message = "could not record the job because another transaction locks the registry";
    Error::new(error.code, message)
        .detail(format!("The job worker waited in vain: {}.", error.message))
        .hint("The transaction that calls pgml.tune must not lock the tables of pgml: commit it first.")
}

fn insert_snapshot(spec: &JobSpec) -> Result<i64> {
    const INSERT: &str = "
        INSERT INTO pgml.snapshots (relation_name, y_column_name, test_size, test_sampling, status, columns, analysis,
                                    materialized, seed, train_rows, test_rows, digest)
        VALUES ($1, CASE WHEN $2 IS NOT NULL THEN ARRAY[$2] END, $3, $4::pgml.sampling, 'successful', $5, $6, $7, $8,
                ($6->>'train_rows')::bigint, ($6->>'test_rows')::bigint, $6->>'digest')
        RETURNING id";
    let args = [
        spec.relation.as_str().into(),
        spec.label_column.as_deref().into(),
        spec.test_size.into(),
        spec.test_sampling.as_str().into(),
        JsonB(spec.plan["columns"].clone()).into(),
        JsonB(spec.analysis.clone()).into(),
        spec.materialized.into(),
        spec.plan["seed"].as_i64().into(),
    ];
    catalog::scalar(INSERT, &args)
}

fn insert_model(spec: &JobSpec, project_id: i64, snapshot_id: i64, status: &str) -> Result<()> {
    const INSERT: &str = "
        INSERT INTO pgml.models (id, project_id, snapshot_id, num_features, algorithm, hyperparams, status, base_model, base_revision)
        VALUES ($1, $2, $3, $4, 'transformers', $5, $6, $7, $8)";
    let args = [
        spec.model_id.into(),
        project_id.into(),
        snapshot_id.into(),
        (spec.plan["num_features"].as_i64().unwrap_or(1) as i32).into(),
        JsonB(spec.plan["hyperparams"].clone()).into(),
        status.into(),
        spec.base_model.as_str().into(),
        spec.plan["base_revision"].as_str().into(),
    ];
    catalog::execute(INSERT, &args)
}
