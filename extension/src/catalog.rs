//! The registry's tables, read and written as the current user: row-level security decides what is there.

use crate::error::{Error, Result};
use pgrx::prelude::*;
use pgrx::spi::{SpiClient, SpiHeapTupleData};
use pgrx::{JsonB, PgSqlErrorCode, Spi};
use serde_json::{Value, json};
use std::ffi::CString;

/// A project that the current user may see.
pub struct Project {
    pub id: i64,
    pub task: String,
}

/// A model whose weights are in `pgml.files`.
#[derive(Clone, Debug)]
pub struct StoredModel {
    pub id: i64,
    pub digest: String,
    pub task: String,
}

const PROJECT: &str = "SELECT id, task::text FROM pgml.projects WHERE name = $1";

pub fn project(name: &str) -> Result<Option<Project>> {
    first_row(PROJECT, &[name.into()], |row| Ok(Project { id: required(row, 1)?, task: required(row, 2)? }))
}

/// The id of a project of the current user for a task. Two sessions may make it at once: the second finds the first one's row.
pub fn find_or_create_project(name: &str, task: &str) -> Result<i64> {
    const CREATE: &str = "
        INSERT INTO pgml.projects (name, task) VALUES ($1, $2::pgml.task) ON CONFLICT (name) DO NOTHING";
    if project(name)?.is_none() {
        execute(CREATE, &[name.into(), task.into()])?;
    }
    match project(name)? {
        Some(project) if project.task == task => Ok(project.id),
        Some(project) => Err(Error::invalid(format!("project \"{name}\" is for task {}, not {task}", project.task))
            .hint("A project keeps its task. Choose another project_name.")),
        None => Err(Error::new(
            PgSqlErrorCode::ERRCODE_INSUFFICIENT_PRIVILEGE,
            format!("project \"{name}\" belongs to another role"),
        )),
    }
}

/// The owner of a project that the current user may not see; its name is taken all the same.
pub fn hidden_owner(name: &str) -> Result<Option<String>> {
    first_row("SELECT pgml._project_owner($1)::text", &[name.into()], |row| Ok(row.get(1)?)).map(Option::flatten)
}

const DEPLOYED: &str = "
    SELECT m.id, m.digest, p.task::text
    FROM pgml.projects p
    JOIN LATERAL (SELECT model_id FROM pgml.deployments WHERE project_id = p.id ORDER BY id DESC LIMIT 1) d ON true
    JOIN pgml.models m ON m.id = d.model_id AND m.status = 'successful'
    WHERE p.name = $1";

pub fn deployed_model(project: &str) -> Result<Option<StoredModel>> {
    first_row(DEPLOYED, &[project.into()], stored_model)
}

const STORED: &str = "
    SELECT m.id, m.digest, p.task::text
    FROM pgml.models m JOIN pgml.projects p ON p.id = m.project_id
    WHERE m.id = $1 AND m.status = 'successful'";

pub fn model_by_id(id: i64) -> Result<Option<StoredModel>> {
    first_row(STORED, &[id.into()], stored_model)
}

fn stored_model(row: &SpiHeapTupleData) -> Result<StoredModel> {
    Ok(StoredModel { id: required(row, 1)?, digest: required(row, 2)?, task: required(row, 3)? })
}

pub fn project_names() -> Result<Vec<String>> {
    rows("SELECT name FROM pgml.projects", &[], |row| required(row, 1))
}

/// What the last job of a project was made of: what a `tune` that leaves it out means.
pub struct LastJob {
    pub relation: Option<String>,
    pub base_model: Option<String>,
    pub label: Option<String>,
    pub hyperparams: Value,
}

const LAST_JOB: &str = "
    SELECT s.relation_name, m.base_model, s.y_column_name[1], m.hyperparams
    FROM pgml.models m LEFT JOIN pgml.snapshots s ON s.id = m.snapshot_id
    WHERE m.project_id = $1 ORDER BY m.id DESC LIMIT 1";

pub fn last_job(project_id: i64) -> Result<Option<LastJob>> {
    first_row(LAST_JOB, &[project_id.into()], |row| {
        let hyperparams: JsonB = required(row, 4)?;
        Ok(LastJob { relation: row.get(1)?, base_model: row.get(2)?, label: row.get(3)?, hyperparams: hyperparams.0 })
    })
}

/// The next model id. Taken before anything is written, so that the job's directory can carry it.
pub fn next_model_id() -> Result<i64> {
    next_id("pgml.models_id_seq")
}

/// Whether a job has not ended as its row stands now, whatever the snapshot of the asking transaction shows.
pub fn is_unfinished_now(model_id: i64) -> bool {
    let query = format!("SELECT FROM pgml.models WHERE id = {model_id} AND status IN ('queued', 'in_progress')");
    let query = CString::new(query).unwrap_or_default();
    Spi::connect(|_| {
        // SAFETY: SPI is connected. What is read-only uses the snapshot on top; an error takes that away too.
        unsafe {
            pg_sys::PushActiveSnapshot(pg_sys::GetLatestSnapshot());
            pg_sys::SPI_execute(query.as_ptr(), true, 1);
            pg_sys::PopActiveSnapshot();
            pg_sys::SPI_processed > 0
        }
    })
}

const FILES: &str = "
    SELECT pg_catalog.jsonb_agg(pg_catalog.jsonb_build_object('path', path, 'size', size, 'sha256', sha256) ORDER BY path COLLATE \"C\")
    FROM pgml.files WHERE model_id = $1 AND part = 0";

/// The files of a model: `[{"path", "size", "sha256"}]`, sorted by path.
pub fn files(model_id: i64) -> Result<Value> {
    let list: Option<JsonB> = first_row(FILES, &[model_id.into()], |row| Ok(row.get(1)?))?.flatten();
    list.map(|l| l.0).ok_or_else(|| {
        Error::new(PgSqlErrorCode::ERRCODE_DATA_CORRUPTED, format!("model {model_id} has no files in pgml.files"))
    })
}

/// Gives one part of a file to `take`; `false` when there is no such part. The part's memory is freed before this returns.
pub fn with_part(model_id: i64, path: &str, part: i32, take: impl FnOnce(&[u8]) -> Result<()>) -> Result<bool> {
    const PART: &str = "SELECT data FROM pgml.files WHERE model_id = $1 AND path = $2 AND part = $3";
    Spi::connect(|client| {
        let table = client.select(PART, Some(1), &[model_id.into(), path.into(), part.into()])?;
        let Some(row) = table.into_iter().next() else { return Ok(false) };
        let data: Option<&[u8]> = row.get(1)?;
        take(data.unwrap_or_default()).map(|()| true)
    })
}

pub fn insert_part(model_id: i64, path: &str, part: i32, data: &[u8], size: i64, sha256: &str) -> Result<()> {
    const INSERT: &str = "
        INSERT INTO pgml.files (id, model_id, path, part, data, size, sha256) VALUES ($1, $2, $3, $4, $5, $6, $7)";
    let id = next_id("pgml.files_id_seq")?;
    execute(INSERT, &[id.into(), model_id.into(), path.into(), part.into(), data.into(), size.into(), sha256.into()])
}

pub fn insert_log(model_id: i64, project_id: i64, logs: Value) -> Result<()> {
    const INSERT: &str = "
        INSERT INTO pgml.logs (id, model_id, project_id, created_at, logs)
        VALUES ($1, $2, $3, COALESCE(($4->>'timestamp')::timestamptz AT TIME ZONE current_setting('TimeZone'), clock_timestamp()), $4)";
    let id = next_id("pgml.logs_id_seq")?;
    execute(INSERT, &[id.into(), model_id.into(), project_id.into(), JsonB(logs).into()])
}

/// Ends a model whose files are all stored. The digest names it in the server's cache: sha256 of the lines
/// "path NUL size NUL sha256 LF", sorted by path.
pub fn complete_model(model_id: i64, metrics: &Value) -> Result<()> {
    const COMPLETE: &str = r"
        UPDATE pgml.models SET status = 'successful', metrics = $2, finished_at = clock_timestamp(), step = max_steps, digest = (
            SELECT encode(sha256(string_agg(
                       convert_to(path, 'UTF8') || '\x00' || convert_to(size::text, 'UTF8') || '\x00' || convert_to(sha256, 'UTF8') || '\x0a',
                       '' ORDER BY convert_to(path, 'UTF8'))), 'hex')
            FROM pgml.files WHERE model_id = $1 AND part = 0)
        WHERE id = $1";
    execute(COMPLETE, &[model_id.into(), JsonB(metrics.clone()).into()])
}

/// Where a model was pushed or pulled from, or why it was not pushed.
pub fn set_hub(model_id: i64, hub: Value) -> Result<()> {
    execute("UPDATE pgml.models SET hub = $2 WHERE id = $1", &[model_id.into(), JsonB(hub).into()])
}

// In a statement of its own: DROP EXTENSION locks a sequence before its table, and an INSERT that draws from the
// sequence locks them the other way round, so the two could wait for each other.
fn next_id(sequence: &str) -> Result<i64> {
    scalar("SELECT pg_catalog.nextval($1::pg_catalog.regclass)", &[sequence.into()])
}

/// The name of the metric that says which of two models is better, and whether more is better.
pub fn target_metric(task: &str) -> (&'static str, bool) {
    match task {
        "text_classification" | "text_pair_classification" => ("f1", true),
        _ => ("loss", false),
    }
}

/// Whether a model with these metrics is at least as good as the one that is deployed now.
pub fn is_improvement(project_id: i64, task: &str, metrics: &Value) -> Result<bool> {
    const CURRENT: &str = "
        SELECT m.metrics FROM pgml.deployments d JOIN pgml.models m ON m.id = d.model_id
        WHERE d.project_id = $1 ORDER BY d.id DESC LIMIT 1";
    let current: Option<JsonB> = first_row(CURRENT, &[project_id.into()], |row| Ok(row.get(1)?))?.flatten();
    let (name, more_is_better) = target_metric(task);
    let score = |metrics: &Value| metrics.get(name).and_then(Value::as_f64);
    Ok(match (current.and_then(|c| score(&c.0)), score(metrics)) {
        (Some(old), Some(new)) if more_is_better => new >= old,
        (Some(old), Some(new)) => new <= old,
        (Some(_), None) => false,
        (None, _) => true,
    })
}

pub fn insert_deployment(project_id: i64, model_id: i64, strategy: &str) -> Result<()> {
    const INSERT: &str = "
        INSERT INTO pgml.deployments (project_id, model_id, strategy) VALUES ($1, $2, $3::pgml.strategy)";
    execute(INSERT, &[project_id.into(), model_id.into(), strategy.into()])
}

/// Runs `work` as the owner of the schema, for what row-level security or the lack of CREATE there would refuse.
/// Nothing in `work` may come from the caller unchecked, nor read the caller's rows.
pub fn as_extension_owner<T>(work: impl FnOnce() -> Result<T>) -> Result<T> {
    const OWNER: &str =
        "SELECT nspowner FROM pg_catalog.pg_namespace WHERE nspname OPERATOR(pg_catalog.=) 'pgml'::pg_catalog.name";
    let owner: pg_sys::Oid = scalar(OWNER, &[])?;
    let (mut user, mut context) = (pg_sys::InvalidOid, 0);
    // SAFETY: the identity is put back below; an error that unwinds past it ends the transaction, which puts it back too.
    unsafe {
        pg_sys::GetUserIdAndSecContext(&mut user, &mut context);
        pg_sys::SetUserIdAndSecContext(owner, context | pg_sys::SECURITY_LOCAL_USERID_CHANGE as i32);
    }
    let done = work();
    // SAFETY: what was read above.
    unsafe { pg_sys::SetUserIdAndSecContext(user, context) };
    done
}

// -- small tools ----------------------------------------------------------------------------------------------------

/// Runs a statement that gives no rows.
pub fn execute(query: &str, args: &[pgrx::datum::DatumWithOid<'_>]) -> Result<()> {
    Spi::connect_mut(|client| client.update(query, None, args).map(|_| ()).map_err(Error::from))
}

/// Runs a query that writes and gives one value.
pub fn scalar<T: FromDatum + IntoDatum>(query: &str, args: &[pgrx::datum::DatumWithOid<'_>]) -> Result<T> {
    let value = Spi::connect_mut(|client| client.update(query, Some(1), args)?.first().get_one::<T>())?;
    value.ok_or_else(|| Error::new(PgSqlErrorCode::ERRCODE_INTERNAL_ERROR, "a query of the registry gave nothing"))
}

/// Reads the first row, if there is one.
pub fn first_row<T>(
    query: &str,
    args: &[pgrx::datum::DatumWithOid<'_>],
    read: impl FnOnce(&SpiHeapTupleData) -> Result<T>,
) -> Result<Option<T>> {
    Spi::connect(|client: &SpiClient| {
        let table = client.select(query, Some(1), args)?;
        table.into_iter().next().map(|row| read(&row)).transpose()
    })
}

/// Reads all rows.
pub fn rows<T>(
    query: &str,
    args: &[pgrx::datum::DatumWithOid<'_>],
    read: impl Fn(&SpiHeapTupleData) -> Result<T>,
) -> Result<Vec<T>> {
    Spi::connect(|client: &SpiClient| client.select(query, None, args)?.map(|row| read(&row)).collect())
}

/// A column that is never NULL.
pub fn required<T: FromDatum + IntoDatum>(row: &SpiHeapTupleData, column: usize) -> Result<T> {
    row.get(column)?.ok_or_else(|| {
        Error::new(PgSqlErrorCode::ERRCODE_DATA_CORRUPTED, "a row of the registry has a NULL where none may be")
            .detail(json!({"column": column}).to_string())
    })
}
