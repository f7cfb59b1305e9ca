//! The worker of one tuning job: records the job, starts its trainer, records what it reports, passes it on to the caller.
//!
//! It works in short transactions of its own, so that every session sees how the job stands, and so that the caller's
//! transaction, which may end in any way, takes nothing with it.

use super::account::Account;
use super::recorder::{Outcome, Recorder};
use super::spec::JobSpec;
use super::trainer::{Event, Trainer};
use super::{kept, report, signals};
use crate::error::{Error, Result};
use crate::wait::{self, Channel, Filled, Readiness};
use crate::{catalog, gucs, transaction};
use pgml_core::lock::FileLock;
use pgml_core::paths::{self, JobFiles};
use pgml_core::redact::remember;
use pgrx::PgSqlErrorCode;
use pgrx::bgworkers::BackgroundWorker;
use pgrx::prelude::*;
use serde_json::{Value, json};
use std::os::unix::net::UnixStream;
use std::panic::AssertUnwindSafe;
use std::time::{Duration, Instant};

const TICK: Duration = Duration::from_millis(250);
/// How long a trainer may take to end by itself.
const GRACE: Duration = Duration::from_millis(1500);

/// Bytes that a caller who does not read may leave waiting.
const MOST_PENDING: usize = 1 << 20;

/// Main function of the worker. Its orders are `run|resume|recover <database> <model id>`.
#[pg_guard]
#[unsafe(no_mangle)]
pub extern "C-unwind" fn pgml_job_main(_argument: pg_sys::Datum) {
    signals::attach();
    let orders = BackgroundWorker::get_extra().to_string();
    if let Err(error) = follow(&orders) {
        error.emit(pgrx::PgLogLevel::WARNING);
    }
}

fn follow(orders: &str) -> Result<()> {
    let words: Vec<&str> = orders.split(' ').collect();
    let (Some(mode), Some(Ok(database)), Some(Ok(model_id))) =
        (words.first(), words.get(1).map(|w| w.parse()), words.get(2).map(|w| w.parse()))
    else {
        return Err(Error::protocol(format!("The orders of a job worker are \"{orders}\".")));
    };
    let directory = paths::job_directory(database, model_id);
    let files = JobFiles(directory.clone());
    let spec = JobSpec::read(&files)?;
    let _lock = lock(&files)?;
    connect(&spec)?;
    let succeeded = match *mode {
        "recover" => {
            Recorder::of_lost(&spec).end(&Outcome::Failed(lost()));
            false
        }
        _ => Job::new(spec, files, *mode == "resume").run(),
    };
    kept::leave(&directory, succeeded)
}

// The backend holds the lock until the worker has started.
fn lock(files: &JobFiles) -> Result<FileLock> {
    let lock = wait::file_lock(&files.lock(), Duration::from_secs(10)).map_err(|e| Error::io("lock the job", &e))?;
    lock.ok_or_else(|| Error::new(PgSqlErrorCode::ERRCODE_LOCK_NOT_AVAILABLE, "another worker has the job"))
}

/// Connects to the job's database as its session's user, and acts as the user who called.
fn connect(spec: &JobSpec) -> Result<()> {
    // SAFETY: called once in a worker that asked for a database connection, outside of any transaction. Outside of one,
    // SetUserIdAndSecContext lasts; an aborted transaction returns to it.
    unsafe {
        pg_sys::BackgroundWorkerInitializeConnectionByOid(spec.database.into(), spec.session_user.into(), 0);
        pg_sys::SetUserIdAndSecContext(spec.current_user.into(), 0);
    }
    // The caller waits for us outside of PostgreSQL's deadlock detector, so we never wait long for a lock of the caller's.
    const SETTINGS: &str = "
        SELECT pg_catalog.set_config(name, value, false)
        FROM (VALUES ('lock_timeout', '10s'), ('search_path', 'pg_catalog, pg_temp'), ('statement_timeout', '0'),
                     ('default_transaction_read_only', 'off'), ('default_transaction_isolation', 'read committed'),
                     ('application_name', 'pgml job')) AS settings (name, value)";
    transaction::run(|| catalog::execute(SETTINGS, &[]))
}

fn lost() -> Error {
    Error::new(PgSqlErrorCode::ERRCODE_CRASH_SHUTDOWN, "the server ended while the job was running")
}

/// Why a job is stopped before its end.
enum Stop {
    Cancelled(&'static str),
    Shutdown,
}

impl Stop {
    fn outcome(&self) -> Outcome {
        match self {
            Self::Cancelled(why) => Outcome::Cancelled(Error::new(
                PgSqlErrorCode::ERRCODE_QUERY_CANCELED,
                format!("the job was canceled {why}"),
            )),
            Self::Shutdown => Outcome::Failed(Error::new(
                PgSqlErrorCode::ERRCODE_ADMIN_SHUTDOWN,
                "the job was ended because the server shuts down or an administrator ended its worker",
            )),
        }
    }
}

struct Job {
    account: Account,
    files: JobFiles,
    caller: Caller,
    /// What the job may do on the Hub, once the caller has told.
    hub: Option<Value>,
    resume: bool,
}

/// The waiting backend, as long as it waits.
struct Caller(Option<Channel>);

impl Caller {
    /// Tells it something. One that does not read holds up nothing: it misses lines, but not the end.
    fn tell(&mut self, frame: &Value) {
        if let Some(caller) = &mut self.0
            && (caller.pending() < MOST_PENDING || frame["event"] == "end")
        {
            // That it is gone is found out by reading: the last thing it said may be a cancel.
            let _ = caller.post(frame);
        }
    }
}

impl Job {
    fn new(spec: JobSpec, files: JobFiles, resume: bool) -> Self {
        let caller = UnixStream::connect(files.socket()).ok().and_then(|stream| Channel::new(stream).ok());
        Self { account: Account::new(spec), files, caller: Caller(caller), hub: None, resume }
    }

    /// Whether it was successful.
    fn run(mut self) -> bool {
        // A cancel is an error that PostgreSQL raises wherever the worker is, also while it waits for a lock.
        let led = transaction::catch(AssertUnwindSafe(|| self.lead()));
        let outcome = match led {
            Ok(outcome) => outcome,
            Err(error) if self.account.recorder.success().is_some() => {
                transaction::roll_back();
                self.ended_by(Outcome::Failed(error))
            }
            Err(error) if error.code == PgSqlErrorCode::ERRCODE_QUERY_CANCELED => {
                self.must_stop().unwrap_or(Stop::Cancelled("by pg_cancel_backend")).outcome()
            }
            Err(error) => Outcome::Failed(error),
        };
        self.account.recorder.end(&outcome);
        let end = self.account.recorder.end_frame(&outcome);
        self.caller.tell(&end);
        self.wait_for_caller();
        matches!(outcome, Outcome::Successful { .. })
    }

    /// From the first row in the registry to the outcome. An `Err` is a failure of the job.
    fn lead(&mut self) -> Result<Outcome> {
        let mut slot = free_slot()?;
        if self.resume {
            self.account.recorder.begin_again(slot.is_some())?
        } else {
            self.account.recorder.begin(slot.is_some())?
        }
        self.caller
            .tell(&json!({"event": "recorded", "status": if slot.is_some() { "in_progress" } else { "queued" }}));
        if slot.is_none() {
            let running = gucs::max_jobs();
            self.notice(&format!("the job is queued: {running} other job(s) are running (pgml.max_jobs)"));
        }
        while slot.is_none() {
            if let Some(stop) = self.must_stop() {
                return Ok(stop.outcome());
            }
            wait::pause(TICK);
            slot = free_slot()?;
        }
        self.account.recorder.start()?;
        if let Some(stop) = self.wait_for_hub() {
            return Ok(stop.outcome());
        }
        let trainer = Trainer::spawn(&self.files, self.resume, self.hub.as_ref())?;
        self.accompany(trainer)
    }

    // Sent as soon as the caller heard from us; one that is gone cannot, and the push does without a token.
    fn wait_for_hub(&mut self) -> Option<Stop> {
        let deadline = Instant::now() + Duration::from_secs(5);
        while self.account.pushes() && self.hub.is_none() && self.caller.0.is_some() && Instant::now() < deadline {
            if let Some(stop) = self.must_stop() {
                return Some(stop);
            }
            wait::pause(Duration::from_millis(20));
        }
        None
    }

    /// Until the trainer is done; if it pushes the model, which is recorded by then, until that is over too.
    fn accompany(&mut self, mut trainer: Trainer) -> Result<Outcome> {
        loop {
            if let Some(stop) = self.must_stop() {
                trainer.end(if matches!(stop, Stop::Shutdown) { GRACE / 3 } else { GRACE });
                return Ok(self.ended_by(stop.outcome()));
            }
            for line in trainer.log_lines() {
                report::log_line(&format!("pgml job {}", self.account.spec.model_id), &line);
            }
            match trainer.next_event()? {
                Some(Event::Frame(frame)) => {
                    if let Some(outcome) =
                        self.account.handle(frame.header, &frame.payload, &mut |frame| self.caller.tell(frame))?
                    {
                        return Ok(outcome);
                    }
                }
                Some(Event::Ended(error)) => return Ok(self.ended_by(Outcome::Failed(error))),
                None => {
                    let caller = self.caller.0.as_ref().map(Channel::fd);
                    let descriptors: Vec<i32> = trainer.descriptors().into_iter().chain(caller).collect();
                    wait::any(&descriptors, TICK);
                }
            }
        }
    }

    fn ended_by(&mut self, outcome: Outcome) -> Outcome {
        self.account.ended_by(outcome, &mut |frame| self.caller.tell(frame))
    }

    fn notice(&mut self, message: &str) {
        self.caller.tell(&json!({"event": "notice", "message": message}));
    }

    // The job is over and recorded; what is left to do is to be heard.
    fn wait_for_caller(&mut self) {
        while let Some(caller) = self.caller.0.as_mut().filter(|c| c.pending() > 0) {
            if signals::must_end() || caller.flush().is_err() {
                return;
            }
            wait::descriptor(caller.fd(), Readiness::Writeable, Some(TICK));
        }
    }

    fn must_stop(&mut self) -> Option<Stop> {
        if signals::must_end() {
            return Some(Stop::Shutdown);
        }
        signals::reload_if_asked();
        if self.files.cancel_request().exists() {
            return Some(Stop::Cancelled("by pgml.cancel"));
        }
        self.listen_to_caller()
    }

    fn listen_to_caller(&mut self) -> Option<Stop> {
        let caller = self.caller.0.as_mut()?;
        let _ = caller.flush();
        let filled = caller.fill();
        // What it said before it closed counts.
        while let Ok(Some(mut frame)) = caller.pop() {
            match frame.header["op"].as_str() {
                Some("hub") => {
                    let hub = frame.header["hub"].take();
                    ["token", "push_token"].iter().filter_map(|key| hub[*key].as_str()).for_each(remember);
                    self.hub = Some(hub);
                }
                Some("cancel") => {
                    self.caller.0 = None;
                    return Some(Stop::Cancelled("by the statement that started it"));
                }
                _ => {}
            }
        }
        if matches!(filled, Ok(Filled::Closed) | Err(_)) {
            self.caller.0 = None;
            return (self.account.spec.wait && self.account.spec.cancel_on_disconnect)
                .then_some(Stop::Cancelled("because its caller disconnected (pgml.on_disconnect)"));
        }
        None
    }
}

// A lock on a file is given back however the worker ends.
fn free_slot() -> Result<Option<FileLock>> {
    for slot in 0..gucs::max_jobs() {
        if let Some(lock) =
            FileLock::try_acquire(&paths::job_slot(slot)).map_err(|e| Error::io("lock a slot for the job", &e))?
        {
            return Ok(Some(lock));
        }
    }
    Ok(None)
}
