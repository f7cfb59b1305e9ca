//! PostgreSQL's own COPY, fed with lines that come from somewhere else. Knows nothing of data sets and of the runtime.

use crate::error::{Error, OrReport, Result};
use pgrx::prelude::*;
use std::cell::RefCell;
use std::ffi::{CStr, CString, c_int, c_void};

/// Gives the next lines of COPY's text format in UTF-8, or bytes of its binary format, `None` at the end. May wait, and may raise PostgreSQL's errors.
pub type NextLines = Box<dyn FnMut() -> Result<Option<Vec<u8>>>>;

thread_local! {
    /// The callback of COPY is given no context.
    static FEED: RefCell<Option<Feed>> = const { RefCell::new(None) };
}

struct Feed {
    next: NextLines,
    lines: Vec<u8>,
    taken: usize,
}

impl Feed {
    /// At most so many bytes; none at the end.
    fn take(&mut self, most: usize) -> Result<&[u8]> {
        while self.taken == self.lines.len() {
            let Some(lines) = (self.next)()? else { return Ok(&[]) };
            (self.lines, self.taken) = (lines, 0);
        }
        let start = self.taken;
        self.taken = self.lines.len().min(start + most);
        Ok(&self.lines[start..self.taken])
    }
}

/// Feeds COPY until it is dropped, whatever ends it. A trigger of the table may run a COPY within this one.
struct Feeding(Option<Feed>);

impl Feeding {
    fn begin(next: NextLines) -> Self {
        Self(FEED.replace(Some(Feed { next, lines: Vec::new(), taken: 0 })))
    }
}

impl Drop for Feeding {
    fn drop(&mut self) {
        drop(FEED.replace(self.0.take()));
    }
}

#[pg_guard]
unsafe extern "C-unwind" fn feed(buffer: *mut c_void, _least: c_int, most: c_int) -> c_int {
    FEED.with_borrow_mut(|feed| {
        let bytes = feed.as_mut().map_or(Ok(&[][..]), |feed| feed.take(most as usize)).or_report();
        // SAFETY: COPY's buffer has room for `most` bytes.
        unsafe { std::ptr::copy_nonoverlapping(bytes.as_ptr(), buffer.cast(), bytes.len()) };
        bytes.len() as c_int
    })
}

/// Appends lines to these columns of a table; gives the number of rows that were added. Checks no privileges.
pub fn append(table: pg_sys::Oid, columns: &[String], binary: bool, next: NextLines) -> Result<u64> {
    let columns: Vec<CString> = columns.iter().map(|name| c_string(name)).collect::<Result<_>>()?;
    let _feeding = Feeding::begin(next);
    // SAFETY: as COPY's own command does it, in its order. The lists live in the memory context of the call; an error that
    // unwinds from here ends the transaction, which closes what is open.
    unsafe {
        // Commands of this function that went before, such as the one that made the table, are to be seen.
        pg_sys::CommandCounterIncrement();
        pg_sys::PushActiveSnapshot(pg_sys::GetTransactionSnapshot());
        let lock = pg_sys::RowExclusiveLock as pg_sys::LOCKMODE;
        let relation = pg_sys::table_open(table, lock);
        let parse = pg_sys::make_parsestate(std::ptr::null_mut());
        pg_sys::addRangeTableEntryForRelation(parse, relation, lock, std::ptr::null_mut(), false, false);
        let state = pg_sys::BeginCopyFrom(
            parse,
            relation,
            std::ptr::null_mut(),
            std::ptr::null(),
            false,
            Some(feed),
            columns.iter().fold(std::ptr::null_mut(), |list, name| pg_sys::lappend(list, text_node(name).cast())),
            options(binary),
        );
        let rows = pg_sys::CopyFrom(state);
        pg_sys::EndCopyFrom(state);
        pg_sys::free_parsestate(parse);
        pg_sys::table_close(relation, pg_sys::NoLock as pg_sys::LOCKMODE);
        pg_sys::PopActiveSnapshot();
        pg_sys::CommandCounterIncrement();
        Ok(rows)
    }
}

fn c_string(name: &str) -> Result<CString> {
    CString::new(name).map_err(|_| Error::invalid("a name holds a NUL byte"))
}

fn text_node(text: &CString) -> *mut pg_sys::String {
    // SAFETY: the node gets a copy of the text in the current memory context.
    unsafe { pg_sys::makeString(pg_sys::pstrdup(text.as_ptr())) }
}

fn options(binary: bool) -> *mut pg_sys::List {
    let chosen: &[(&CStr, &CStr)] =
        if binary { &[(c"encoding", c"UTF8"), (c"format", c"binary")] } else { &[(c"encoding", c"UTF8")] };
    chosen.iter().fold(std::ptr::null_mut(), |list, (name, value)| {
        // SAFETY: nodes of the current memory context; no text is written to.
        unsafe {
            let value = text_node(&CString::from(*value)).cast();
            pg_sys::lappend(list, pg_sys::makeDefElem(pg_sys::pstrdup(name.as_ptr()), value, -1).cast())
        }
    })
}

/// Whether texts of the binary format, which come in the client's encoding, may be UTF-8.
pub fn client_speaks_utf8() -> bool {
    // SAFETY: reads a setting of this process.
    unsafe { pg_sys::pg_get_client_encoding() == pg_sys::pg_enc::PG_UTF8 as i32 }
}
