//! Owns the admin port: health, readiness, metrics and version over HTTP.

use std::net::SocketAddr;

use anyhow::Context;
use axum::Router;
use axum::extract::{RawQuery, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use prometheus::{Registry, TextEncoder};
use tokio::net::TcpListener;

use crate::health::{Heartbeat, Readiness};

/// What the port reports.
#[derive(Clone)]
pub(crate) struct AdminState {
    pub(crate) readiness: Readiness,
    pub(crate) heartbeat: Heartbeat,
    pub(crate) registry: Registry,
    pub(crate) version: &'static str,
}

/// The listening port.
pub(crate) struct AdminPort(TcpListener);

impl AdminPort {
    /// Takes the port.
    pub(crate) async fn bind(address: SocketAddr) -> anyhow::Result<Self> {
        let listener = TcpListener::bind(address);
        let listener = listener
            .await
            .with_context(|| format!("admin.address: cannot listen on {address}"))?;
        tracing::info!(address = %listener.local_addr()?, "admin port open");
        Ok(Self(listener))
    }

    /// Answers until it is dropped.
    pub(crate) async fn serve(self, state: AdminState) -> anyhow::Result<()> {
        let router = Router::new()
            .route("/livez", get(live))
            .route("/healthz", get(live))
            .route("/readyz", get(ready))
            .route("/metrics", get(metrics))
            .route(
                "/version",
                get(|State(state): State<AdminState>| async move { state.version }),
            )
            .with_state(state);
        axum::serve(self.0, router).await.context("the admin port failed")
    }
}

async fn live(State(state): State<AdminState>) -> Response {
    if state.heartbeat.is_alive() {
        "ok\n".into_response()
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, "the loop does not advance\n").into_response()
    }
}

async fn ready(State(state): State<AdminState>, RawQuery(query): RawQuery) -> Response {
    let (status, answer) = match state.readiness.is_ready() {
        true => (StatusCode::OK, "ok\n"),
        false if state.readiness.is_stopping() => (StatusCode::SERVICE_UNAVAILABLE, "stopping\n"),
        false => (StatusCode::SERVICE_UNAVAILABLE, "not ready\n"),
    };
    let verbose = query.is_some_and(|query| query.split('&').any(|part| part.starts_with("verbose")));
    let details = if verbose {
        state.readiness.describe()
    } else {
        String::new()
    };
    (status, format!("{details}{answer}")).into_response()
}

async fn metrics(State(state): State<AdminState>) -> Response {
    match TextEncoder::new().encode_to_string(&state.registry.gather()) {
        Ok(text) => ([(header::CONTENT_TYPE, prometheus::TEXT_FORMAT)], text).into_response(),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response(),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpStream;
    use tokio::task::JoinSet;

    use super::*;

    /// The status of what a port with this state answers.
    async fn get(state: &AdminState, path: &str) -> String {
        let port = AdminPort::bind(([127, 0, 0, 1], 0).into()).await.unwrap();
        let address = port.0.local_addr().unwrap();
        let mut server = JoinSet::new();
        server.spawn(port.serve(state.clone()));
        let mut stream = TcpStream::connect(address).await.unwrap();
        let request = format!("GET {path} HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        answer.split(' ').nth(1).unwrap().to_owned()
    }

    #[tokio::test(start_paused = true)]
    async fn liveness_and_readiness_are_answered_by_status() {
        let state = AdminState {
            readiness: Readiness::default(),
            heartbeat: Heartbeat::default(),
            registry: Registry::new(),
            version: "1",
        };
        state.heartbeat.beat();
        let condition = state.readiness.condition("kafka");
        assert_eq!(get(&state, "/livez").await, "200");
        assert_eq!(get(&state, "/readyz").await, "503");
        condition.met();
        assert_eq!(get(&state, "/readyz").await, "200");
        tokio::time::advance(Duration::from_mins(5)).await;
        assert_eq!(get(&state, "/livez").await, "503", "the loop does not advance");
        assert_eq!(get(&state, "/healthz").await, "503");
        assert_eq!(get(&state, "/metrics").await, "200");
    }
}
