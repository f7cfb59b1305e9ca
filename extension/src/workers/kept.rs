//! What stays of a job that did not succeed, so that `pgml.resume` can go on with it: its rows and its checkpoints.

use crate::error::{Error, Result};
use crate::gucs;
use pgml_core::paths::JobFiles;
use std::path::Path;
use std::time::SystemTime;

/// Ends with the directory of a job what the job was: keeps it if it can be resumed, else removes it.
pub fn leave(directory: &Path, succeeded: bool) -> Result<()> {
    let files = JobFiles(directory.to_path_buf());
    if !succeeded && !gucs::resume_window().is_zero() && has_checkpoint(&files) {
        return std::fs::write(files.ended(), b"").map_err(|e| Error::io("keep the job's directory", &e));
    }
    // The description first: without it nobody takes the job for lost.
    let _ = std::fs::remove_file(files.spec());
    std::fs::remove_dir_all(directory).map_err(|e| Error::io("remove the job's directory", &e))
}

/// Whether a job left something to go on from, and its time is not over.
pub fn is_resumable(files: &JobFiles) -> bool {
    has_checkpoint(files) && !is_over(files)
}

/// Whether the worker of a job has left it like this; removes it when its time is over.
pub fn is_kept(directory: &Path) -> bool {
    let files = JobFiles(directory.to_path_buf());
    if is_over(&files) {
        let _ = std::fs::remove_dir_all(directory);
        return true;
    }
    files.ended().exists()
}

fn has_checkpoint(files: &JobFiles) -> bool {
    let entries = std::fs::read_dir(files.output()).into_iter().flatten().flatten();
    files.spec().exists()
        && entries.map(|entry| entry.file_name()).any(|name| name.to_string_lossy().starts_with("checkpoint-"))
}

/// Whether a job ended longer ago than it is kept.
fn is_over(files: &JobFiles) -> bool {
    let Ok(ended) = std::fs::metadata(files.ended()).and_then(|m| m.modified()) else { return false };
    SystemTime::now().duration_since(ended).unwrap_or_default() >= gucs::resume_window()
}
