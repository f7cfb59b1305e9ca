//! `pgml.transform` and `pgml.predict`: inputs in, one JSON array out, in order.

use crate::error::{Error, OrReport, Result};
use crate::runtime::client;
use crate::runtime::models::{self, Model};
use pgrx::JsonB;
use pgrx::prelude::*;
use serde_json::{Map, Value, json};

type Texts = Option<Vec<Option<String>>>;
type Documents = Option<Vec<Option<JsonB>>>;

#[pg_extern(sql = false)]
fn transform_json_text(task: Option<JsonB>, args: Option<JsonB>, inputs: Texts, _cache: Option<bool>) -> Option<JsonB> {
    transform(task?.0, args, "text", texts(inputs?)).or_report()
}

#[pg_extern(sql = false)]
fn transform_text_text(task: Option<&str>, args: Option<JsonB>, inputs: Texts, _cache: Option<bool>) -> Option<JsonB> {
    transform(task_object(task?).or_report(), args, "text", texts(inputs?)).or_report()
}

#[pg_extern(sql = false)]
fn transform_json_json(
    task: Option<JsonB>,
    args: Option<JsonB>,
    inputs: Documents,
    _cache: Option<bool>,
) -> Option<JsonB> {
    transform(task?.0, args, "json", documents(inputs?)).or_report()
}

#[pg_extern(sql = false)]
fn transform_text_json(
    task: Option<&str>,
    args: Option<JsonB>,
    inputs: Documents,
    _cache: Option<bool>,
) -> Option<JsonB> {
    transform(task_object(task?).or_report(), args, "json", documents(inputs?)).or_report()
}

#[pg_extern(sql = false)]
fn predict_one(project_name: &str, input: &str) -> Option<JsonB> {
    let mut results = predict(project_name, vec![json!(input)]).or_report();
    results.as_array_mut().and_then(Vec::pop).filter(|v| !v.is_null()).map(JsonB)
}

#[pg_extern(sql = false)]
fn predict_many(project_name: &str, inputs: Vec<Option<String>>) -> JsonB {
    JsonB(predict(project_name, texts(inputs)).or_report())
}

fn texts(inputs: Vec<Option<String>>) -> Vec<Value> {
    inputs.into_iter().map(|text| text.map_or(Value::Null, Value::String)).collect()
}

fn documents(inputs: Vec<Option<JsonB>>) -> Vec<Value> {
    inputs.into_iter().map(|document| document.map_or(Value::Null, |d| d.0)).collect()
}

// `task => '{"task": …}'` without a cast reaches the text form: PostgreSQL prefers text for a literal.
fn task_object(task: &str) -> Result<Value> {
    if !task.trim_start().starts_with('{') {
        return Ok(json!({ "task": task }));
    }
    serde_json::from_str(task).map_err(|e| {
        Error::new(PgSqlErrorCode::ERRCODE_INVALID_TEXT_REPRESENTATION, "argument \"task\" is not valid JSON")
            .detail(format!("{e}."))
    })
}

fn transform(task: Value, args: Option<JsonB>, format: &str, inputs: Vec<Value>) -> Result<Option<JsonB>> {
    let mut task = object("task", task)?;
    let args = object("args", args.map_or_else(|| json!({}), |a| a.0))?;
    let model = match task.remove("model") {
        Some(Value::String(name)) => Some(models::resolve(&name)?),
        Some(_) => return Err(Error::invalid("\"model\" in argument \"task\" must be a text")),
        None => None,
    };
    run(task, args, format, inputs, model.as_ref()).map(|results| Some(JsonB(results)))
}

fn predict(project: &str, inputs: Vec<Value>) -> Result<Value> {
    let model = models::deployed(project)?;
    run(Map::new(), Map::new(), "text", inputs, Some(&model))
}

fn object(argument: &str, value: Value) -> Result<Map<String, Value>> {
    match value {
        Value::Object(fields) => Ok(fields),
        Value::Null => Ok(Map::new()),
        _ => Err(Error::invalid(format!("argument \"{argument}\" must be a JSON object"))),
    }
}

fn run(
    task: Map<String, Value>,
    args: Map<String, Value>,
    format: &str,
    inputs: Vec<Value>,
    model: Option<&Model>,
) -> Result<Value> {
    let header = json!({"op": "transform", "task": task, "args": args, "inputs": format});
    let payload = Value::Array(inputs).to_string();
    let answer = client::ask(header, payload.as_bytes(), model)?;
    serde_json::from_slice(&answer.payload).map_err(Error::protocol)
}
