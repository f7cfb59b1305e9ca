//! SHA-256 of a file that is stored in parts, without putting it together: `sha256(string_agg(…))` ends at 1 GB.

use pgrx::datum::Internal;
use pgrx::memcxt::PgMemoryContexts;
use pgrx::prelude::*;
use sha2::{Digest, Sha256};
use std::fmt::Write;

#[pg_extern(sql = false)]
fn sha256_step(mut state: Internal, data: Option<&[u8]>, fcinfo: pg_sys::FunctionCallInfo) -> Internal {
    let mut context = std::ptr::null_mut();
    // SAFETY: the context lives until the aggregate ends; the state is what an earlier call returned.
    unsafe {
        if pg_sys::AggCheckCallContext(fcinfo, &mut context) == 0 {
            error!("sha256_step was called outside of its aggregate");
        }
        let hash = PgMemoryContexts::For(context).switch_to(|_| state.get_or_insert_default::<Sha256>());
        hash.update(data.unwrap_or_default());
    }
    state
}

/// In hexadecimal digits, as `encode(sha256(…), 'hex')` writes it.
#[pg_extern(sql = false)]
fn sha256_end(state: Internal) -> String {
    // SAFETY: the state is what `sha256_step` returned.
    let hash = unsafe { state.get::<Sha256>() }.cloned().unwrap_or_default();
    hash.finalize().iter().fold(String::new(), |mut digits, byte| {
        let _ = write!(digits, "{byte:02x}");
        digits
    })
}
