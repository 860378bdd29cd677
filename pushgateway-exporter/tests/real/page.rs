//! Owns a target whose page a test decides.

use std::sync::{Arc, Mutex};

use axum::Router;
use axum::extract::State;
use axum::http::header;
use axum::response::IntoResponse;
use tokio::net::TcpListener;
use tokio::task::JoinSet;

/// A target. Dropped, nobody is at its port any more.
pub(crate) struct Page {
    pub(crate) url: String,
    text: Arc<Mutex<String>>,
    _serving: JoinSet<()>,
}

impl Page {
    pub(crate) async fn start(text: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        Self::on(listener, text)
    }

    /// At a port that is taken already.
    pub(crate) fn on(listener: TcpListener, text: &str) -> Self {
        let url = format!("http://{}/metrics", listener.local_addr().unwrap());
        let text = Arc::new(Mutex::new(text.to_owned()));
        let router = Router::new().fallback(serve).with_state(text.clone());
        let mut serving = JoinSet::new();
        serving.spawn(async move { axum::serve(listener, router).await.unwrap() });
        Self {
            url,
            text,
            _serving: serving,
        }
    }

    pub(crate) fn set(&self, text: &str) {
        text.clone_into(&mut self.text.lock().unwrap());
    }
}

async fn serve(State(text): State<Arc<Mutex<String>>>) -> impl IntoResponse {
    let text = text.lock().unwrap().clone();
    ([(header::CONTENT_TYPE, "text/plain")], text)
}
