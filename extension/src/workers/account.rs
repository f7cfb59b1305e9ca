//! What a trainer says, put into the registry and told to the caller. Knows nothing of where the trainer runs.

use super::progress;
use super::recorder::{Outcome, Recorder};
use super::spec::JobSpec;
use crate::error::{Error, Result};
use crate::transaction;
use pgrx::PgSqlErrorCode;
use serde_json::{Value, json};
use std::time::Instant;

/// How the frames for the caller reach it.
pub type Tell<'a> = &'a mut dyn FnMut(&Value);

pub struct Account {
    pub spec: JobSpec,
    pub recorder: Recorder,
    /// When the first step began.
    stepping_since: Option<Instant>,
}

impl Account {
    pub fn new(spec: JobSpec) -> Self {
        Self { recorder: Recorder::new(&spec), spec, stepping_since: None }
    }

    pub fn pushes(&self) -> bool {
        !self.spec.plan["push"].is_null()
    }

    /// What ends a job whose model is recorded ends its push only.
    pub fn ended_by(&mut self, outcome: Outcome, tell: Tell) -> Outcome {
        let Some(success) = self.recorder.success() else { return outcome };
        if let Some(error) = outcome.error() {
            self.not_pushed(&Error { detail: Some(error.sentence()), ..self.push_ended() }, tell);
        }
        success
    }

    fn push_ended(&self) -> Error {
        Error::new(PgSqlErrorCode::ERRCODE_CONNECTION_FAILURE, "the push to the Hub was ended before it was done").hint(
            format!(
                "SELECT * FROM pgml.push_to_hub({}, '{}'); pushes the model.",
                self.spec.model_id,
                self.spec.plan["push"]["repo_id"].as_str().unwrap_or_default()
            ),
        )
    }

    fn not_pushed(&mut self, error: &Error, tell: Tell) {
        let repository = self.spec.plan["push"]["repo_id"].clone();
        let recorded = json!({"repo_id": repository, "error": error.sentence(), "sqlstate": error.sqlstate()});
        if let Err(cause) = self.recorder.pushed(recorded) {
            if transaction::is_callers() {
                cause.report(); // it has broken the transaction
            }
            pgrx::log!("pgml job {}: {}", self.spec.model_id, cause.sentence());
        }
        tell(&json!({"event": "warning", "error": error.to_frame()}));
    }

    /// Takes in one frame; gives the outcome with the last.
    pub fn handle(&mut self, mut header: Value, payload: &[u8], tell: Tell) -> Result<Option<Outcome>> {
        match header["event"].as_str().unwrap_or_default() {
            "notice" => tell(&header),
            "log" => {
                let Value::Object(logs) = header["logs"].take() else { return Ok(None) };
                let message = progress::describe(&logs, self.stepping_since.map(|t| t.elapsed()));
                self.recorder.log(Value::Object(logs))?;
                tell(&json!({"event": "info", "message": message}));
            }
            "progress" => {
                self.stepping_since.get_or_insert_with(Instant::now);
                self.recorder.progress(header["step"].as_i64(), header["max_steps"].as_i64())?;
            }
            "file" => self.recorder.part(&header, payload)?,
            "done" => {
                let outcome = self.recorder.succeed(header["metrics"].take())?;
                return Ok(Some(outcome).filter(|_| !self.pushes()));
            }
            "resumed" => self.recorder.resumed(header["step"].as_i64().unwrap_or_default())?,
            "pushed" => {
                self.recorder.pushed(header["hub"].take())?;
                return Ok(self.recorder.success());
            }
            "push_failed" => {
                self.not_pushed(&Error::from_frame(&header["error"]), tell);
                return Ok(self.recorder.success());
            }
            "error" => return Ok(Some(Outcome::Failed(Error::from_frame(&header["error"])))),
            _ => {} // the hello, and what a newer trainer may say beside
        }
        Ok(None)
    }
}
