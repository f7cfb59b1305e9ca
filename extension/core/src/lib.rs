//! The parts of pgml that know nothing of PostgreSQL and Python.
//!
//! Everything here is tested by a plain `cargo test`; the extension adds SQL and waiting to it.

pub mod backoff;
pub mod child;
pub mod frames;
pub mod lock;
pub mod log_lines;
pub mod names;
pub mod paths;
pub mod redact;
pub mod state;
