//! Requests to the server process. A session keeps its connection; an error that unwinds through a request closes it,
//! and with that cancels the request on the other side.

use super::models::Model;
use super::startup;
use crate::catalog;
use crate::error::{self, Error, Result};
use crate::wait::{Channel, Filled};
use pgml_core::frames::Frame;
use serde_json::{Value, json};
use std::cell::RefCell;

thread_local! {
    static IDLE: RefCell<Option<Channel>> = const { RefCell::new(None) };
}

/// Sends a request and waits for its answer. `model` is put into the header, and its files are sent when the server lacks them.
pub fn ask(mut header: Value, payload: &[u8], model: Option<&Model>) -> Result<Frame> {
    header["model"] = model.map(Model::to_json).transpose()?.unwrap_or_default();
    let mut channel = idle_connection().map_or_else(startup::connect, Ok)?;
    let answer = exchange(&mut channel, &header, payload, model)?;
    let outcome = match answer.header.get("error") {
        Some(error) => Err(Error::from_frame(error)),
        None => Ok(answer),
    };
    IDLE.with(|idle| idle.replace(Some(channel)));
    outcome
}

/// Asks a server process that is running; `None` when none is.
pub fn ask_if_running(header: &Value) -> Option<Frame> {
    let mut channel = startup::connect_if_running()?;
    exchange(&mut channel, header, b"", None).ok()
}

// A server process that was restarted since has closed the connection.
fn idle_connection() -> Option<Channel> {
    let mut channel = IDLE.with(|idle| idle.take())?;
    matches!(channel.fill(), Ok(Filled::Nothing)).then_some(channel)
}

fn exchange(channel: &mut Channel, header: &Value, payload: &[u8], model: Option<&Model>) -> Result<Frame> {
    channel.send(header, payload).map_err(|_| startup::ended_while_answering())?;
    loop {
        let frame = channel.receive(None)?.ok_or_else(startup::ended_while_answering)?;
        if let Some(text) = frame.header.get("notice").and_then(Value::as_str) {
            error::notice(text);
        } else if frame.header.get("need").is_some() {
            send_files(channel, model)?;
        } else {
            return Ok(frame);
        }
    }
}

// The backend has the privileges on pgml.files; the server process has no connection to the database.
fn send_files(channel: &mut Channel, model: Option<&Model>) -> Result<()> {
    let Some(Model::Stored(model)) = model else {
        return Err(Error::protocol("It asked for the files of a model that is not stored."));
    };
    let files = catalog::files(model.id)?;
    for path in files.as_array().into_iter().flatten().filter_map(|f| f["path"].as_str()) {
        let header = json!({"file": path});
        let mut part = 0;
        while catalog::with_part(model.id, path, part, |data| channel.send(&header, data))? {
            part += 1;
        }
    }
    channel.send(&json!({"files_end": true}), b"")
}
