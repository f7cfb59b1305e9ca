//! Signals of our background workers: they set a flag and the latch, and the worker's loop looks at the flags.

use pgrx::pg_sys;
use std::sync::atomic::{AtomicBool, Ordering};

static CANCEL: AtomicBool = AtomicBool::new(false);

// pgrx wraps PostgreSQL's functions in a guard that is no signal handler; these are the bare ones.
unsafe extern "C-unwind" {
    fn SignalHandlerForConfigReload(signal: libc::c_int);
    fn SignalHandlerForShutdownRequest(signal: libc::c_int);
    fn SetLatch(latch: *mut pg_sys::Latch);
}

extern "C-unwind" fn on_cancel(_signal: libc::c_int) {
    CANCEL.store(true, Ordering::Relaxed);
    // SAFETY: SetLatch is made for signal handlers, and MyLatch is set before the worker unblocks its signals.
    unsafe { SetLatch(pg_sys::MyLatch) };
}

/// SIGHUP re-reads the configuration, SIGTERM asks the worker to end, SIGINT (`pg_cancel_backend`) to give up what it does.
pub fn attach() {
    // SAFETY: called once at the start of a background worker, before signals are unblocked.
    unsafe {
        pg_sys::pqsignal(libc::SIGHUP, Some(SignalHandlerForConfigReload));
        pg_sys::pqsignal(libc::SIGTERM, Some(SignalHandlerForShutdownRequest));
        pg_sys::pqsignal(libc::SIGINT, Some(on_cancel));
        pg_sys::BackgroundWorkerUnblockSignals();
    }
}

pub fn must_end() -> bool {
    // SAFETY: reads a flag that a signal handler of this process sets.
    unsafe { std::ptr::read_volatile(&raw const pg_sys::ShutdownRequestPending) != 0 }
}

pub fn must_cancel() -> bool {
    CANCEL.load(Ordering::Relaxed)
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
