//! Owns moto, which imitates AWS in memory.

use anyhow::Context as _;

use crate::client::client;
use crate::script;
use crate::server::{Server, free_ports};

/// moto verifies no signature, but takes a request without one for a stranger's.
const AUTHORIZATION: &str = "AWS4-HMAC-SHA256 Credential=any/20260101/us-east-1/s3/aws4_request";

/// A server on loopback that speaks as S3 does and takes any keys. It ends, with its objects, when it is dropped.
pub struct Moto {
    _server: Server,
    endpoint: String,
    client: reqwest::Client,
}

impl Moto {
    /// Starts a server without a bucket.
    ///
    /// # Errors
    /// Where it cannot be had or started, and what is missing.
    pub async fn start() -> anyhow::Result<Self> {
        let program = script::line("moto/fetch", &[]).await?;
        let [port] = free_ports()?;
        let arguments = [&program, "-H", "127.0.0.1", "-p", &port.to_string()].map(Into::into);
        let server = Server::start("moto", |_| Ok(arguments.to_vec()))?;
        let (client, endpoint) = (client()?, format!("http://127.0.0.1:{port}"));
        let answers = server.ready(async || client.get(&endpoint).send().await.ok().map(drop));
        answers.await?;
        Ok(Self {
            _server: server,
            endpoint,
            client,
        })
    }

    /// Its address, such as `http://127.0.0.1:5000`.
    pub fn endpoint(&self) -> &str {
        &self.endpoint
    }

    /// Makes a bucket.
    ///
    /// # Errors
    /// Where that cannot be done.
    pub async fn create_bucket(&self, name: &str) -> anyhow::Result<()> {
        self.send(self.client.put(self.address(name, ""))).await.map(drop)
    }

    /// Puts an object whole.
    ///
    /// # Errors
    /// Where that cannot be done.
    pub async fn put(&self, bucket: &str, key: &str, content: impl Into<Vec<u8>>) -> anyhow::Result<()> {
        let request = self.client.put(self.address(bucket, key));
        self.send(request.body(content.into())).await.map(drop)
    }

    /// An object.
    ///
    /// # Errors
    /// Where it is not there.
    pub async fn get(&self, bucket: &str, key: &str) -> anyhow::Result<Vec<u8>> {
        let answer = self.send(self.client.get(self.address(bucket, key))).await?;
        Ok(answer.bytes().await?.to_vec())
    }

    fn address(&self, bucket: &str, key: &str) -> String {
        format!("{}/{bucket}/{key}", self.endpoint)
    }

    async fn send(&self, request: reqwest::RequestBuilder) -> anyhow::Result<reqwest::Response> {
        let request = request.header(reqwest::header::AUTHORIZATION, AUTHORIZATION);
        let answer = request.send().await.context("moto does not answer")?;
        answer.error_for_status().context("moto refused it")
    }
}
