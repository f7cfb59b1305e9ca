//! `pgml.embed`: texts as vectors.

use super::transform::{Request, texts};
use crate::error::{Error, OrReport, Result};
use pgrx::JsonB;
use pgrx::prelude::*;
use serde_json::{Value, json};

#[pg_extern(sql = false)]
fn embed_one(transformer: &str, text: &str, kwargs: JsonB) -> Option<Vec<f32>> {
    embed(transformer, vec![json!(text)], kwargs.0).or_report().pop().flatten()
}

#[pg_extern(sql = false)]
fn embed_many(
    transformer: &str,
    inputs: Vec<Option<String>>,
    kwargs: JsonB,
) -> SetOfIterator<'static, Option<Vec<f32>>> {
    SetOfIterator::new(embed(transformer, texts(inputs), kwargs.0).or_report())
}

fn embed(transformer: &str, inputs: Vec<Value>, mut kwargs: Value) -> Result<Vec<Option<Vec<f32>>>> {
    let revision = kwargs.as_object_mut().and_then(|fields| fields.remove("revision"));
    let task = json!({"task": "embedding", "model": transformer, "revision": revision});
    let answer = Request::new(task, kwargs, "text", inputs)?.run()?;
    let vectors: Vec<Option<Vec<Option<f32>>>> = serde_json::from_value(answer).map_err(Error::protocol)?;
    // JSON has no NaN.
    let numbers = |vector: Vec<Option<f32>>| vector.into_iter().map(|number| number.unwrap_or(f32::NAN)).collect();
    Ok(vectors.into_iter().map(|vector| vector.map(numbers)).collect())
}
