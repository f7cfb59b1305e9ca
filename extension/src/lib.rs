//! pgml: tuning and serving of language models inside PostgreSQL.
//!
//! This crate is what runs inside PostgreSQL. It never runs Python: backends talk to the server process (`runtime`),
//! and background workers keep it and the tuning jobs alive (`workers`). The SQL that declares the functions is in `sql/`.

use pgrx::prelude::*;

mod catalog;
mod copy;
mod error;
mod frontend;
mod functions;
mod gucs;
mod hub;
mod loads;
mod relation;
mod runtime;
mod secrets;
mod table_columns;
mod target_table;
mod transaction;
mod wait;
mod workers;

pgrx::pg_module_magic!(name, version);

/// Called by PostgreSQL when it loads the library.
#[allow(non_snake_case)]
#[pg_guard]
pub extern "C-unwind" fn _PG_init() {
    gucs::init();
    hub::hide_statements();
    workers::supervisor::register_at_boot();
}
