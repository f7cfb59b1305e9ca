//! What a request may do on the Hugging Face Hub: where it is, what the administrator allows, and with which token.
//!
//! A token is taken out of a call before anything else sees it. It goes to the runtime over the socket, and rests nowhere.

use crate::error::{Error, Result};
use crate::{gucs, secrets};
use pgml_core::redact::{redact_text, remember};
use pgrx::PgSqlErrorCode;
use pgrx::prelude::*;
use serde_json::{Value, json};
use std::cell::Cell;

/// The name of the secret that serves where a call names none.
const SECRET: &str = "hub_token";
/// What a token begins with that is the name of a secret.
const REFERENCE: &str = "secret:";

/// Takes the first of the keys that is there out of a JSON object.
pub fn take_token(object: &mut Value, keys: &[&str]) -> Option<String> {
    let fields = object.as_object_mut()?;
    let taken: Vec<_> = keys.iter().filter_map(|key| fields.remove(*key)).collect();
    let tokens = taken.iter().filter_map(Value::as_str).map(str::trim).filter(|token| !token.is_empty());
    let tokens: Vec<_> = tokens.map(given).collect();
    tokens.into_iter().next()
}

/// A token that a call gives.
pub fn given(token: &str) -> String {
    if !token.starts_with(REFERENCE) {
        remember(token);
        advise();
    }
    token.into()
}

/// What the runtime needs to know of the Hub; `token` is that of the call.
pub fn settings(token: Option<String>) -> Result<Value> {
    settings_to_push(token, None)
}

/// As `settings`, with another token for pushing, if one is given.
pub fn settings_to_push(token: Option<String>, push_token: Option<String>) -> Result<Value> {
    let push = push_token.clone().or_else(|| token.clone());
    let token = resolve(token.or(push_token))?;
    let push_token = if push.is_some() { resolve(push)? } else { token.clone() };
    // SAFETY: reads this process' own role.
    let role = unsafe { pg_sys::GetUserId() };
    Ok(json!({
        "endpoint": gucs::endpoint(), "offline": gucs::offline(), "cache": gucs::cache(), "token": token,
        "push_token": push_token, "role": role.to_u32().to_string(), "allow": gucs::allow(), "deny": gucs::deny(),
        "trust_remote_code": gucs::trust_remote_code(),
    }))
}

/// The token of a call, the secret it names, the role's own secret, the administrator's; in this order.
fn resolve(token: Option<String>) -> Result<Option<String>> {
    let token = match token {
        Some(token) => match token.strip_prefix(REFERENCE) {
            Some(name) => Some(secrets::get(name.trim())?.ok_or_else(|| no_secret(name.trim()))?),
            None => Some(token),
        },
        None => secrets::get(SECRET)?.or_else(gucs::token),
    };
    token.as_deref().into_iter().for_each(remember);
    Ok(token)
}

fn no_secret(name: &str) -> Error {
    Error::undefined(format!("the current role has no secret \"{name}\""))
        .hint(format!("SELECT pgml.set_secret('{}', '…'); gives it one.", name.replace('\'', "''")))
}

// Once a session: a query may give its token with every row.
fn advise() {
    thread_local! {
        static ADVISED: Cell<bool> = const { Cell::new(false) };
    }
    if !ADVISED.replace(true) {
        Error::new(
            PgSqlErrorCode::ERRCODE_SUCCESSFUL_COMPLETION,
            "the token is used and forgotten, but statements may be logged and are shown while they run",
        )
        .hint(format!("SELECT pgml.set_secret('{SECRET}', …); once lets your calls do without, or SET pgml.hub_token."))
        .emit(PgLogLevel::NOTICE);
    }
}

thread_local! {
    static NEXT_HOOK: Cell<pg_sys::emit_log_hook_type> = const { Cell::new(None) };
}

/// Keeps statements that give a token out of the lines that the server log has beside a message.
pub fn hide_statements() {
    // SAFETY: called once from _PG_init; the hook that was there is kept and called.
    unsafe {
        NEXT_HOOK.set(pg_sys::emit_log_hook);
        pg_sys::emit_log_hook = Some(on_log);
    }
}

unsafe extern "C-unwind" fn on_log(data: *mut pg_sys::ErrorData) {
    // SAFETY: PostgreSQL gives the error it is about to log; its texts end with a NUL, or are null.
    unsafe {
        let data = &mut *data;
        if data.output_to_server {
            data.hide_stmt |= gives_token(pg_sys::debug_query_string);
            data.hide_ctx |= gives_token(data.context);
            if gives_token(data.internalquery) {
                data.internalquery = std::ptr::null_mut();
            }
        }
        if let Some(next) = NEXT_HOOK.get() {
            next(data);
        }
    }
}

/// # Safety
/// `text` must end with a NUL, or be null.
unsafe fn gives_token(text: *const core::ffi::c_char) -> bool {
    if text.is_null() {
        return false;
    }
    // SAFETY: by the contract above.
    let text = unsafe { std::ffi::CStr::from_ptr(text) }.to_string_lossy();
    redact_text(&text) != text
}
