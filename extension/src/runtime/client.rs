//! Requests to the server process. A session keeps its connection; an error that unwinds through a request closes it,
//! and with that cancels the request on the other side.

use super::models::{self, Model};
use super::startup;
use crate::catalog;
use crate::error::{self, Error, Result};
use crate::gucs;
use crate::wait::{Channel, Filled};
use pgml_core::frames::Frame;
use serde_json::{Value, json};
use std::cell::RefCell;

thread_local! {
    /// A connection, and whether it is to the runtime of this session.
    static IDLE: RefCell<Option<(Channel, bool)>> = const { RefCell::new(None) };
}

/// Sends a request and waits for its answer. `model` is put into the header.
pub fn ask(header: Value, payload: &[u8], model: Option<&Model>) -> Result<Frame> {
    let mut request = Request::send(header, payload, model)?;
    let answer = request.receive()?;
    request.finish();
    outcome(answer).map_err(|error| models::explain(error, model))
}

fn outcome(answer: Frame) -> Result<Frame> {
    match answer.header.get("error") {
        Some(error) => Err(Error::from_frame(error)),
        None => Ok(answer),
    }
}

/// Asks a server process that is running; `None` when none is.
pub fn ask_if_running(header: &Value) -> Option<Frame> {
    let channel = idle_connection().or_else(startup::connect_if_running)?;
    let mut request = Request::on(channel, header, b"", None).ok()?;
    let answer = request.receive().ok()?;
    request.finish();
    Some(answer)
}

// A server process that was restarted since has closed the connection.
fn idle_connection() -> Option<Channel> {
    let (mut channel, embedded) = IDLE.with(|idle| idle.take())?;
    (embedded == gucs::is_embedded() && matches!(channel.fill(), Ok(Filled::Nothing))).then_some(channel)
}

/// A request that the server process is answering. Dropping it closes the connection, which cancels the request.
pub struct Request {
    channel: Channel,
    /// The models that the server process may ask the files of.
    models: Vec<Model>,
    /// What the base of an adapter may do on the Hub, if the request says.
    hub: Option<Value>,
}

impl Request {
    /// Sends a request, over the session's connection if it is free.
    pub fn send(mut header: Value, payload: &[u8], model: Option<&Model>) -> Result<Self> {
        header["model"] = model.map(Model::to_json).transpose()?.unwrap_or_default();
        let channel = idle_connection().map_or_else(startup::connect, Ok)?;
        Self::on(channel, &header, payload, model)
    }

    fn on(mut channel: Channel, header: &Value, payload: &[u8], model: Option<&Model>) -> Result<Self> {
        channel.send(header, payload).map_err(startup::ended_if_gone)?;
        let hub = match model {
            Some(Model::Hub { hub, .. }) => Some(hub.clone()),
            _ => header.get("hub").filter(|hub| hub.is_object()).cloned(),
        };
        Ok(Self { channel, models: model.cloned().into_iter().collect(), hub })
    }

    /// Waits for the next frame of the answer, which may be an error; gives the server process what it needs meanwhile.
    fn receive(&mut self) -> Result<Frame> {
        loop {
            let frame = self.channel.receive(None)?.ok_or_else(startup::ended_while_answering)?;
            let header = &frame.header;
            match (header["notice"].as_str(), header["need"].as_str()) {
                (Some(text), _) => error::notice(text),
                (_, Some("files")) => self.send_files(header["digest"].as_str().unwrap_or_default())?,
                (_, Some("model")) => {
                    self.send_model(header["name"].as_str().unwrap_or_default(), header["revision"].as_str())?;
                }
                (_, Some(need)) => return Err(Error::protocol(format!("It needs \"{need}\"."))),
                (None, None) => return Ok(frame),
            }
        }
    }

    /// Keeps the connection for the next request. Only after the last frame of the answer.
    fn finish(self) {
        IDLE.with(|idle| idle.replace(Some((self.channel, gucs::is_embedded()))));
    }

    // The base of an adapter: found as the caller, who may use it or not.
    fn send_model(&mut self, name: &str, revision: Option<&str>) -> Result<()> {
        let found =
            models::resolve_base(name, revision, self.hub.as_ref()).and_then(|model| Ok((model.to_json()?, model)));
        let reply = match found {
            Ok((described, model)) => {
                self.models.push(model);
                json!({"model": described})
            }
            Err(error) => json!({"error": error.to_frame()}),
        };
        self.channel.send(&reply, b"")
    }

    // The backend has the privileges on pgml.files; the server process has no connection to the database.
    fn send_files(&mut self, digest: &str) -> Result<()> {
        let stored = self.models.iter().find_map(|model| match model {
            Model::Stored(model) if model.digest == digest => Some(model.id),
            _ => None,
        });
        let id = stored.ok_or_else(|| Error::protocol("It asked for the files of a model that was not named."))?;
        let files = catalog::files(id)?;
        for path in files.as_array().into_iter().flatten().filter_map(|f| f["path"].as_str()) {
            let header = json!({"file": path});
            let mut part = 0;
            while catalog::with_part(id, path, part, |data| self.channel.send(&header, data))? {
                part += 1;
            }
        }
        self.channel.send(&json!({"files_end": true}), b"")
    }
}

/// An answer of many frames. Dropping it before the last cancels the request.
pub struct Frames(Option<Request>);

impl Frames {
    pub fn of(request: Request) -> Self {
        Self(Some(request))
    }

    /// Waits for the next frame, which has "ok" if it is the last; `None` after that.
    pub fn receive(&mut self) -> Result<Option<Frame>> {
        let Some(mut request) = self.0.take() else { return Ok(None) };
        let frame = request.receive()?;
        if frame.header.get("ok").is_none() && frame.header.get("error").is_none() {
            self.0 = Some(request);
            return Ok(Some(frame));
        }
        request.finish();
        outcome(frame).map(Some)
    }
}

/// An answer that comes in pieces. Dropping it before the last cancels the request.
pub struct Pieces(Frames);

impl Pieces {
    pub fn of(request: Request) -> Self {
        Self(Frames::of(request))
    }

    /// Waits for the next piece; `None` after the last.
    pub fn receive(&mut self) -> Result<Option<Vec<u8>>> {
        let frame = self.0.receive()?.filter(|frame| frame.header.get("piece").is_some());
        Ok(frame.map(|frame| frame.payload))
    }
}
