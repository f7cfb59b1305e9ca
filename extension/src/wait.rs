//! Waiting that hears PostgreSQL: a cancel, a timeout or a termination ends it at once, by unwinding through the caller.

use crate::error::{Error, Result};
use pgml_core::frames::{Frame, FrameReader, head};
use pgml_core::lock::FileLock;
use pgrx::pg_sys;
use serde_json::Value;
use std::cell::Cell;
use std::io::{ErrorKind, Read, Write};
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::{Duration, Instant};

/// What to wait for on a descriptor.
#[derive(Clone, Copy)]
pub enum Readiness {
    Readable,
    Writeable,
}

/// Waits for a descriptor, or for none if that is -1, to be readable or (`true`) writeable, for at most that long.
pub type Wait = fn(i32, bool, Option<Duration>);

thread_local! {
    static INSTEAD: Cell<Option<Wait>> = const { Cell::new(None) };
}

/// From now on this process waits otherwise: threads of its own work only meanwhile.
pub fn wait_with(wait: Wait) {
    INSTEAD.set(Some(wait));
}

/// Waits until the descriptor is ready, the timeout passes or the latch is set, then lets PostgreSQL handle interrupts.
pub fn descriptor(fd: i32, readiness: Readiness, timeout: Option<Duration>) {
    let wanted = match readiness {
        Readiness::Readable => pg_sys::WL_SOCKET_READABLE,
        Readiness::Writeable => pg_sys::WL_SOCKET_WRITEABLE,
    };
    latch_or(fd, wanted, timeout);
}

/// Waits for the time to pass, or for less when the latch is set.
pub fn pause(timeout: Duration) {
    latch_or(pg_sys::PGINVALID_SOCKET, 0, Some(timeout));
}

fn latch_or(fd: i32, wanted: u32, timeout: Option<Duration>) {
    if let Some(wait) = INSTEAD.get() {
        // Shorter than asked for: who waits looks, and waits again.
        wait(fd, wanted == pg_sys::WL_SOCKET_WRITEABLE, timeout);
        pgrx::check_for_interrupts!();
        return;
    }
    let flags = pg_sys::WL_LATCH_SET | pg_sys::WL_EXIT_ON_PM_DEATH | wanted;
    let (flags, milliseconds) = match timeout {
        Some(t) => (flags | pg_sys::WL_TIMEOUT, t.as_millis().min(i64::MAX as u128) as i64),
        None => (flags, -1),
    };
    // SAFETY: MyLatch is set in every process that runs our code; WaitLatchOrSocket only polls the descriptor.
    unsafe {
        let events =
            pg_sys::WaitLatchOrSocket(pg_sys::MyLatch, flags as i32, fd, milliseconds, pg_sys::PG_WAIT_EXTENSION);
        if events as u32 & pg_sys::WL_LATCH_SET != 0 {
            pg_sys::ResetLatch(pg_sys::MyLatch);
        }
    }
    pgrx::check_for_interrupts!();
}

/// Waits for a lock on a file; `None` when another process still has it after that time.
pub fn file_lock(path: &Path, timeout: Duration) -> std::io::Result<Option<FileLock>> {
    let deadline = Instant::now() + timeout;
    loop {
        let lock = FileLock::try_acquire(path)?;
        if lock.is_some() || Instant::now() > deadline {
            return Ok(lock);
        }
        pause(Duration::from_millis(20));
    }
}

/// Waits until one of the descriptors is readable, the timeout passes or the latch is set.
pub fn any(descriptors: &[i32], timeout: Duration) {
    // SAFETY: the set is freed in the same call, and the descriptors are open while it lasts.
    unsafe {
        #[cfg(not(feature = "pg17"))]
        let owner = pg_sys::CurrentMemoryContext;
        #[cfg(feature = "pg17")]
        let owner = pg_sys::CurrentResourceOwner;
        let set = pg_sys::CreateWaitEventSet(owner, descriptors.len() as i32 + 2);
        let add = |event: u32, fd: i32, latch: *mut pg_sys::Latch| {
            pg_sys::AddWaitEventToSet(set, event, fd, latch, std::ptr::null_mut());
        };
        add(pg_sys::WL_LATCH_SET, pg_sys::PGINVALID_SOCKET, pg_sys::MyLatch);
        add(pg_sys::WL_EXIT_ON_PM_DEATH, pg_sys::PGINVALID_SOCKET, std::ptr::null_mut());
        for fd in descriptors {
            add(pg_sys::WL_SOCKET_READABLE, *fd, std::ptr::null_mut());
        }
        let mut event = std::mem::zeroed::<pg_sys::WaitEvent>();
        pg_sys::WaitEventSetWait(set, timeout.as_millis() as i64, &mut event, 1, pg_sys::PG_WAIT_EXTENSION);
        pg_sys::FreeWaitEventSet(set);
        pg_sys::ResetLatch(pg_sys::MyLatch);
    }
    pgrx::check_for_interrupts!();
}

/// A Unix socket that carries frames. Dropping it closes it, which tells the other side that nobody waits any more.
pub struct Channel {
    stream: UnixStream,
    reader: FrameReader,
    /// Bytes that were posted and not taken yet.
    pending: Vec<u8>,
}

impl Channel {
    pub fn new(stream: UnixStream) -> Result<Self> {
        stream.set_nonblocking(true).map_err(|e| Error::io("prepare a socket", &e))?;
        Ok(Self { stream, reader: FrameReader::default(), pending: Vec::new() })
    }

    pub fn fd(&self) -> i32 {
        self.stream.as_raw_fd()
    }

    /// Sends one frame. An `Err` means that the other side is gone.
    pub fn send(&mut self, header: &Value, payload: &[u8]) -> Result<()> {
        let head = head(header, payload.len()).map_err(|e| Error::invalid(e.to_string()))?;
        self.write_all(&head)?;
        self.write_all(payload)
    }

    /// Sends one frame without waiting: what the other side does not take now is kept for `flush`. An `Err` means that it is gone.
    ///
    /// Safe where waiting is not: in a destructor, which must not hear an interrupt, and in a worker that must not be
    /// held up by a reader that sleeps.
    pub fn post(&mut self, header: &Value) -> Result<()> {
        let head = head(header, 0).map_err(|e| Error::invalid(e.to_string()))?;
        self.pending.extend_from_slice(&head);
        self.flush()
    }

    /// Writes what is pending as far as the other side takes it.
    pub fn flush(&mut self) -> Result<()> {
        while !self.pending.is_empty() {
            match self.stream.write(&self.pending) {
                Ok(n) => drop(self.pending.drain(..n)),
                Err(e) if e.kind() == ErrorKind::WouldBlock => break,
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                Err(e) => return Err(Error::io("write to a socket", &e)),
            }
        }
        Ok(())
    }

    /// Bytes that wait for the other side.
    pub fn pending(&self) -> usize {
        self.pending.len()
    }

    fn write_all(&mut self, mut bytes: &[u8]) -> Result<()> {
        while !bytes.is_empty() {
            match self.stream.write(bytes) {
                Ok(n) => bytes = &bytes[n..],
                Err(e) if e.kind() == ErrorKind::WouldBlock => descriptor(self.fd(), Readiness::Writeable, None),
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                Err(e) => return Err(Error::io("write to a socket", &e)),
            }
        }
        Ok(())
    }

    /// Waits for the next frame; `None` when the other side closed, or when the deadline passed.
    pub fn receive(&mut self, deadline: Option<Instant>) -> Result<Option<Frame>> {
        loop {
            if let Some(frame) = self.pop()? {
                return Ok(Some(frame));
            }
            let left = deadline.map(|d| d.saturating_duration_since(Instant::now()));
            if left == Some(Duration::ZERO) {
                return Ok(None);
            }
            match self.fill()? {
                Filled::Bytes => {}
                Filled::Nothing => descriptor(self.fd(), Readiness::Readable, left),
                Filled::Closed => return Ok(None),
            }
        }
    }

    /// The next frame that has already arrived whole.
    pub fn pop(&mut self) -> Result<Option<Frame>> {
        self.reader.pop().map_err(Error::protocol)
    }

    /// Takes what has arrived, without waiting.
    pub fn fill(&mut self) -> Result<Filled> {
        let mut buffer = [0; 64 << 10];
        loop {
            match self.stream.read(&mut buffer) {
                Ok(0) => return Ok(Filled::Closed),
                Ok(n) => {
                    self.reader.push(&buffer[..n]);
                    return Ok(Filled::Bytes);
                }
                Err(e) if e.kind() == ErrorKind::WouldBlock => return Ok(Filled::Nothing),
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                Err(e) if e.kind() == ErrorKind::ConnectionReset => return Ok(Filled::Closed),
                Err(e) => return Err(Error::io("read from a socket", &e)),
            }
        }
    }
}

/// What `Channel::fill` found.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Filled {
    Bytes,
    Nothing,
    Closed,
}
