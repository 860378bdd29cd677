//! Owns HTTP as a client: the only file that knows `reqwest`. Every request has a time limit, every body a bound.
//!
//! An address never stands in an error of this file: whoever asks names it, in the form that the configuration has.

use std::error::Error;
use std::path::Path;
use std::time::{Duration, SystemTime};

use anyhow::{Context, bail};
use reqwest::header::{ACCEPT, CONTENT_TYPE, DATE, LOCATION, TRANSFER_ENCODING};
use reqwest::{Certificate, Identity, RequestBuilder, Response, Url, redirect};

use crate::config::Security;

/// How we name ourselves.
const USER_AGENT: &str = concat!("pushgateway-exporter/", env!("CARGO_PKG_VERSION"));
/// The most redirects that are followed within a host.
const MAX_REDIRECTS: usize = 5;
/// How long a connection is kept for the next request.
const IDLE: Duration = Duration::from_secs(90);

/// The longest line of a page that is read line by line.
const LONGEST_LINE: usize = 1 << 20;

/// Asks servers.
#[derive(Debug, Clone)]
pub struct Client {
    http: reqwest::Client,
    security: Security,
    limits: Limits,
}

/// The limits of a client.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// How long a connection may take.
    pub connect_timeout: Duration,
    /// How long a request may take in all.
    pub timeout: Duration,
    /// The greatest answer that is read, uncompressed.
    pub max_body_bytes: usize,
    /// Whether redirects within a host are followed. A redirected PUT would arrive as a GET.
    pub follow: bool,
    /// Whether the proxy is used that the environment names. Targets are near; a gateway may be far.
    pub proxy: bool,
    /// Whether `https://` is asked. The system's list of authorities takes more memory than the rest of a client.
    pub https: bool,
}

/// What is sent.
#[derive(Debug, Clone, Default)]
pub struct Message {
    /// The bytes.
    pub body: Vec<u8>,
    /// Headers.
    pub headers: Vec<(&'static str, &'static str)>,
}

/// What a server says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// The status.
    pub status: u16,
    /// The content type, or nothing.
    pub content_type: String,
    /// Where else to look.
    pub location: Option<String>,
    /// What time it is at the server.
    pub date: Option<SystemTime>,
    /// The body, uncompressed.
    pub body: Vec<u8>,
    /// Whether the server said how long the body is, or marked its end. Else it may have been cut off.
    pub has_end: bool,
}

/// Why there is no answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NoAnswer {
    /// It did not come in time.
    #[error("no answer within {0:?}")]
    TimedOut(Duration),
    /// There is no connection.
    #[error("cannot connect: {0}")]
    Unreachable(String),
    /// The answer is greater than may be.
    #[error("the answer has more than {0} bytes")]
    TooLarge(usize),
    /// The connection ended within the answer.
    #[error("the answer breaks off: {0}")]
    Interrupted(String),
}

impl Client {
    /// A client. Certificates are read now.
    ///
    /// # Errors
    /// Where a file cannot be read, or holds no certificate.
    pub fn new(security: &Security, limits: &Limits) -> anyhow::Result<Self> {
        let policy = if limits.follow {
            within_host()
        } else {
            redirect::Policy::none()
        };
        let mut builder = reqwest::Client::builder()
            .user_agent(USER_AGENT)
            .connect_timeout(limits.connect_timeout)
            .timeout(limits.timeout)
            .pool_idle_timeout(IDLE)
            .redirect(policy);
        if !limits.proxy {
            builder = builder.no_proxy();
        }
        if let Some(file) = &security.ca_file {
            for certificate in certificates(file)? {
                builder = builder.add_root_certificate(certificate);
            }
        }
        if security.ca_file.is_some() || !limits.https {
            builder = builder.tls_built_in_root_certs(false);
        }
        if let Some((certificate, key)) = &security.certificate {
            let (pem, key_pem) = (read(certificate)?, read(key)?);
            let identity = Identity::from_pkcs8_pem(&pem, &key_pem).with_context(|| {
                format!(
                    "{} and {} are no certificate and key (PEM, PKCS#8)",
                    certificate.display(),
                    key.display()
                )
            })?;
            builder = builder.identity(identity);
        }
        Ok(Self {
            http: builder.build().context("cannot make a client for HTTP")?,
            security: security.clone(),
            limits: *limits,
        })
    }

    /// Asks for a page.
    pub async fn get(&self, url: &str, accept: &str) -> Result<Answer, NoAnswer> {
        self.answer(self.http.get(url).header(ACCEPT, accept)).await
    }

    /// Asks for a page that may be long and hands on each of its lines, which alone are kept. No line is handed on of an
    /// answer that is no success.
    pub async fn lines(
        &self,
        url: &str,
        accept: &str,
        mut take: impl FnMut(&[u8]),
    ) -> Result<Answer, NoAnswer> {
        let (answer, mut response) = self.head(self.http.get(url).header(ACCEPT, accept)).await?;
        let mut line = Vec::new();
        if answer.status != 200 {
            return self.body(answer, response).await;
        }
        while let Some(chunk) = response.chunk().await.map_err(|error| self.no_answer(&error))? {
            for part in chunk.split_inclusive(|&byte| byte == b'\n') {
                line.extend_from_slice(part);
                if line.len() > LONGEST_LINE {
                    return Err(NoAnswer::TooLarge(LONGEST_LINE));
                }
                if line.ends_with(b"\n") {
                    take(&line);
                    line.clear();
                }
            }
        }
        Ok(answer)
    }

    /// Puts something there.
    pub async fn put(&self, url: &str, message: Message) -> Result<Answer, NoAnswer> {
        self.answer(with(self.http.put(url), message)).await
    }

    /// Sends something there.
    pub async fn post(&self, url: &str, message: Message) -> Result<Answer, NoAnswer> {
        self.answer(with(self.http.post(url), message)).await
    }

    /// Deletes what is there.
    pub async fn delete(&self, url: &str) -> Result<Answer, NoAnswer> {
        self.answer(self.http.delete(url)).await
    }

    async fn answer(&self, request: RequestBuilder) -> Result<Answer, NoAnswer> {
        let (answer, response) = self.head(request).await?;
        self.body(answer, response).await
    }

    /// The answer, its body not read yet.
    async fn head(&self, request: RequestBuilder) -> Result<(Answer, Response), NoAnswer> {
        let request = match (&self.security.user, &self.security.bearer_token) {
            (Some((name, password)), _) => request.basic_auth(name, Some(password.expose())),
            (None, Some(token)) => request.bearer_auth(token.expose()),
            (None, None) => request,
        };
        let response = request.send().await.map_err(|error| self.no_answer(&error))?;
        let header = |name| {
            let value = response.headers().get(name)?;
            Some(String::from_utf8_lossy(value.as_bytes()).into_owned())
        };
        let answer = Answer {
            status: response.status().as_u16(),
            content_type: header(CONTENT_TYPE).unwrap_or_default(),
            location: header(LOCATION),
            date: header(DATE).and_then(|date| httpdate::parse_http_date(&date).ok()),
            body: Vec::new(),
            has_end: response.content_length().is_some()
                || response.headers().contains_key(TRANSFER_ENCODING),
        };
        Ok((answer, response))
    }

    async fn body(&self, mut answer: Answer, mut response: Response) -> Result<Answer, NoAnswer> {
        let length = response.content_length().unwrap_or_default();
        let length = usize::try_from(length).unwrap_or(usize::MAX);
        let mut body = Vec::with_capacity(length.min(self.limits.max_body_bytes));
        while let Some(chunk) = response.chunk().await.map_err(|error| self.no_answer(&error))? {
            if body.len() + chunk.len() > self.limits.max_body_bytes {
                return Err(NoAnswer::TooLarge(self.limits.max_body_bytes));
            }
            body.extend_from_slice(&chunk);
        }
        answer.body = body;
        Ok(answer)
    }

    fn no_answer(&self, error: &reqwest::Error) -> NoAnswer {
        let cause = innermost(error);
        match (error.is_connect(), error.is_timeout()) {
            (true, true) => {
                NoAnswer::Unreachable(format!("no connection within {:?}", self.limits.connect_timeout))
            }
            (true, false) => NoAnswer::Unreachable(cause),
            (false, true) => NoAnswer::TimedOut(self.limits.timeout),
            (false, false) => NoAnswer::Interrupted(cause),
        }
    }
}

impl Answer {
    /// The beginning of a body that explains a refusal, on one line.
    pub fn explanation(&self) -> String {
        /// More of a message than this helps nobody.
        const LONGEST: usize = 500;
        /// More of a body than this is not searched for it.
        const SEARCHED_BYTES: usize = 4096;
        let text = String::from_utf8_lossy(&self.body[..self.body.len().min(SEARCHED_BYTES)]);
        let words: Vec<&str> = text.split_whitespace().collect();
        words.join(" ").chars().take(LONGEST).collect()
    }
}

/// An address in its usual form. It stands in logs, so it may hold no secret.
///
/// # Errors
/// What is wrong with it.
pub fn address(text: &str) -> Result<String, String> {
    let url = Url::parse(text).map_err(|error| format!("{text:?} is no address: {error}"))?;
    if !matches!(url.scheme(), "http" | "https") || !url.has_host() {
        return Err(format!("{text:?} is no address of http:// or https://"));
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err("holds a user or a password; say them in the table security".to_owned());
    }
    Ok(url.into())
}

fn with(request: RequestBuilder, message: Message) -> RequestBuilder {
    let headers = message.headers.into_iter();
    headers
        .fold(request, |request, (name, value)| request.header(name, value))
        .body(message.body)
}

/// Follows redirects that stay on the host and its scheme; another host's answer would not be the target's.
fn within_host() -> redirect::Policy {
    redirect::Policy::custom(|attempt| {
        let first = attempt.previous().first();
        let place = |url: &Url| (url.scheme().to_owned(), url.host_str().map(str::to_owned));
        let stays = first.is_some_and(|first| place(first) == place(attempt.url()));
        if stays && attempt.previous().len() <= MAX_REDIRECTS {
            attempt.follow()
        } else {
            attempt.stop()
        }
    })
}

/// What is at the bottom of an error; the rest of the chain names the address, secrets and all.
fn innermost(error: &reqwest::Error) -> String {
    let mut cause: &dyn Error = error;
    while let Some(source) = cause.source() {
        cause = source;
    }
    match cause.downcast_ref::<reqwest::Error>() {
        Some(_) => "the request could not be made".to_owned(),
        None => cause.to_string(),
    }
}

fn certificates(file: &Path) -> anyhow::Result<Vec<Certificate>> {
    let found = Certificate::from_pem_bundle(&read(file)?)
        .with_context(|| format!("{} is no list of certificates in PEM", file.display()))?;
    if found.is_empty() {
        bail!("{} has no certificate", file.display());
    }
    Ok(found)
}

fn read(file: &Path) -> anyhow::Result<Vec<u8>> {
    std::fs::read(file).with_context(|| format!("cannot read {}", file.display()))
}
