//! Owns the port for a Prometheus that pulls: the newest document, under `/metrics`.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::Context;
use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use tokio::net::TcpListener;

use super::{PushError, Sink};
use crate::document::Document;

const TEXT: &str = "text/plain; version=0.0.4; charset=utf-8";

type Newest = Arc<Mutex<Option<Arc<str>>>>;

/// What the port serves.
#[derive(Debug)]
pub struct Pull(Newest);

/// The listening port.
#[derive(Debug)]
pub struct PullPort {
    listener: TcpListener,
    newest: Newest,
}

impl PullPort {
    /// Takes the port.
    ///
    /// # Errors
    /// Where it is taken.
    pub async fn bind(address: SocketAddr) -> anyhow::Result<Self> {
        let listener = TcpListener::bind(address).await;
        let listener = listener.with_context(|| format!("http.address: cannot listen on {address}"))?;
        tracing::info!(address = %listener.local_addr()?, "port for pulling open");
        Ok(Self {
            listener,
            newest: Newest::default(),
        })
    }

    /// What is served.
    pub fn sink(&self) -> Pull {
        Pull(self.newest.clone())
    }

    /// Where it listens.
    ///
    /// # Errors
    /// Where the system does not tell.
    pub fn address(&self) -> std::io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// Answers until it is dropped.
    ///
    /// # Errors
    /// Where it cannot listen any more.
    pub async fn serve(self) -> anyhow::Result<()> {
        let router = Router::new()
            .route("/metrics", get(metrics))
            .with_state(self.newest);
        axum::serve(self.listener, router)
            .await
            .context("the port for pulling failed")
    }
}

async fn metrics(State(newest): State<Newest>) -> Response {
    let text = newest.lock().unwrap_or_else(PoisonError::into_inner).clone();
    match text {
        Some(text) => ([(header::CONTENT_TYPE, TEXT)], text.to_string()).into_response(),
        None => (StatusCode::SERVICE_UNAVAILABLE, "nothing was scraped yet\n").into_response(),
    }
}

impl Sink for Pull {
    async fn put(&mut self, document: &Document<'_>) -> Result<(), PushError> {
        let text = document.to_text().into();
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(text);
        Ok(())
    }

    /// The values end with the port.
    async fn delete(&mut self) -> Result<(), PushError> {
        Ok(())
    }

    async fn owner(&mut self) -> Result<Option<String>, PushError> {
        Ok(None)
    }
}
