//! A job without a worker: the training runs in this backend, and what it makes is recorded in the caller's transaction.
//!
//! A job that fails or is cancelled therefore leaves nothing: its rows go with the transaction that its error aborts.

use super::account::Account;
use super::attend::{End, show};
use super::directory::JobDirectory;
use super::recorder::Outcome;
use super::spec::JobSpec;
use crate::error::{Error, Result};
use crate::runtime::embedded;
use crate::runtime::startup::{ended_if_gone, ended_while_answering};
use pgrx::PgSqlErrorCode;
use serde_json::{Value, json};

/// Runs the job to its end.
pub fn run(spec: &JobSpec, directory: &JobDirectory, hub: Option<&Value>) -> Result<End> {
    let mut account = Account::new(spec.clone());
    account.recorder.begin(true)?;
    account.recorder.start()?;
    let mut training = embedded::train(&directory.path())?;
    training.channel.send(&json!({"hub": hub}), b"").map_err(ended_if_gone)?;
    loop {
        let frame = training.channel.receive(None)?;
        let outcome = match frame {
            Some(frame) => account.handle(frame.header, &frame.payload, &mut |frame| show(frame))?,
            None => Some(account.ended_by(Outcome::Failed(ended_while_answering()), &mut |frame| show(frame))),
        };
        match outcome {
            None => {}
            Some(Outcome::Successful { metrics }) => {
                training.finish()?;
                return Ok(End { status: "successful".into(), project_id: account.recorder.project_id(), metrics });
            }
            Some(Outcome::Failed(error) | Outcome::Cancelled(error)) => return Err(error),
        }
    }
}

/// Why something cannot be done without a worker.
pub fn needs_shared(message: &str) -> Error {
    Error::new(PgSqlErrorCode::ERRCODE_FEATURE_NOT_SUPPORTED, message)
        .detail("pgml.runtime is embedded: a job lives in the session and the transaction that start it.")
        .hint("SET pgml.runtime = 'shared';")
}
