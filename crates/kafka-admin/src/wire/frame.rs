//! Owns the reading of frames: a size, and as many bytes. No size is believed before its bytes are there.

use std::io;

use bytes::{Buf as _, Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt as _};

const SIZE_BYTES: usize = 4;
/// The size, and the number by which an answer names its request.
const NUMBERED_BYTES: usize = 8;
/// How much is read at a time, at least and at most.
const MIN_READ: usize = 4 << 10;
const MAX_READ: usize = 256 << 10;

/// Why there is no frame.
#[derive(Debug, thiserror::Error)]
pub(crate) enum FrameError {
    /// The peer ended the connection.
    #[error("the broker closed the connection")]
    Closed,
    /// The connection broke.
    #[error("{0}")]
    Io(#[from] io::Error),
    /// The size is negative or too large.
    #[error(
        "the broker announces a response of {announced} bytes, and receive.message.max.bytes allows {allowed}"
    )]
    Size {
        /// What the four bytes say.
        announced: i32,
        /// The largest that is allowed.
        allowed: usize,
        /// The request that it answers, if that has come with the size.
        correlation: Option<i32>,
    },
}

/// Reads frames one after the other.
pub(crate) struct FrameReader<R> {
    reader: R,
    received: BytesMut,
    max_bytes: usize,
}

impl<R: AsyncRead + Unpin> FrameReader<R> {
    pub(crate) fn new(reader: R, max_bytes: usize) -> Self {
        Self {
            reader,
            received: BytesMut::new(),
            max_bytes,
        }
    }

    /// The next frame without its size. It can be given up and called again: what was received is kept.
    pub(crate) async fn next(&mut self) -> Result<Bytes, FrameError> {
        loop {
            let missing = self.missing()?;
            if missing == 0 {
                return Ok(self.take());
            }
            self.received.reserve(missing.clamp(MIN_READ, MAX_READ));
            if self.reader.read_buf(&mut self.received).await? == 0 {
                return Err(FrameError::Closed);
            }
        }
    }

    fn missing(&self) -> Result<usize, FrameError> {
        let Some(announced) = self.received.first_chunk::<SIZE_BYTES>() else {
            return Ok(SIZE_BYTES - self.received.len());
        };
        let announced = i32::from_be_bytes(*announced);
        let size = usize::try_from(announced)
            .ok()
            .filter(|size| *size <= self.max_bytes);
        if let Some(size) = size {
            return Ok((SIZE_BYTES + size).saturating_sub(self.received.len()));
        }
        let correlation = self.received.first_chunk::<NUMBERED_BYTES>();
        Err(FrameError::Size {
            announced,
            allowed: self.max_bytes,
            correlation: correlation.map(|numbered| (&numbered[SIZE_BYTES..]).get_i32()),
        })
    }

    fn take(&mut self) -> Bytes {
        let size = self.received.get_i32();
        let frame = self.received.split_to(usize::try_from(size).unwrap_or_default());
        if self.received.is_empty() {
            // Else an idle connection keeps the memory of its largest response.
            self.received = BytesMut::new();
        }
        frame.freeze()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn frames_are_read_one_after_the_other_however_they_come() {
        let mut bytes = Vec::new();
        for text in ["", "a", "frame"] {
            bytes.extend_from_slice(&u32::try_from(text.len()).unwrap().to_be_bytes());
            bytes.extend_from_slice(text.as_bytes());
        }
        for split in 0..bytes.len() {
            let (first, second) = bytes.split_at(split);
            let mut reader = FrameReader::new(tokio::io::AsyncReadExt::chain(first, second), 10);
            for text in ["", "a", "frame"] {
                assert_eq!(reader.next().await.unwrap(), text);
            }
            assert!(matches!(reader.next().await, Err(FrameError::Closed)));
        }
    }

    #[tokio::test]
    async fn a_size_beyond_the_bound_is_refused_before_anything_is_allocated() {
        for announced in [i32::MAX, 11, -1] {
            let bytes = announced.to_be_bytes();
            let mut reader = FrameReader::new(&bytes[..], 10);
            let error = reader.next().await.unwrap_err();
            assert!(matches!(error, FrameError::Size { announced: said, .. } if said == announced));
            assert!(reader.received.capacity() <= 2 * MAX_READ);
        }
    }

    #[tokio::test]
    async fn a_frame_that_is_cut_is_an_error() {
        for length in 0..7 {
            let bytes = [0, 0, 0, 3, 1, 2, 3];
            let mut reader = FrameReader::new(&bytes[..length], 10);
            assert!(matches!(reader.next().await, Err(FrameError::Closed)));
        }
    }
}
