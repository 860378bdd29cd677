//! Owns a token endpoint that does what a test says, over HTTP or HTTPS, by an authority of its own.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};

/// What an endpoint does with a request, whose number and text it gets; `None`: it never answers.
type Script = Arc<dyn Fn(usize, &str) -> Option<String> + Send + Sync>;

/// A token endpoint; it ends when this is dropped.
pub(crate) struct Issuer {
    pub(crate) port: u16,
    requests: Arc<AtomicUsize>,
    _tasks: JoinSet<()>,
}

impl Issuer {
    pub(crate) async fn start(
        script: impl Fn(usize, &str) -> Option<String> + Send + Sync + 'static,
    ) -> Self {
        Self::serve(None, Arc::new(script)).await
    }

    /// With a certificate for 127.0.0.1; returns its authority's too, in PEM.
    pub(crate) async fn start_tls(
        script: impl Fn(usize, &str) -> Option<String> + Send + Sync + 'static,
    ) -> (Self, String) {
        let (server, authority) = server_config();
        let acceptor = TlsAcceptor::from(Arc::new(server));
        (Self::serve(Some(acceptor), Arc::new(script)).await, authority)
    }

    async fn serve(tls: Option<TlsAcceptor>, script: Script) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let requests = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&requests);
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                let (tls, script, count) = (tls.clone(), Arc::clone(&script), Arc::clone(&count));
                connections.spawn(async move {
                    match tls {
                        None => converse(stream, &script, &count).await,
                        Some(tls) => {
                            if let Ok(stream) = tls.accept(stream).await {
                                converse(stream, &script, &count).await;
                            }
                        }
                    }
                });
            }
        });
        Self {
            port,
            requests,
            _tasks: tasks,
        }
    }

    pub(crate) fn url(&self, scheme: &str) -> String {
        format!("{scheme}://127.0.0.1:{}/token", self.port)
    }

    pub(crate) fn requests(&self) -> usize {
        self.requests.load(Ordering::SeqCst)
    }
}

async fn converse(mut stream: impl AsyncRead + AsyncWrite + Unpin, script: &Script, count: &AtomicUsize) {
    let mut request = Vec::new();
    loop {
        let mut part = [0; 4096];
        let Ok(size @ 1..) = stream.read(&mut part).await else {
            return;
        };
        request.extend_from_slice(&part[..size]);
        let text = String::from_utf8_lossy(&request).into_owned();
        if !is_whole(&text) {
            continue;
        }
        request.clear();
        let number = count.fetch_add(1, Ordering::SeqCst);
        match script(number, &text) {
            Some(answer) => drop(stream.write_all(answer.as_bytes()).await),
            None => std::future::pending().await,
        }
    }
}

fn is_whole(text: &str) -> bool {
    let Some((head, body)) = text.split_once("\r\n\r\n") else {
        return false;
    };
    let length = head.lines().find_map(|line| {
        line.to_ascii_lowercase()
            .strip_prefix("content-length: ")?
            .parse()
            .ok()
    });
    body.len() >= length.unwrap_or(0)
}

/// An answer of HTTP.
pub(crate) fn answer(status: &str, body: &str) -> String {
    format!(
        "HTTP/1.1 {status}\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    )
}

/// A token that is valid for so many seconds.
pub(crate) fn granted(token: &str, seconds: u32) -> String {
    let body = format!("{{\"access_token\":\"{token}\",\"token_type\":\"Bearer\",\"expires_in\":{seconds}}}");
    answer("200 OK", &body)
}

/// A server's TLS for 127.0.0.1, and its authority in PEM.
pub(crate) fn server_config() -> (ServerConfig, String) {
    let mut authority = CertificateParams::new(Vec::new()).unwrap();
    authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let authority = CertifiedIssuer::self_signed(authority, KeyPair::generate().unwrap()).unwrap();
    let key = KeyPair::generate().unwrap();
    let certificate = CertificateParams::new(vec!["127.0.0.1".to_owned()]).unwrap();
    let certificate = certificate.signed_by(&key, &authority).unwrap();
    let chain = vec![CertificateDer::from_pem_slice(certificate.pem().as_bytes()).unwrap()];
    let key = PrivateKeyDer::from_pem_slice(key.serialize_pem().as_bytes()).unwrap();
    let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .unwrap();
    (config, authority.pem())
}
