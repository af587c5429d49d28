//! HTTP/1.1 byte for byte, for requests that no client would send.

use super::PATIENCE;
use std::net::SocketAddr;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};

/// A bare connection.
pub struct RawConnection(TcpStream);

impl RawConnection {
    pub async fn open(address: SocketAddr) -> Self {
        Self(TcpStream::connect(address).await.unwrap())
    }

    pub async fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.0.write_all(bytes.as_ref()).await.unwrap();
    }

    /// The next answer: head and, by its Content-Length, body. Empty = the server closed the connection.
    pub async fn answer(&mut self) -> String {
        let mut text = Vec::new();
        let read = async {
            loop {
                if whole(&text) {
                    return;
                }
                let mut piece = [0; 4_096];
                match self.0.read(&mut piece).await {
                    Ok(0) | Err(_) => return,
                    Ok(read) => text.extend_from_slice(&piece[..read]),
                }
            }
        };
        timeout(PATIENCE, read).await.expect("the server answers or closes");
        String::from_utf8(text).unwrap()
    }

    /// Writes until the server has closed the connection, without ever reading.
    pub async fn flood(&mut self, bytes: &[u8]) {
        let flood = async { while self.0.write_all(bytes).await.is_ok() {} };
        timeout(PATIENCE, flood).await.expect("the server closes");
    }
}

fn whole(text: &[u8]) -> bool {
    let Some(end) = text.windows(4).position(|bytes| bytes == b"\r\n\r\n") else { return false };
    let head = String::from_utf8_lossy(&text[..end]).to_ascii_lowercase();
    let length = head.lines().find_map(|line| line.strip_prefix("content-length:"));
    let length: usize = length.map_or(0, |length| length.trim().parse().unwrap());
    text.len() >= end + 4 + length
}
