//! The SQL functions, one file per family. Their SQL declarations are in `sql/functions.sql`.

mod administration;
mod deploy;
mod embed;
mod load_dataset;
mod pull_from_hub;
mod push_to_hub;
mod resume;
mod sha256;
mod transform;
mod transform_stream;
mod tune;
