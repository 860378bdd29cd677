//! Owns an S3 server: `SeaweedFS` with its keys, and what tests put past its S3 side into it.

use std::ffi::OsString;
use std::path::Path;

use anyhow::{Context as _, bail};
use serde_json::Value;

use crate::client::client;
use crate::script;
use crate::server::{LITTER, Server, free_ports};

const ACCESS_KEY: &str = "outrigger-access";
const SECRET_KEY: &str = "outrigger-secret";
/// A bucket that comes and goes while the server starts.
const PROBE: &str = "outrigger-probe";
/// The most objects of a folder that are listed.
const MAX_NAMES: usize = 10_000;
/// The ports of the parts that `SeaweedFS` is made of, in the order of [`FLAGS`].
const PORTS: usize = 8;
/// Each takes a port. Left out, one of gRPC is ten thousand above its neighbour's, which may not be there.
const FLAGS: [&str; PORTS] = [
    "-s3.port",
    "-filer.port",
    "-master.port",
    "-volume.port",
    "-s3.port.grpc",
    "-filer.port.grpc",
    "-master.port.grpc",
    "-volume.port.grpc",
];
/// The settings that are always the same: small, on loopback, nothing told to anybody, no bucket made by itself.
const SETTINGS: [&str; 12] = [
    "-ip=127.0.0.1",
    "-ip.bind=127.0.0.1",
    "-s3",
    "-s3.autoCreateBucket=false",
    "-s3.port.iceberg=0",
    "-s3.port.lance=0",
    "-master.telemetry=false",
    "-master.volumeSizeLimitMB=64",
    "-volume.max=30",
    "-volume.preStopSeconds=0",
    "-volume.minFreeSpace=16MiB",
    "-master.electionTimeout=1s",
];

/// An S3 server on loopback that wants signed requests and addresses of path style. It ends, with its data, when it
/// is dropped.
pub struct S3Server {
    server: Server,
    endpoint: String,
    filer: String,
    client: reqwest::Client,
}

impl S3Server {
    /// Starts a server without a bucket.
    ///
    /// # Errors
    /// Where it cannot be had or started, and what is missing.
    pub async fn start() -> anyhow::Result<Self> {
        let weed = script::line("seaweedfs/fetch", &[]).await?;
        let ports = free_ports::<PORTS>()?;
        let server = Server::start("seaweedfs", |folder| command(&weed, folder, &ports))?;
        let s3 = Self {
            server,
            endpoint: format!("http://127.0.0.1:{}", ports[0]),
            filer: format!("http://127.0.0.1:{}/buckets", ports[1]),
            client: client()?,
        };
        s3.ready().await?;
        Ok(s3)
    }

    /// Its address, such as `http://127.0.0.1:8333`.
    pub fn endpoint(&self) -> &str {
        &self.endpoint
    }

    /// Who may do everything.
    pub fn access_key(&self) -> &'static str {
        ACCESS_KEY
    }

    /// The secret of [`Self::access_key`].
    pub fn secret_key(&self) -> &'static str {
        SECRET_KEY
    }

    /// Makes a bucket.
    ///
    /// # Errors
    /// Where that cannot be done.
    pub async fn create_bucket(&self, name: &str) -> anyhow::Result<()> {
        self.ask(self.client.post(format!("{}/{name}/", self.filer)))
            .await
            .map(drop)
    }

    /// Puts an object whole.
    ///
    /// # Errors
    /// Where that cannot be done.
    pub async fn put(&self, bucket: &str, key: &str, content: impl Into<Vec<u8>>) -> anyhow::Result<()> {
        let request = self.client.put(self.address(bucket, key));
        self.ask(request.body(content.into())).await.map(drop)
    }

    /// An object; `None` if it is not there.
    ///
    /// # Errors
    /// Where nobody answers.
    pub async fn get(&self, bucket: &str, key: &str) -> anyhow::Result<Option<Vec<u8>>> {
        let answer = self.client.get(self.address(bucket, key)).send().await?;
        if answer.status() == reqwest::StatusCode::NOT_FOUND {
            return Ok(None);
        }
        Ok(Some(answer.error_for_status()?.bytes().await?.to_vec()))
    }

    /// The names of the objects in a folder; none if it is not there.
    ///
    /// # Errors
    /// If nobody answers, or there are more than [`MAX_NAMES`].
    pub async fn list(&self, bucket: &str, folder: &str) -> anyhow::Result<Vec<String>> {
        let address = format!("{}/?limit={MAX_NAMES}", self.address(bucket, folder));
        let request = self.client.get(address).header("Accept", "application/json");
        let answer = request.send().await.context("the S3 server does not answer")?;
        if answer.status() == reqwest::StatusCode::NOT_FOUND {
            return Ok(Vec::new());
        }
        let page: Value = serde_json::from_str(&answer.error_for_status()?.text().await?)?;
        if page["ShouldDisplayLoadMore"] == true {
            bail!("{bucket}/{folder} has more than {MAX_NAMES} objects");
        }
        let entries = page["Entries"].as_array().into_iter().flatten();
        let names = entries.filter_map(|entry| entry["FullPath"].as_str()?.rsplit('/').next());
        Ok(names.map(str::to_owned).collect())
    }

    /// Removes an object, or all below a key that ends with a slash.
    ///
    /// # Errors
    /// Where that cannot be done.
    pub async fn delete(&self, bucket: &str, key: &str) -> anyhow::Result<()> {
        let request = self
            .client
            .delete(format!("{}?recursive=true", self.address(bucket, key)));
        self.ask(request).await.map(drop)
    }

    /// Stops the server; its data stays.
    ///
    /// # Errors
    /// Where it does not end.
    pub async fn stop(&self) -> anyhow::Result<()> {
        // Asked by SIGTERM it waits for something that never comes.
        self.server.stop("KILL").await
    }

    /// Starts the server again after [`Self::stop`], on the same port.
    ///
    /// # Errors
    /// Where it does not start.
    pub async fn restart(&mut self) -> anyhow::Result<()> {
        self.server.restart()?;
        self.ready().await
    }

    /// Sends it a signal by its name: after `STOP` it hangs until `CONT`.
    ///
    /// # Errors
    /// Where it has ended.
    pub fn signal(&self, name: &str) -> anyhow::Result<()> {
        self.server.signal(name)
    }

    fn address(&self, bucket: &str, key: &str) -> String {
        format!("{}/{bucket}/{key}", self.filer)
    }

    /// Waits until it keeps an object, which it does some seconds after its ports answer, and until S3 answers.
    async fn ready(&self) -> anyhow::Result<()> {
        let kept = self.server.ready(async || {
            self.create_bucket(PROBE).await.ok()?;
            self.put(PROBE, "probe", "here").await.ok()?;
            self.delete(PROBE, "").await.ok()?;
            self.client.get(&self.endpoint).send().await.ok().map(drop)
        });
        kept.await
    }

    async fn ask(&self, request: reqwest::RequestBuilder) -> anyhow::Result<String> {
        let answer = request.send().await.context("the S3 server does not answer")?;
        let (status, text) = (answer.status(), answer.text().await?);
        if !status.is_success() {
            bail!("the S3 server answered {status}: {text}");
        }
        Ok(text)
    }
}

fn command(weed: &str, folder: &Path, ports: &[u16; PORTS]) -> anyhow::Result<Vec<OsString>> {
    let (data, keys) = (folder.join("data"), folder.join("keys.json"));
    std::fs::create_dir(&data).context("cannot make a folder")?;
    let identities = format!(
        r#"{{"identities": [{{"name": "tests", "actions": ["Admin", "Read", "List", "Tagging", "Write"],
            "credentials": [{{"accessKey": "{ACCESS_KEY}", "secretKey": "{SECRET_KEY}"}}]}}]}}"#
    );
    std::fs::write(&keys, identities).context("cannot write the keys")?;
    std::fs::write(folder.join(LITTER), sockets(ports)).context("cannot write names")?;
    let mut command = vec![weed.into(), "-logtostderr".into(), "server".into()];
    command.push(format!("-dir={}", data.display()).into());
    command.push(format!("-s3.config={}", keys.display()).into());
    command.extend(SETTINGS.map(Into::into));
    let ports = FLAGS.iter().zip(ports);
    command.extend(ports.map(|(flag, port)| format!("{flag}={port}").into()));
    Ok(command)
}

/// The sockets that its parts make in a place of their own choice, and leave there.
fn sockets(ports: &[u16; PORTS]) -> String {
    let sockets = FLAGS.iter().zip(ports).map(|(flag, port)| {
        let part = flag
            .trim_start_matches('-')
            .replace(".port", "")
            .replace('.', "-");
        format!("/tmp/seaweedfs-{part}-{port}.sock\n")
    });
    sockets.collect()
}
