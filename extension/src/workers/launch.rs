//! Starting background workers, and what their child processes need.

use super::kept;
use super::spec::JobSpec;
use crate::error::{self, Error, Result};
use crate::{gucs, wait};
use pgml_core::lock::FileLock;
use pgml_core::paths::{self, JobFiles};
use pgrx::PgSqlErrorCode;
use pgrx::bgworkers::{BackgroundWorkerBuilder, BackgroundWorkerStatus, DynamicBackgroundWorker};
use pgrx::pg_sys;
use std::path::PathBuf;
use std::time::Duration;

/// Starts a worker and waits until it runs; it may be over by then. The error says how to make room.
pub fn start(builder: BackgroundWorkerBuilder) -> Result<DynamicBackgroundWorker> {
    let worker = register(builder).ok_or_else(no_slot)?;
    match worker.wait_for_startup() {
        // A supervisor that finds another one still there ends at once.
        Ok(_) | Err(BackgroundWorkerStatus::Stopped) => Ok(worker),
        Err(status) => {
            let message = "a background worker of pgml did not start";
            Err(Error::new(PgSqlErrorCode::ERRCODE_INTERNAL_ERROR, message)
                .detail(format!("Its state is {status:?}."))
                .hint("The server log has the reason."))
        }
    }
}

/// As `start`, but waits for a free slot as long as it takes; the caller can cancel.
pub fn start_when_possible(make: impl Fn() -> BackgroundWorkerBuilder) -> Result<DynamicBackgroundWorker> {
    let mut told = false;
    loop {
        match start(make()) {
            Err(error) if error.code == PgSqlErrorCode::ERRCODE_INSUFFICIENT_RESOURCES => {
                if !told {
                    error::notice(
                        "the job is queued: all background workers of the server are busy (max_worker_processes)",
                    );
                    told = true;
                }
                wait::pause(Duration::from_millis(200));
            }
            done => return done,
        }
    }
}

fn register(builder: BackgroundWorkerBuilder) -> Option<DynamicBackgroundWorker> {
    // SAFETY: reads this process' own id.
    builder.set_notify_pid(unsafe { pg_sys::MyProcPid }).load_dynamic().ok()
}

fn no_slot() -> Error {
    Error::new(PgSqlErrorCode::ERRCODE_INSUFFICIENT_RESOURCES, "could not register a background worker")
        .detail("All slots of max_worker_processes are taken.")
        .hint("Raise max_worker_processes and restart the server.")
}

/// A worker for one job: `run` it, or `recover` its registry row after its worker was lost.
pub fn job_builder(mode: &str, database: u32, model_id: i64) -> BackgroundWorkerBuilder {
    BackgroundWorkerBuilder::new(&format!("pgml job {model_id}"))
        .set_type("pgml job")
        .set_library("pgml")
        .set_function("pgml_job_main")
        .enable_spi_access()
        .set_restart_time(None)
        .set_extra(&format!("{mode} {database} {model_id}"))
}

/// Environment of every Python process of ours.
pub fn environment() -> Vec<(String, String)> {
    let pairs = [
        // What is printed reaches the log at once, in the encoding the log is read in.
        ("PYTHONUNBUFFERED", "1"),
        ("PYTHONUTF8", "1"),
        // The working directory is the data directory; nothing there may be imported.
        ("PYTHONSAFEPATH", "1"),
        // The Hub is not asked.
        ("HF_HUB_OFFLINE", "1"),
        ("HF_HUB_DISABLE_TELEMETRY", "1"),
        ("TOKENIZERS_PARALLELISM", "true"),
    ];
    let mut all: Vec<(String, String)> = pairs.iter().map(|(k, v)| (k.to_string(), v.to_string())).collect();
    // The server's user may have no home that can be written; libraries look for one.
    if let Ok(directory) = std::env::current_dir() {
        let home = directory.join(paths::HOME).join("home");
        all.push(("HF_HOME".into(), home.to_string_lossy().into_owned()));
    }
    if gucs::runtime_threads() > 0 {
        all.push(("OMP_NUM_THREADS".into(), gucs::runtime_threads().to_string()));
    }
    all
}

/// Jobs whose worker ended without a word, as after a crash of the server, are recorded as failed by a worker of their own.
pub fn recover_lost_jobs() {
    for (database, model_id) in lost_jobs() {
        if register(job_builder("recover", database, model_id)).is_none() {
            pgrx::log!(
                "pgml: no background worker to record the loss of job {model_id}; it is tried at the next start"
            );
        }
    }
}

/// Jobs that did not succeed are removed when their time to be resumed is over.
pub fn remove_old_jobs() {
    for (database, model_id) in jobs_on_disk() {
        let directory = paths::job_directory(database, model_id);
        if !FileLock::is_held(&JobFiles(directory.clone()).lock()) {
            kept::is_kept(&directory);
        }
    }
}

fn lost_jobs() -> Vec<(u32, i64)> {
    jobs_on_disk().filter(|&(database, model_id)| is_lost(database, model_id)).collect()
}

fn jobs_on_disk() -> impl Iterator<Item = (u32, i64)> {
    let numbers = |path: PathBuf| -> Vec<i64> {
        let entries = std::fs::read_dir(path).into_iter().flatten().flatten();
        entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect()
    };
    let databases = numbers(paths::JOBS.into()).into_iter().filter_map(|d| u32::try_from(d).ok());
    databases
        .flat_map(move |d| numbers(PathBuf::from(paths::JOBS).join(d.to_string())).into_iter().map(move |m| (d, m)))
}

fn is_lost(database: u32, model_id: i64) -> bool {
    let directory = paths::job_directory(database, model_id);
    let files = JobFiles(directory.clone());
    if FileLock::is_held(&files.lock()) || kept::is_kept(&directory) {
        return false;
    }
    if JobSpec::read(&files).is_ok() {
        return true;
    }
    // Its backend ended while it read the rows: nothing was recorded, nothing is to be kept.
    let _ = std::fs::remove_dir_all(directory);
    false
}
