//! Frames of the request protocol: a length of four bytes, big-endian, then that many bytes. What the bytes mean is
//! decoded outside the swarm, so that a large response does not hold up other peers.

use crate::limits;
use async_trait::async_trait;
use futures::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use libp2p::StreamProtocol;
use libp2p::request_response::Codec;
use std::io;

/// The bytes of a large response are taken in as they come; no peer can have memory reserved by a length alone.
const FIRST_ALLOCATION: usize = 64 * 1024;

/// Reads and writes frames.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Frames;

pub(crate) async fn read<T: AsyncRead + Unpin + Send>(io: &mut T, limit: usize, what: &str) -> io::Result<Vec<u8>> {
    let mut length = [0; 4];
    io.read_exact(&mut length).await?;
    let length = usize::try_from(u32::from_be_bytes(length)).unwrap_or(usize::MAX);
    if length > limit {
        let text = format!("the {what} is {length} bytes long, the limit is {limit}");
        return Err(io::Error::new(io::ErrorKind::InvalidData, text));
    }
    let mut bytes = Vec::with_capacity(length.min(FIRST_ALLOCATION));
    io.take(length as u64).read_to_end(&mut bytes).await?;
    if bytes.len() < length {
        let text = format!("the {what} ends after {} of {length} bytes", bytes.len());
        return Err(io::Error::new(io::ErrorKind::UnexpectedEof, text));
    }
    Ok(bytes)
}

pub(crate) async fn write<T: AsyncWrite + Unpin + Send>(io: &mut T, bytes: &[u8]) -> io::Result<()> {
    let length = u32::try_from(bytes.len()).map_err(|_| io::Error::from(io::ErrorKind::InvalidInput))?;
    io.write_all(&length.to_be_bytes()).await?;
    io.write_all(bytes).await
}

#[async_trait]
impl Codec for Frames {
    type Protocol = StreamProtocol;
    type Request = Vec<u8>;
    type Response = Vec<u8>;

    async fn read_request<T>(&mut self, _: &StreamProtocol, io: &mut T) -> io::Result<Vec<u8>>
    where
        T: AsyncRead + Unpin + Send,
    {
        read(io, limits::MAX_REQUEST_BYTES, "request").await
    }

    async fn read_response<T>(&mut self, _: &StreamProtocol, io: &mut T) -> io::Result<Vec<u8>>
    where
        T: AsyncRead + Unpin + Send,
    {
        read(io, limits::MAX_RESULT_BYTES, "response").await
    }

    async fn write_request<T>(&mut self, _: &StreamProtocol, io: &mut T, request: Vec<u8>) -> io::Result<()>
    where
        T: AsyncWrite + Unpin + Send,
    {
        write(io, &request).await
    }

    async fn write_response<T>(&mut self, _: &StreamProtocol, io: &mut T, response: Vec<u8>) -> io::Result<()>
    where
        T: AsyncWrite + Unpin + Send,
    {
        write(io, &response).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::executor::block_on;
    use futures::io::Cursor;

    #[test]
    fn a_frame_comes_back() {
        let mut wire = Cursor::new(Vec::new());
        block_on(write(&mut wire, b"abc")).unwrap();
        wire.set_position(0);
        assert_eq!(block_on(read(&mut wire, 3, "request")).unwrap(), b"abc");
    }

    #[test]
    fn a_length_over_the_limit_is_refused_before_any_byte_is_read() {
        let mut wire = Cursor::new(u32::MAX.to_be_bytes().to_vec());
        let error = block_on(read(&mut wire, 10, "request")).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidData);
        assert_eq!(error.to_string(), "the request is 4294967295 bytes long, the limit is 10");
    }

    #[test]
    fn a_frame_cut_short_is_refused() {
        let mut wire = Cursor::new(vec![0, 0, 0, 5, 1, 2]);
        assert_eq!(block_on(read(&mut wire, 10, "response")).unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
    }
}
