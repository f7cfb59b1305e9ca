//! Secrets never rest: what looks like one is masked before it reaches a table, a file, a message or the log.

use serde_json::Value;

/// What stands where a secret was.
pub const MASK: &str = "[redacted]";

const SECRET_WORDS: [&str; 4] = ["token", "password", "secret", "api_key"];
// Keys that hold one of the words but no secret: `max_tokens`, `tokenizer_args`, `include_num_input_tokens_seen`.
const HARMLESS_WORDS: [&str; 2] = ["tokens", "tokeniz"];

/// Whether the value under this key is a secret.
///
/// ```
/// use pgml_core::redact::is_secret_key;
/// assert!(is_secret_key("hub_token"));
/// assert!(!is_secret_key("max_new_tokens") && !is_secret_key("tokenizer_args"));
/// ```
pub fn is_secret_key(key: &str) -> bool {
    let key = key.to_lowercase();
    let key = HARMLESS_WORDS.iter().fold(key, |key, word| key.replace(word, ""));
    SECRET_WORDS.iter().any(|word| key.contains(word))
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
        Value::String(text) if text.contains("hf_") => *text = redact_text(text),
        _ => {}
    }
}

/// Masks access tokens of the Hugging Face Hub (`hf_…`) in a text.
///
/// ```
/// use pgml_core::redact::redact_text;
/// assert_eq!(redact_text("401 for hf_AbCdEfGhIjKlMnOp."), "401 for [redacted].");
/// assert_eq!(redact_text("hf_hub_download failed"), "hf_hub_download failed");
/// ```
pub fn redact_text(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find("hf_") {
        let (before, found) = rest.split_at(at);
        out.push_str(before);
        let body = found[3..].chars().take_while(char::is_ascii_alphanumeric).count();
        if body >= 16 {
            out.push_str(MASK);
        } else {
            out.push_str(&found[..3 + body]);
        }
        rest = &found[3 + body..];
    }
    out.push_str(rest);
    out
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
}
