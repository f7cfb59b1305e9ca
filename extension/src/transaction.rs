//! Transactions of a background worker: an error ends the transaction, not the worker.
//!
//! In a backend the transaction is the caller's. What these do with transactions they do in workers only.

use crate::error::{Error, Result};
use pgrx::PgTryBuilder;
use pgrx::pg_sys;
use std::panic::{AssertUnwindSafe, UnwindSafe};

/// Runs `work` in a transaction of its own: committed when it returns `Ok`, rolled back when it returns or raises an error.
pub fn run<T>(work: impl FnOnce() -> Result<T>) -> Result<T> {
    catch(AssertUnwindSafe(|| {
        begin();
        let done = work()?;
        commit();
        Ok(done)
    }))
    .inspect_err(|_| roll_back())
}

/// Whether the caller of a backend's function has opened the transaction, and ends it.
pub fn is_callers() -> bool {
    // SAFETY: set once in a worker, before any code of ours runs.
    unsafe { pg_sys::MyBgworkerEntry.is_null() }
}

/// Opens a transaction that `commit` or `roll_back` ends.
pub fn begin() {
    if is_callers() {
        return;
    }
    // SAFETY: the worker is connected to its database and in no transaction.
    unsafe {
        pg_sys::SetCurrentStatementStartTimestamp();
        pg_sys::StartTransactionCommand();
        pg_sys::PushActiveSnapshot(pg_sys::GetTransactionSnapshot());
    }
}

/// Commits what `begin` opened.
pub fn commit() {
    if is_callers() {
        return;
    }
    // SAFETY: pairs with `begin`.
    unsafe {
        pg_sys::PopActiveSnapshot();
        pg_sys::CommitTransactionCommand();
    }
}

/// Rolls back, wherever in the transaction the error came from; does nothing outside of one.
pub fn roll_back() {
    if is_callers() {
        return;
    }
    // SAFETY: AbortCurrentTransaction is what PostgreSQL's own main loop calls after an error, in any state.
    unsafe { pg_sys::AbortCurrentTransaction() };
}

/// Turns an error that PostgreSQL raises inside `work` into an `Err`. The caller must then roll back.
pub fn catch<T>(work: impl FnOnce() -> Result<T> + UnwindSafe) -> Result<T> {
    PgTryBuilder::new(work)
        .catch_others(|caught| Err(Error::from(caught)))
        .catch_rust_panic(|caught| Err(Error::from(caught)))
        .execute()
}
