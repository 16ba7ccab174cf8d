//! Frames: a length (u32, big endian) and that many bytes.

use std::io;

use futures::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

/// The longest frame that rooms should accept.
pub const FRAME_BYTES_MAX: usize = 1 << 20;
/// The length before a frame, in bytes.
pub const FRAME_HEAD_BYTES: usize = 4;

/// Why there is no frame.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FrameError {
    /// The writer's fault: nothing was read past the length. Close the stream.
    #[error("frame of {bytes} bytes is longer than {max}")]
    TooLong {
        /// The claimed length, in bytes.
        bytes: usize,
        /// The longest allowed, in bytes.
        max: usize,
    },
    /// The stream ended in the middle of a frame, or broke.
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// Reads one frame of at most `max` bytes; `None` if the stream ended before it.
///
/// Memory grows with the bytes that arrive, not with the claimed length. Not cancel-safe: a dropped
/// read leaves the stream in the middle of a frame.
///
/// # Errors
/// [`FrameError`]; the stream is then unusable.
pub async fn read_frame<R: AsyncRead + Unpin>(stream: &mut R, max: usize) -> Result<Option<Vec<u8>>, FrameError> {
    let mut head = [0; 4];
    let mut filled = 0;
    while filled < head.len() {
        match stream.read(&mut head[filled..]).await? {
            0 if filled == 0 => return Ok(None),
            0 => return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into()),
            read => filled += read,
        }
    }
    let bytes = usize::try_from(u32::from_be_bytes(head)).unwrap_or(usize::MAX);
    if bytes > max {
        return Err(FrameError::TooLong { bytes, max });
    }
    let mut frame = Vec::new();
    stream.take(bytes as u64).read_to_end(&mut frame).await?;
    if frame.len() < bytes {
        return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into());
    }
    Ok(Some(frame))
}

/// Writes one frame and flushes.
///
/// # Errors
/// [`FrameError::TooLong`] past 4 GiB, or the stream's error.
pub async fn write_frame<W: AsyncWrite + Unpin>(stream: &mut W, frame: &[u8]) -> Result<(), FrameError> {
    let max = u32::MAX as usize;
    let len = u32::try_from(frame.len()).map_err(|_| FrameError::TooLong { bytes: frame.len(), max })?;
    // one write, so that a small frame is one packet
    let mut bytes = Vec::with_capacity(4 + frame.len());
    bytes.extend(len.to_be_bytes());
    bytes.extend(frame);
    stream.write_all(&bytes).await?;
    stream.flush().await?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::executor::block_on;
    use futures::io::Cursor;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn frames_come_out_as_they_went_in(frames in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..200), 0..5)) {
            block_on(async {
                let mut wire = Cursor::new(Vec::new());
                for frame in &frames {
                    write_frame(&mut wire, frame).await.unwrap();
                }
                wire.set_position(0);
                for frame in &frames {
                    assert_eq!(&read_frame(&mut wire, 200).await.unwrap().unwrap(), frame);
                }
                assert!(read_frame(&mut wire, 200).await.unwrap().is_none());
            });
        }

        /// promise: Bad input | Malformed frames
        #[test]
        fn any_bytes_are_frames_or_an_error(bytes in prop::collection::vec(any::<u8>(), 0..100)) {
            let mut wire = Cursor::new(bytes);
            while let Ok(Some(frame)) = block_on(read_frame(&mut wire, 64)) {
                prop_assert!(frame.len() <= 64);
            }
        }
    }

    /// promise: Bad input | Malformed frames
    #[test]
    fn a_claim_allocates_nothing_and_too_long_a_claim_is_refused() {
        let mut cut = Cursor::new(FRAME_BYTES_MAX.to_be_bytes()[4..].to_vec());
        assert!(matches!(block_on(read_frame(&mut cut, FRAME_BYTES_MAX)), Err(FrameError::Io(_))));
        let mut long = Cursor::new(vec![0, 0, 1, 0, 7]);
        assert!(matches!(block_on(read_frame(&mut long, 255)), Err(FrameError::TooLong { bytes: 256, max: 255 })));
    }
}
