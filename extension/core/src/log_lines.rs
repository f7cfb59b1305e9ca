//! What a child process prints, line by line: JSON lines with a level of their own, and whatever a library prints beside them.

use serde_json::Value;

/// The level a line asks for; lines that are not ours are `Plain`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Level {
    Debug,
    Info,
    Warning,
    Error,
    Plain,
}

/// One line of a child process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogLine {
    pub level: Level,
    pub message: String,
    pub hint: Option<String>,
}

impl LogLine {
    /// Reads `{"level": …, "message": …, "hint": …}`; anything else is a plain line.
    pub fn parse(line: &str) -> Self {
        Self::from_json(line).unwrap_or_else(|| Self { level: Level::Plain, message: line.to_string(), hint: None })
    }

    fn from_json(line: &str) -> Option<Self> {
        let value: Value = serde_json::from_str(line).ok()?;
        let level = match value.get("level")?.as_str()? {
            "DEBUG" => Level::Debug,
            "INFO" => Level::Info,
            "WARNING" => Level::Warning,
            _ => Level::Error,
        };
        let hint = value.get("hint").and_then(Value::as_str).map(str::to_string);
        Some(Self { level, message: value.get("message")?.as_str()?.to_string(), hint })
    }
}

/// The line that tells best why a child ended: its last error, or else its last line.
#[derive(Default)]
pub struct LastWords(Option<LogLine>);

impl LastWords {
    pub fn heed(&mut self, line: &LogLine) {
        let is_known = self.0.as_ref().is_some_and(|last| last.level == Level::Error);
        if line.level == Level::Error || !is_known {
            self.0 = Some(line.clone());
        }
    }

    pub fn take(&mut self) -> Option<LogLine> {
        self.0.take()
    }
}

/// Cuts a stream of bytes into lines; a line without end is cut at `LONGEST`, so that it cannot fill the memory.
#[derive(Default)]
pub struct LineBuffer {
    bytes: Vec<u8>,
}

const LONGEST: usize = 64 << 10;

impl LineBuffer {
    /// Takes bytes, gives the lines that are whole, without empty ones.
    pub fn push(&mut self, bytes: &[u8]) -> Vec<LogLine> {
        self.bytes.extend_from_slice(bytes);
        let mut lines = Vec::new();
        while let Some(end) = self.line_end() {
            let line: Vec<u8> = self.bytes.drain(..=end).collect();
            lines.extend(Self::line(&line));
        }
        lines
    }

    /// The last line, when the child ended without a line break.
    pub fn finish(&mut self) -> Option<LogLine> {
        let rest = std::mem::take(&mut self.bytes);
        Self::line(&rest)
    }

    fn line_end(&self) -> Option<usize> {
        let end = self.bytes.iter().position(|&b| b == b'\n');
        end.or_else(|| (self.bytes.len() > LONGEST).then_some(LONGEST - 1))
    }

    fn line(bytes: &[u8]) -> Option<LogLine> {
        let text = String::from_utf8_lossy(bytes);
        let text = text.trim_end();
        (!text.is_empty()).then(|| LogLine::parse(text))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_lines_keep_their_level_and_hint() {
        let mut buffer = LineBuffer::default();
        let lines = buffer.push(b"{\"level\": \"WARNING\", \"message\": \"m\", \"hint\": \"h\"}\n");
        assert_eq!(lines, [LogLine { level: Level::Warning, message: "m".into(), hint: Some("h".into()) }]);
    }

    #[test]
    fn other_lines_are_plain_and_wait_for_their_end() {
        let mut buffer = LineBuffer::default();
        assert_eq!(buffer.push(b"Traceback (most"), []);
        let lines = buffer.push(b" recent call last)\n\n[1, 2]\nrest");
        let messages: Vec<_> = lines.iter().map(|l| l.message.as_str()).collect();
        assert_eq!(messages, ["Traceback (most recent call last)", "[1, 2]"]);
        assert!(lines.iter().all(|l| l.level == Level::Plain));
        assert_eq!(buffer.finish().map(|l| l.message), Some("rest".to_string()));
        assert_eq!(buffer.finish(), None);
    }

    #[test]
    fn the_last_words_are_the_last_error_or_the_last_line() {
        let mut words = LastWords::default();
        let mut after = |line: &str| {
            words.heed(&LogLine::parse(line));
            words.0.as_ref().map(|l| l.message.clone()).unwrap_or_default()
        };
        assert_eq!(after("first"), "first");
        assert_eq!(after("second"), "second");
        assert_eq!(after(r#"{"level": "ERROR", "message": "cause"}"#), "cause");
        assert_eq!(after("afterwards"), "cause");
        assert_eq!(after(r#"{"level": "ERROR", "message": "later cause"}"#), "later cause");
    }

    #[test]
    fn a_line_without_end_is_cut() {
        let mut buffer = LineBuffer::default();
        let lines = buffer.push(&vec![b'x'; LONGEST * 2 + 10]);
        assert_eq!(lines.len(), 2);
        assert_eq!(lines[0].message.len(), LONGEST);
    }
}
