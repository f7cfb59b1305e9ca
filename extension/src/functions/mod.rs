//! The SQL functions, one file per family. Their SQL declarations are in `sql/functions.sql`.

mod administration;
mod deploy;
mod transform;
mod transform_stream;
mod tune;
