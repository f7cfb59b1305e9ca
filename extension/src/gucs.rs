//! Settings. Interpreter, directories and limits belong to the administrator; nothing here lets a user run other code.

mod hub;

pub use hub::*;

use pgrx::guc::{GucContext, GucFlags, GucRegistry, GucSetting};
use pgrx::{PostgresGucEnum, pg_sys};
use std::ffi::{CStr, CString};
use std::path::Path;

/// What becomes of a job whose caller is gone.
#[derive(PostgresGucEnum, Clone, Copy, PartialEq, Eq, Debug)]
pub enum OnDisconnect {
    #[name = c"continue"]
    Continue,
    #[name = c"cancel"]
    Cancel,
}

/// Where Python runs.
#[derive(PostgresGucEnum, Clone, Copy, PartialEq, Eq, Debug)]
pub enum Mode {
    #[name = c"shared"]
    Shared,
    #[name = c"embedded"]
    Embedded,
}

/// Default shared: a fault of Python's ends a process beside the server, not the server.
static RUNTIME: GucSetting<Mode> = GucSetting::<Mode>::new(Mode::Shared);
/// Default: the virtual environment of `pgml.python`.
static VENV: GucSetting<Option<CString>> = GucSetting::<Option<CString>>::new(Some(c""));
/// Default: where `make install` puts the virtual environment.
static PYTHON: GucSetting<Option<CString>> = GucSetting::<Option<CString>>::new(Some(c"/opt/pgml/bin/python"));
/// Default none: no file of the server can be read until an administrator names a directory.
static MODEL_DIRECTORIES: GucSetting<Option<CString>> = GucSetting::<Option<CString>>::new(Some(c""));
/// Default half of what a small server has; 0 means no limit.
static MODEL_MEMORY_LIMIT: GucSetting<i32> = GucSetting::<i32>::new(4096);
/// Default room for a few dozen encoders.
static MODEL_CACHE_LIMIT: GucSetting<i32> = GucSetting::<i32>::new(10240);
/// Default one: two trainings on the same cores are slower than one after the other.
static MAX_JOBS: GucSetting<i32> = GucSetting::<i32>::new(1);
/// Default continue: a lost connection must not lose a run of hours.
static ON_DISCONNECT: GucSetting<OnDisconnect> = GucSetting::<OnDisconnect>::new(OnDisconnect::Continue);
/// Default 0: as many threads as cores.
static RUNTIME_THREADS: GucSetting<i32> = GucSetting::<i32>::new(0);
/// Default: above the encoders that people tune whole, of 110 or 125 million, and below what strains a small machine.
static FULL_TUNING_LIMIT: GucSetting<i32> = GucSetting::<i32>::new(200);
/// Default a week: long enough to see that a job was lost; its rows and checkpoints are not kept for ever.
static RESUME_WINDOW: GucSetting<i32> = GucSetting::<i32>::new(7 * 24 * 3600);
/// Default a minute: importing torch from a cold disk can take half of it.
static RUNTIME_START_TIMEOUT: GucSetting<i32> = GucSetting::<i32>::new(60);

/// Defines all settings and reserves the prefix, so that a misspelt name is an error.
pub fn init() {
    hub::init();
    define_strings();
    define_numbers();
    GucRegistry::define_enum_guc(
        c"pgml.on_disconnect",
        c"What becomes of a tuning job whose caller is gone.",
        c"continue: the job goes on and its model is recorded, not deployed. cancel: it stops.",
        &ON_DISCONNECT,
        GucContext::Userset,
        GucFlags::empty(),
    );
    GucRegistry::define_enum_guc(
        c"pgml.runtime",
        c"Where the Python of pgml runs.",
        c"shared: in processes beside the server. embedded: in the session's own process, by PL/Python (extension plpython3u) and in the caller's transaction; for servers that may start no process.",
        &RUNTIME,
        GucContext::Suset,
        GucFlags::empty(),
    );
    GucRegistry::define_int_guc(
        c"pgml.full_tuning_limit",
        c"Parameters, in millions, above which a model is tuned with LoRA unless hyperparams say otherwise.",
        c"LoRA trains and stores a few added weights. hyperparams.lora_config asks for it whatever the size; null there asks for full tuning.",
        &FULL_TUNING_LIMIT,
        0,
        i32::MAX,
        GucContext::Userset,
        GucFlags::empty(),
    );
    // SAFETY: called once from _PG_init with a static string, after all settings of the prefix are defined.
    unsafe { pg_sys::MarkGUCPrefixReserved(c"pgml".as_ptr()) };
}

fn define_strings() {
    GucRegistry::define_string_guc(
        c"pgml.python",
        c"The Python interpreter of the runtime.",
        c"An absolute path, as a rule below a virtual environment in which pgml[runtime] is installed. The operating system user of the server must be able to run it.",
        &PYTHON,
        GucContext::Sighup,
        GucFlags::empty(),
    );
    GucRegistry::define_string_guc(
        c"pgml.venv",
        c"The virtual environment that PL/Python uses when pgml.runtime is embedded.",
        c"An absolute path. Its Python must be of the version that PL/Python was built with. Empty: the virtual environment of pgml.python.",
        &VENV,
        GucContext::Suset,
        GucFlags::empty(),
    );
    GucRegistry::define_string_guc(
        c"pgml.model_directories",
        c"Directories whose models every user may run and tune.",
        c"Absolute paths separated by commas. A model is named by its path, or by its name below one of them. Empty: none.",
        &MODEL_DIRECTORIES,
        GucContext::Suset,
        GucFlags::empty(),
    );
}

fn define_numbers() {
    let int = |name: &'static CStr, short: &'static CStr, long: &'static CStr, setting, max, flags| {
        GucRegistry::define_int_guc(name, short, long, setting, 0, max, GucContext::Sighup, flags);
    };
    int(
        c"pgml.model_memory_limit",
        c"Memory that loaded models may take in the server process.",
        c"Above it, the least recently used models leave memory; a model that alone is larger is refused. 0: no limit.",
        &MODEL_MEMORY_LIMIT,
        i32::MAX,
        GucFlags::UNIT_MB,
    );
    int(
        c"pgml.model_cache_limit",
        c"Disk space that unpacked models of pgml.files may take below the data directory.",
        c"Above it, the least recently used ones are removed; they are unpacked again when they are used. 0: no limit.",
        &MODEL_CACHE_LIMIT,
        i32::MAX,
        GucFlags::UNIT_MB,
    );
    int(
        c"pgml.runtime_threads",
        c"Threads that the server process and each tuning job compute with.",
        c"0: as many as the machine has cores.",
        &RUNTIME_THREADS,
        1024,
        GucFlags::empty(),
    );
    int(
        c"pgml.runtime_start_timeout",
        c"Time that a statement waits for the server process to become ready.",
        c"Includes importing torch, and the load of the machine at that time.",
        &RUNTIME_START_TIMEOUT,
        3600,
        GucFlags::UNIT_S,
    );
    int(
        c"pgml.resume_window",
        c"Time for which a job that did not succeed can be resumed.",
        c"Until then its rows and checkpoints stay on disk, below the data directory. 0: they go when the job ends.",
        &RESUME_WINDOW,
        i32::MAX,
        GucFlags::UNIT_S,
    );
    GucRegistry::define_int_guc(
        c"pgml.max_jobs",
        c"Tuning jobs that run at the same time; more wait as queued.",
        c"Each job takes one of max_worker_processes, also while it is queued.",
        &MAX_JOBS,
        1,
        64,
        GucContext::Sighup,
        GucFlags::empty(),
    );
}

fn text(setting: &GucSetting<Option<CString>>) -> String {
    setting.get().map(|value| value.to_string_lossy().into_owned()).unwrap_or_default()
}

fn list(setting: &GucSetting<Option<CString>>) -> Vec<String> {
    text(setting).split(',').map(|d| d.trim().to_string()).filter(|d| !d.is_empty()).collect()
}

pub fn python() -> String {
    text(&PYTHON)
}

pub fn is_embedded() -> bool {
    RUNTIME.get() == Mode::Embedded
}

/// The virtual environment for PL/Python.
pub fn venv() -> String {
    let named = text(&VENV);
    let of_python = || Path::new(&python()).ancestors().nth(2).unwrap_or(Path::new("")).to_string_lossy().into_owned();
    if named.is_empty() { of_python() } else { named }
}

/// The allowed directories, in the order they are searched.
pub fn model_directories() -> Vec<String> {
    list(&MODEL_DIRECTORIES)
}

pub fn max_jobs() -> u32 {
    MAX_JOBS.get().max(1) as u32
}

pub fn on_disconnect() -> OnDisconnect {
    ON_DISCONNECT.get()
}

/// In millions of parameters.
pub fn full_tuning_limit() -> i32 {
    FULL_TUNING_LIMIT.get()
}

pub fn runtime_threads() -> u32 {
    RUNTIME_THREADS.get().max(0) as u32
}

pub fn resume_window() -> std::time::Duration {
    std::time::Duration::from_secs(RESUME_WINDOW.get().max(0) as u64)
}

pub fn runtime_start_timeout() -> std::time::Duration {
    std::time::Duration::from_secs(RUNTIME_START_TIMEOUT.get().max(0) as u64)
}

/// Bytes that loaded models may take; 0 is no limit.
pub fn model_memory_limit() -> i64 {
    i64::from(MODEL_MEMORY_LIMIT.get()) << 20
}

/// Bytes of disk that unpacked models may take; 0 is no limit.
pub fn model_cache_limit() -> i64 {
    i64::from(MODEL_CACHE_LIMIT.get()) << 20
}

/// Arguments of the server process; when they change, it is started anew.
pub fn server_arguments() -> Vec<String> {
    let pairs = [
        ("--socket", pgml_core::paths::SOCKET.to_string()),
        ("--cache", pgml_core::paths::CACHE.to_string()),
        ("--memory-limit", model_memory_limit().to_string()),
        ("--cache-limit", model_cache_limit().to_string()),
        ("--threads", runtime_threads().to_string()),
    ];
    let options = pairs.into_iter().flat_map(|(name, value)| [name.to_string(), value]);
    ["-m", "pgml.runtime.serve"].into_iter().map(str::to_string).chain(options).collect()
}
