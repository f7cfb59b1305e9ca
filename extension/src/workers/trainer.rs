//! The trainer process of a job, and what it says.

use super::launch;
use super::report::install_hint;
use crate::error::{Error, Result};
use crate::gucs;
use pgml_core::child::{self, ChildProcess, Output, PipeEnd, describe_exit};
use pgml_core::frames::{Frame, FrameReader, head};
use pgml_core::log_lines::{LastWords, LineBuffer, LogLine};
use pgml_core::paths::JobFiles;
use pgrx::PgSqlErrorCode;
use serde_json::{Value, json};
use std::time::Duration;

/// What comes out of the trainer.
pub enum Event {
    Frame(Frame),
    /// It ended without saying how its job ended.
    Ended(Error),
}

pub struct Trainer {
    process: ChildProcess,
    frames: FrameReader,
    lines: LineBuffer,
    words: LastWords,
}

impl Trainer {
    /// `hub` is what it may do on the Hub, and with which token; it reads that from its standard input.
    pub fn spawn(files: &JobFiles, resume: bool, hub: Option<&Value>) -> Result<Self> {
        let python = gucs::python();
        let arguments = ["-m", "pgml.runtime.train"].map(str::to_string).into_iter();
        let arguments = arguments.chain([files.0.to_string_lossy().into_owned()]);
        let arguments: Vec<_> = arguments.chain(resume.then(|| "--resume".to_string())).collect();
        let input =
            hub.map(|hub| head(&json!({ "hub": hub }), 0)).transpose().map_err(|e| Error::protocol(e.to_string()))?;
        let environment = launch::environment();
        let process =
            child::spawn(&python, &arguments, &environment, input.as_deref().unwrap_or_default(), Output::Frames);
        let process = process.map_err(|e| {
            Error::new(PgSqlErrorCode::ERRCODE_EXTERNAL_ROUTINE_EXCEPTION, format!("could not start \"{python}\": {e}"))
                .hint("Set pgml.python to an interpreter that has the package pgml[runtime].")
        })?;
        Ok(Self { process, frames: FrameReader::default(), lines: LineBuffer::default(), words: LastWords::default() })
    }

    /// Its pipes that are still open.
    pub fn descriptors(&self) -> Vec<i32> {
        [&self.process.frames, &self.process.log].into_iter().flatten().map(PipeEnd::fd).collect()
    }

    /// The log lines that arrived since.
    pub fn log_lines(&mut self) -> Vec<LogLine> {
        let mut lines = Vec::new();
        let mut buffer = [0; 8192];
        while let Some(pipe) = &self.process.log {
            match pipe.read(&mut buffer) {
                Ok(Some(n)) if n > 0 => lines.extend(self.lines.push(&buffer[..n])),
                Ok(None) => break,
                _ => {
                    lines.extend(self.lines.finish());
                    self.process.log = None;
                }
            }
        }
        lines.iter().for_each(|line| self.words.heed(line));
        lines
    }

    /// The next event that is there; `None` when nothing is yet.
    pub fn next_event(&mut self) -> Result<Option<Event>> {
        let mut buffer = vec![0; 256 << 10];
        // Asked before reading: whatever it wrote before its end is then read before its end is believed.
        let has_ended = self.process.has_ended();
        loop {
            if let Some(frame) = self.frames.pop().map_err(Error::protocol)? {
                return Ok(Some(Event::Frame(frame)));
            }
            let Some(pipe) = &self.process.frames else { return Ok(None) };
            match pipe.read(&mut buffer) {
                Ok(Some(n)) if n > 0 => self.frames.push(&buffer[..n]),
                // Its end is not always the pipe's: what it started may hold the pipe open.
                Ok(None) if !has_ended => return Ok(None),
                _ => return Ok(Some(Event::Ended(self.ended()))),
            }
        }
    }

    /// Asks it to end, and ends it.
    pub fn end(&mut self, grace: Duration) {
        self.process.end(grace);
    }

    fn ended(&mut self) -> Error {
        let status = self.process.finish(Duration::from_secs(2));
        self.log_lines();
        let how = status.map_or("an unknown status".into(), describe_exit);
        let mut error = Error::new(
            PgSqlErrorCode::ERRCODE_EXTERNAL_ROUTINE_EXCEPTION,
            format!("the trainer ended with {how} before it was done"),
        )
        .hint("The server log has what it printed.");
        if let Some(line) = self.words.take() {
            let hint = line.hint.or_else(|| install_hint(&gucs::python(), &line.message));
            error = error.detail(line.message).maybe_hint(hint);
        }
        error
    }
}
