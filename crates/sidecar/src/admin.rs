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

/// What the port tells.
#[derive(Clone)]
pub(crate) struct Told {
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
    pub(crate) async fn serve(self, told: Told) -> anyhow::Result<()> {
        let router = Router::new()
            .route("/livez", get(live))
            .route("/healthz", get(live))
            .route("/readyz", get(ready))
            .route("/metrics", get(metrics))
            .route(
                "/version",
                get(|State(told): State<Told>| async move { told.version }),
            )
            .with_state(told);
        axum::serve(self.0, router).await.context("the admin port failed")
    }
}

async fn live(State(told): State<Told>) -> Response {
    if told.heartbeat.is_alive() {
        "ok\n".into_response()
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, "the loop does not advance\n").into_response()
    }
}

async fn ready(State(told): State<Told>, RawQuery(query): RawQuery) -> Response {
    let (status, answer) = if told.readiness.is_ready() {
        (StatusCode::OK, "ok\n")
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, "not ready\n")
    };
    let verbose = query.is_some_and(|query| query.split('&').any(|part| part.starts_with("verbose")));
    let details = if verbose {
        told.readiness.describe()
    } else {
        String::new()
    };
    (status, format!("{details}{answer}")).into_response()
}

async fn metrics(State(told): State<Told>) -> Response {
    match TextEncoder::new().encode_to_string(&told.registry.gather()) {
        Ok(text) => ([(header::CONTENT_TYPE, prometheus::TEXT_FORMAT)], text).into_response(),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response(),
    }
}
