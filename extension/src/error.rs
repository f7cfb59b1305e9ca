//! Errors as PostgreSQL wants them: a fitting SQLSTATE, a message in its style, the cause as detail, what to do as hint.
//!
//! Code inside returns `Result`; the SQL functions turn an error into PostgreSQL's at their border, with `or_report`.

use pgml_core::redact::redact_text;
use pgrx::pg_sys::panic::{CaughtError, ErrorReport};
use pgrx::{PgLogLevel, PgSqlErrorCode};
use serde_json::{Value, json};

pub type Result<T> = std::result::Result<T, Error>;

/// One error for the user. Boxed fields would be smaller, but errors are rare.
#[derive(Debug, Clone)]
pub struct Error {
    pub code: PgSqlErrorCode,
    pub message: String,
    pub detail: Option<String>,
    pub hint: Option<String>,
}

impl Error {
    pub fn new(code: PgSqlErrorCode, message: impl Into<String>) -> Self {
        Self { code, message: message.into(), detail: None, hint: None }
    }

    pub fn invalid(message: impl Into<String>) -> Self {
        Self::new(PgSqlErrorCode::ERRCODE_INVALID_PARAMETER_VALUE, message)
    }

    pub fn undefined(message: impl Into<String>) -> Self {
        Self::new(PgSqlErrorCode::ERRCODE_UNDEFINED_OBJECT, message)
    }

    /// A file of ours could not be read or written.
    pub fn io(what: &str, cause: &std::io::Error) -> Self {
        Self::new(PgSqlErrorCode::ERRCODE_IO_ERROR, format!("could not {what}: {cause}"))
    }

    /// The other side of a channel said something that is not in the protocol.
    pub fn protocol(cause: impl std::fmt::Display) -> Self {
        Self::new(PgSqlErrorCode::ERRCODE_PROTOCOL_VIOLATION, "the runtime sent a message that cannot be understood")
            .detail(cause.to_string())
            .hint("After an update of pgml, run: SELECT pgml.restart_runtime();")
    }

    pub fn detail(mut self, detail: impl Into<String>) -> Self {
        self.detail = Some(detail.into());
        self
    }

    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    pub fn maybe_hint(mut self, hint: Option<String>) -> Self {
        self.hint = hint.or(self.hint);
        self
    }

    /// Reads `{"sqlstate", "message", "detail", "hint"}`, as the Python side sends it.
    pub fn from_frame(value: &Value) -> Self {
        let text = |key: &str| value.get(key).and_then(Value::as_str).filter(|t| !t.is_empty()).map(str::to_string);
        Self {
            code: code_of(text("sqlstate").as_deref().unwrap_or("XX000")),
            message: text("message").unwrap_or_else(|| "the runtime failed without a message".into()),
            detail: text("detail"),
            hint: text("hint"),
        }
    }

    /// The opposite of `from_frame`.
    pub fn to_frame(&self) -> Value {
        json!({"sqlstate": self.sqlstate(), "message": self.message, "detail": self.detail, "hint": self.hint})
    }

    /// The five characters of the SQLSTATE.
    pub fn sqlstate(&self) -> String {
        let packed = self.code as i32;
        (0..5).map(|i| char::from((((packed >> (6 * i)) & 0x3f) as u8) + b'0')).collect()
    }

    /// The error in one text, for a table: message and detail.
    pub fn sentence(&self) -> String {
        let detail = self.detail.as_ref().map(|d| format!("\n{d}")).unwrap_or_default();
        redact_text(&format!("{}{detail}", self.message))
    }

    /// Raises the error in PostgreSQL. Never returns.
    pub fn report(self) -> ! {
        self.emit(PgLogLevel::ERROR);
        unreachable!("an ERROR does not return")
    }

    /// Sends it at a level below ERROR, to the client or to the log.
    pub fn emit(self, level: PgLogLevel) {
        let mut report = ErrorReport::new(self.code, redact_text(&self.message), "pgml");
        if let Some(detail) = &self.detail {
            report = report.set_detail(redact_text(detail));
        }
        if let Some(hint) = &self.hint {
            report = report.set_hint(redact_text(hint));
        }
        report.report(level);
    }
}

impl From<pgrx::spi::Error> for Error {
    fn from(cause: pgrx::spi::Error) -> Self {
        Self::new(PgSqlErrorCode::ERRCODE_INTERNAL_ERROR, "a query of the registry failed").detail(cause.to_string())
    }
}

impl From<CaughtError> for Error {
    fn from(caught: CaughtError) -> Self {
        let (CaughtError::PostgresError(report)
        | CaughtError::ErrorReport(report)
        | CaughtError::RustPanic { ereport: report, .. }) = caught;
        Self {
            code: report.sql_error_code(),
            message: report.message().to_string(),
            detail: report.detail().map(str::to_string),
            hint: report.hint().map(str::to_string),
        }
    }
}

/// The border between Rust's errors and PostgreSQL's.
pub trait OrReport<T> {
    fn or_report(self) -> T;
}

impl<T> OrReport<T> for Result<T> {
    fn or_report(self) -> T {
        self.unwrap_or_else(|error| error.report())
    }
}

fn code_of(sqlstate: &str) -> PgSqlErrorCode {
    let packed = sqlstate.bytes().take(5).enumerate().map(|(i, c)| (i32::from(c.wrapping_sub(b'0')) & 0x3f) << (6 * i));
    PgSqlErrorCode::from(packed.sum::<i32>())
}

/// A warning to the client.
pub fn warn(message: &str) {
    Error::new(PgSqlErrorCode::ERRCODE_WARNING, message).emit(PgLogLevel::WARNING);
}

/// A notice to the client.
pub fn notice(message: &str) {
    Error::new(PgSqlErrorCode::ERRCODE_SUCCESSFUL_COMPLETION, message).emit(PgLogLevel::NOTICE);
}
