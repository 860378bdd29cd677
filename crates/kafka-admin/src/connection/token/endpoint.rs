//! Owns asking a token endpoint for a token with client credentials (RFC 6749, section 4.4). The only file that names
//! `reqwest`.
//!
//! A redirect is not followed: the secret is for the address in the configuration alone.

mod failure;

use std::fmt;
use std::time::Duration;

use reqwest::header::ACCEPT;
use reqwest::{Client, Response, StatusCode, Url, redirect};
use serde::Deserialize;
use sidecar::{Problems, Secret};

use self::failure::{describe, describe_status};
use super::{Fetched, MAX_TOKEN_BYTES};
use crate::Refusal;
use crate::connection::{RawSecurity, tls};
use crate::refusal::shortened;

const KEY: &str = "kafka.security.token_endpoint";
/// The largest answer: a token and what is said of it.
const MAX_ANSWER_BYTES: usize = MAX_TOKEN_BYTES + (16 << 10);

/// A URL that issues tokens.
pub(super) struct Endpoint {
    url: Url,
    client: Client,
    client_id: String,
    client_secret: Secret,
    scope: Option<String>,
}

/// RFC 6749, section 5.1.
#[derive(Deserialize)]
struct Answer {
    access_token: Option<String>,
    token_type: Option<String>,
    expires_in: Option<Seconds>,
}

/// A number, which some issuers write as a string.
#[derive(Deserialize)]
#[serde(untagged)]
enum Seconds {
    Number(f64),
    Text(String),
}

impl Endpoint {
    /// The endpoint; mistakes are added to `problems`.
    pub(super) fn check(raw: &RawSecurity, within: Duration, problems: &mut Problems) -> Option<Self> {
        let url = parse(raw.token_endpoint.as_deref()?)
            .map_err(|problem| problems.add(KEY, problem))
            .ok()?;
        let tls = tls::https_config(raw.token_ca_file.as_deref(), url.scheme() == "https")
            .map_err(|problem| problems.add("kafka.security.token_ca_file", problem))
            .ok()?;
        let mut client = Client::builder()
            .use_preconfigured_tls(tls)
            .timeout(within)
            // A token is fetched once in a long while, and perhaps by threads of several runtimes.
            .pool_max_idle_per_host(0)
            .redirect(redirect::Policy::none());
        if is_loopback(&url) {
            client = client.no_proxy();
        }
        let client = client
            .build()
            .map_err(|error| problems.add(KEY, describe(&error)));
        Some(Self {
            url,
            client: client.ok()?,
            client_id: raw.client_id.clone()?,
            client_secret: raw.client_secret.clone()?,
            scope: raw.scope.clone(),
        })
    }

    pub(super) async fn fetch(&self) -> Result<Fetched, Refusal> {
        let mut form = vec![("grant_type", "client_credentials")];
        form.extend(self.scope.as_deref().map(|scope| ("scope", scope)));
        // As in Kafka and librdkafka, the id and the secret are not encoded for a form before they are for Basic.
        let request = self
            .client
            .post(self.url.clone())
            .basic_auth(&self.client_id, Some(self.client_secret.expose()))
            .header(ACCEPT, "application/json")
            .form(&form);
        let unreachable = |error| Refusal::unreachable(self.named(&failure::advise(error)));
        let answer = request.send().await.map_err(unreachable)?;
        let status = answer.status();
        let body = body(answer).await.map_err(unreachable)?;
        let body = body.ok_or_else(|| {
            let limit = format!("the answer is larger than {MAX_ANSWER_BYTES} bytes; check {KEY}");
            Refusal::unauthenticated(self.named(&limit))
        })?;
        if status != StatusCode::OK {
            let reason = self.named(&describe_status(status, &body));
            return Err(if failure::is_transient(status) {
                Refusal::unreachable(reason)
            } else {
                Refusal::unauthenticated(reason)
            });
        }
        let read = read(&body, &self.client_id);
        read.map_err(|reason| Refusal::unauthenticated(self.named(&reason)))
    }

    pub(super) fn is_silent(&self, within: Duration) -> Refusal {
        Refusal::unreachable(self.named(&format!(
            "no answer within {within:?}; check {KEY}, and the network"
        )))
    }

    fn named(&self, reason: &str) -> String {
        format!("no token from {self}: {reason}")
    }
}

/// Without what may be secret.
impl fmt::Display for Endpoint {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = self.url.clone();
        shown.set_query(None);
        shown.fmt(formatter)
    }
}

fn parse(text: &str) -> Result<Url, String> {
    let url = Url::parse(text).map_err(|error| format!("is no URL: {error}"))?;
    if !matches!(url.scheme(), "https" | "http") || url.host_str().is_none() {
        return Err("must begin with https:// and a host".to_owned());
    }
    if url.scheme() == "http" && !is_loopback(&url) {
        return Err("must begin with https://, since the client secret is sent to it".to_owned());
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err("must not have credentials; set client_id and client_secret".to_owned());
    }
    Ok(url)
}

/// On the same host nobody else reads along.
fn is_loopback(url: &Url) -> bool {
    let host = url.host_str().unwrap_or_default();
    let address = host.trim_start_matches('[').trim_end_matches(']').parse();
    host == "localhost" || address.is_ok_and(|address: std::net::IpAddr| address.is_loopback())
}

/// The body; `None` if it is too large.
async fn body(mut answer: Response) -> Result<Option<Vec<u8>>, reqwest::Error> {
    let mut body = Vec::new();
    while let Some(part) = answer.chunk().await? {
        if body.len() + part.len() > MAX_ANSWER_BYTES {
            return Ok(None);
        }
        body.extend_from_slice(&part);
    }
    Ok(Some(body))
}

fn read(body: &[u8], client_id: &str) -> Result<Fetched, String> {
    // serde's message may show what it read.
    let answer: Answer = serde_json::from_slice(body).map_err(|_shows_the_token| {
        format!("the answer is not that of a token endpoint (RFC 6749); check {KEY}")
    })?;
    let token = answer.access_token.unwrap_or_default();
    if token.is_empty() {
        return Err(format!("the answer has no access_token; check {KEY}"));
    }
    if let Some(kind) = answer
        .token_type
        .filter(|kind| !kind.eq_ignore_ascii_case("bearer"))
    {
        let kind = shortened(&kind);
        return Err(format!(
            "the token's type is \"{kind}\", not \"Bearer\"; check {KEY}"
        ));
    }
    let token = super::valid(&token).map_err(|reason| format!("the access_token {reason}; check {KEY}"))?;
    let seconds = match answer.expires_in {
        Some(Seconds::Number(seconds)) => Some(seconds),
        Some(Seconds::Text(text)) => text.parse().ok(),
        None => None,
    };
    let lifetime = seconds
        .filter(|seconds| *seconds > 0.0)
        .map(|seconds| Duration::from_secs_f64(seconds.min(super::MAX_LIFETIME.as_secs_f64())));
    Ok(Fetched::new(token, client_id, lifetime))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_not_sent_in_clear_to_another_host() {
        for valid in [
            "https://a/token?x=y",
            "http://127.0.0.1:1/",
            "http://[::1]/",
            "http://localhost:80/a",
        ] {
            assert!(parse(valid).is_ok(), "{valid}");
        }
        for wrong in [
            "http://a/token",
            "ftp://a",
            "a",
            "",
            "https://",
            "https://u:p@a/",
            "http://127.0.0.1.evil/",
        ] {
            assert!(parse(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn lifetimes_are_read_however_they_are_written_and_none_is_endless() {
        for (expires_in, seconds) in [
            ("60", 60),
            ("\"60\"", 60),
            ("1e300", 86_400),
            ("-1", 300),
            ("\"soon\"", 300),
        ] {
            let body = format!("{{\"access_token\":\"a\",\"expires_in\":{expires_in}}}");
            let token = read(body.as_bytes(), "client").unwrap();
            let left = token
                .expires_at
                .duration_since(std::time::SystemTime::now())
                .unwrap();
            assert!(
                (seconds - 2..=seconds).contains(&left.as_secs()),
                "{expires_in}: {left:?}"
            );
            assert_eq!(token.principal, "client");
        }
    }

    #[test]
    fn an_answer_without_a_token_is_an_error_that_does_not_show_it() {
        for (body, reason) in [
            ("<html>", "is not that of a token endpoint"),
            (
                "{\"access_token\":[\"secret\"]}",
                "is not that of a token endpoint",
            ),
            ("{}", "has no access_token"),
            ("{\"access_token\":\"\"}", "has no access_token"),
            ("{\"access_token\":\"secret\\u0001auth=b\"}", "not a token's"),
            ("{\"access_token\":\"secret\",\"token_type\":\"mac\"}", "\"mac\""),
        ] {
            let error = read(body.as_bytes(), "client").err().unwrap();
            assert!(error.contains(reason) && !error.contains("secret"), "{error}");
        }
    }
}
