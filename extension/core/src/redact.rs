//! Secrets never rest: what is one, or looks like one, is masked before it reaches a table, a file, a message or the log.
//!
//! Python's twin is `pgml.runtime.redaction`; tests/assets/redaction.json holds the cases of both.

use regex_lite::{Captures, Regex};
use serde_json::Value;
use std::cell::RefCell;
use std::sync::LazyLock;

/// What stands where a secret was.
pub const MASK: &str = "[redacted]";

const SECRET_WORDS: [&str; 11] = [
    "token",
    "password",
    "passwd",
    "pwd",
    "secret",
    "credential",
    "signature",
    "api_key",
    "apikey",
    "access_key",
    "private_key",
];
// Keys that hold one of the words but no secret: `max_tokens`, `tokenizer_args`, `mean_token_accuracy`, `eos_token`.
const HARMLESS_WORDS: [&str; 10] = [
    "tokens",
    "tokeniz",
    "token_accuracy",
    "bos_token",
    "eos_token",
    "pad_token",
    "unk_token",
    "cls_token",
    "sep_token",
    "mask_token",
];
/// Shorter ones would mask ordinary words.
const SHORTEST: usize = 4;
/// A pooled session sees many; the oldest are forgotten.
const MOST: usize = 64;

#[allow(clippy::expect_used)] // the pattern is a constant, which the tests compile
static SHAPES: LazyLock<Regex> = LazyLock::new(|| {
    // Groups are what stays: the scheme of an authorization, both ends of a URL's user, the name of a query's value.
    Regex::new(concat!(
        r"hf_(?:(?:oauth|jwt)_[A-Za-z0-9_.~-]{8,}|[A-Za-z0-9]{10,})",
        r"|((?i:bearer|basic) +)[A-Za-z0-9._~+/=-]{20,}",
        r#"|(://)[^\s/"'<>]+(@)"#,
        r#"|((?i:[?&][a-z0-9_.-]*(?:token|password|secret|credential|signature|api_key)[a-z0-9_.-]*=))[^\s&"'<>]+"#,
    ))
    .expect("a valid pattern")
});

thread_local! {
    static REMEMBERED: RefCell<Vec<String>> = const { RefCell::new(Vec::new()) };
}

/// From now on this very text is masked, whatever it looks like. It is kept in this process' memory only.
pub fn remember(secret: &str) {
    REMEMBERED.with_borrow_mut(|secrets| {
        if secret.len() >= SHORTEST && !secrets.iter().any(|s| s == secret) {
            if secrets.len() == MOST {
                secrets.remove(0);
            }
            secrets.push(secret.into());
        }
    });
}

/// Whether the value under this key is a secret.
///
/// ```
/// use pgml_core::redact::is_secret_key;
/// assert!(is_secret_key("hub_token") && is_secret_key("apiKey"));
/// assert!(!is_secret_key("max_new_tokens") && !is_secret_key("eos_token"));
/// ```
pub fn is_secret_key(key: &str) -> bool {
    let key = snake_case(key);
    let key = HARMLESS_WORDS.iter().fold(key, |key, word| key.replace(word, ""));
    key == "key" || SECRET_WORDS.iter().any(|word| key.contains(word))
}

fn snake_case(key: &str) -> String {
    let mut out = String::with_capacity(key.len() + 2);
    let mut after_lower = false;
    for c in key.chars() {
        if c.is_uppercase() && after_lower {
            out.push('_');
        }
        after_lower = c.is_lowercase();
        out.extend(if c == '-' { '_' } else { c }.to_lowercase());
    }
    out
}

/// Masks the secrets in a JSON value, at any depth: by key, and in texts by shape.
pub fn redact(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            for (key, field) in fields.iter_mut() {
                if is_secret_key(key) && !field.is_null() {
                    *field = Value::String(MASK.into());
                } else {
                    redact(field);
                }
            }
        }
        Value::Array(items) => items.iter_mut().for_each(redact),
        Value::String(text) => *text = redact_text(text),
        _ => {}
    }
}

/// Masks what was remembered, access tokens of the Hub, authorization headers, and passwords in URLs.
///
/// ```
/// use pgml_core::redact::redact_text;
/// assert_eq!(redact_text("401 for hf_AbCdEfGhIjKlMnOp."), "401 for [redacted].");
/// assert_eq!(redact_text("hf_hub_download failed"), "hf_hub_download failed");
/// ```
pub fn redact_text(text: &str) -> String {
    let known = REMEMBERED.with_borrow(|secrets| {
        secrets.iter().fold(text.to_string(), |text, secret| {
            if text.contains(secret.as_str()) { text.replace(secret.as_str(), MASK) } else { text }
        })
    });
    let mask = |found: &Captures<'_>| {
        let kept = |group: usize| found.get(group).map_or("", |part| part.as_str());
        format!("{}{}{}{MASK}{}", kept(1), kept(2), kept(4), kept(3))
    };
    SHAPES.replace_all(&known, mask).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn secrets_are_masked_at_any_depth() {
        let mut value = json!({
            "token": "abc",
            "training_args": {"hub_token": "hf_x", "learning_rate": 2e-5, "password": null},
            "list": [{"api_key": 1}, "see hf_0123456789abcdefXYZ"],
        });
        redact(&mut value);
        let expected = json!({
            "token": MASK,
            "training_args": {"hub_token": MASK, "learning_rate": 2e-5, "password": null},
            "list": [{"api_key": MASK}, "see [redacted]"],
        });
        assert_eq!(value, expected);
    }

    #[test]
    fn several_tokens_in_one_text_are_masked() {
        let token = "hf_ABCDEFGHIJKLMNOPQRST";
        assert_eq!(redact_text(&format!("{token},{token}")), format!("{MASK},{MASK}"));
        assert_eq!(redact_text("ünïcode hf_ hf_short"), "ünïcode hf_ hf_short");
    }

    #[test]
    fn the_cases_that_python_has_too_come_out_the_same() {
        let cases: Value =
            serde_json::from_str(include_str!("../../../tests/assets/redaction.json")).expect("a JSON file");
        let list = |value: &Value| value.as_array().cloned().expect("an array");
        let text = |value: &Value| value.as_str().map(str::to_string).expect("a text");
        for case in list(&cases["texts"]) {
            assert_eq!(redact_text(&text(&case[0])), text(&case[1]));
        }
        for case in list(&cases["remembered"]) {
            remember(&text(&case[0]));
            assert_eq!(redact_text(&text(&case[1])), text(&case[2]));
        }
        for (kind, is_secret) in [("secret", true), ("harmless", false)] {
            for key in list(&cases["keys"][kind]) {
                assert_eq!(is_secret_key(&text(&key)), is_secret, "{key}");
            }
        }
    }

    #[test]
    fn what_was_remembered_is_masked_whatever_it_looks_like() {
        remember("open sesame");
        remember("abc"); // too short to be told from a word
        assert_eq!(redact_text("it said open sesame to abc"), format!("it said {MASK} to abc"));
    }
}
