//! The directory of a job, from its backend to its worker.

use super::supervisor;
use crate::error::{Error, Result};
use crate::gucs;
use crate::runtime::embedded;
use pgml_core::lock::FileLock;
use pgml_core::paths::{self, JobFiles};
use pgrx::pg_sys;

/// The directory of a job that has no worker yet. Dropping it removes it, unless the worker took it over.
pub struct JobDirectory {
    pub model_id: i64,
    pub files: JobFiles,
    lock: Option<FileLock>,
    /// Whether it was there before, with what a job left: then it stays when there is no worker in the end.
    reopened: bool,
}

impl JobDirectory {
    pub fn create(model_id: i64) -> Result<Self> {
        supervisor::make_home()?;
        // A job of embedded mode is the session's alone, and goes with it however that ends.
        let files = if gucs::is_embedded() {
            JobFiles(embedded::directory()?.join("jobs").join(model_id.to_string()))
        } else {
            files_of(model_id)
        };
        let fail = |e: std::io::Error| Error::io("create the directory of the job", &e);
        if files.0.exists() {
            // Left by a job of a database that had this OID, or of an id that was given twice.
            std::fs::remove_dir_all(&files.0).map_err(fail)?;
        }
        std::fs::create_dir_all(&files.0).map_err(fail)?;
        let lock = FileLock::try_acquire(&files.lock()).map_err(fail)?;
        Ok(Self { model_id, files, lock, reopened: false })
    }

    /// What an earlier job left; `None` when it left nothing, or when a worker has it.
    pub fn reopen(model_id: i64) -> Result<Option<Self>> {
        let files = files_of(model_id);
        if !files.spec().exists() {
            return Ok(None);
        }
        let lock = FileLock::try_acquire(&files.lock()).map_err(|e| Error::io("lock the job", &e))?;
        Ok(lock.map(|lock| Self { model_id, files, lock: Some(lock), reopened: true }))
    }

    pub fn path(&self) -> String {
        self.files.0.to_string_lossy().into_owned()
    }

    /// From now on the directory is the worker's.
    pub fn hand_over(&mut self) {
        self.lock = None;
    }
}

/// The files of a job of this database.
pub fn files_of(model_id: i64) -> JobFiles {
    // SAFETY: set once when the backend connected to its database.
    let database = unsafe { pg_sys::MyDatabaseId };
    JobFiles(paths::job_directory(database.to_u32(), model_id))
}

impl Drop for JobDirectory {
    fn drop(&mut self) {
        if self.lock.is_some() && !self.reopened {
            let _ = std::fs::remove_dir_all(&self.files.0);
        }
    }
}
