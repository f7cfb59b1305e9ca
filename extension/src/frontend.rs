//! The connection to the client: rows that were written to it leave at once, not when PostgreSQL's buffer is full.

use pgrx::pg_sys;
use std::ffi::{c_char, c_int};

// Of libpq/libpq.h, which pgrx does not bind; the same in PostgreSQL 15 to 17.
#[repr(C)]
#[allow(dead_code)] // what is not called has its place
struct PQcommMethods {
    comm_reset: unsafe extern "C" fn(),
    flush: unsafe extern "C" fn() -> c_int,
    flush_if_writable: unsafe extern "C" fn() -> c_int,
    is_send_pending: unsafe extern "C" fn() -> bool,
    putmessage: unsafe extern "C" fn(c_char, *const c_char, usize) -> c_int,
    putmessage_noblock: unsafe extern "C" fn(c_char, *const c_char, usize),
}

unsafe extern "C" {
    static PqCommMethods: *const PQcommMethods;
}

/// Sends what is in the buffer as far as the client takes it, without waiting.
pub fn flush() {
    // SAFETY: PostgreSQL sets both when a backend starts, and nothing else changes them. The function raises no error: a
    // lost client is noted, and found at the next check for interrupts.
    unsafe {
        if pg_sys::whereToSendOutput == pg_sys::CommandDest::DestRemote {
            ((*PqCommMethods).flush_if_writable)();
        }
    }
}
