//! The `aws-chunked` encoding of request bodies: sizes, chunk signatures, trailer.
//!
//! Invariants:
//! - Data is handed on as it comes; nothing but a size line (at most 1 KiB) and the trailer (at most 16 KiB) is held,
//!   however large a chunk says it is.
//! - No more than the promised number of bytes is ever handed on, and [`Decoder::finish`] fails unless it was exactly
//!   that number, the last chunk was seen, and every signature that has to be there was right. So a body counts only
//!   after `finish`.

use bytes::{Buf, Bytes};
use sha2::{Digest, Sha256};

use crate::auth::{ChunkChain, signatures_match};

/// Longest line that introduces a chunk, in bytes.
const SIZE_LINE_LEN_MAX: usize = 1024;
/// Longest trailer in bytes.
const TRAILER_LEN_MAX: usize = 16 * 1024;
/// Most headers in a trailer.
const TRAILER_HEADERS_MAX: usize = 16;

/// What is wrong with a chunked body.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub(crate) enum ChunkedError {
    /// Not the encoding it claims to be.
    #[error("the aws-chunked encoding of the body is malformed")]
    Malformed,
    /// More data than promised.
    #[error("the chunks hold more than x-amz-decoded-content-length promised")]
    TooLong,
    /// Less data than promised, or no last chunk.
    #[error("the body ended before the length that x-amz-decoded-content-length promised")]
    Incomplete,
    /// A chunk's or the trailer's signature does not match.
    #[error("the signature of a chunk or of the trailer does not match")]
    Signature,
}

/// How chunks are proven.
#[derive(Debug)]
pub(crate) enum Proof {
    /// Chunks carry no signatures.
    None,
    /// Each carries one; so does the trailer, if there has to be one.
    Chain {
        /// Computes the signatures that must be there.
        chain: ChunkChain,
        /// Whether a signed trailer must follow.
        trailer: bool,
    },
}

#[derive(Debug)]
enum State {
    /// Collecting the line that says how long the next chunk is.
    SizeLine,
    /// Inside a chunk.
    Data { left: u64 },
    /// At the line end behind a chunk; the number of its bytes already seen.
    DataEnd { seen: usize },
    /// Behind the last chunk.
    Trailer,
}

/// Takes a chunked body apart.
#[derive(Debug)]
pub(crate) struct Decoder {
    state: State,
    line: Vec<u8>,
    /// Promised bytes of data still to come.
    left: u64,
    proof: Proof,
    hash: Sha256,
    signature: String,
}

impl Decoder {
    /// For a body of `promised` bytes once decoded.
    pub(crate) fn new(promised: u64, proof: Proof) -> Self {
        let (hash, signature) = (Sha256::new(), String::new());
        Self { state: State::SizeLine, line: Vec::new(), left: promised, proof, hash, signature }
    }

    /// Takes bytes from the front of `input` and returns the next piece of data; `None` means that `input` is used up.
    pub(crate) fn next(&mut self, input: &mut Bytes) -> Result<Option<Bytes>, ChunkedError> {
        while !input.is_empty() {
            match self.state {
                State::SizeLine => self.size_line(input)?,
                State::Data { left } => {
                    let take = usize::try_from(left).unwrap_or(usize::MAX).min(input.len());
                    let data = input.split_to(take);
                    let left = left - take as u64;
                    self.left -= take as u64;
                    if matches!(self.proof, Proof::Chain { .. }) {
                        self.hash.update(&data);
                    }
                    if left == 0 {
                        self.prove_chunk()?;
                        self.state = State::DataEnd { seen: 0 };
                    } else {
                        self.state = State::Data { left };
                    }
                    return Ok(Some(data));
                }
                State::DataEnd { seen } => {
                    if input.get_u8() != b"\r\n"[seen] {
                        return Err(ChunkedError::Malformed);
                    }
                    self.state = if seen == 0 { State::DataEnd { seen: 1 } } else { State::SizeLine };
                }
                State::Trailer => {
                    if self.line.len() + input.len() > TRAILER_LEN_MAX {
                        return Err(ChunkedError::Malformed);
                    }
                    self.line.extend_from_slice(input);
                    input.clear();
                }
            }
        }
        Ok(None)
    }

    /// Ends the body and returns the headers of its trailer, names in lower case.
    pub(crate) fn finish(self) -> Result<Vec<(String, String)>, ChunkedError> {
        if !matches!(self.state, State::Trailer) || self.left > 0 {
            return Err(ChunkedError::Incomplete);
        }
        let text = std::str::from_utf8(&self.line).map_err(|_| ChunkedError::Malformed)?;
        let mut headers = Vec::new();
        let mut signature = None;
        for line in text.lines().map(|line| line.trim_end_matches('\r')).filter(|line| !line.is_empty()) {
            let (name, value) = line.split_once(':').ok_or(ChunkedError::Malformed)?;
            let (name, value) = (name.to_ascii_lowercase(), value.trim_matches([' ', '\t']).to_owned());
            if name == "x-amz-trailer-signature" {
                if signature.replace(value).is_some() {
                    return Err(ChunkedError::Malformed);
                }
                continue;
            }
            if headers.len() == TRAILER_HEADERS_MAX || headers.iter().any(|(given, _)| *given == name) {
                return Err(ChunkedError::Malformed);
            }
            headers.push((name, value));
        }
        headers.sort();
        match (&self.proof, signature) {
            (Proof::Chain { chain, trailer: true }, Some(signature)) => {
                let canonical: String = headers.iter().map(|(name, value)| format!("{name}:{value}\n")).collect();
                if !signatures_match(&chain.trailer(&canonical), &signature) {
                    return Err(ChunkedError::Signature);
                }
            }
            (Proof::Chain { trailer: true, .. }, None) => return Err(ChunkedError::Signature),
            // Headers behind signed chunks would be unsigned without a signed trailer.
            (Proof::Chain { trailer: false, .. }, signature) => {
                if signature.is_some() || !headers.is_empty() {
                    return Err(ChunkedError::Malformed);
                }
            }
            (Proof::None, _) => {}
        }
        Ok(headers)
    }

    fn size_line(&mut self, input: &mut Bytes) -> Result<(), ChunkedError> {
        let end = input.iter().position(|byte| *byte == b'\n');
        let take = end.map_or(input.len(), |at| at + 1);
        if self.line.len() + take > SIZE_LINE_LEN_MAX {
            return Err(ChunkedError::Malformed);
        }
        self.line.extend_from_slice(&input.split_to(take));
        if end.is_none() {
            return Ok(());
        }
        let line = std::mem::take(&mut self.line);
        let line = line
            .strip_suffix(b"\r\n")
            .and_then(|line| std::str::from_utf8(line).ok())
            .ok_or(ChunkedError::Malformed)?;
        let (size, extension) = line.split_once(';').map_or((line, None), |(size, rest)| (size, Some(rest)));
        if size.is_empty() || size.len() > 16 || !size.bytes().all(|c| c.is_ascii_hexdigit()) {
            return Err(ChunkedError::Malformed);
        }
        let size = u64::from_str_radix(size, 16).map_err(|_| ChunkedError::Malformed)?;
        if size > self.left {
            return Err(ChunkedError::TooLong);
        }
        if let Proof::Chain { .. } = self.proof {
            let signature =
                extension.and_then(|text| text.strip_prefix("chunk-signature=")).ok_or(ChunkedError::Malformed)?;
            self.signature = signature.to_owned();
        }
        if size == 0 {
            self.prove_chunk()?;
            self.state = State::Trailer;
        } else {
            self.state = State::Data { left: size };
        }
        Ok(())
    }

    fn prove_chunk(&mut self) -> Result<(), ChunkedError> {
        let Proof::Chain { chain, .. } = &mut self.proof else {
            return Ok(());
        };
        let hash = hex::encode(self.hash.finalize_reset());
        if signatures_match(chain.chunk(&hash), &self.signature) { Ok(()) } else { Err(ChunkedError::Signature) }
    }
}

#[cfg(test)]
mod tests;
