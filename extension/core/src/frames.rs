//! Frames of the socket and the pipe: `u32 header length, u32 payload length` (little endian), a JSON object, the payload.
//!
//! This module turns messages into bytes and bytes into messages; it never reads or writes anything itself, so that
//! the caller can wait in its own way.

use serde_json::Value;

/// The version that both sides name in their hello.
pub const PROTOCOL: u64 = 1;
/// The most payload that one frame of a file carries.
pub const FILE_PART: usize = 4 << 20;

const LENGTHS: usize = 8;
const MAX_HEADER: usize = 16 << 20;
const MAX_PAYLOAD: usize = 1 << 30;
/// Memory that a reader keeps for the next frame.
const KEPT: usize = 1 << 20;

/// One message.
#[derive(Debug, Clone, PartialEq)]
pub struct Frame {
    pub header: Value,
    pub payload: Vec<u8>,
}

/// Why bytes are not frames, or a message does not fit into one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FrameError {
    HeaderTooLong(usize),
    PayloadTooLong(usize),
    NotJson(String),
}

impl std::fmt::Display for FrameError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::HeaderTooLong(n) => write!(f, "a header of {n} bytes is longer than {MAX_HEADER} bytes"),
            Self::PayloadTooLong(n) => write!(f, "a payload of {n} bytes is longer than {MAX_PAYLOAD} bytes"),
            Self::NotJson(why) => write!(f, "a header is not a JSON object: {why}"),
        }
    }
}

impl std::error::Error for FrameError {}

/// The lengths and the header of a frame; the payload follows them as it is, so that it need not be copied.
pub fn head(header: &Value, payload_length: usize) -> Result<Vec<u8>, FrameError> {
    let text = header.to_string();
    check_lengths(text.len(), payload_length)?;
    let mut bytes = Vec::with_capacity(LENGTHS + text.len());
    bytes.extend_from_slice(&(text.len() as u32).to_le_bytes());
    bytes.extend_from_slice(&(payload_length as u32).to_le_bytes());
    bytes.extend_from_slice(text.as_bytes());
    Ok(bytes)
}

fn check_lengths(header: usize, payload: usize) -> Result<(), FrameError> {
    if header > MAX_HEADER {
        return Err(FrameError::HeaderTooLong(header));
    }
    if payload > MAX_PAYLOAD {
        return Err(FrameError::PayloadTooLong(payload));
    }
    Ok(())
}

/// Collects bytes as they come and gives the frames that are whole.
#[derive(Default)]
pub struct FrameReader {
    bytes: Vec<u8>,
    start: usize,
}

impl FrameReader {
    pub fn push(&mut self, bytes: &[u8]) {
        if self.start > 0 {
            self.bytes.drain(..self.start);
            self.start = 0;
        }
        self.bytes.extend_from_slice(bytes);
    }

    /// The next whole frame, or `None` until more bytes are pushed.
    pub fn pop(&mut self) -> Result<Option<Frame>, FrameError> {
        let rest = &self.bytes[self.start..];
        let Some((header_length, payload_length)) = lengths(rest) else { return Ok(None) };
        check_lengths(header_length, payload_length)?;
        let whole = LENGTHS + header_length + payload_length;
        if rest.len() < whole {
            return Ok(None);
        }
        let header: Value = serde_json::from_slice(&rest[LENGTHS..LENGTHS + header_length])
            .map_err(|e| FrameError::NotJson(e.to_string()))?;
        if !header.is_object() {
            return Err(FrameError::NotJson("another kind of value".into()));
        }
        let payload = rest[LENGTHS + header_length..whole].to_vec();
        self.start += whole;
        if self.start == self.bytes.len() {
            self.start = 0;
            self.bytes.clear();
            self.bytes.shrink_to(KEPT); // one long frame must not stay in memory as long as the connection
        }
        Ok(Some(Frame { header, payload }))
    }

    /// Whether a frame was begun and is not whole yet.
    pub fn is_partial(&self) -> bool {
        self.start < self.bytes.len()
    }
}

fn lengths(bytes: &[u8]) -> Option<(usize, usize)> {
    let header = bytes.get(..4)?.try_into().ok()?;
    let payload = bytes.get(4..LENGTHS)?.try_into().ok()?;
    Some((u32::from_le_bytes(header) as usize, u32::from_le_bytes(payload) as usize))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn bytes_of(header: Value, payload: &[u8]) -> Vec<u8> {
        let mut bytes = head(&header, payload.len()).expect("fits");
        bytes.extend_from_slice(payload);
        bytes
    }

    #[test]
    fn frames_come_back_whatever_pieces_they_arrive_in() {
        let mut stream = bytes_of(json!({"op": "status"}), b"");
        stream.extend(bytes_of(json!({"text": "grüße ✓"}), &[0, 1, 255]));
        for size in 1..stream.len() {
            let mut reader = FrameReader::default();
            let mut frames = Vec::new();
            for piece in stream.chunks(size) {
                reader.push(piece);
                while let Some(frame) = reader.pop().expect("valid") {
                    frames.push(frame);
                }
            }
            assert_eq!(frames.len(), 2, "pieces of {size}");
            assert_eq!(frames[1].header["text"], "grüße ✓");
            assert_eq!(frames[1].payload, [0, 1, 255]);
            assert!(!reader.is_partial());
        }
    }

    #[test]
    fn a_begun_frame_is_partial() {
        let mut reader = FrameReader::default();
        reader.push(&bytes_of(json!({}), b"payload")[..9]);
        assert_eq!(reader.pop(), Ok(None));
        assert!(reader.is_partial());
    }

    #[test]
    fn lengths_beyond_the_limits_are_refused_before_anything_is_allocated() {
        let mut reader = FrameReader::default();
        reader.push(&[255, 255, 255, 255, 0, 0, 0, 0]);
        assert_eq!(reader.pop(), Err(FrameError::HeaderTooLong(u32::MAX as usize)));
        assert_eq!(head(&json!({}), MAX_PAYLOAD + 1), Err(FrameError::PayloadTooLong(MAX_PAYLOAD + 1)));
    }

    #[test]
    fn a_header_must_be_an_object() {
        for text in ["[1]", "nonsense"] {
            let mut reader = FrameReader::default();
            reader.push(&(text.len() as u32).to_le_bytes());
            reader.push(&0u32.to_le_bytes());
            reader.push(text.as_bytes());
            assert!(matches!(reader.pop(), Err(FrameError::NotJson(_))), "{text}");
        }
    }
}
