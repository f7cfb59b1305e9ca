//! How long to wait before a process that ended is started again.

use std::time::Duration;

/// Doubles from half a second to half a minute while the process keeps failing to start; starts anew after a run that was ready.
#[derive(Default)]
pub struct Backoff {
    failures: u32,
}

const FIRST: Duration = Duration::from_millis(500);
const LONGEST: Duration = Duration::from_secs(30);

impl Backoff {
    /// The process ended; `was_ready` says whether it had come to serve. Gives the time to wait.
    pub fn after_exit(&mut self, was_ready: bool) -> Duration {
        if was_ready {
            self.failures = 0;
            return Duration::ZERO;
        }
        let wait = FIRST.saturating_mul(1 << self.failures.min(16)).min(LONGEST);
        self.failures += 1;
        wait
    }

    pub fn reset(&mut self) {
        self.failures = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_the_cap_and_start_anew_after_a_ready_run() {
        let mut backoff = Backoff::default();
        let waits: Vec<_> = (0..8).map(|_| backoff.after_exit(false).as_millis()).collect();
        assert_eq!(waits, [500, 1000, 2000, 4000, 8000, 16000, 30000, 30000]);
        assert_eq!(backoff.after_exit(true), Duration::ZERO);
        assert_eq!(backoff.after_exit(false), FIRST);
    }
}
