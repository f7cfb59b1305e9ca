//! Signals of our background workers: they set a flag and the latch, and the worker's loop looks at the flags.

use pgrx::pg_sys;

// pgrx wraps PostgreSQL's functions in a guard that is no signal handler; these are the bare ones.
unsafe extern "C-unwind" {
    fn SignalHandlerForConfigReload(signal: libc::c_int);
    fn SignalHandlerForShutdownRequest(signal: libc::c_int);
}

/// SIGHUP re-reads the configuration, SIGTERM asks the worker to end.
///
/// SIGINT stays PostgreSQL's: in a worker with a database it cancels what the worker does, which `lock_timeout` and
/// `pg_cancel_backend` rely on; in one without it is ignored.
pub fn attach() {
    // SAFETY: called once at the start of a background worker, before signals are unblocked.
    unsafe {
        pg_sys::pqsignal(libc::SIGHUP, Some(SignalHandlerForConfigReload));
        pg_sys::pqsignal(libc::SIGTERM, Some(SignalHandlerForShutdownRequest));
        pg_sys::BackgroundWorkerUnblockSignals();
    }
}

pub fn must_end() -> bool {
    // SAFETY: reads a flag that a signal handler of this process sets.
    unsafe { std::ptr::read_volatile(&raw const pg_sys::ShutdownRequestPending) != 0 }
}

/// Re-reads the configuration when SIGHUP asked for it; tells whether it did.
pub fn reload_if_asked() -> bool {
    // SAFETY: reads and clears a flag of this process; ProcessConfigFile is called outside of the signal handler.
    unsafe {
        if std::ptr::read_volatile(&raw const pg_sys::ConfigReloadPending) == 0 {
            return false;
        }
        pg_sys::ConfigReloadPending = 0;
        pg_sys::ProcessConfigFile(pg_sys::GucContext::PGC_SIGHUP);
    }
    true
}
