//! `pgml.transform_stream`: the rows of an answer as they are made.
//!
//! The rows are given one at a time, so a cursor fetches each as it comes. Whatever ends the statement early (LIMIT, a closed
//! cursor, a cancel, a lost client) drops the iterator, which closes the connection, and the server process stops.

use super::transform::{Request, documents, task_object};
use crate::error::{Error, OrReport, Result};
use crate::frontend;
use crate::runtime::client::Pieces;
use pgrx::JsonB;
use pgrx::prelude::*;
use serde_json::{Value, json};

type Rows = SetOfIterator<'static, JsonB>;

#[pg_extern(sql = false)]
fn transform_stream_json_text(task: JsonB, args: JsonB, input: &str, _cache: bool) -> Rows {
    rows(Request::new(task.0, args.0, "text", vec![json!(input)])).or_report()
}

#[pg_extern(sql = false)]
fn transform_stream_text_text(task: &str, args: JsonB, input: &str, _cache: bool) -> Rows {
    rows(task_object(task).and_then(|task| Request::new(task, args.0, "text", vec![json!(input)]))).or_report()
}

#[pg_extern(sql = false)]
fn transform_stream_json_json(task: JsonB, args: JsonB, inputs: Vec<Option<JsonB>>, _cache: bool) -> Rows {
    rows(Request::new(task.0, args.0, "json", documents(inputs))).or_report()
}

#[pg_extern(sql = false)]
fn transform_stream_text_json(task: &str, args: JsonB, inputs: Vec<Option<JsonB>>, _cache: bool) -> Rows {
    rows(task_object(task).and_then(|task| Request::new(task, args.0, "json", documents(inputs)))).or_report()
}

fn rows(request: Result<Request>) -> Result<Rows> {
    let mut pieces = request?.stream()?;
    Ok(SetOfIterator::new(std::iter::from_fn(move || next_row(&mut pieces).or_report())))
}

fn next_row(pieces: &mut Pieces) -> Result<Option<JsonB>> {
    frontend::flush(); // the row before this one, which may be long in coming
    let Some(payload) = pieces.receive()? else { return Ok(None) };
    serde_json::from_slice::<Value>(&payload).map(|row| Some(JsonB(row))).map_err(Error::protocol)
}
