//! A connection to the server process, which is started on first use.

use super::embedded;
use crate::error::{Error, Result};
use crate::wait::{self, Channel};
use crate::workers::report::install_hint;
use crate::{gucs, workers};
use pgml_core::frames::PROTOCOL;
use pgml_core::lock::FileLock;
use pgml_core::paths;
use pgml_core::state::{Phase, RuntimeState};
use pgrx::PgSqlErrorCode;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::{Duration, Instant};

const POLL: Duration = Duration::from_millis(20);
/// Should it end at once, another is not launched at once.
const AFTER_LAUNCH: Duration = Duration::from_millis(100);

/// Connects, starting supervisor and server process if need be, and waits for the server's hello.
pub fn connect() -> Result<Channel> {
    let deadline = Instant::now() + gucs::runtime_start_timeout();
    if gucs::is_embedded() {
        let mut channel = embedded::connect()?;
        return if receive_hello(&mut channel, deadline)? { Ok(channel) } else { Err(not_in_time()) };
    }
    loop {
        if let Some(channel) = try_connect(deadline)? {
            return Ok(channel);
        }
        if !supervisor_is_alive() {
            workers::supervisor::launch()?;
            wait::pause(AFTER_LAUNCH);
        } else if let Some(state) = state().filter(|s| s.phase == Phase::Backoff) {
            return Err(start_failed(&state));
        }
        if Instant::now() >= deadline {
            return Err(not_in_time());
        }
        wait::pause(POLL);
    }
}

/// Connects when the server process listens; never starts it.
pub fn connect_if_running() -> Option<Channel> {
    if gucs::is_embedded() {
        return embedded::is_started().then(connect)?.ok();
    }
    let stream = UnixStream::connect(paths::SOCKET).ok()?;
    let mut channel = Channel::new(stream).ok()?;
    receive_hello(&mut channel, Instant::now() + Duration::from_secs(1)).ok()?.then_some(channel)
}

fn try_connect(deadline: Instant) -> Result<Option<Channel>> {
    let Ok(stream) = UnixStream::connect(paths::SOCKET) else { return Ok(None) };
    let mut channel = Channel::new(stream)?;
    Ok(receive_hello(&mut channel, deadline)?.then_some(channel))
}

// `false`: the server ended before it was ready, or the deadline passed.
fn receive_hello(channel: &mut Channel, deadline: Instant) -> Result<bool> {
    let Some(hello) = channel.receive(Some(deadline))? else { return Ok(false) };
    if let Some(error) = hello.header.get("error") {
        return Err(Error::from_frame(error));
    }
    match hello.header.get("protocol").and_then(|p| p.as_u64()) {
        Some(PROTOCOL) => Ok(true),
        other => Err(Error::protocol(format!("The extension speaks protocol {PROTOCOL}, the runtime {other:?}."))),
    }
}

pub fn supervisor_is_alive() -> bool {
    FileLock::is_held(Path::new(paths::SUPERVISOR_LOCK))
}

pub fn state() -> Option<RuntimeState> {
    RuntimeState::read(Path::new(paths::RUNTIME_STATE))
}

fn start_failed(state: &RuntimeState) -> Error {
    let exit = state.last_exit.as_deref().unwrap_or("an unknown cause");
    let words = state.last_words.as_deref().unwrap_or("It printed nothing.");
    Error::new(PgSqlErrorCode::ERRCODE_EXTERNAL_ROUTINE_EXCEPTION, "the runtime ended while it was starting")
        .detail(format!("\"{}\" ended with {exit}: {words}", state.python))
        .hint("Look at pgml.python and the server log, then run: SELECT pgml.restart_runtime();")
        .maybe_hint(state.last_hint.clone().or_else(|| install_hint(&state.python, words)))
}

fn not_in_time() -> Error {
    Error::new(PgSqlErrorCode::ERRCODE_CANNOT_CONNECT_NOW, "the runtime did not become ready in time")
        .detail(format!("pgml.runtime_start_timeout is {} seconds.", gucs::runtime_start_timeout().as_secs()))
        .hint("Look at: SELECT * FROM pgml.runtime_status(); and at the server log.")
}

/// What a failure to send means: the other side is gone, unless the request itself cannot be sent.
pub fn ended_if_gone(error: Error) -> Error {
    if error.code == PgSqlErrorCode::ERRCODE_INVALID_PARAMETER_VALUE { error } else { ended_while_answering() }
}

/// The error of a request whose server process ended.
pub fn ended_while_answering() -> Error {
    Error::new(PgSqlErrorCode::ERRCODE_CONNECTION_FAILURE, "the runtime ended while it was answering")
        .detail(
            "The server process is started again by itself; SELECT * FROM pgml.runtime_status() tells how it ended.",
        )
        .hint("Run the statement again.")
}
