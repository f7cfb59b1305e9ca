//! Child processes of a PostgreSQL process: in a session of their own, with clean signals, gone when their parent is gone.

use std::io::{self, Write};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Child, ChildStdout, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

/// A process and its pipes. Dropping it kills the process and all that it started.
pub struct ChildProcess {
    child: Child,
    /// Everything it prints when `Output::Merged`; its standard error when `Output::Frames`.
    pub log: Option<PipeEnd>,
    /// Its standard output when `Output::Frames`.
    pub frames: Option<PipeEnd>,
}

/// What a pipe holds before its writer has to wait.
const LARGEST_INPUT: usize = 64 << 10;

/// What the process' standard output carries.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Output {
    /// Log lines, together with standard error.
    Merged,
    /// Frames; standard error carries the log lines.
    Frames,
}

/// The reading end of a pipe, not blocking.
pub struct PipeEnd(OwnedFd);

impl PipeEnd {
    fn new(fd: OwnedFd) -> io::Result<Self> {
        // SAFETY: fcntl takes a descriptor that `fd` keeps open, and flags.
        let set = unsafe {
            let flags = libc::fcntl(fd.as_raw_fd(), libc::F_GETFL);
            libc::fcntl(fd.as_raw_fd(), libc::F_SETFL, flags | libc::O_NONBLOCK)
        };
        if set < 0 { Err(io::Error::last_os_error()) } else { Ok(Self(fd)) }
    }

    pub fn fd(&self) -> i32 {
        self.0.as_raw_fd()
    }

    /// What is there now: `Ok(None)` when nothing is yet, `Ok(Some(0))` at the end.
    pub fn read(&self, buffer: &mut [u8]) -> io::Result<Option<usize>> {
        // SAFETY: the buffer is valid for writes of its whole length, the descriptor is open.
        let n = unsafe { libc::read(self.fd(), buffer.as_mut_ptr().cast(), buffer.len()) };
        if n >= 0 {
            return Ok(Some(n as usize));
        }
        match io::Error::last_os_error() {
            e if e.kind() == io::ErrorKind::WouldBlock || e.kind() == io::ErrorKind::Interrupted => Ok(None),
            e => Err(e),
        }
    }
}

/// Starts `program` with `arguments`. Its standard input is `input`, which the kernel must hold (64 kB): nobody waits here.
///
/// The calling thread must live as long as the child: the kernel kills the child when the thread that forked it ends.
pub fn spawn(
    program: &str,
    arguments: &[String],
    env: &[(String, String)],
    input: &[u8],
    output: Output,
) -> io::Result<ChildProcess> {
    let mut command = Command::new(program);
    command.args(arguments).envs(env.iter().cloned()).stdin(standard_input(input)?);
    let merged = match output {
        Output::Merged => {
            let (reader, writer) = io::pipe()?;
            command.stdout(writer.try_clone()?).stderr(writer);
            Some(reader)
        }
        Output::Frames => {
            command.stdout(Stdio::piped()).stderr(Stdio::piped());
            None
        }
    };
    let parent = std::process::id() as libc::pid_t;
    // SAFETY: `isolate` runs between fork and exec and makes only async-signal-safe calls.
    unsafe { command.pre_exec(move || isolate(parent)) };
    let mut child = command.spawn()?;
    drop(command); // closes our copies of the writing ends, so that the end of the child is the end of the pipe
    let stdout = child.stdout.take().map(ChildStdout::into);
    let stderr = child.stderr.take().map(OwnedFd::from);
    let log = merged.map(OwnedFd::from).or(stderr).map(PipeEnd::new).transpose()?;
    let frames = stdout.map(PipeEnd::new).transpose()?;
    Ok(ChildProcess { child, log, frames })
}

fn standard_input(input: &[u8]) -> io::Result<Stdio> {
    if input.is_empty() {
        return Ok(Stdio::null());
    }
    if input.len() > LARGEST_INPUT {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "too much for the standard input of a process"));
    }
    let (reader, mut writer) = io::pipe()?;
    writer.write_all(input)?;
    Ok(reader.into())
}

/// Leaves nothing of PostgreSQL in the child: its signals, its descriptors, its process group, its protection from the OOM killer.
fn isolate(parent: libc::pid_t) -> io::Result<()> {
    // SAFETY: every call is async-signal-safe and takes plain numbers or memory of this stack frame.
    unsafe {
        // PostgreSQL signals whole process groups: without a session of its own the child would hear cancels meant for backends.
        libc::setsid();
        libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL);
        if libc::getppid() != parent {
            libc::_exit(1);
        }
        // Blocked and ignored signals survive exec. By system call: libc's own function leaves out the two that it uses itself.
        let default_action = [0u64; 8]; // a kernel sigaction of SIG_DFL, no flags, no mask, with room to spare
        for signal in 1..=64 {
            libc::syscall(libc::SYS_rt_sigaction, signal, default_action.as_ptr(), std::ptr::null_mut::<u64>(), 8usize);
        }
        let mut none: libc::sigset_t = std::mem::zeroed();
        libc::sigemptyset(&mut none);
        libc::sigprocmask(libc::SIG_SETMASK, &none, std::ptr::null_mut());
        // PostgreSQL 15 leaves relation files and client sockets inheritable. Close them at exec; std still reports a failed exec.
        libc::syscall(libc::SYS_close_range, 3u32, u32::MAX, libc::CLOSE_RANGE_CLOEXEC);
        // When memory runs out, let the kernel take this process and not the database.
        let fd = libc::open(c"/proc/self/oom_score_adj".as_ptr(), libc::O_WRONLY | libc::O_CLOEXEC);
        if fd >= 0 {
            libc::write(fd, c"900".as_ptr().cast(), 3);
            libc::close(fd);
        }
    }
    Ok(())
}

impl ChildProcess {
    pub fn pid(&self) -> i32 {
        self.child.id() as i32
    }

    /// Whether the process itself ended; what it started may still hold its pipes open.
    pub fn has_ended(&self) -> bool {
        // SAFETY: siginfo_t is plain memory that waitid fills; WNOWAIT leaves the child to be waited for.
        unsafe {
            let mut info: libc::siginfo_t = std::mem::zeroed();
            let options = libc::WEXITED | libc::WNOHANG | libc::WNOWAIT;
            libc::waitid(libc::P_PID, self.child.id(), &mut info, options) == 0 && info.si_pid() == self.pid()
        }
    }

    /// Sends a signal to the process and all that it started.
    pub fn signal(&self, signal: i32) {
        // SAFETY: kill takes numbers; the group exists as long as the child was not waited for, which only `&mut self` can do.
        unsafe { libc::kill(-self.pid(), signal) };
    }

    /// SIGTERM, then SIGKILL when the process has not ended after `grace`. What it still says is not heard.
    pub fn end(&mut self, grace: Duration) -> Option<ExitStatus> {
        self.signal(libc::SIGTERM);
        self.wait_or_kill(grace, Self::drain)
    }

    /// For a process that is about to end: its own status, unless it takes longer than `grace` and is killed.
    pub fn finish(&mut self, grace: Duration) -> Option<ExitStatus> {
        self.wait_or_kill(grace, |_| ())
    }

    fn wait_or_kill(&mut self, grace: Duration, meanwhile: impl Fn(&Self)) -> Option<ExitStatus> {
        let deadline = Instant::now() + grace;
        while Instant::now() < deadline && !self.has_ended() {
            meanwhile(self);
            std::thread::sleep(Duration::from_millis(10));
        }
        // Also for what it started, which would outlive it.
        self.signal(libc::SIGKILL);
        self.child.wait().ok()
    }

    // A child that waits for a full pipe cannot end.
    fn drain(&self) {
        let mut buffer = [0; 4096];
        for pipe in [&self.log, &self.frames].into_iter().flatten() {
            while matches!(pipe.read(&mut buffer), Ok(Some(n)) if n > 0) {}
        }
    }
}

impl Drop for ChildProcess {
    fn drop(&mut self) {
        // After a wait its number may be another's.
        if matches!(self.child.try_wait(), Ok(None)) {
            self.signal(libc::SIGKILL);
            let _ = self.child.wait();
        }
    }
}

/// How a process ended, in words.
pub fn describe_exit(status: ExitStatus) -> String {
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("exit status {code}"),
        (None, Some(libc::SIGKILL)) => "signal 9 (killed, perhaps because memory ran out)".into(),
        (None, Some(signal)) => format!("signal {signal}"),
        (None, None) => "unknown".into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str, output: Output) -> ChildProcess {
        spawn("/bin/sh", &["-c".into(), script.into()], &[], b"", output).expect("spawn")
    }

    fn read_to_end(pipe: &PipeEnd) -> Vec<u8> {
        let mut all = Vec::new();
        let mut buffer = [0; 4096];
        while let Ok(Some(n)) = pipe.read(&mut buffer) {
            if n == 0 {
                break;
            }
            all.extend_from_slice(&buffer[..n]);
        }
        all
    }

    fn wait(child: &mut ChildProcess) -> ExitStatus {
        child.child.wait().expect("wait")
    }

    #[test]
    fn frames_and_log_come_through_their_own_pipes() {
        let mut child = shell("printf frames; printf log >&2; exit 3", Output::Frames);
        assert_eq!(describe_exit(wait(&mut child)), "exit status 3");
        assert_eq!(read_to_end(child.frames.as_ref().expect("pipe")), b"frames");
        assert_eq!(read_to_end(child.log.as_ref().expect("pipe")), b"log");
    }

    #[test]
    fn merged_output_is_one_pipe_that_ends_with_the_child() {
        let mut child = shell("echo a; echo b >&2", Output::Merged);
        wait(&mut child);
        assert_eq!(read_to_end(child.log.as_ref().expect("pipe")), b"a\nb\n");
        assert!(child.frames.is_none());
    }

    #[test]
    fn a_child_reads_its_input_to_the_end() {
        let mut child = spawn("/bin/cat", &[], &[], b"to be said to nobody else", Output::Merged).expect("spawn");
        wait(&mut child);
        assert_eq!(read_to_end(child.log.as_ref().expect("pipe")), b"to be said to nobody else");
        let error = spawn("/bin/cat", &[], &[], &[0; 70_000], Output::Merged).map(|_| ()).expect_err("too much");
        assert_eq!(error.kind(), io::ErrorKind::InvalidInput);
    }

    #[test]
    fn a_child_leads_its_session_and_inherits_no_descriptor() {
        let kept = std::fs::File::open("/dev/null").expect("open");
        // SAFETY: clears the close-on-exec flag of a descriptor that `kept` holds open.
        unsafe { libc::fcntl(kept.as_raw_fd(), libc::F_SETFD, 0) };
        let mut child = shell("echo $$; ps -o sid= -p $$; ls /proc/$$/fd", Output::Merged);
        wait(&mut child);
        let text = String::from_utf8(read_to_end(child.log.as_ref().expect("pipe"))).expect("text");
        let words: Vec<_> = text.split_whitespace().collect();
        assert_eq!(words[0], words[1], "session");
        assert_eq!(words[2..], ["0", "1", "2"], "descriptors");
    }

    #[test]
    fn a_child_that_ignores_sigterm_is_killed_after_the_grace() {
        let mut child = shell("trap '' TERM; echo ready; while :; do sleep 1; done", Output::Merged);
        let mut buffer = [0; 16];
        while !matches!(child.log.as_ref().expect("pipe").read(&mut buffer), Ok(Some(_))) {
            std::thread::sleep(Duration::from_millis(5));
        }
        let status = child.end(Duration::from_millis(200)).expect("ended");
        assert_eq!(status.signal(), Some(libc::SIGKILL));
    }

    #[test]
    fn a_child_that_ends_by_itself_keeps_its_status_and_its_last_words() {
        let mut child = shell("sleep 0.1; echo last; exit 7", Output::Merged);
        let status = child.finish(Duration::from_secs(5)).expect("ended");
        assert_eq!(status.code(), Some(7));
        assert_eq!(read_to_end(child.log.as_ref().expect("pipe")), b"last\n");
    }

    #[test]
    fn what_a_child_started_does_not_outlive_it() {
        let mut child = shell("sleep 60 & echo $!; exit 7", Output::Merged);
        let deadline = Instant::now() + Duration::from_secs(5);
        while !child.has_ended() && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(5));
        }
        assert!(child.has_ended());
        assert_eq!(child.finish(Duration::from_secs(5)).and_then(|s| s.code()), Some(7));
        // The pipe ends only when the last process that holds it is gone.
        while Instant::now() < deadline {
            if matches!(child.log.as_ref().expect("pipe").read(&mut [0; 64]), Ok(Some(0))) {
                return;
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        panic!("the sleeping grandchild still holds the pipe");
    }

    #[test]
    fn a_program_that_is_not_there_is_an_error() {
        let error = spawn("/nowhere/python", &[], &[], b"", Output::Merged).map(|_| ()).expect_err("no program");
        assert_eq!(error.kind(), io::ErrorKind::NotFound);
    }
}
