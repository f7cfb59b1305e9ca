//! What child processes print, passed on to the server log.

use pgml_core::log_lines::{Level, LogLine};
use pgml_core::redact::redact_text;
use pgrx::pg_sys::panic::ErrorReport;
use pgrx::{PgLogLevel, PgSqlErrorCode};

/// Emits one line under the name of the process it came from. Errors of a child are not errors of this process, so they are logged as LOG.
pub fn log_line(source: &str, line: &LogLine) {
    let level = match line.level {
        Level::Debug => PgLogLevel::DEBUG1,
        Level::Warning => PgLogLevel::WARNING,
        Level::Info | Level::Plain | Level::Error => PgLogLevel::LOG,
    };
    let message = format!("{source}: {}", redact_text(&line.message));
    let mut report = ErrorReport::new(PgSqlErrorCode::ERRCODE_SUCCESSFUL_COMPLETION, message, "pgml");
    if let Some(hint) = &line.hint {
        report = report.set_hint(redact_text(hint));
    }
    report.report(level);
}

/// What to do when an interpreter lacks our own package, which therefore cannot say so itself. Not pip: the package of
/// that name in its index is PostgresML's client.
pub fn install_hint(python: &str, words: &str) -> Option<String> {
    words.contains("No module named 'pgml'").then(|| {
        format!("Install it beside \"{python}\" with pgml's make install, or set pgml.python to another interpreter.")
    })
}
