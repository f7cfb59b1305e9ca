//! The supervisor: one background worker per cluster, connected to no database, that keeps the server process alive.
//!
//! Started at boot when `shared_preload_libraries` has pgml, otherwise by the first statement that needs it.
//! A worker that is connected to no database does not stand in the way of DROP DATABASE.

use super::{launch, report, signals};
use crate::error::{Error, Result};
use crate::{gucs, wait};
use pgml_core::backoff::Backoff;
use pgml_core::child::{self, ChildProcess, Output, describe_exit};
use pgml_core::lock::FileLock;
use pgml_core::log_lines::{LastWords, LineBuffer, LogLine};
use pgml_core::paths;
use pgml_core::state::{Phase, RuntimeState};
use pgrx::bgworkers::{BackgroundWorkerBuilder, BgWorkerStartTime};
use pgrx::prelude::*;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::{Duration, Instant, SystemTime};

const TICK: Duration = Duration::from_millis(500);
const STARTING_TICK: Duration = Duration::from_millis(50);
/// How long the server process may take to end by itself.
const GRACE: Duration = Duration::from_secs(3);
/// How often it is looked for jobs that cannot be resumed any more; also when the configuration is read anew.
const CLEANING_INTERVAL: Duration = Duration::from_secs(3600);

fn builder() -> BackgroundWorkerBuilder {
    BackgroundWorkerBuilder::new("pgml supervisor")
        .set_type("pgml supervisor")
        .set_library("pgml")
        .set_function("pgml_supervisor_main")
        .enable_shmem_access(None)
        .set_restart_time(Some(Duration::from_secs(5)))
}

/// From `_PG_init`: with preload, the supervisor starts with the server, but not with one that pg_upgrade starts for itself.
pub fn register_at_boot() {
    // SAFETY: reads flags that the postmaster sets before and while it loads the libraries.
    if unsafe { pg_sys::process_shared_preload_libraries_in_progress && !pg_sys::IsBinaryUpgrade } {
        builder().set_start_time(BgWorkerStartTime::ConsistentState).load();
    }
}

/// From a backend: starts the supervisor and waits until it runs. Two that do so at once are told apart by the lock.
pub fn launch() -> Result<()> {
    make_home()?;
    launch::start(builder()).map(|_| ())
}

/// The directory of the runtime, readable by the server's own user only.
pub fn make_home() -> Result<()> {
    use std::os::unix::fs::DirBuilderExt;
    let make = |path: &str| std::fs::DirBuilder::new().recursive(true).mode(0o700).create(path);
    [paths::HOME, paths::JOBS, paths::LOADS]
        .into_iter()
        .try_for_each(make)
        .map_err(|e| Error::io("create the directory of the runtime", &e))
}

/// Main function of the worker.
#[pg_guard]
#[unsafe(no_mangle)]
pub extern "C-unwind" fn pgml_supervisor_main(_argument: pg_sys::Datum) {
    signals::attach();
    let lock = make_home().and_then(|()| {
        FileLock::try_acquire(Path::new(paths::SUPERVISOR_LOCK)).map_err(|e| Error::io("lock the supervisor", &e))
    });
    match lock {
        Ok(Some(_lock)) => Supervisor::new().run(),
        Ok(None) => {} // another one supervises
        Err(error) => error.emit(pgrx::PgLogLevel::WARNING),
    }
}

struct Supervisor {
    state: RuntimeState,
    backoff: Backoff,
    cleaned_at: Instant,
}

/// Why a run of the server process was over.
enum End {
    Exited,
    Restart,
    Shutdown,
}

impl Supervisor {
    fn new() -> Self {
        let state = RuntimeState {
            phase: Phase::Starting,
            supervisor_pid: std::process::id() as i32,
            pid: None,
            python: gucs::python(),
            started_at: 0,
            starts: 0,
            last_exit: None,
            last_words: None,
            last_hint: None,
        };
        Self { state, backoff: Backoff::default(), cleaned_at: Instant::now() }
    }

    fn run(mut self) {
        let _ = std::fs::remove_file(paths::RESTART_REQUEST);
        launch::recover_lost_jobs();
        while !signals::must_end() {
            let wait = self.run_server();
            self.back_off(wait);
        }
        self.publish(Phase::Stopped, None);
    }

    /// One life of the server process. Gives the time to wait before the next.
    fn run_server(&mut self) -> Duration {
        let arguments = gucs::server_arguments();
        self.state.python = gucs::python();
        self.state.starts += 1;
        self.state.started_at = SystemTime::UNIX_EPOCH.elapsed().map_or(0, |d| d.as_secs());
        let environment = launch::environment();
        let mut server = match child::spawn(&self.state.python, &arguments, &environment, b"", Output::Merged) {
            Ok(server) => server,
            Err(cause) => return self.could_not_start(&cause),
        };
        self.publish(Phase::Starting, Some(server.pid()));
        let mut listener = Listener::default();
        let end = self.watch(&mut server, &arguments, &mut listener);
        let was_ready = self.state.phase == Phase::Ready;
        let status = if matches!(end, End::Exited) { server.finish(GRACE) } else { server.end(GRACE) };
        self.state.last_exit = Some(match end {
            End::Exited => status.map_or("an unknown status".into(), describe_exit),
            End::Restart => "a restart that was asked for".into(),
            End::Shutdown => "the shutdown of the server".into(),
        });
        (self.state.last_words, self.state.last_hint) = listener.into_parts();
        match end {
            End::Exited => {
                pgrx::log!("pgml runtime ended with {}", self.state.last_exit.as_deref().unwrap_or_default());
                self.backoff.after_exit(was_ready)
            }
            End::Restart => self.no_wait(),
            End::Shutdown => Duration::ZERO,
        }
    }

    fn no_wait(&mut self) -> Duration {
        self.backoff.reset();
        Duration::ZERO
    }

    fn could_not_start(&mut self, cause: &std::io::Error) -> Duration {
        pgrx::log!("pgml runtime: could not start \"{}\": {cause}", self.state.python);
        self.state.last_exit = Some("no start".into());
        self.state.last_words = Some(cause.to_string());
        self.state.last_hint = Some(
            "Set pgml.python to an interpreter that has the package pgml[runtime], then run: SELECT pg_reload_conf();"
                .into(),
        );
        self.backoff.after_exit(false)
    }

    /// Passes on what the server prints, and waits for its end or for a reason to end it.
    fn watch(&mut self, server: &mut ChildProcess, arguments: &[String], listener: &mut Listener) -> End {
        let mut greeting = Greeting::default();
        loop {
            if self.drain(server, listener) {
                return End::Exited;
            }
            if signals::must_end() {
                return End::Shutdown;
            }
            if self.restart_is_due(arguments) {
                return End::Restart;
            }
            if self.state.phase == Phase::Starting && greeting.heard() {
                self.publish(Phase::Ready, Some(server.pid()));
            }
            let tick = if self.state.phase == Phase::Starting { STARTING_TICK } else { TICK };
            let fd = server.log.as_ref().map_or(-1, child::PipeEnd::fd);
            wait::descriptor(fd, wait::Readiness::Readable, Some(tick));
        }
    }

    /// Passes on what the server printed. `true` when it ended.
    fn drain(&mut self, server: &ChildProcess, listener: &mut Listener) -> bool {
        let mut buffer = [0; 8192];
        let has_ended = server.has_ended();
        loop {
            match server.log.as_ref().map(|pipe| pipe.read(&mut buffer)) {
                Some(Ok(Some(n))) if n > 0 => listener.hear(&buffer[..n]),
                Some(Ok(None)) => return has_ended,
                _ => return true,
            }
        }
    }

    fn restart_is_due(&mut self, arguments: &[String]) -> bool {
        let reloaded = signals::reload_if_asked();
        if reloaded || self.cleaned_at.elapsed() >= CLEANING_INTERVAL {
            launch::remove_old_jobs();
            self.cleaned_at = Instant::now();
        }
        let changed = reloaded && (gucs::python() != self.state.python || gucs::server_arguments() != arguments);
        changed | std::fs::remove_file(paths::RESTART_REQUEST).is_ok()
    }

    /// Waits before the next start, unless the configuration changes or a restart is asked for.
    fn back_off(&mut self, wait_for: Duration) {
        if wait_for.is_zero() {
            return;
        }
        self.publish(Phase::Backoff, None);
        let until = Instant::now() + wait_for;
        while Instant::now() < until && !signals::must_end() {
            if signals::reload_if_asked() | std::fs::remove_file(paths::RESTART_REQUEST).is_ok() {
                self.backoff.reset();
                // A waiting backend must not take the old failure for the answer of the new start.
                self.publish(Phase::Starting, None);
                return;
            }
            wait::pause(TICK.min(until.saturating_duration_since(Instant::now())));
        }
    }

    fn publish(&mut self, phase: Phase, pid: Option<i32>) {
        self.state.phase = phase;
        self.state.pid = pid;
        if let Err(cause) = self.state.write(Path::new(paths::RUNTIME_STATE)) {
            pgrx::log!("pgml: could not write {}: {cause}", paths::RUNTIME_STATE);
        }
    }
}

/// A connection that is told once when the server process is ready.
#[derive(Default)]
struct Greeting(Option<wait::Channel>);

impl Greeting {
    fn heard(&mut self) -> bool {
        if self.0.is_none() {
            self.0 = UnixStream::connect(paths::SOCKET).ok().and_then(|stream| wait::Channel::new(stream).ok());
        }
        let Some(channel) = &mut self.0 else { return false };
        match channel.fill() {
            Ok(wait::Filled::Nothing) => false,
            heard => {
                self.0 = None;
                matches!(heard, Ok(wait::Filled::Bytes))
            }
        }
    }
}

/// Passes lines on to the server log and remembers what tells why a start failed.
#[derive(Default)]
struct Listener {
    lines: LineBuffer,
    words: LastWords,
}

impl Listener {
    fn hear(&mut self, bytes: &[u8]) {
        let lines = self.lines.push(bytes);
        self.pass_on(lines);
    }

    /// Message and hint of the last words.
    fn into_parts(mut self) -> (Option<String>, Option<String>) {
        let rest = self.lines.finish();
        self.pass_on(rest);
        self.words.take().map_or((None, None), |line| (Some(line.message), line.hint))
    }

    fn pass_on(&mut self, lines: impl IntoIterator<Item = LogLine>) {
        for line in lines {
            report::log_line("pgml runtime", &line);
            self.words.heed(&line);
        }
    }
}
