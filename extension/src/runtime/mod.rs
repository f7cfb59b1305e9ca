//! Talking to the server process: finding it, starting it, asking it.

pub mod client;
pub mod dataset;
pub mod embedded;
pub mod models;
pub mod startup;
