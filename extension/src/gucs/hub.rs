//! Settings of what comes from outside: the Hugging Face Hub, files of the server, addresses. All are a superuser's.

use super::text;
use pgrx::guc::{GucContext, GucFlags, GucRegistry, GucSetting};
use std::ffi::{CStr, CString};

type Text = GucSetting<Option<CString>>;

/// Default: what the server's environment says (HF_ENDPOINT), else the public Hub.
static ENDPOINT: Text = Text::new(Some(c""));
static OFFLINE: GucSetting<bool> = GucSetting::<bool>::new(false);
static CACHE: Text = Text::new(Some(c"pgml/hub"));
static TOKEN: Text = Text::new(Some(c""));
/// Default: every repository, as models in it are data; what could run code is refused by the next ones.
static ALLOW: Text = Text::new(Some(c"*"));
static DENY: Text = Text::new(Some(c""));
static TRUST_REMOTE_CODE: Text = Text::new(Some(c""));
/// Default none: no file of the server can be read until an administrator names a directory.
static DATA_DIRECTORIES: Text = Text::new(Some(c""));
/// Default none: the server fetches nothing from an address that a user names.
static DATA_URLS: Text = Text::new(Some(c""));

/// Name, what it is, what more is to be said, and where its value is.
type Definition = (&'static CStr, &'static CStr, &'static CStr, &'static Text);

static TEXTS: [Definition; 7] = [
    (
        c"pgml.hub_endpoint",
        c"Address of the Hugging Face Hub.",
        c"Empty: HF_ENDPOINT of the server's environment, else https://huggingface.co.",
        &ENDPOINT,
    ),
    (
        c"pgml.hub_cache",
        c"Directory of the files that were downloaded from the Hub.",
        c"A relative path begins at the data directory. Private repositories lie apart, those of each role by themselves.",
        &CACHE,
    ),
    (
        c"pgml.hub_allow",
        c"Repositories of the Hub that may be used.",
        c"Patterns such as 'sentence-transformers/*', separated by commas.",
        &ALLOW,
    ),
    (
        c"pgml.hub_deny",
        c"Repositories of the Hub that may not be used, whatever pgml.hub_allow says.",
        c"Patterns separated by commas.",
        &DENY,
    ),
    (
        c"pgml.trust_remote_code",
        c"Models whose own Python code may run in the runtime.",
        c"Patterns separated by commas. Such code can do whatever the operating system user of the server can. Empty: none.",
        &TRUST_REMOTE_CODE,
    ),
    (
        c"pgml.data_directories",
        c"Directories whose files every user may load with pgml.load_dataset.",
        c"Absolute paths separated by commas. Empty: none.",
        &DATA_DIRECTORIES,
    ),
    (
        c"pgml.data_urls",
        c"Addresses from which every user may load data with pgml.load_dataset.",
        c"Patterns such as 'https://data.example.com/*', separated by commas. Empty: none.",
        &DATA_URLS,
    ),
];

pub(super) fn init() {
    let define = |(name, short, long, setting): Definition, flags| {
        GucRegistry::define_string_guc(name, short, long, setting, GucContext::Suset, flags);
    };
    TEXTS.into_iter().for_each(|definition| define(definition, GucFlags::empty()));
    let token: Definition = (
        c"pgml.hub_token",
        c"Access token of the Hub, where a call and the role's own secret have none.",
        c"Set per role or database, it stands in pg_db_role_setting, which every role can read; pgml.set_secret keeps it from them.",
        &TOKEN,
    );
    define(token, GucFlags::SUPERUSER_ONLY | GucFlags::NO_SHOW_ALL);
    GucRegistry::define_bool_guc(
        c"pgml.hub_offline",
        c"Whether only what was downloaded before is used.",
        c"Nothing is asked of the Hub then.",
        &OFFLINE,
        GucContext::Suset,
        GucFlags::empty(),
    );
}

pub fn endpoint() -> String {
    text(&ENDPOINT)
}

pub fn offline() -> bool {
    OFFLINE.get()
}

pub fn cache() -> String {
    text(&CACHE)
}

pub fn token() -> Option<String> {
    Some(text(&TOKEN)).filter(|token| !token.is_empty())
}

pub fn allow() -> String {
    text(&ALLOW)
}

pub fn deny() -> String {
    text(&DENY)
}

pub fn trust_remote_code() -> String {
    text(&TRUST_REMOTE_CODE)
}

pub fn data_directories() -> Vec<String> {
    super::list(&DATA_DIRECTORIES)
}

pub fn data_urls() -> String {
    text(&DATA_URLS)
}
