//! Background workers: the supervisor of the server process, and one job worker per tuning job.

pub mod account;
pub mod attend;
pub mod directory;
pub mod in_process;
pub mod job;
pub mod kept;
pub mod launch;
pub mod progress;
pub mod recorder;
pub mod report;
pub mod signals;
pub mod spec;
pub mod supervisor;
pub mod trainer;
