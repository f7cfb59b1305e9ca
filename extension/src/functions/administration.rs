//! Looking at the runtime and steering it: status, restart, cancel, version.

use crate::catalog;
use crate::error::{Error, OrReport, Result};
use crate::gucs;
use crate::runtime::{client, startup};
use crate::workers::attend::interrupt;
use crate::workers::directory::files_of;
use pgml_core::lock::FileLock;
use pgml_core::paths;
use pgml_core::state::{Phase, RuntimeState};
use pgrx::JsonB;
use pgrx::PgSqlErrorCode;
use pgrx::datum::TimestampWithTimeZone;
use pgrx::prelude::*;
use serde_json::{Value, json};
use std::time::{Duration, Instant};

#[pg_extern(sql = false)]
fn version() -> &'static str {
    env!("CARGO_PKG_VERSION")
}

type Status = TableIterator<
    'static,
    (
        name!(state, String),
        name!(pid, Option<i32>),
        name!(supervisor_pid, Option<i32>),
        name!(python, Option<String>),
        name!(started_at, Option<TimestampWithTimeZone>),
        name!(starts, Option<i64>),
        name!(last_exit, Option<String>),
        name!(last_words, Option<String>),
        name!(device, Option<String>),
        name!(memory_bytes, Option<i64>),
        name!(packages, Option<JsonB>),
    ),
>;

// Starts nothing: who looks must not change what he looks at.
#[pg_extern(sql = false)]
fn runtime_status() -> Status {
    if gucs::is_embedded() {
        return embedded_status(server_status().unwrap_or_default());
    }
    let state = startup::state();
    let alive = startup::supervisor_is_alive();
    let phase = match &state {
        Some(state) if alive => state.phase.name(),
        _ => "stopped",
    };
    let status = server_status().unwrap_or_default();
    let live = state.as_ref().filter(|_| alive);
    TableIterator::once((
        phase.to_string(),
        live.and_then(|s| s.pid),
        live.map(|s| s.supervisor_pid),
        state.as_ref().map(|s| s.python.clone()),
        live.filter(|s| s.pid.is_some()).map(|s| pgrx::datum::to_timestamp(s.started_at as f64)),
        state.as_ref().map(|s| s.starts as i64),
        state.as_ref().and_then(|s| s.last_exit.clone()),
        state.as_ref().and_then(|s| s.last_words.clone()),
        status["device"].as_str().map(str::to_string),
        status["memory_bytes"].as_i64(),
        status.get("packages").cloned().map(JsonB),
    ))
}

// Of this session: it has no supervisor, and no history.
fn embedded_status(status: Value) -> Status {
    let phase = if status.is_null() { "stopped" } else { "embedded" };
    TableIterator::once((
        phase.to_string(),
        status["pid"].as_i64().and_then(|pid| pid.try_into().ok()),
        None,
        Some(gucs::venv()),
        None,
        None,
        None,
        None,
        status["device"].as_str().map(str::to_string),
        status["memory_bytes"].as_i64(),
        status.get("packages").cloned().map(JsonB),
    ))
}

#[pg_extern(sql = false)]
fn loaded_models() -> JsonB {
    let Value::Array(mut models) = server_status().unwrap_or_default()["models"].take() else {
        return JsonB(json!([]));
    };
    models.retain(|model| model["role"].as_str().is_none_or(is_member));
    JsonB(Value::Array(models))
}

// A private model of the Hub is its role's business, its name too.
fn is_member(role: &str) -> bool {
    let role = role.parse().unwrap_or_default();
    // SAFETY: reads the roles of the current user; a number that is no role's has no members.
    unsafe { pg_sys::is_member_of_role(pg_sys::GetUserId(), pg_sys::Oid::from_u32(role)) }
}

fn server_status() -> Option<Value> {
    client::ask_if_running(&json!({"op": "status"}))?.header.get("status").cloned()
}

/// Ends the server process; the supervisor starts a new one, with what the settings say now. Waits until it answers.
#[pg_extern(sql = false)]
fn restart_runtime() -> bool {
    restart().or_report();
    true
}

fn restart() -> Result<()> {
    if gucs::is_embedded() {
        let message = "the runtime of embedded mode cannot be restarted";
        return Err(Error::new(PgSqlErrorCode::ERRCODE_FEATURE_NOT_SUPPORTED, message)
            .detail("It is a part of this session's process.")
            .hint("Open a new connection."));
    }
    if startup::supervisor_is_alive() {
        let starts = startup::state().map_or(0, |s| s.starts);
        std::fs::write(paths::RESTART_REQUEST, b"").map_err(|e| Error::io("ask for a restart", &e))?;
        wake_supervisor();
        wait_while(|state| state.starts == starts, Duration::from_secs(10));
    }
    startup::connect()?;
    // The supervisor may learn it a moment later, and pgml.runtime_status() says what the supervisor knows.
    wait_while(|state| state.phase == Phase::Starting, Duration::from_secs(2));
    Ok(())
}

fn wait_while(unchanged: impl Fn(&RuntimeState) -> bool, at_most: Duration) {
    let deadline = Instant::now() + at_most;
    while startup::state().as_ref().is_some_and(&unchanged) && Instant::now() < deadline {
        crate::wait::pause(Duration::from_millis(20));
    }
}

// The supervisor looks twice a second; its latch makes it look now.
fn wake_supervisor() {
    if let Some(state) = startup::state() {
        // SAFETY: kill takes numbers. The lock says that the supervisor lives, and SIGUSR1 only sets a worker's latch.
        unsafe { libc::kill(state.supervisor_pid, libc::SIGUSR1) };
    }
}

/// Asks a job to stop. `false` when it is over, or was never there.
#[pg_extern(sql = false)]
fn cancel(model_id: i64) -> bool {
    cancel_job(model_id).or_report()
}

fn cancel_job(model_id: i64) -> Result<bool> {
    const VISIBLE: &str = "SELECT id FROM pgml.models WHERE id = $1";
    let model = catalog::first_row(VISIBLE, &[model_id.into()], |row| catalog::required::<i64>(row, 1))?;
    model.ok_or_else(|| {
        Error::undefined(format!("model {model_id} does not exist")).hint("SELECT * FROM pgml.jobs; lists the jobs.")
    })?;
    let files = files_of(model_id);
    // Whatever its status: a job whose model is recorded may still push it.
    let Some(worker) = FileLock::holder(&files.lock()) else { return Ok(false) };
    std::fs::write(files.cancel_request(), b"").map_err(|e| Error::io("ask the job to stop", &e))?;
    interrupt(worker);
    Ok(true)
}

#[pg_extern(sql = false)]
fn job_is_alive(model_id: i64) -> bool {
    // The asking statement's snapshot may be older than the job's end, so a job without a worker is looked at anew.
    // One that is unfinished even then lost its worker, or never ran here: its row was restored from a dump.
    FileLock::is_held(&files_of(model_id).lock()) || !catalog::is_unfinished_now(model_id)
}
