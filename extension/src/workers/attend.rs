//! The caller's side of a job: starts the job worker, and waits with it.

use super::directory::JobDirectory;
use super::launch;
use super::spec::JobSpec;
use crate::error::{self, Error, Result};
use crate::wait::{self, Channel, Readiness};
use pgrx::bgworkers::{BackgroundWorkerStatus, DynamicBackgroundWorker};
use pgrx::{PgLogLevel, PgSqlErrorCode};
use serde_json::{Value, json};
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixListener;
use std::time::Duration;

/// How the job stands when the statement returns.
pub struct End {
    pub status: String,
    pub project_id: Option<i64>,
    pub metrics: Value,
}

/// Starts the worker and waits: for the end of the job, or with `wait => false` until it is recorded. `mode` is `run` or
/// `resume`; `hub`, which holds a token, reaches the worker over its socket only.
pub fn run(mode: &str, spec: &JobSpec, directory: &mut JobDirectory, hub: Option<&Value>) -> Result<End> {
    let _ = std::fs::remove_file(directory.files.socket()); // of the worker that the job had before
    let listener = UnixListener::bind(directory.files.socket()).map_err(|e| Error::io("listen for the job", &e))?;
    listener.set_nonblocking(true).map_err(|e| Error::io("listen for the job", &e))?;
    let worker = launch::start_when_possible(|| launch::job_builder(mode, spec.database, spec.model_id))?;
    directory.hand_over();
    let mut channel = accept(&listener, &worker)?;
    if let Some(hub) = hub {
        channel.send(&json!({"op": "hub", "hub": hub}), b"")?;
    }
    Attendance { channel, worker: worker.pid().ok(), cancel_on_drop: true }.wait_for_end(spec.wait)
}

fn accept(listener: &UnixListener, worker: &DynamicBackgroundWorker) -> Result<Channel> {
    loop {
        match listener.accept() {
            Ok((stream, _)) => return Channel::new(stream),
            Err(e) if e.kind() == std::io::ErrorKind::WouldBlock => {}
            Err(e) => return Err(Error::io("accept the job's connection", &e)),
        }
        if matches!(worker.pid(), Err(BackgroundWorkerStatus::Stopped | BackgroundWorkerStatus::PostmasterDied)) {
            return Err(ended_silently());
        }
        wait::descriptor(listener.as_raw_fd(), Readiness::Readable, Some(Duration::from_millis(200)));
    }
}

fn ended_silently() -> Error {
    Error::new(PgSqlErrorCode::ERRCODE_INTERNAL_ERROR, "the job worker ended without a word")
        .hint("The server log has the reason. SELECT * FROM pgml.jobs; tells how the job stands.")
}

/// Shows the user what a job says on its way.
pub fn show(header: &Value) {
    let message = header["message"].as_str().unwrap_or_default();
    match header["event"].as_str().unwrap_or_default() {
        "notice" => error::notice(message),
        "info" => Error::new(PgSqlErrorCode::ERRCODE_SUCCESSFUL_COMPLETION, message).emit(PgLogLevel::INFO),
        "warning" => Error::from_frame(&header["error"]).emit(PgLogLevel::WARNING),
        _ => {}
    }
}

/// While it lives, the statement waits. An error that unwinds through it, such as a cancel, stops the job.
struct Attendance {
    channel: Channel,
    worker: Option<i32>,
    cancel_on_drop: bool,
}

impl Attendance {
    fn wait_for_end(mut self, to_the_end: bool) -> Result<End> {
        loop {
            let frame = self.channel.receive(None)?;
            let Some(frame) = frame else {
                self.cancel_on_drop = false;
                return Err(ended_silently());
            };
            match frame.header["event"].as_str().unwrap_or_default() {
                "recorded" if !to_the_end => {
                    self.cancel_on_drop = false;
                    return Ok(Self::end(&frame.header));
                }
                "end" => {
                    self.cancel_on_drop = false;
                    return match &frame.header["error"] {
                        Value::Null => Ok(Self::end(&frame.header)),
                        error => Err(Error::from_frame(error)),
                    };
                }
                _ => show(&frame.header),
            }
        }
    }

    fn end(header: &Value) -> End {
        End {
            status: header["status"].as_str().unwrap_or_default().to_string(),
            project_id: header["project_id"].as_i64(),
            metrics: header["metrics"].clone(),
        }
    }
}

/// Cancels what a job worker does.
pub fn interrupt(worker: i32) {
    // SAFETY: kill takes numbers. The connection or the lock of the worker says that it lives.
    unsafe { libc::kill(worker, libc::SIGINT) };
}

impl Drop for Attendance {
    fn drop(&mut self) {
        if self.cancel_on_drop {
            let _ = self.channel.post(&json!({"op": "cancel"}));
            // The frame says why; the signal reaches a worker that waits for a lock.
            if let Some(worker) = self.worker {
                interrupt(worker);
            }
        }
    }
}
