//! The table that a data set becomes: its name, what may stand in its way, and how it is made.
//!
//! Everything is done as the caller and in the caller's transaction.

use crate::catalog::{execute, first_row, required};
use crate::error::{self, Error, Result};
use crate::relation;
use crate::table_columns::{Column, LONGEST_NAME};
use crate::transaction::catch;
use pgrx::prelude::*;
use pgrx::spi::{quote_identifier, quote_qualified_identifier};
use std::ffi::CString;
use std::panic::AssertUnwindSafe;

/// What becomes of a table that is there already.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum IfExists {
    Error,
    Replace,
    Append,
}

impl IfExists {
    pub fn parse(text: &str) -> Result<Self> {
        match text {
            "error" => Ok(Self::Error),
            "replace" => Ok(Self::Replace),
            "append" => Ok(Self::Append),
            _ => Err(Error::invalid(format!("if_exists cannot be \"{text}\""))
                .hint("It is one of: error (the default), replace, append.")),
        }
    }
}

/// A table that may be filled: it does not exist and can be made, or it exists and `IfExists` goes with that.
pub struct Target {
    /// Qualified and quoted, safe to stand in a query.
    pub sql_name: String,
    if_exists: IfExists,
}

/// A relation that is there already.
struct Existing {
    oid: pg_sys::Oid,
    sql_name: String,
    kind: String,
    may_replace: bool,
    may_append: bool,
}

impl Target {
    /// Resolves a name, whose schema may be left to `search_path`, and checks all that is known before the data is.
    pub fn resolve(schema: Option<&str>, name: &str, if_exists: IfExists) -> Result<Self> {
        if name.is_empty() || name.len() > LONGEST_NAME {
            let message =
                format!("\"{name}\" cannot be the name of a table: it has more than {LONGEST_NAME} bytes or none");
            return Err(Error::new(PgSqlErrorCode::ERRCODE_NAME_TOO_LONG, message).hint(CHOOSE_TABLE));
        }
        let given = schema.map_or_else(|| quote_identifier(name), |schema| quote_qualified_identifier(schema, name));
        let existing = find(&given)?;
        let sql_name = match &existing {
            Some(existing) => existing.sql_name.clone(),
            None => quote_qualified_identifier(creation_schema(schema, name)?.as_str(), name),
        };
        refuse_system(&sql_name)?;
        let target = Self { sql_name, if_exists };
        existing.map_or(Ok(()), |existing| target.accept(&existing))?;
        Ok(target)
    }

    /// Makes the table, or makes it ready, for rows with these columns.
    pub fn prepare(&self, columns: &[Column]) -> Result<pg_sys::Oid> {
        let name = &self.sql_name;
        match find(name)? {
            None => self.create(columns)?,
            Some(existing) => {
                self.accept(&existing)?; // it may have changed while the data was fetched
                let present = relation::columns(existing.oid)?;
                if self.if_exists == IfExists::Append {
                    self.refuse_missing(columns, &present)?;
                } else if columns.iter().map(|c| (&c.name, &c.kind)).eq(present.iter().map(|(n, k)| (n, k))) {
                    execute(&format!("TRUNCATE {name}"), &[])?;
                } else {
                    self.drop()?;
                    self.create(columns)?;
                }
            }
        }
        self.check_insert(columns)?;
        find(name)?.map(|table| table.oid).ok_or_else(|| Error::undefined(format!("table {name} is gone")))
    }

    fn accept(&self, existing: &Existing) -> Result<()> {
        let name = &existing.sql_name;
        if self.if_exists == IfExists::Error {
            let message = format!("relation {name} already exists");
            return Err(Error::new(PgSqlErrorCode::ERRCODE_DUPLICATE_TABLE, message).hint(EXISTS));
        }
        if !["r", "p"].contains(&existing.kind.as_str()) {
            let message = format!("relation {name} is not a table");
            return Err(Error::new(PgSqlErrorCode::ERRCODE_WRONG_OBJECT_TYPE, message).hint(CHOOSE_TABLE));
        }
        let (allowed, privileges) = match self.if_exists {
            IfExists::Append => (existing.may_append, "INSERT"),
            _ => (existing.may_replace, "INSERT, TRUNCATE"),
        };
        if !allowed {
            let message = format!("permission denied for table {name}");
            return Err(Error::new(PgSqlErrorCode::ERRCODE_INSUFFICIENT_PRIVILEGE, message)
                .hint(format!("Its owner can run: GRANT {privileges} ON {name} TO {};", relation::current_user()?)));
        }
        refuse_row_security(existing)
    }

    fn create(&self, columns: &[Column]) -> Result<()> {
        let name = &self.sql_name;
        let definitions: Vec<_> = columns.iter().map(Column::definition).collect();
        execute(&format!("CREATE TABLE {name} ({})", definitions.join(", ")), &[])?;
        columns.iter().filter_map(|column| column.comment_command(name)).try_for_each(|command| execute(&command, &[]))
    }

    fn drop(&self) -> Result<()> {
        let name = &self.sql_name;
        error::notice(&format!("table {name} is made anew, because its columns differ from those of the data"));
        catch(AssertUnwindSafe(|| execute(&format!("DROP TABLE {name}"), &[]))).map_err(|error| match error.code {
            PgSqlErrorCode::ERRCODE_DEPENDENT_OBJECTS_STILL_EXIST => error.hint(DEPENDENTS),
            _ => error,
        })
    }

    fn refuse_missing(&self, columns: &[Column], present: &[(String, String)]) -> Result<()> {
        let is_missing = |column: &&Column| !present.iter().any(|(name, _)| *name == column.name);
        let missing: Vec<_> = columns.iter().filter(is_missing).map(|c| format!("\"{}\"", c.name)).collect();
        if missing.is_empty() {
            return Ok(());
        }
        let message = format!("table {} lacks columns of the data: {}", self.sql_name, missing.join(", "));
        let error = Error::new(PgSqlErrorCode::ERRCODE_UNDEFINED_COLUMN, message);
        Err(error.hint("Add them with ALTER TABLE, or choose another table: kwargs => '{\"table\": \"…\"}'."))
    }

    // COPY's own functions check nothing. Planning an INSERT does, and EXPLAIN fires no triggers.
    fn check_insert(&self, columns: &[Column]) -> Result<()> {
        let names: Vec<_> = columns.iter().map(|column| quote_identifier(&column.name)).collect();
        let nulls = vec!["NULL"; columns.len()].join(", ");
        let insert = format!("INSERT INTO {} ({}) SELECT {nulls} WHERE false", self.sql_name, names.join(", "));
        execute(&format!("EXPLAIN {insert}"), &[])
    }
}

const CHOOSE_TABLE: &str = "Choose another table: kwargs => '{\"table\": \"…\"}'.";
const EXISTS: &str = "Choose kwargs => '{\"if_exists\": \"replace\"}' or '{\"if_exists\": \"append\"}', or another table: '{\"table\": \"…\"}'.";
const DEPENDENTS: &str = "Drop them first, or choose another table: kwargs => '{\"table\": \"…\"}'.";

fn find(name: &str) -> Result<Option<Existing>> {
    const FIND: &str = "
        SELECT c.oid, pg_catalog.quote_ident(n.nspname) || '.' || pg_catalog.quote_ident(c.relname), c.relkind::text,
               pg_catalog.has_table_privilege(c.oid, 'INSERT') OR pg_catalog.has_any_column_privilege(c.oid, 'INSERT'),
               pg_catalog.pg_has_role(c.relowner, 'USAGE') OR
               pg_catalog.has_table_privilege(c.oid, 'INSERT') AND pg_catalog.has_table_privilege(c.oid, 'TRUNCATE')
        FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
        WHERE c.oid = pg_catalog.to_regclass($1)";
    first_row(FIND, &[name.into()], |row| {
        Ok(Existing {
            oid: required(row, 1)?,
            sql_name: required(row, 2)?,
            kind: required(row, 3)?,
            may_append: required(row, 4)?,
            may_replace: required(row, 5)?,
        })
    })
}

/// The schema in which CREATE TABLE would make the table, if the caller may.
fn creation_schema(schema: Option<&str>, name: &str) -> Result<String> {
    let c_string = |text: &str| CString::new(text).map_err(|_| Error::invalid("a name holds a NUL byte"));
    let (schema, name) = (schema.map(c_string).transpose()?, c_string(name)?);
    let found = catch(AssertUnwindSafe(|| {
        // SAFETY: PostgreSQL reads the names, which outlive the call, and gives a copy of the schema's.
        let schema = unsafe {
            let schema = schema.as_ref().map_or(std::ptr::null_mut(), |schema| schema.as_ptr().cast_mut());
            let wanted = pg_sys::makeRangeVar(schema, name.as_ptr().cast_mut(), -1);
            let no_lock = pg_sys::NoLock as pg_sys::LOCKMODE;
            let schema = pg_sys::RangeVarGetAndCheckCreationNamespace(wanted, no_lock, std::ptr::null_mut());
            std::ffi::CStr::from_ptr(pg_sys::get_namespace_name(schema))
        };
        Ok(schema.to_string_lossy().into_owned())
    }));
    found.map_err(|error| match error.code {
        PgSqlErrorCode::ERRCODE_INSUFFICIENT_PRIVILEGE => error.hint(
            "Choose a schema in which you may create tables: kwargs => '{\"table\": \"schema.name\"}'; or the owner of this one can run: GRANT CREATE ON SCHEMA … TO …;",
        ),
        _ => error,
    })
}

// What is PostgreSQL's own a superuser could fill. Also types are looked at: a table needs a type of its own name.
fn refuse_system(sql_name: &str) -> Result<()> {
    const OWNER: &str = "
        SELECT 'extension ' || e.extname FROM pg_catalog.pg_depend d JOIN pg_catalog.pg_extension e ON e.oid = d.refobjid
        WHERE d.refclassid = 'pg_catalog.pg_extension'::pg_catalog.regclass AND d.deptype = 'e'
          AND ((d.classid = 'pg_catalog.pg_class'::pg_catalog.regclass AND d.objid = pg_catalog.to_regclass($1))
            OR (d.classid = 'pg_catalog.pg_type'::pg_catalog.regclass AND d.objid = pg_catalog.to_regtype($1)))
        UNION ALL SELECT 'PostgreSQL'
        WHERE LEAST(pg_catalog.to_regclass($1)::pg_catalog.oid, pg_catalog.to_regtype($1)::pg_catalog.oid) < $2";
    let first_normal = pg_sys::Oid::from(pg_sys::FirstNormalObjectId);
    match first_row(OWNER, &[sql_name.into(), first_normal.into()], |row| required::<String>(row, 1))? {
        None => Ok(()),
        Some(owner) => {
            let message = format!("{sql_name} belongs to {owner}");
            Err(Error::new(PgSqlErrorCode::ERRCODE_RESERVED_NAME, message).hint(CHOOSE_TABLE))
        }
    }
}

fn refuse_row_security(table: &Existing) -> Result<()> {
    // SAFETY: reads catalogs; InvalidOid stands for the current user.
    let policies = unsafe { pg_sys::check_enable_rls(table.oid, pg_sys::InvalidOid, false) };
    if policies as u32 != pg_sys::CheckEnableRlsResult::RLS_ENABLED {
        return Ok(());
    }
    let message = format!("cannot load rows into {}, whose row-level security is in force for you", table.sql_name);
    Err(Error::new(PgSqlErrorCode::ERRCODE_FEATURE_NOT_SUPPORTED, message)
        .hint("Load them into another table, and INSERT them from there: kwargs => '{\"table\": \"…\"}'."))
}
