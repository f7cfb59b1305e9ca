//! The columns of a data set as the runtime names them: only types of a fixed list, and names that PostgreSQL takes.

use crate::error::{Error, Result};
use pgrx::spi::{quote_identifier, quote_literal};
use pgrx::{PgSqlErrorCode, pg_sys};
use serde_json::Value;

/// Bytes that a name can have.
pub const LONGEST_NAME: usize = pg_sys::NAMEDATALEN as usize - 1;

/// A column of a data set.
pub struct Column {
    pub name: String,
    /// As `format_type` gives it.
    pub kind: String,
    comment: Option<String>,
}

impl Column {
    /// Reads `{"name", "type", "comment"}`.
    pub fn from_frame(column: &Value) -> Result<Self> {
        let text = |key: &str| column[key].as_str();
        let name = text("name").ok_or_else(|| Error::protocol("A column has no name."))?;
        let kind = text("type").unwrap_or_default();
        Ok(Self {
            name: usable(name)?,
            kind: canonical(kind).ok_or_else(|| Error::protocol(format!("A column has the type \"{kind}\".")))?,
            comment: text("comment").map(str::to_string),
        })
    }

    /// Name and type, for CREATE TABLE.
    pub fn definition(&self) -> String {
        // Names of types that are no keywords of SQL are looked up; the schema says where.
        let schema =
            if ["text", "bytea", "date", "jsonb", "uuid"].contains(&base(&self.kind)) { "pg_catalog." } else { "" };
        format!("{} {schema}{}", quote_identifier(&self.name), self.kind)
    }

    /// The command that tells what the column holds.
    pub fn comment_command(&self, table: &str) -> Option<String> {
        let comment = self.comment.as_ref()?;
        Some(format!("COMMENT ON COLUMN {table}.{} IS {}", quote_identifier(&self.name), quote_literal(comment)))
    }
}

fn usable(name: &str) -> Result<String> {
    if name.is_empty() || name.contains('\0') {
        return Err(Error::protocol("The name of a column is empty, or holds a NUL."));
    }
    if name.len() > LONGEST_NAME {
        let message = format!("the name of column \"{name}\" is longer than {} bytes", LONGEST_NAME);
        return Err(Error::new(PgSqlErrorCode::ERRCODE_NAME_TOO_LONG, message));
    }
    Ok(name.into())
}

/// The type without `[]`.
fn base(kind: &str) -> &str {
    kind.strip_suffix("[]").unwrap_or(kind)
}

/// The name of a type of the list as PostgreSQL writes it; `None` for anything else.
fn canonical(kind: &str) -> Option<String> {
    let name = match base(kind) {
        "timestamp" => "timestamp without time zone",
        "timestamptz" => "timestamp with time zone",
        "time" => "time without time zone",
        known @ ("smallint" | "integer" | "bigint" | "numeric" | "real" | "double precision" | "boolean" | "text"
        | "bytea" | "date" | "interval" | "jsonb" | "uuid") => known,
        numeric if is_numeric_with_limits(numeric) => numeric,
        _ => return None,
    };
    Some(format!("{name}{}", &kind[base(kind).len()..]))
}

fn is_numeric_with_limits(kind: &str) -> bool {
    let limits =
        kind.strip_prefix("numeric(").and_then(|rest| rest.strip_suffix(')')).and_then(|rest| rest.split_once(','));
    let is_number = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    limits.is_some_and(|(precision, scale)| is_number(precision) && is_number(scale))
}
