//! One log line of a training, as a person reads it.

use serde_json::{Map, Value};
use std::time::Duration;

// Said by the prefix, or of no use while watching.
const LEFT_OUT: [&str; 10] = [
    "step",
    "max_steps",
    "epoch",
    "timestamp",
    "total_flos",
    "eval_runtime",
    "eval_samples_per_second",
    "eval_steps_per_second",
    "train_steps_per_second",
    "train_samples_per_second",
];

/// Characters of a text that a line shows.
const LONGEST_TEXT: usize = 60;

/// What `elapsed` is measured from is the first step. `step 20/108, epoch 0.56: loss 1.02, learning_rate 4.1e-5 (0:00:41 left)`
pub fn describe(logs: &Map<String, Value>, elapsed: Option<Duration>) -> String {
    let number = |key: &str| logs.get(key).and_then(Value::as_f64);
    let push = logs.get("push").map(describe_push);
    let mut prefix = Vec::new();
    if let (Some(step), Some(max)) = (number("step"), number("max_steps")) {
        prefix.push(format!("step {step}/{max}"));
    }
    if let Some(epoch) = number("epoch") {
        prefix.push(format!("epoch {}", short(epoch)));
    }
    if let Some(push) = push {
        // At the end of a training no step is known any more.
        return if prefix.is_empty() { push } else { format!("{}: {push}", prefix.join(", ")) };
    }
    if let Some(sample) = logs.get("eval_samples").and_then(|samples| samples.get(0)) {
        return format!("{}: {}", prefix.join(", "), describe_sample(sample));
    }
    let shown = logs.iter().filter(|(key, _)| !LEFT_OUT.contains(&key.as_str()));
    let values: Vec<_> = shown.filter_map(|(key, value)| Some(format!("{key} {}", short(value.as_f64()?)))).collect();
    let left = time_left(number("step"), number("max_steps"), elapsed).map(|t| format!(" ({t} left)"));
    format!("{}: {}{}", prefix.join(", "), values.join(", "), left.unwrap_or_default())
}

/// `pushed to the Hub as commit 0123abc`
fn describe_push(push: &Value) -> String {
    match (push["commit"].as_str(), push["error"].as_str()) {
        (Some(commit), _) => format!("pushed to the Hub as commit {}", commit.get(..7).unwrap_or(commit)),
        (_, Some(error)) => format!("not pushed to the Hub: {error}"),
        _ => "pushed to the Hub".into(),
    }
}

/// `answered "I am Elly.", wanted "I am Elly, your assistant."`
fn describe_sample(sample: &Value) -> String {
    let part = |word: &str, key: &str| {
        let text = sample[key].as_str().unwrap_or_default();
        let line: String = text.split_whitespace().collect::<Vec<_>>().join(" ");
        let cut: String = line.chars().take(LONGEST_TEXT).collect();
        format!("{word} \"{cut}{}\"", if line.len() > cut.len() { "…" } else { "" })
    };
    [part("answered", "answer"), part("wanted", "wanted")].join(", ")
}

fn time_left(step: Option<f64>, max_steps: Option<f64>, elapsed: Option<Duration>) -> Option<String> {
    let (step, max_steps, elapsed) = (step?, max_steps?, elapsed?);
    if step <= 0.0 || step >= max_steps {
        return None;
    }
    let seconds = (elapsed.as_secs_f64() * (max_steps - step) / step) as u64;
    Some(format!("{}:{:02}:{:02}", seconds / 3600, seconds / 60 % 60, seconds % 60))
}

// Three or four digits that count, whatever the size.
fn short(value: f64) -> String {
    let size = value.abs();
    if value == value.trunc() && size < 1e9 {
        format!("{value}")
    } else if (1e-3..1e6).contains(&size) {
        format!("{value:.4}")
    } else {
        format!("{value:.2e}")
    }
}
