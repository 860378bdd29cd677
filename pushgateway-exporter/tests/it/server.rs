//! Owns local servers: one that sends bytes as a test says them, and one that writes down what it is asked.

use std::collections::BTreeMap;
use std::io::Read;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::extract::{Request, State};
use axum::http::StatusCode;
use pushgateway_exporter::client::{Client, Limits};
use pushgateway_exporter::config::Security;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

/// The greatest body that a server of a test reads.
const MAX_BODY_BYTES: usize = 64 << 20;

pub(crate) fn limits(timeout: Duration) -> Limits {
    Limits {
        connect_timeout: timeout,
        timeout,
        max_body_bytes: 1 << 20,
        follow: true,
        proxy: false,
        https: false,
    }
}

pub(crate) fn client(security: &Security) -> Client {
    let limits = Limits {
        follow: false,
        ..limits(Duration::from_secs(1))
    };
    Client::new(security, &limits).unwrap()
}

/// Answers requests with bytes, and ends when it is dropped.
pub(crate) struct RawServer {
    pub(crate) port: u16,
    _answering: JoinSet<()>,
}

impl RawServer {
    /// Sends what `answer` says for a path, and then closes the connection, or keeps it open if it `hangs`.
    pub(crate) async fn start(answer: fn(&str, u16) -> Vec<u8>, hangs: bool) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let mut answering = JoinSet::new();
        answering.spawn(async move {
            let mut connections = JoinSet::new();
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                connections.spawn(converse(stream, port, answer, hangs));
            }
        });
        Self {
            port,
            _answering: answering,
        }
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}{path}", self.port)
    }
}

async fn converse(mut stream: TcpStream, port: u16, answer: fn(&str, u16) -> Vec<u8>, hangs: bool) {
    let mut request = Vec::new();
    while !request.windows(4).any(|end| end == b"\r\n\r\n") {
        match stream.read_buf(&mut request).await {
            Ok(1..) => {}
            _ => return,
        }
    }
    let request = String::from_utf8_lossy(&request).into_owned();
    let path = request.split(' ').nth(1).unwrap_or_default();
    // The client may have gone, which is its right.
    drop(stream.write_all(&answer(path, port)).await);
    if hangs {
        std::future::pending::<()>().await;
    }
}

/// What a server was asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Asked {
    pub(crate) method: String,
    pub(crate) path: String,
    pub(crate) headers: BTreeMap<String, String>,
    pub(crate) body: Vec<u8>,
}

impl Asked {
    /// The body as text, uncompressed.
    pub(crate) fn text(&self) -> String {
        if !self.headers.contains_key("content-encoding") {
            return String::from_utf8(self.body.clone()).unwrap();
        }
        let mut text = String::new();
        flate2::read::GzDecoder::new(&self.body[..])
            .read_to_string(&mut text)
            .unwrap();
        text
    }
}

type Answer = dyn Fn(&Asked) -> (u16, String) + Send + Sync;

#[derive(Clone)]
struct Desk {
    asked: Arc<Mutex<Vec<Asked>>>,
    answer: Arc<Mutex<Arc<Answer>>>,
}

/// Writes down what it is asked, and answers as a test says.
pub(crate) struct Server {
    pub(crate) url: String,
    desk: Desk,
    _serving: JoinSet<()>,
}

impl Server {
    pub(crate) async fn start(answer: impl Fn(&Asked) -> (u16, String) + Send + Sync + 'static) -> Self {
        let desk = Desk {
            asked: Arc::default(),
            answer: Arc::new(Mutex::new(Arc::new(answer))),
        };
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let router = Router::new().fallback(serve).with_state(desk.clone());
        let mut serving = JoinSet::new();
        serving.spawn(async move { axum::serve(listener, router).await.unwrap() });
        Self {
            url,
            desk,
            _serving: serving,
        }
    }

    /// From now on it answers like this.
    pub(crate) fn set(&self, answer: impl Fn(&Asked) -> (u16, String) + Send + Sync + 'static) {
        *self.desk.answer.lock().unwrap() = Arc::new(answer);
    }

    /// What it was asked.
    pub(crate) fn asked(&self) -> Vec<Asked> {
        self.desk.asked.lock().unwrap().clone()
    }

    /// Methods and paths of it.
    pub(crate) fn lines(&self) -> Vec<String> {
        let line = |asked: Asked| format!("{} {}", asked.method, asked.path);
        self.asked().into_iter().map(line).collect()
    }
}

async fn serve(State(desk): State<Desk>, request: Request) -> (StatusCode, String) {
    let (parts, body) = request.into_parts();
    let body: Bytes = axum::body::to_bytes(body, MAX_BODY_BYTES).await.unwrap();
    let header = |(name, value): (&axum::http::HeaderName, &axum::http::HeaderValue)| {
        (name.to_string(), value.to_str().unwrap().to_owned())
    };
    let asked = Asked {
        method: parts.method.to_string(),
        path: parts.uri.path().to_owned(),
        headers: parts.headers.iter().map(header).collect(),
        body: body.to_vec(),
    };
    let answer = desk.answer.lock().unwrap().clone();
    let (status, text) = answer(&asked);
    desk.asked.lock().unwrap().push(asked);
    (StatusCode::from_u16(status).unwrap(), text)
}
