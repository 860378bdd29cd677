//! Owns the bytes below Kafka's protocol: names, TCP, TLS.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt as _, ReadHalf, WriteHalf};
use tokio::net::{TcpSocket, TcpStream, lookup_host};
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::pki_types::ServerName;

use super::frame::{FrameError, FrameReader};
use super::reason::Step;
use crate::Connection;
use crate::connection::{Address, Tuning};

/// The most addresses of one name that are tried.
const MAX_ADDRESSES: u32 = 8;

pub(crate) trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<S: AsyncRead + AsyncWrite + Send + Unpin> Stream for S {}

/// A connection that carries frames both ways.
pub(crate) struct Channel {
    pub(crate) reader: FrameReader<ReadHalf<Box<dyn Stream>>>,
    pub(crate) writer: WriteHalf<Box<dyn Stream>>,
}

impl Channel {
    /// Opens one; `step` says how far it got.
    pub(crate) async fn open(
        connection: &Connection,
        address: &Address,
        step: &mut Step,
    ) -> Result<Self, FrameError> {
        let tuning = &connection.tuning;
        *step = Step::Resolve;
        let addresses = resolve(address, tuning).await?;
        *step = Step::Connect;
        let stream = connect(&addresses, tuning).await?;
        let stream: Box<dyn Stream> = match &connection.tls {
            None => Box::new(stream),
            Some(config) => {
                *step = Step::Tls;
                let name = ServerName::try_from(address.host.clone()).map_err(io::Error::other)?;
                Box::new(
                    TlsConnector::from(Arc::clone(config))
                        .connect(name, stream)
                        .await?,
                )
            }
        };
        let (reader, writer) = tokio::io::split(stream);
        let reader = FrameReader::new(reader, tuning.max_response_bytes);
        Ok(Self { reader, writer })
    }

    /// Sends a request and waits for its answer, while nothing else is in flight.
    pub(crate) async fn call(&mut self, mut frame: BytesMut) -> Result<Bytes, FrameError> {
        self.writer.write_all_buf(&mut frame).await?;
        self.writer.flush().await?;
        self.reader.next().await
    }
}

async fn resolve(address: &Address, tuning: &Tuning) -> io::Result<Vec<SocketAddr>> {
    let found = lookup_host((address.host.as_str(), address.port)).await?;
    let allowed: Vec<_> = found
        .filter(|found| tuning.family.allows(found.ip()))
        .take(MAX_ADDRESSES as usize)
        .collect();
    if allowed.is_empty() {
        return Err(io::Error::other(
            "it has no address that broker.address.family allows",
        ));
    }
    Ok(allowed)
}

async fn connect(addresses: &[SocketAddr], tuning: &Tuning) -> io::Result<TcpStream> {
    // One address that swallows packets must not cost the time of the others.
    let share = tuning.connect_timeout / u32::try_from(addresses.len()).unwrap_or(MAX_ADDRESSES);
    let mut last = io::Error::other("no address");
    for address in addresses {
        match connect_to(*address, tuning, share).await {
            Ok(stream) => return Ok(stream),
            Err(error) => last = error,
        }
    }
    Err(last)
}

async fn connect_to(address: SocketAddr, tuning: &Tuning, within: Duration) -> io::Result<TcpStream> {
    let socket = if address.is_ipv4() {
        TcpSocket::new_v4()?
    } else {
        TcpSocket::new_v6()?
    };
    socket.set_keepalive(tuning.has_keepalive)?;
    socket.set_nodelay(true)?;
    // A connection that is given up sends nothing more: a commit that waited in its buffers could arrive after a newer one
    // on the next connection.
    socket.set_zero_linger()?;
    match timeout(within, socket.connect(address)).await {
        Ok(connected) => connected,
        Err(_elapsed) => Err(io::Error::new(
            io::ErrorKind::TimedOut,
            format!("no connection within {within:?}"),
        )),
    }
}
