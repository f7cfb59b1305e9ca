//! What a job worker needs to know, left by the backend in the job's directory. The trainer reads the same file.

use crate::error::{Error, Result};
use pgml_core::paths::JobFiles;
use pgrx::pg_sys;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// The file `job.json`. It holds no secret.
#[derive(Serialize, Deserialize, Clone)]
pub struct JobSpec {
    pub model_id: i64,
    pub database: u32,
    /// Roles that no longer may log in cannot connect a worker, so it connects as the session's user …
    pub session_user: u32,
    /// … and acts as the user that called `pgml.tune`.
    pub current_user: u32,
    pub project: String,
    /// Label of the enum `pgml.task`.
    pub task: String,
    pub relation: String,
    pub label_column: Option<String>,
    pub base_model: String,
    pub test_size: f32,
    pub test_sampling: String,
    pub materialized: bool,
    pub automatic_deploy: bool,
    /// Whether the caller waits for the end and deploys in its own transaction.
    pub wait: bool,
    pub cancel_on_disconnect: bool,
    pub plan: Value,
    pub analysis: Value,
}

impl JobSpec {
    /// From now on the job is that of the current caller, as for its identity and its waiting.
    pub fn act_for_caller(&mut self, wait: bool, cancel_on_disconnect: bool) {
        (self.session_user, self.current_user) = caller();
        (self.wait, self.cancel_on_disconnect) = (wait, cancel_on_disconnect);
    }

    pub fn read(files: &JobFiles) -> Result<Self> {
        let bytes = std::fs::read(files.spec()).map_err(|e| Error::io("read the job's description", &e))?;
        serde_json::from_slice(&bytes).map_err(Error::protocol)
    }

    pub fn write(&self, files: &JobFiles) -> Result<()> {
        let bytes = serde_json::to_vec(self).map_err(Error::protocol)?;
        std::fs::write(files.spec(), bytes).map_err(|e| Error::io("write the job's description", &e))
    }
}

/// The session's user, and the user that the statement runs as.
pub fn caller() -> (u32, u32) {
    // SAFETY: reads this process' own roles.
    let (session, current) = unsafe { (pg_sys::GetSessionUserId(), pg_sys::GetUserId()) };
    (session.to_u32(), current.to_u32())
}
