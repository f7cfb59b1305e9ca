//! Relations as the caller sees them: their columns, and their rows written as Arrow.
//!
//! Rows are read by a cursor in the caller's own snapshot, so privileges, row-level security, temporary tables and rows
//! that the caller has not committed yet are what they are in any other query of the caller.

use crate::catalog;
use crate::error::{Error, Result};
use arrow_array::builder::StringBuilder;
use arrow_array::{ArrayRef, RecordBatch};
use arrow_ipc::writer::StreamWriter;
use arrow_schema::{ArrowError, DataType, Field, Schema};
use pgml_core::names::nearest;
use pgrx::prelude::*;
use serde_json::{Value, json};
use std::ffi::CString;
use std::fs::File;
use std::io::BufWriter;
use std::path::Path;
use std::sync::Arc;

/// A relation that exists and may be read.
pub struct Relation {
    /// Qualified and quoted, safe to stand in a query.
    pub sql_name: String,
    pub columns: Vec<(String, String)>,
}

/// Resolves a name as a query would: quoted parts, schema or `search_path`.
pub fn resolve(name: &str) -> Result<Relation> {
    const RESOLVE: &str = "
        SELECT c.oid, pg_catalog.quote_ident(n.nspname) || '.' || pg_catalog.quote_ident(c.relname), c.relkind::text,
               pg_catalog.has_table_privilege(c.oid, 'SELECT') OR pg_catalog.has_any_column_privilege(c.oid, 'SELECT')
        FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
        WHERE c.oid = pg_catalog.to_regclass($1)";
    let found = catalog::first_row(RESOLVE, &[name.into()], |row| {
        let oid: pg_sys::Oid = catalog::required(row, 1)?;
        let (sql_name, kind): (String, String) = (catalog::required(row, 2)?, catalog::required(row, 3)?);
        Ok((oid, sql_name, kind, catalog::required::<bool>(row, 4)?))
    })?;
    let (oid, sql_name, kind, readable) = found.ok_or_else(|| not_found(name))?;
    if !["r", "v", "m", "f", "p"].contains(&kind.as_str()) {
        let message = format!("\"{name}\" is not a table or view");
        return Err(Error::new(PgSqlErrorCode::ERRCODE_WRONG_OBJECT_TYPE, message));
    }
    if !readable {
        let message = format!("permission denied for relation {sql_name}");
        return Err(Error::new(PgSqlErrorCode::ERRCODE_INSUFFICIENT_PRIVILEGE, message)
            .hint(format!("Its owner can run: GRANT SELECT ON {sql_name} TO {};", current_user()?)));
    }
    Ok(Relation { sql_name, columns: columns(oid)? })
}

/// The current role's name, quoted.
pub fn current_user() -> Result<String> {
    catalog::scalar("SELECT pg_catalog.quote_ident(current_user)", &[])
}

/// Name and type of each column.
pub fn columns(oid: pg_sys::Oid) -> Result<Vec<(String, String)>> {
    const COLUMNS: &str = "
        SELECT attname::text, pg_catalog.format_type(atttypid, atttypmod) FROM pg_catalog.pg_attribute
        WHERE attrelid = $1 AND attnum > 0 AND NOT attisdropped ORDER BY attnum";
    catalog::rows(COLUMNS, &[oid.into()], |row| Ok((catalog::required(row, 1)?, catalog::required(row, 2)?)))
}

fn not_found(name: &str) -> Error {
    const VISIBLE: &str = "
        SELECT CASE WHEN pg_catalog.pg_table_is_visible(c.oid) THEN c.relname::text ELSE n.nspname || '.' || c.relname END
        FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
        WHERE c.relkind IN ('r', 'v', 'm', 'f', 'p') AND n.nspname NOT IN ('pg_catalog', 'information_schema', 'pg_toast')";
    let names = catalog::rows(VISIBLE, &[], |row| catalog::required::<String>(row, 1)).unwrap_or_default();
    let hint = nearest(name, names.iter().map(String::as_str)).map(|n| format!("Did you mean \"{n}\"?"));
    Error::new(PgSqlErrorCode::ERRCODE_UNDEFINED_TABLE, format!("relation \"{name}\" does not exist")).maybe_hint(hint)
}

impl Relation {
    /// As the protocol wants it.
    pub fn to_json(&self, name: &str) -> Value {
        let columns: Vec<_> = self.columns.iter().map(|(name, kind)| json!({"name": name, "type": kind})).collect();
        json!({"name": name, "columns": columns})
    }

    /// Whether reading the relation twice may give other rows: a volatile function is in its definition, or below it.
    pub fn is_volatile(&self) -> Result<bool> {
        let query = c_string(&format!("SELECT * FROM {}", self.sql_name))?;
        Ok(Spi::connect(|_| {
            // SAFETY: SPI is connected, so the plan lives in its memory context until the closure returns. The query trees
            // of a plan source are those after rewriting: views are expanded in them.
            unsafe {
                let plan = pg_sys::SPI_prepare(query.as_ptr(), 0, std::ptr::null_mut());
                let sources =
                    pgrx::PgList::<pg_sys::CachedPlanSource>::from_pg(pg_sys::SPI_plan_get_plan_sources(plan));
                sources.iter_ptr().any(|source| {
                    let queries = pgrx::PgList::<pg_sys::Query>::from_pg((*source).query_list);
                    queries.iter_ptr().any(|query| pg_sys::contain_volatile_functions(query.cast()))
                })
            }
        }))
    }

    /// A copy that stays: `pgml.snapshot_<id>`, owned by the caller, made in the caller's transaction.
    pub fn materialize(&self, id: i64) -> Result<Self> {
        let name = format!("pgml.snapshot_{id}");
        let owner = current_user()?;
        catalog::as_extension_owner(|| {
            catalog::execute(&format!("CREATE TABLE {name} (LIKE {})", self.sql_name), &[])?;
            catalog::execute(&format!("ALTER TABLE {name} OWNER TO {owner}"), &[])
        })?;
        catalog::execute(&format!("INSERT INTO {name} SELECT * FROM {}", self.sql_name), &[])?;
        resolve(&name)
    }

    /// Writes the columns of the plan as an Arrow stream of texts, named by role.
    pub fn write_arrow(&self, plan_columns: &[(String, String)], path: &Path) -> Result<()> {
        let expressions: Vec<_> = plan_columns
            .iter()
            .map(|(_, column)| format!("{}::pg_catalog.text", pgrx::spi::quote_identifier(column)))
            .collect();
        let query = c_string(&format!("SELECT {} FROM {}", expressions.join(", "), self.sql_name))?;
        let roles: Vec<&str> = plan_columns.iter().map(|(role, _)| role.as_str()).collect();
        let mut sink = ArrowSink::create(path, &roles)?;
        Spi::connect(|_| read_rows(&query, &mut sink))?;
        sink.finish()
    }
}

fn c_string(query: &str) -> Result<CString> {
    CString::new(query).map_err(|_| Error::invalid("a name holds a NUL byte"))
}

/// Rows of a batch, and what it may hold before it is written.
const BATCH_ROWS: usize = 10_000;
const BATCH_BYTES: usize = 8 << 20;

// pgrx keeps every fetched table until SPI ends; raw SPI frees each one, so memory stays at one fetch and one batch.
fn read_rows(query: &CString, sink: &mut ArrowSink) -> Result<()> {
    // SAFETY: SPI is connected by the caller. A tuple table is read before it is freed, and each is freed once.
    unsafe {
        let plan = pg_sys::SPI_prepare(query.as_ptr(), 0, std::ptr::null_mut());
        // Not read-only: a cursor that is sees nothing of what this statement wrote, such as a materialised snapshot.
        let portal = pg_sys::SPI_cursor_open(std::ptr::null(), plan, std::ptr::null_mut(), std::ptr::null(), false);
        let mut fetch = 1;
        loop {
            pg_sys::SPI_cursor_fetch(portal, true, fetch as i64);
            let (table, rows) = (pg_sys::SPI_tuptable, pg_sys::SPI_processed as usize);
            if rows == 0 {
                break;
            }
            let mut bytes = 0;
            for row in 0..rows {
                bytes += sink.append(table, row)?;
            }
            pg_sys::SPI_freetuptable(table);
            pgrx::check_for_interrupts!();
            // How wide the next rows are is not known: the fetch grows step by step while they stay narrow.
            fetch = (BATCH_BYTES / (bytes / rows).max(1)).clamp(1, BATCH_ROWS.min(fetch * 8));
        }
        pg_sys::SPI_cursor_close(portal);
    }
    Ok(())
}

/// Writes rows of text columns to a file, in batches.
struct ArrowSink {
    writer: StreamWriter<BufWriter<File>>,
    schema: Arc<Schema>,
    columns: Vec<StringBuilder>,
    rows: usize,
    bytes: usize,
}

impl ArrowSink {
    fn create(path: &Path, roles: &[&str]) -> Result<Self> {
        let fields: Vec<_> = roles.iter().map(|role| Field::new(*role, DataType::Utf8, true)).collect();
        let schema = Arc::new(Schema::new(fields));
        let file = File::create(path).map_err(|e| Error::io("create the file of the rows", &e))?;
        let writer = StreamWriter::try_new(BufWriter::new(file), &schema).map_err(write_error)?;
        let columns = roles.iter().map(|_| StringBuilder::new()).collect();
        Ok(Self { writer, schema, columns, rows: 0, bytes: 0 })
    }

    /// Takes one row; gives its size in bytes.
    ///
    /// # Safety
    /// `row` must exist in `table`, whose columns must be those of the sink, all of type text.
    unsafe fn append(&mut self, table: *mut pg_sys::SPITupleTable, row: usize) -> Result<usize> {
        let mut bytes = 0;
        for (number, builder) in (1..).zip(&mut self.columns) {
            // SAFETY: by the contract above.
            bytes += unsafe { append_value(builder, table, row, number) }?;
        }
        self.rows += 1;
        self.bytes += bytes;
        if self.rows >= BATCH_ROWS || self.bytes >= BATCH_BYTES {
            self.write_batch()?;
        }
        Ok(bytes)
    }

    fn write_batch(&mut self) -> Result<()> {
        let columns = self.columns.iter_mut().map(|builder| Arc::new(builder.finish()) as ArrayRef).collect();
        let batch = RecordBatch::try_new(self.schema.clone(), columns).map_err(write_error)?;
        (self.rows, self.bytes) = (0, 0);
        self.writer.write(&batch).map_err(write_error)
    }

    fn finish(mut self) -> Result<()> {
        if self.rows > 0 {
            self.write_batch()?;
        }
        self.writer.finish().map_err(write_error)
    }
}

/// Gives the size of the value in bytes.
///
/// # Safety
/// `row` and `column` (from 1) must exist in `table`, and the column must be of type text.
unsafe fn append_value(
    builder: &mut StringBuilder,
    table: *mut pg_sys::SPITupleTable,
    row: usize,
    column: i32,
) -> Result<usize> {
    // SAFETY: by the contract above. A detoasted copy is freed at once; a value that needed none is not a copy.
    unsafe {
        let mut is_null = false;
        let datum = pg_sys::SPI_getbinval(*(*table).vals.add(row), (*table).tupdesc, column, &mut is_null);
        if is_null {
            builder.append_null();
            return Ok(0);
        }
        let stored: *mut pg_sys::varlena = datum.cast_mut_ptr();
        let plain = pg_sys::pg_detoast_datum_packed(stored);
        let text = pgrx::varlena::text_to_rust_str(plain).map_err(|_| not_utf8())?;
        builder.append_value(text);
        let length = text.len();
        if plain != stored {
            pg_sys::pfree(plain.cast());
        }
        Ok(length)
    }
}

fn not_utf8() -> Error {
    Error::new(PgSqlErrorCode::ERRCODE_CHARACTER_NOT_IN_REPERTOIRE, "a row holds text that is not UTF-8")
        .hint("pgml needs a database whose encoding is UTF8.")
}

fn write_error(cause: ArrowError) -> Error {
    Error::new(PgSqlErrorCode::ERRCODE_IO_ERROR, "could not write the rows for the tuning job")
        .detail(cause.to_string())
}
