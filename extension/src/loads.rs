//! What other sessions see of the loads of data sets that run: a file for each, which its backend writes and removes.

use crate::catalog;
use crate::error::{Error, OrReport, Result};
use crate::workers::supervisor;
use pgml_core::lock::FileLock;
use pgml_core::paths;
use pgml_core::redact::redact_text;
use pgrx::JsonB;
use pgrx::prelude::*;
use serde_json::{Value, json};
use std::ffi::OsStr;
use std::path::Path;
use std::time::{Duration, Instant};

const INTERVAL: Duration = Duration::from_secs(1);

/// How far a load is.
pub struct Progress {
    pub phase: String,
    pub rows: u64,
    pub bytes: u64,
    /// In bytes, where it is known.
    pub total: Option<u64>,
}

/// The load of this backend, as others see it until it is dropped.
pub struct Load {
    description: Value,
    // None for a load within another one: a trigger of the table may run it.
    lock: Option<FileLock>,
    pid: i32,
    shown: Option<Instant>,
}

impl Load {
    pub fn start(source: &str, table: &str) -> Result<Self> {
        supervisor::make_home()?;
        let pid = std::process::id() as i32;
        let lock = FileLock::try_acquire(&paths::load_lock(pid)).map_err(|e| Error::io("show the load", &e))?;
        // SAFETY: this process' own database and role.
        let (database, role) = unsafe { (pg_sys::MyDatabaseId, pg_sys::GetUserId()) };
        let started_at: String =
            catalog::scalar("SELECT pg_catalog.to_json(pg_catalog.clock_timestamp()) #>> '{}'::text[]", &[])?;
        let description = json!({
            "pid": pid, "database": database.to_u32(), "role": role.to_u32(), "source": redact_text(source), "table": table,
            "started_at": started_at,
        });
        Ok(Self { description, lock, pid, shown: None })
    }

    /// Shows how far it is, at most once a second. What cannot be written is not shown; the load goes on.
    pub fn show(&mut self, progress: &Progress) {
        if self.lock.is_none() || self.shown.is_some_and(|shown| shown.elapsed() < INTERVAL) {
            return;
        }
        self.shown = Some(Instant::now());
        let description = &mut self.description;
        description["phase"] = json!(progress.phase);
        (description["rows"], description["bytes"]) = (json!(progress.rows), json!(progress.bytes));
        description["total"] = json!(progress.total);
        let path = paths::load(self.pid);
        let part = path.with_extension("part"); // a reader finds a file that is whole
        let _ = std::fs::write(&part, description.to_string()).and_then(|()| std::fs::rename(&part, &path));
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        if self.lock.is_some() {
            remove(self.pid);
        }
    }
}

fn remove(pid: i32) {
    let _ = std::fs::remove_file(paths::load(pid));
    let _ = std::fs::remove_file(paths::load_lock(pid));
}

/// The loads of this database whose role the current one is a member of.
#[pg_extern(sql = false)]
fn loads() -> JsonB {
    JsonB(Value::Array(running().or_report()))
}

fn running() -> Result<Vec<Value>> {
    let Ok(entries) = std::fs::read_dir(paths::LOADS) else { return Ok(Vec::new()) };
    let files = entries.filter_map(|entry| Some(entry.ok()?.path()));
    Ok(files.filter(|path| path.extension() == Some(OsStr::new("json"))).filter_map(|path| read(&path)).collect())
}

fn read(path: &Path) -> Option<Value> {
    let pid = path.file_stem()?.to_str()?.parse().ok()?;
    if !FileLock::is_held(&paths::load_lock(pid)) {
        remove(pid); // its backend died
        return None;
    }
    let load: Value = serde_json::from_str(&std::fs::read_to_string(path).ok()?).ok()?;
    let role = pg_sys::Oid::from(u32::try_from(load["role"].as_u64()?).ok()?);
    // SAFETY: this process' own database and role; a role that was dropped has no members.
    let visible = unsafe {
        load["database"] == pg_sys::MyDatabaseId.to_u32() && pg_sys::is_member_of_role(pg_sys::GetUserId(), role)
    };
    visible.then_some(load)
}
