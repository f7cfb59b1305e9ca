//! The runtime inside this backend, by PL/Python: for servers that may start no process.
//!
//! The same Python speaks the same frames, over a socket pair instead of the server process' socket. Its threads work
//! while `wait_for_threads` lets them: whenever PL/Python returns to PostgreSQL it keeps Python's lock, and they stand still.

use crate::error::{Error, OrReport, Result};
use crate::wait::{self, Channel};
use crate::{gucs, hub};
use pgml_core::paths;
use pgrx::{PgSqlErrorCode, pg_guard, pg_sys};
use serde_json::json;
use std::cell::Cell;
use std::ffi::CString;
use std::os::fd::IntoRawFd;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::sync::atomic::{AtomicI32, Ordering};
use std::time::{Duration, Instant};

const BOOTSTRAP: &str = include_str!("bootstrap.py");
/// How long Python's threads work before PostgreSQL's interrupts are looked at.
const SLICE: Duration = Duration::from_millis(100);
/// How long a training that is cancelled or done may take to end before the statement ends.
const GRACE_SECONDS: f64 = 2.0;

/// The exit status of this process, when it has one.
static STATUS: AtomicI32 = AtomicI32::new(0);

thread_local! {
    static STARTED: Cell<bool> = const { Cell::new(false) };
    static CLEANED: Cell<bool> = const { Cell::new(false) };
    static TRAINING: Cell<bool> = const { Cell::new(false) };
}

/// Whether this session's Python has work of ours.
pub fn is_started() -> bool {
    STARTED.get()
}

/// A connection to the runtime of this session, which is started on first use.
pub fn connect() -> Result<Channel> {
    let (ours, theirs) = pair()?;
    start()?;
    call(&format!("serve({})", theirs.into_raw_fd()))?;
    Channel::new(ours)
}

/// Starts the training of a job directory.
pub fn train(job: &str) -> Result<Training> {
    let (ours, theirs) = pair()?;
    start()?;
    call(&format!("train({}, {})", theirs.into_raw_fd(), literal(job)))?;
    TRAINING.set(true);
    Ok(Training { channel: Channel::new(ours)? })
}

/// A training in a thread of this process. It ends when this is dropped, after the step that it is in.
pub struct Training {
    pub channel: Channel,
}

impl Training {
    /// After the last frame: gives the thread time to let go of the model, which it cannot while the session does nothing.
    pub fn finish(mut self) -> Result<()> {
        let deadline = Instant::now() + Duration::from_secs_f64(GRACE_SECONDS);
        while self.channel.receive(Some(deadline))?.is_some() {}
        Ok(())
    }
}

impl Drop for Training {
    fn drop(&mut self) {
        TRAINING.set(false);
    }
}

/// Lets the threads of Python work until the descriptor is ready, but not for long; -1 is no descriptor.
fn wait_for_threads(fd: i32, writeable: bool, timeout: Option<Duration>) {
    let slice = timeout.map_or(SLICE, |t| t.min(SLICE)).as_millis();
    let writeable = if writeable { "True" } else { "False" };
    // Without PL/Python, which somebody may have dropped meanwhile, nobody would answer.
    call(&format!("wait({fd}, {writeable}, {slice})")).or_report();
    // SAFETY: asks whether the postmaster is there. Waiting in PostgreSQL would notice its death, and end as here.
    unsafe {
        if !pg_sys::PostmasterIsAliveInternal() {
            pg_sys::proc_exit(1);
        }
    }
    // SAFETY: these are flags of this process, which its signal handlers set.
    let interrupted = unsafe { pg_sys::QueryCancelPending != 0 || pg_sys::ProcDiePending != 0 };
    if interrupted && TRAINING.replace(false) {
        // Before the error: after it, the thread would stand still in the middle of its step until the next statement.
        let _ = call(&format!("stop_training({GRACE_SECONDS})"));
    }
}

fn pair() -> Result<(UnixStream, UnixStream)> {
    UnixStream::pair().map_err(|e| Error::io("make a pair of sockets", &e))
}

fn start() -> Result<()> {
    if STARTED.get() {
        return Ok(());
    }
    let mut hub = hub::settings(None)?;
    for key in ["token", "push_token"] {
        hub[key] = json!(null); // it is in each request that needs one
    }
    let cache = directory()?.join("cache").to_string_lossy().into_owned();
    let venv = gucs::venv();
    let options = json!({
        "venv": venv, "threads": gucs::runtime_threads(), "memory_limit": gucs::model_memory_limit(),
        "cache_limit": gucs::model_cache_limit(), "cache": cache, "hub": hub,
    });
    run(&format!("venv, options = {}, {}\n{BOOTSTRAP}", literal(&venv), literal(&options.to_string())))?;
    STARTED.set(true);
    wait::wait_with(wait_for_threads);
    // SAFETY: the callback has the signature that PostgreSQL calls.
    unsafe { pg_sys::on_proc_exit(Some(leave), pg_sys::Datum::from(0)) };
    Ok(())
}

/// Where this backend has what it needs on disk: models of `pgml.files`, and the job that it runs. The first call removes
/// what backends that are gone have left.
pub fn directory() -> Result<PathBuf> {
    if !CLEANED.replace(true) {
        remove_leftovers().map_err(|e| Error::io("make a directory for models", &e))?;
    }
    Ok(own_directory())
}

fn own_directory() -> PathBuf {
    PathBuf::from(paths::EMBEDDED).join(std::process::id().to_string())
}

fn remove_leftovers() -> std::io::Result<()> {
    std::fs::create_dir_all(paths::EMBEDDED)?;
    for entry in std::fs::read_dir(paths::EMBEDDED)?.flatten() {
        let pid = entry.file_name().to_string_lossy().parse().unwrap_or(0);
        // SAFETY: signal 0 only asks whether the process is there.
        if pid == 0 || pid == std::process::id() as i32 || unsafe { libc::kill(pid, 0) } != 0 {
            let _ = std::fs::remove_dir_all(entry.path());
        }
    }
    Ok(())
}

#[pg_guard]
unsafe extern "C-unwind" fn leave(code: i32, _argument: pg_sys::Datum) {
    let _ = std::fs::remove_dir_all(own_directory());
    STATUS.store(code, Ordering::Relaxed);
    // SAFETY: what is registered last is called first, after all that PostgreSQL still does.
    unsafe { libc::atexit(end_at_once) };
}

// The destructors of torch's libraries would run while threads still compute, and a crash of one backend restarts all.
extern "C" fn end_at_once() {
    // SAFETY: ends the process.
    unsafe { libc::_exit(STATUS.load(Ordering::Relaxed)) }
}

fn call(statement: &str) -> Result<()> {
    run(&format!("import sys\nsys.modules['pgml.runtime.embedded.main'].{statement}"))
}

/// Runs a block of PL/Python as `DO` would, but as whoever is the user: the block is ours.
fn run(source: &str) -> Result<()> {
    let source = CString::new(source).map_err(Error::protocol)?;
    // SAFETY: the block and its text live as long as the call; the handler is the one that PostgreSQL would call.
    unsafe {
        let language = pg_sys::get_language_oid(c"plpython3u".as_ptr(), true);
        let handler = inline_handler(language).ok_or_else(no_language)?;
        let mut block = pg_sys::InlineCodeBlock {
            type_: pg_sys::NodeTag::T_InlineCodeBlock,
            source_text: source.as_ptr().cast_mut(),
            langOid: language,
            langIsTrusted: false,
            atomic: true,
        };
        let block = pg_sys::Datum::from(std::ptr::from_mut(&mut block));
        pg_sys::OidFunctionCall1Coll(handler, pg_sys::InvalidOid, block);
    }
    Ok(())
}

/// # Safety
/// In a transaction.
unsafe fn inline_handler(language: pg_sys::Oid) -> Option<pg_sys::Oid> {
    // SAFETY: the row is that of pg_language, and is released after it was read.
    unsafe {
        let row = pg_sys::SearchSysCache1(pg_sys::SysCacheIdentifier::LANGOID as i32, pg_sys::Datum::from(language));
        if row.is_null() {
            return None;
        }
        let form: pg_sys::Form_pg_language = pg_sys::GETSTRUCT(row).cast();
        let handler = (*form).laninline;
        pg_sys::ReleaseSysCache(row);
        Some(handler)
    }
}

fn no_language() -> Error {
    Error::new(PgSqlErrorCode::ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE, "language plpython3u does not exist")
        .detail("pgml.runtime is embedded, and that runs in PL/Python.")
        .hint("CREATE EXTENSION plpython3u; (on Debian after: apt-get install postgresql-plpython3-15), or SET pgml.runtime = 'shared';")
}

/// A text as PL/Python reads it, whatever is in it.
fn literal(text: &str) -> String {
    let hex: String = text.bytes().map(|byte| format!("{byte:02x}")).collect();
    format!("bytes.fromhex('{hex}').decode()")
}
