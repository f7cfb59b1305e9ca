//! Named secrets of roles: `pgml.set_secret`. In files below the data directory, so that no table, no dump and no write-ahead
//! log holds them. A secret belongs to a role, of which only that role itself makes use.

use crate::error::{Error, OrReport, Result};
use crate::wait;
use pgml_core::lock::FileLock;
use pgml_core::paths;
use pgml_core::redact::remember;
use pgrx::PgSqlErrorCode;
use pgrx::prelude::*;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::io::Write;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::PathBuf;
use std::time::Duration;

/// The file of one role. Its number may become another's once the role is dropped, so its name counts too.
#[derive(Serialize, Deserialize, Default)]
struct Secrets {
    role: String,
    values: BTreeMap<String, String>,
}

const LONGEST: usize = 8 << 10;

#[pg_extern(sql = false)]
fn set_secret(name: Option<&str>, value: Option<&str>) {
    set(name, value).or_report();
}

#[pg_extern(sql = false)]
fn secret_names() -> SetOfIterator<'static, String> {
    SetOfIterator::new(read().or_report().values.into_keys())
}

/// A secret of the current role.
pub fn get(name: &str) -> Result<Option<String>> {
    Ok(read()?.values.remove(name))
}

fn set(name: Option<&str>, value: Option<&str>) -> Result<()> {
    let name = name.filter(|n| !n.trim().is_empty());
    let name = name.ok_or_else(|| Error::invalid("the name of a secret cannot be NULL or empty"))?;
    if let Some(value) = value {
        remember(value);
        if value.is_empty() || value.len() > LONGEST {
            return Err(Error::invalid(format!("a secret must have 1 to {LONGEST} bytes"))
                .hint("NULL as the value forgets a secret."));
        }
    }
    make_directory()?;
    let _lock = lock()?;
    let mut secrets = read()?;
    match value {
        Some(value) => secrets.values.insert(name.into(), value.into()),
        None => secrets.values.remove(name),
    };
    write(&secrets)
}

fn make_directory() -> Result<()> {
    let made = std::fs::DirBuilder::new().recursive(true).mode(0o700).create(paths::SECRETS);
    made.map_err(|e| Error::io("create the directory of secrets", &e))
}

fn lock() -> Result<FileLock> {
    let path = PathBuf::from(paths::SECRETS).join("lock");
    let lock = wait::file_lock(&path, Duration::from_secs(10)).map_err(|e| Error::io("lock the secrets", &e))?;
    lock.ok_or_else(|| Error::new(PgSqlErrorCode::ERRCODE_LOCK_NOT_AVAILABLE, "the secrets are locked"))
}

fn role() -> (pg_sys::Oid, String) {
    // SAFETY: the name is a copy that palloc made; noerr is false, so a role that is gone is an error and not a null.
    unsafe {
        let role = pg_sys::GetUserId();
        let name = std::ffi::CStr::from_ptr(pg_sys::GetUserNameFromId(role, false));
        (role, name.to_string_lossy().into_owned())
    }
}

fn file(role: pg_sys::Oid) -> PathBuf {
    PathBuf::from(paths::SECRETS).join(format!("{}.json", role.to_u32()))
}

fn read() -> Result<Secrets> {
    let (oid, role) = role();
    let none = || Secrets { role: role.clone(), ..Secrets::default() };
    match std::fs::read(file(oid)) {
        Ok(bytes) => {
            let secrets: Secrets = serde_json::from_slice(&bytes).map_err(|_| unreadable())?;
            Ok(if secrets.role == role { secrets } else { none() })
        }
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(none()),
        Err(e) => Err(Error::io("read the secrets", &e)),
    }
}

// Without the cause: it could quote what the file holds.
fn unreadable() -> Error {
    Error::new(PgSqlErrorCode::ERRCODE_DATA_CORRUPTED, "the file of the role's secrets cannot be understood")
        .hint("Set them anew with pgml.set_secret.")
}

// Written beside and renamed, so that a reader never sees half of it.
fn write(secrets: &Secrets) -> Result<()> {
    let path = file(role().0);
    let beside = path.with_extension("new");
    let written = || -> std::io::Result<()> {
        let options = std::fs::OpenOptions::new().create(true).truncate(true).write(true).mode(0o600).open(&beside);
        let mut file = options?;
        file.write_all(&serde_json::to_vec(secrets)?)?;
        file.sync_all()?;
        std::fs::rename(&beside, &path)
    };
    written().map_err(|e| Error::io("write the secrets", &e))
}
