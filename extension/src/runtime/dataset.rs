//! A data set as the runtime sends it: its columns, then lines of rows; and how far it is, for the caller and for others.

use super::client::{Frames, Request};
use crate::error::{self, Error, Result};
use crate::loads::{Load, Progress};
use crate::table_columns::Column;
use pgml_core::frames::Frame;
use serde_json::Value;
use std::time::{Duration, Instant};

const BETWEEN_NOTICES: Duration = Duration::from_secs(2);

/// A data set that is on its way. Dropping it ends that.
pub struct Dataset {
    frames: Frames,
    load: Load,
    progress: Progress,
    /// When the phase began.
    since: Instant,
    noticed: Instant,
}

impl Dataset {
    pub fn request(header: Value, load: Load) -> Result<Self> {
        let progress = Progress { phase: "starting".into(), rows: 0, bytes: 0, total: None };
        let frames = Frames::of(Request::send(header, b"", None)?);
        let now = Instant::now();
        Ok(Self { frames, load, progress, since: now, noticed: now })
    }

    /// Waits for the columns, which come before any rows, and whether these are in COPY's binary format.
    pub fn columns(&mut self) -> Result<(Vec<Column>, bool)> {
        let frame = self.receive()?.ok_or_else(|| Error::protocol("A data set ended before its columns."))?;
        let columns = frame.header["table"]["columns"].as_array();
        let columns = columns.ok_or_else(|| Error::protocol("A data set does not begin with its columns."))?;
        let binary = frame.header["table"]["format"] == "binary";
        Ok((columns.iter().map(Column::from_frame).collect::<Result<_>>()?, binary))
    }

    /// Waits for the next lines; `None` at the end.
    pub fn lines(&mut self) -> Result<Option<Vec<u8>>> {
        let Some(frame) = self.receive()? else { return Ok(None) };
        let rows =
            frame.header["rows"].as_u64().ok_or_else(|| Error::protocol("A frame of a data set has no rows."))?;
        self.enter("loading");
        if self.progress.rows == 0 {
            (self.progress.bytes, self.progress.total) = (0, None);
        }
        self.progress.rows += rows;
        self.progress.bytes += frame.payload.len() as u64;
        self.tell();
        Ok(Some(frame.payload))
    }

    /// The next frame that is about rows; `None` after the last.
    fn receive(&mut self) -> Result<Option<Frame>> {
        loop {
            self.load.show(&self.progress);
            let Some(frame) = self.frames.receive()? else { return Ok(None) };
            if frame.header.get("ok").is_some() {
                let warnings = frame.header["warnings"].as_array();
                warnings.into_iter().flatten().filter_map(Value::as_str).for_each(error::warn);
                return Ok(None);
            }
            match frame.header.get("progress") {
                Some(progress) => self.note(progress),
                None => return Ok(Some(frame)),
            }
        }
    }

    /// Takes over what the runtime says of the time before the first rows.
    fn note(&mut self, progress: &Value) {
        if self.progress.rows == 0 {
            self.enter(progress["phase"].as_str().unwrap_or_default());
            self.progress.bytes = progress["bytes"].as_u64().unwrap_or_default();
            self.progress.total = progress["total"].as_u64();
        }
        self.tell();
    }

    fn enter(&mut self, phase: &str) {
        if self.progress.phase != phase {
            self.progress.phase = phase.into();
            self.since = Instant::now();
            self.noticed = self.since; // what is over soon is not worth a word
        }
    }

    fn tell(&mut self) {
        if self.noticed.elapsed() < BETWEEN_NOTICES {
            return;
        }
        self.noticed = Instant::now();
        let Progress { phase, rows, bytes, total } = &self.progress;
        let done = total.map_or_else(|| size(*bytes), |total| format!("{} of {}", size(*bytes), size(total)));
        if *rows == 0 {
            error::notice(&format!("{phase}: {done}"));
        } else {
            let speed = *rows as f64 / self.since.elapsed().as_secs_f64();
            error::notice(&format!("{phase}: {rows} rows, {speed:.0} rows/s, {done}"));
        }
    }
}

fn size(bytes: u64) -> String {
    if bytes < 1_000_000 { format!("{} kB", bytes / 1000) } else { format!("{} MB", bytes / 1_000_000) }
}
