//! An S3 server that can be made to fail in the ways that S3 fails.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{AbortHandle, JoinSet};

/// What the server does instead of answering.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    /// A status, and S3's name of the error.
    Status(u16, &'static str),
    /// Nothing, for ever.
    Hang,
    /// Half of the body, then the end.
    Cut,
    /// One listing that lacks the newest file.
    OldListing,
}

#[derive(Default)]
struct State {
    objects: BTreeMap<String, String>,
    fault: Option<Fault>,
}

/// The server. It ends when it is dropped.
pub(crate) struct FakeS3 {
    address: SocketAddr,
    state: Arc<Mutex<State>>,
    server: AbortHandle,
}

impl FakeS3 {
    pub(crate) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let state = Arc::<Mutex<State>>::default();
        let shared = state.clone();
        let mut tasks = JoinSet::new();
        let server = tasks.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((connection, _)) = listener.accept().await {
                connections.spawn(answer(connection, shared.clone()));
            }
        });
        tasks.detach_all();
        Self {
            address,
            state,
            server,
        }
    }

    pub(crate) fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }

    pub(crate) fn put(&self, key: &str, content: &str) {
        self.state
            .lock()
            .unwrap()
            .objects
            .insert(key.to_owned(), content.to_owned());
    }

    pub(crate) fn fail(&self, fault: Option<Fault>) {
        self.state.lock().unwrap().fault = fault;
    }
}

impl Drop for FakeS3 {
    fn drop(&mut self) {
        self.server.abort();
    }
}

async fn answer(mut connection: TcpStream, state: Arc<Mutex<State>>) {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        match connection.read_u8().await {
            Ok(byte) => head.push(byte),
            Err(_closed) => return,
        }
    }
    let head = String::from_utf8(head).unwrap();
    let target = head.split(' ').nth(1).unwrap().replace("%2F", "/");
    let (fault, (status, mut body)) = {
        let mut state = state.lock().unwrap();
        (state.fault, respond(&mut state, &target))
    };
    let mut status = status;
    match fault {
        Some(Fault::Hang) => std::future::pending().await,
        Some(Fault::Status(code, name)) => {
            status = code;
            body = format!("<Error><Code>{name}</Code><Message>as the test says</Message></Error>");
        }
        _ => {}
    }
    let length = body.len();
    if fault == Some(Fault::Cut) {
        body.truncate(length / 2);
    }
    let head = format!("HTTP/1.1 {status} x\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n");
    // The client may have gone meanwhile.
    drop(connection.write_all((head + &body).as_bytes()).await);
}

fn respond(state: &mut State, target: &str) -> (u16, String) {
    let Some((_, query)) = target
        .split_once('?')
        .filter(|(_, query)| query.contains("list-type=2"))
    else {
        let key = target.split('?').next().unwrap().trim_start_matches("/b/");
        return match state.objects.get(key) {
            Some(content) => (200, content.clone()),
            None => (404, "<Error><Code>NoSuchKey</Code></Error>".to_owned()),
        };
    };
    let prefix = query
        .split('&')
        .find_map(|part| part.strip_prefix("prefix="))
        .unwrap();
    let mut keys: Vec<_> = state
        .objects
        .keys()
        .filter(|key| key.starts_with(prefix))
        .collect();
    if state.fault == Some(Fault::OldListing) {
        keys.pop();
        state.fault = None;
    }
    let mut body = "<ListBucketResult><IsTruncated>false</IsTruncated>".to_owned();
    for key in keys {
        write!(body, "<Contents><Key>{key}</Key></Contents>").unwrap();
    }
    (200, body + "</ListBucketResult>")
}
