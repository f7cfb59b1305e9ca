//! `pgml.load_dataset`: a data set of the Hub, of a file or of an address becomes a table.
//!
//! The runtime fetches and reads it; its rows go through PostgreSQL's own COPY, in the caller's transaction.

use crate::copy;
use crate::error::{Error, OrReport, Result};
use crate::loads::Load;
use crate::runtime::dataset::Dataset;
use crate::target_table::{IfExists, Target};
use crate::{catalog, gucs, hub};
use pgrx::JsonB;
use pgrx::prelude::*;
use serde_json::{Value, json};

type Loaded = TableIterator<'static, (name!(table_name, String), name!(rows, i64))>;

#[pg_extern(sql = false)]
fn load_dataset(source: Option<&str>, subset: Option<&str>, limit: Option<i64>, kwargs: Option<JsonB>) -> Loaded {
    let kwargs = kwargs.map_or_else(|| json!({}), |kwargs| kwargs.0);
    TableIterator::once(load(source.unwrap_or_default().trim(), subset, limit, kwargs).or_report())
}

fn load(source: &str, subset: Option<&str>, limit: Option<i64>, mut kwargs: Value) -> Result<(String, i64)> {
    // SAFETY: raises an error or does nothing.
    unsafe { pg_sys::PreventCommandIfReadOnly(c"pgml.load_dataset".as_ptr()) };
    let hub = hub::settings(hub::take_token(&mut kwargs, &["token"]))?;
    check(source, limit, &kwargs)?;
    let table = take_text(&mut kwargs, "table")?;
    let if_exists = take_text(&mut kwargs, "if_exists")?.map_or(Ok(IfExists::Error), |text| IfExists::parse(&text))?;
    let (schema, name) = table.map_or_else(|| default_name(source), |table| parse_name(&table))?;
    let target = Target::resolve(schema.as_deref(), &name, if_exists)?;
    let header = json!({
        "op": "load_dataset", "source": source, "subset": subset, "limit": limit, "kwargs": kwargs,
        "directories": gucs::data_directories(), "urls": gucs::data_urls(), "hub": hub,
        // A table that was there may have other types, and texts in the binary format are the client's.
        "binary": if_exists != IfExists::Append && copy::client_speaks_utf8(),
    });
    let mut dataset = Dataset::request(header, Load::start(source, &target.sql_name)?)?;
    let (columns, binary) = dataset.columns()?;
    let table = target.prepare(&columns)?;
    let names: Vec<_> = columns.into_iter().map(|column| column.name).collect();
    let rows = copy::append(table, &names, binary, Box::new(move || dataset.lines()))?;
    Ok((target.sql_name, rows as i64))
}

fn check(source: &str, limit: Option<i64>, kwargs: &Value) -> Result<()> {
    if source.is_empty() {
        return Err(Error::invalid("source cannot be NULL or empty").hint("For example: pgml.load_dataset('imdb')."));
    }
    if limit.is_some_and(|limit| limit < 0) {
        return Err(Error::invalid("limit cannot be negative").hint("NULL loads all rows."));
    }
    if !kwargs.is_object() {
        return Err(Error::invalid("kwargs must be a JSON object").hint("For example: '{\"table\": \"reviews\"}'."));
    }
    Ok(())
}

/// Takes a text out of the arguments that are not the runtime's; null is as if it were not there.
fn take_text(kwargs: &mut Value, key: &str) -> Result<Option<String>> {
    match kwargs.as_object_mut().and_then(|kwargs| kwargs.remove(key)) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) => Ok(Some(text)),
        Some(_) => Err(Error::invalid(format!("kwargs.{key} must be a text"))),
    }
}

type Name = (Option<String>, String);

/// Schema, if there is one, and name of a table as SQL would write them.
fn parse_name(table: &str) -> Result<Name> {
    let parts: Vec<String> = catalog::scalar("SELECT pg_catalog.parse_ident($1)", &[table.into()])?;
    match parts.as_slice() {
        [name] => Ok((None, name.clone())),
        [schema, name] => Ok((Some(schema.clone()), name.clone())),
        _ => {
            Err(Error::invalid(format!("kwargs.table cannot be \"{table}\""))
                .hint("It is a name, or a schema and a name."))
        }
    }
}

/// In schema pgml, as in PostgresML: the source as it is, or the name of a file without directories and extensions.
fn default_name(source: &str) -> Result<Name> {
    let is_path = source.starts_with('/') || source.contains("://");
    let name = if is_path { file_name(source) } else { source };
    if name.is_empty() {
        return Err(
            Error::invalid("the source gives the table no name").hint("Choose one: kwargs => '{\"table\": \"…\"}'.")
        );
    }
    Ok((Some("pgml".into()), name.into()))
}

fn file_name(path: &str) -> &str {
    let path = path.split_once("://").map_or(path, |(_, address)| address.split_once('/').unwrap_or_default().1);
    let path = path.split(['?', '#']).next().unwrap_or_default().trim_end_matches('/');
    let name = path.rsplit('/').next().unwrap_or_default();
    let name = PACKED.iter().find_map(|extension| name.strip_suffix(extension)).unwrap_or(name);
    name.rsplit_once('.').map_or(name, |(stem, _)| if stem.is_empty() { name } else { stem })
}

const PACKED: [&str; 5] = [".gz", ".bz2", ".xz", ".zst", ".zip"];
