//! `pgml.resume`: goes on with a job that did not succeed, from its last checkpoint on this machine.

use super::tune::{self, Tuned};
use crate::catalog;
use crate::error::{Error, OrReport, Result};
use crate::workers::attend::{self, End};
use crate::workers::directory::{JobDirectory, files_of};
use crate::workers::in_process;
use crate::workers::kept;
use crate::workers::spec::JobSpec;
use crate::{gucs, hub};
use pgml_core::lock::FileLock;
use pgrx::PgSqlErrorCode;
use pgrx::prelude::*;

#[pg_extern(sql = false)]
fn resume(model_id: i64, wait: Option<bool>) -> Tuned {
    let (spec, end) = go_on(model_id, wait.unwrap_or(true)).or_report();
    tune::row(spec, end).or_report()
}

#[pg_extern(sql = false)]
fn job_is_resumable(model_id: i64) -> bool {
    let files = files_of(model_id);
    !FileLock::is_held(&files.lock()) && kept::is_resumable(&files)
}

fn go_on(model_id: i64, wait: bool) -> Result<(JobSpec, End)> {
    if gucs::is_embedded() {
        return Err(in_process::needs_shared("pgml.resume cannot be used in embedded mode"));
    }
    check_status(model_id)?;
    let mut directory = JobDirectory::reopen(model_id)?.ok_or_else(|| nothing_left(model_id))?;
    if !kept::is_resumable(&directory.files) {
        return Err(nothing_left(model_id));
    }
    let mut spec = JobSpec::read(&directory.files)?;
    spec.act_for_caller(wait, gucs::on_disconnect() == gucs::OnDisconnect::Cancel);
    for marker in [directory.files.cancel_request(), directory.files.ended()] {
        let _ = std::fs::remove_file(marker);
    }
    spec.write(&directory.files)?;
    let hub = if spec.plan["push"].is_null() { None } else { Some(hub::settings(None)?) };
    let end = attend::run("resume", &spec, &mut directory, hub.as_ref())?;
    Ok((spec, end))
}

fn check_status(model_id: i64) -> Result<()> {
    const STATUS: &str = "SELECT status FROM pgml.jobs WHERE model_id = $1";
    let status = catalog::first_row(STATUS, &[model_id.into()], |row| catalog::required::<String>(row, 1))?;
    let hint = "SELECT model_id, status, resumable FROM pgml.jobs; lists the jobs.";
    match status.as_deref() {
        None => Err(Error::undefined(format!("model {model_id} does not exist")).hint(hint)),
        Some("failed" | "cancelled") => Ok(()),
        Some(status) => {
            let message = format!("the job of model {model_id} cannot be resumed because its status is {status}");
            Err(Error::new(PgSqlErrorCode::ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE, message).hint(hint))
        }
    }
}

fn nothing_left(model_id: i64) -> Error {
    Error::new(
        PgSqlErrorCode::ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE,
        format!("the job of model {model_id} cannot be resumed"),
    )
    .detail("It left no checkpoint on this machine, or its time (pgml.resume_window) is over.")
    .hint("pgml.tune starts it anew.")
}
