//! Owns the port for a Prometheus that pulls: the newest document of each target, together under `/metrics`.

use std::collections::BTreeMap;
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
use crate::document::{Document, Types};
use crate::exposition::{Labels, Sample, render};

const TEXT: &str = "text/plain; version=0.0.4; charset=utf-8";

/// By target, its samples and their types.
type Newest = Arc<Mutex<BTreeMap<usize, (Vec<Sample>, Types)>>>;

/// What the port serves.
#[derive(Debug)]
pub struct Pull {
    newest: Newest,
    labels: Vec<BTreeMap<String, String>>,
}

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

    /// What is served, of targets with these labels.
    pub fn sink(&self, labels: Vec<BTreeMap<String, String>>) -> Pull {
        let newest = self.newest.clone();
        Pull { newest, labels }
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
    let newest = newest.lock().unwrap_or_else(PoisonError::into_inner);
    if newest.is_empty() {
        return (StatusCode::SERVICE_UNAVAILABLE, "nothing was scraped yet\n").into_response();
    }
    let samples: Vec<Sample> = newest
        .values()
        .flat_map(|(samples, _)| samples)
        .cloned()
        .collect();
    // A family that two targets have gets its type once: the first that is declared.
    let types = newest
        .values()
        .rev()
        .flat_map(|(_, types)| types.clone())
        .collect();
    drop(newest);
    ([(header::CONTENT_TYPE, TEXT)], render(&samples, &types)).into_response()
}

impl Sink for Pull {
    async fn put(&self, target: usize, document: &Document<'_>) -> Result<(), PushError> {
        let labelled = |sample: &Sample| {
            let mut sample = sample.clone();
            for (name, value) in &self.labels[target] {
                sample.labels.insert(name, value);
            }
            sample
        };
        let samples = document.samples().map(labelled).collect();
        let types = [&document.about_types, document.types].into_iter().flatten();
        let types = types.map(|(family, of)| (family.clone(), *of)).collect();
        let mut newest = self.newest.lock().unwrap_or_else(PoisonError::into_inner);
        newest.insert(target, (samples, types));
        Ok(())
    }

    /// The values end with the port.
    async fn delete(&self, _target: usize) -> Result<(), PushError> {
        Ok(())
    }

    async fn owned(&self, _run: &Labels) -> Result<Vec<bool>, PushError> {
        Ok(vec![true; self.labels.len()])
    }
}
