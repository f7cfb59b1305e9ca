//! `pgml.transform`, `pgml.predict` and `pgml.generate`: inputs in, one JSON array out, in order.

use crate::error::{Error, OrReport, Result};
use crate::hub;
use crate::runtime::client::{self, Pieces};
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

#[pg_extern(sql = false)]
fn generate_one(project_name: &str, input: &str, config: JsonB) -> Option<String> {
    generate(project_name, vec![json!(input)], config.0).or_report().pop().flatten()
}

#[pg_extern(sql = false)]
fn generate_many(project_name: &str, inputs: Vec<Option<String>>, config: JsonB) -> Vec<Option<String>> {
    generate(project_name, texts(inputs), config.0).or_report()
}

pub fn texts(inputs: Vec<Option<String>>) -> Vec<Value> {
    inputs.into_iter().map(|text| text.map_or(Value::Null, Value::String)).collect()
}

pub fn documents(inputs: Vec<Option<JsonB>>) -> Vec<Value> {
    inputs.into_iter().map(|document| document.map_or(Value::Null, |d| d.0)).collect()
}

// `task => '{"task": …}'` without a cast reaches the text form: PostgreSQL prefers text for a literal.
pub fn task_object(task: &str) -> Result<Value> {
    if !task.trim_start().starts_with('{') {
        return Ok(json!({ "task": task }));
    }
    serde_json::from_str(task).map_err(|e| {
        Error::new(PgSqlErrorCode::ERRCODE_INVALID_TEXT_REPRESENTATION, "argument \"task\" is not valid JSON")
            .detail(format!("{e}."))
    })
}

fn transform(task: Value, args: Option<JsonB>, format: &str, inputs: Vec<Value>) -> Result<Option<JsonB>> {
    let request = Request::new(task, args.map_or_else(|| json!({}), |a| a.0), format, inputs)?;
    request.run().map(|results| Some(JsonB(results)))
}

fn predict(project: &str, inputs: Vec<Value>) -> Result<Value> {
    Request::to(models::deployed(project)?, Map::new(), inputs).run()
}

/// The tasks whose models answer with text, as the registry names them.
const GENERATING: [&str; 2] = ["conversation", "text_generation"];

fn generate(project: &str, inputs: Vec<Value>, config: Value) -> Result<Vec<Option<String>>> {
    let model = models::deployed(project)?;
    if let Model::Stored(stored) = &model
        && !GENERATING.contains(&stored.task.as_str())
    {
        let message = format!("project \"{project}\" is for task {}, which generates no text", stored.task);
        return Err(Error::new(PgSqlErrorCode::ERRCODE_WRONG_OBJECT_TYPE, message).hint("Use pgml.predict."));
    }
    let mut request = Request::to(model, object("config", config)?, inputs);
    request.form = Some("text");
    serde_json::from_value(request.run()?).map_err(Error::protocol)
}

/// What the server process is asked to run.
pub struct Request {
    task: Map<String, Value>,
    args: Map<String, Value>,
    /// `text` or `json`, as the inputs came.
    format: String,
    inputs: Vec<Value>,
    /// `text`: plain strings are wanted instead of what the task's results are otherwise.
    form: Option<&'static str>,
    model: Option<Model>,
    /// What the base of a stored adapter may do on the Hub, where the call gives a token.
    hub: Option<Value>,
}

impl Request {
    /// A request that names its task, and with it the model.
    pub fn new(mut task: Value, mut args: Value, format: &str, inputs: Vec<Value>) -> Result<Self> {
        let token = hub::take_token(&mut task, &TOKENS).or(hub::take_token(&mut args, &TOKENS));
        let mut task = object("task", task)?;
        let args = object("args", args)?;
        let hub = token.map(|token| hub::settings(Some(token))).transpose()?;
        let settings = || hub.clone().map_or_else(|| hub::settings(None), Ok);
        let model = match task.remove("model") {
            Some(Value::String(name)) => {
                Some(models::resolve(&name, task.get("revision").and_then(Value::as_str), settings)?)
            }
            Some(_) => return Err(Error::invalid("\"model\" in argument \"task\" must be a text")),
            None => None,
        };
        Ok(Self { task, args, format: format.into(), inputs, form: None, model, hub })
    }

    /// A request to a model, for the model's own task.
    fn to(model: Model, args: Map<String, Value>, inputs: Vec<Value>) -> Self {
        Self { task: Map::new(), args, format: "text".into(), inputs, form: None, model: Some(model), hub: None }
    }

    pub fn run(self) -> Result<Value> {
        let answer = client::ask(self.header("transform"), self.payload().as_bytes(), self.model.as_ref())?;
        serde_json::from_slice(&answer.payload).map_err(Error::protocol)
    }

    /// The results piece by piece, as they are made.
    pub fn stream(self) -> Result<Pieces> {
        client::Request::send(self.header("stream"), self.payload().as_bytes(), self.model.as_ref()).map(Pieces::of)
    }

    fn header(&self, operation: &str) -> Value {
        json!({
            "op": operation, "task": self.task, "args": self.args, "inputs": self.format, "form": self.form, "hub": self.hub,
        })
    }

    fn payload(&self) -> String {
        json!(self.inputs).to_string()
    }
}

/// Where scripts put the token of the Hub.
const TOKENS: [&str; 3] = ["token", "hub_token", "use_auth_token"];

fn object(argument: &str, value: Value) -> Result<Map<String, Value>> {
    match value {
        Value::Object(fields) => Ok(fields),
        Value::Null => Ok(Map::new()),
        _ => Err(Error::invalid(format!("argument \"{argument}\" must be a JSON object"))),
    }
}
