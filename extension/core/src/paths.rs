//! Where things lie below the data directory, which is the working directory of every PostgreSQL process.
//!
//! Relative paths keep the socket's name below the 107 bytes that the kernel allows, wherever the data directory is.

use std::path::PathBuf;

/// Directory of everything pgml keeps outside of tables; mode 0700.
pub const HOME: &str = "pgml";
pub const SOCKET: &str = "pgml/runtime.sock";
pub const SUPERVISOR_LOCK: &str = "pgml/supervisor.lock";
pub const RUNTIME_STATE: &str = "pgml/runtime.json";
/// A backend leaves this file to ask the supervisor for a restart of the server process.
pub const RESTART_REQUEST: &str = "pgml/restart";
pub const CACHE: &str = "pgml/cache";
pub const JOBS: &str = "pgml/jobs";
/// What backends in embedded mode have on disk, a directory for each: models that they unpacked, the job that they run.
pub const EMBEDDED: &str = "pgml/embedded";
/// What roles gave to `pgml.set_secret`, a file for each role; mode 0700.
pub const SECRETS: &str = "pgml/secrets";
/// How far the loads of data sets are that run now, a file for each backend.
pub const LOADS: &str = "pgml/loads";

/// The directory of one tuning job. Model ids count per database, so the database is part of the name.
pub fn job_directory(database: u32, model_id: i64) -> PathBuf {
    PathBuf::from(format!("{JOBS}/{database}/{model_id}"))
}

/// The lock that one of the `pgml.max_jobs` running jobs holds.
pub fn job_slot(slot: u32) -> PathBuf {
    PathBuf::from(format!("{JOBS}/slot.{slot}"))
}

/// What a backend tells of the load that it runs.
pub fn load(pid: i32) -> PathBuf {
    PathBuf::from(format!("{LOADS}/{pid}.json"))
}

/// Held by the backend while it loads: a file without it is stale.
pub fn load_lock(pid: i32) -> PathBuf {
    PathBuf::from(format!("{LOADS}/{pid}.lock"))
}

/// The files of one job.
pub struct JobFiles(pub PathBuf);

impl JobFiles {
    pub fn spec(&self) -> PathBuf {
        self.0.join("job.json")
    }
    pub fn rows(&self) -> PathBuf {
        self.0.join("rows.arrow")
    }
    /// Held by the job worker as long as it lives.
    pub fn lock(&self) -> PathBuf {
        self.0.join("lock")
    }
    /// Where the waiting backend listens for what the job worker reports.
    pub fn socket(&self) -> PathBuf {
        self.0.join("job.sock")
    }
    /// The checkpoints of the trainer, and what else it writes while it trains.
    pub fn output(&self) -> PathBuf {
        self.0.join("output")
    }
    /// Left by the worker of a job that did not succeed and that can be resumed.
    pub fn ended(&self) -> PathBuf {
        self.0.join("ended")
    }
    /// Left by `pgml.cancel`.
    pub fn cancel_request(&self) -> PathBuf {
        self.0.join("cancel")
    }
}
