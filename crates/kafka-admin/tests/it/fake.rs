//! Owns a broker that does what a test says, with answers that are encoded by `kafka-protocol`'s side of brokers.

use std::sync::Arc;

use bytes::{Buf as _, BufMut as _, Bytes, BytesMut};
use kafka_protocol::messages::api_versions_response::ApiVersion;
use kafka_protocol::messages::{ApiKey, ApiVersionsResponse, RequestHeader, ResponseHeader};
use kafka_protocol::protocol::{Decodable, Encodable, HeaderVersion, Request};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;
use tokio::task::JoinSet;

/// A request that came.
#[derive(Clone)]
pub(crate) struct Asked {
    pub(crate) key: ApiKey,
    pub(crate) version: i16,
    correlation: i32,
    body: Bytes,
}

/// What a broker does about it.
pub(crate) enum Reaction {
    /// It sends these bytes, the size included.
    Send(Bytes),
    /// It sends these bytes, and closes the connection.
    SendAndClose(Bytes),
    /// It does nothing.
    Hang,
    /// It sends these bytes, and reads nothing more until it may.
    SendAndHold(Bytes, Held),
}

/// What happens when a broker reads again: it says whether the connection ended in order, and how many bytes came.
pub(crate) struct Held {
    pub(crate) until: oneshot::Receiver<()>,
    pub(crate) received: oneshot::Sender<(bool, usize)>,
}

impl Asked {
    pub(crate) fn decode<Req: Request>(&self) -> Req {
        Req::decode(&mut self.body.clone(), self.version).unwrap()
    }

    /// The whole answer in the version that was asked.
    pub(crate) fn answer<Response: Encodable + HeaderVersion>(&self, response: &Response) -> Reaction {
        Reaction::Send(self.frame(response, self.version))
    }

    pub(crate) fn frame<Response: Encodable + HeaderVersion>(
        &self,
        response: &Response,
        version: i16,
    ) -> Bytes {
        let mut body = BytesMut::new();
        ResponseHeader::default()
            .with_correlation_id(self.correlation)
            .encode(&mut body, Response::header_version(version))
            .unwrap();
        response.encode(&mut body, version).unwrap();
        framed(&body)
    }

    /// The answer of a broker that knows requests in these versions.
    pub(crate) fn versions(&self, known: &[(ApiKey, i16, i16)]) -> Reaction {
        let keys = known.iter().map(|(key, min, max)| {
            ApiVersion::default()
                .with_api_key(*key as i16)
                .with_min_version(*min)
                .with_max_version(*max)
        });
        let response = ApiVersionsResponse::default().with_api_keys(keys.collect());
        let newest = known
            .iter()
            .find(|(key, ..)| *key == ApiKey::ApiVersions)
            .map_or(0, |(.., max)| *max);
        if self.version > newest {
            return Reaction::Send(self.frame(&response.with_error_code(35), 0));
        }
        self.answer(&response)
    }
}

pub(crate) fn framed(body: &[u8]) -> Bytes {
    let mut frame = BytesMut::new();
    frame.put_i32(i32::try_from(body.len()).unwrap());
    frame.extend_from_slice(body);
    frame.freeze()
}

type Script = Arc<dyn Fn(Asked) -> Reaction + Send + Sync>;

/// A broker; it ends when this is dropped.
pub(crate) struct Fake {
    pub(crate) port: u16,
    _tasks: JoinSet<()>,
}

impl Fake {
    pub(crate) async fn listen() -> (TcpListener, u16) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        (listener, port)
    }

    pub(crate) fn serve(
        listener: TcpListener,
        script: impl Fn(Asked) -> Reaction + Send + Sync + 'static,
    ) -> Self {
        let port = listener.local_addr().unwrap().port();
        let script: Script = Arc::new(script);
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                connections.spawn(converse(stream, Arc::clone(&script)));
            }
        });
        Self { port, _tasks: tasks }
    }

    pub(crate) async fn start(script: impl Fn(Asked) -> Reaction + Send + Sync + 'static) -> Self {
        Self::serve(Self::listen().await.0, script)
    }

    pub(crate) fn servers(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }
}

async fn converse(mut stream: TcpStream, script: Script) {
    loop {
        let Ok(size) = stream.read_i32().await else { return };
        let mut frame = vec![0; usize::try_from(size).unwrap()];
        if stream.read_exact(&mut frame).await.is_err() {
            return;
        }
        let mut body = Bytes::from(frame);
        let (key, version) = ((&body[..2]).get_i16(), (&body[2..4]).get_i16());
        let key = ApiKey::try_from(key).unwrap();
        let header = RequestHeader::decode(&mut body, key.request_header_version(version)).unwrap();
        let correlation = header.correlation_id;
        match script(Asked {
            key,
            version,
            correlation,
            body,
        }) {
            Reaction::Send(bytes) if stream.write_all(&bytes).await.is_ok() => {}
            Reaction::SendAndClose(bytes) => {
                drop(stream.write_all(&bytes).await);
                return;
            }
            Reaction::SendAndHold(bytes, held) => {
                drop(stream.write_all(&bytes).await);
                drop(held.until.await);
                let mut rest = Vec::new();
                let ended = stream.read_to_end(&mut rest).await;
                held.received.send((ended.is_ok(), rest.len())).unwrap();
                return;
            }
            Reaction::Send(_) => return,
            Reaction::Hang => {}
        }
    }
}
