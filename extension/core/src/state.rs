//! What the supervisor knows of the server process, in a file that every backend can read.

use serde::{Deserialize, Serialize};
use std::io;
use std::path::Path;

/// Where the server process is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// Started, importing its packages.
    Starting,
    /// It has told that it answers.
    Ready,
    /// It ended while starting; the supervisor waits before it tries again.
    Backoff,
    /// The supervisor ended, and the server process with it.
    Stopped,
}

impl Phase {
    pub fn name(self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::Ready => "ready",
            Self::Backoff => "backoff",
            Self::Stopped => "stopped",
        }
    }
}

/// The file `pgml/runtime.json`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RuntimeState {
    pub phase: Phase,
    pub supervisor_pid: i32,
    pub pid: Option<i32>,
    /// The interpreter that was started.
    pub python: String,
    /// Seconds since 1970 of the last start.
    pub started_at: u64,
    pub starts: u64,
    /// How the process before this one ended, in words.
    pub last_exit: Option<String>,
    /// What it said last: the cause, for a reader who has no access to the server log.
    pub last_words: Option<String>,
    pub last_hint: Option<String>,
}

impl RuntimeState {
    /// Written beside and renamed, so that a reader never sees half of it.
    pub fn write(&self, path: &Path) -> io::Result<()> {
        let beside = path.with_extension("tmp");
        std::fs::write(&beside, serde_json::to_vec(self)?)?;
        std::fs::rename(&beside, path)
    }

    /// `None` when there is none, or when another version wrote it.
    pub fn read(path: &Path) -> Option<Self> {
        serde_json::from_slice(&std::fs::read(path).ok()?).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_state_comes_back_and_rubbish_does_not() {
        let path = std::env::temp_dir().join(format!("pgml-state-{}.json", std::process::id()));
        let state = RuntimeState {
            phase: Phase::Backoff,
            supervisor_pid: 1,
            pid: None,
            python: "/usr/bin/python3".into(),
            started_at: 7,
            starts: 2,
            last_exit: Some("exit status 3".into()),
            last_words: Some("package \"torch\" is missing".into()),
            last_hint: None,
        };
        state.write(&path).expect("write");
        assert_eq!(RuntimeState::read(&path), Some(state));
        std::fs::write(&path, b"{}").expect("write");
        assert_eq!(RuntimeState::read(&path), None);
        std::fs::remove_file(&path).expect("remove");
    }
}
