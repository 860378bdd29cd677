//! Owns tokens of `OAUTHBEARER`: where they come from, how long one is used, and that one is fetched at a time.
//!
//! A token that was fetched is used until [`REFRESH_AFTER`] of its time has passed. If the next cannot be fetched then, it is
//! used until shortly before it expires. Who asks while one is being fetched shares its outcome, be it a token or a refusal.

mod claims;
mod endpoint;
mod extensions;
mod file;
mod iam;

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use sidecar::{Problems, Secret};
use tokio::sync::Mutex;
use tokio::time::{Instant, timeout};

use self::claims::Claims;
use self::endpoint::Endpoint;
use self::iam::Iam;
use super::{Address, RawSecurity, SaslMechanism, Tuning};
use crate::Refusal;

/// After which part of its time a token is replaced. It is less than the part of a session's time after which the broker is
/// shown a token again, so that this is a new one: a session ends with its token at the latest.
const REFRESH_AFTER: f64 = 0.75;
/// After which part of its time a token is not used any more: on its way to a broker it must not expire.
const UNUSABLE_AFTER: f64 = 0.95;
/// How long nothing is fetched after it failed, whoever asks.
const FETCH_PAUSE: Duration = Duration::from_secs(1);
/// Which part of the time of a connection a token may take, so that it is known in time that there is none.
const SHARE_OF_CONNECT: f64 = 0.8;
/// How long a token is believed whose issuer does not say it, and which is no JWT with the claim `exp`.
const DEFAULT_LIFETIME: Duration = Duration::from_mins(5);
/// The longest time that a token is used.
const MAX_LIFETIME: Duration = Duration::from_hours(24);
/// The largest token.
const MAX_TOKEN_BYTES: usize = 256 << 10;

/// A token of `OAUTHBEARER`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Token {
    /// What is sent.
    pub value: Secret,
    /// Whom it is for: the claim `sub` of a JWT, else the `client_id` or the AWS access key's id, else nothing. Only the broker knows for sure.
    pub principal: String,
    /// When it expires, in milliseconds since 1970.
    pub expires_at_ms: i64,
    /// What is sent beside it (KIP-342).
    pub extensions: Vec<(String, String)>,
}

/// Where tokens come from. Clones share what was fetched.
#[derive(Clone)]
pub struct TokenSource(Arc<Shared>);

struct Shared {
    issuer: Issuer,
    extensions: Vec<(String, String)>,
    timeout: Duration,
    state: Mutex<State>,
}

enum Issuer {
    /// It is read for each authentication: whoever writes it renews it.
    File(PathBuf),
    Endpoint(Endpoint),
    /// Amazon MSK's.
    Iam(Box<Iam>),
}

/// What was fetched last.
#[derive(Default)]
struct State {
    token: Option<Fetched>,
    failure: Option<(Instant, Refusal)>,
}

/// A token without what is the same for all of its source.
#[derive(Clone)]
struct Fetched {
    value: Secret,
    principal: String,
    expires_at: SystemTime,
    refresh_at: Instant,
    unusable_at: Instant,
    /// If it says so itself.
    expired_since: Option<Duration>,
}

impl TokenSource {
    /// The source of the tokens; mistakes are added to `problems`.
    pub(crate) fn check(
        raw: &RawSecurity,
        servers: &[Address],
        tuning: &Tuning,
        problems: &mut Problems,
    ) -> Option<Self> {
        extensions::check(&raw.extensions, problems);
        let timeout = tuning.connect_timeout.mul_f64(SHARE_OF_CONNECT);
        let issuer = match &raw.token_endpoint {
            _ if raw.sasl_mechanism == Some(SaslMechanism::AwsMskIam) => {
                Issuer::Iam(Box::new(Iam::check(raw, servers, timeout, problems)))
            }
            None => Issuer::File(raw.token_file.clone()?),
            Some(_) => Issuer::Endpoint(Endpoint::check(raw, timeout, problems)?),
        };
        let extensions = raw.extensions.clone().into_iter().collect();
        Some(Self::new(issuer, extensions, timeout))
    }

    fn new(issuer: Issuer, extensions: Vec<(String, String)>, timeout: Duration) -> Self {
        Self(Arc::new(Shared {
            issuer,
            extensions,
            timeout,
            state: Mutex::default(),
        }))
    }

    /// A token that can be used now.
    ///
    /// # Errors
    /// If there is none, with the setting or the address to look at.
    pub async fn token(&self) -> Result<Token, Refusal> {
        let fetched = match &self.0.issuer {
            Issuer::File(_) => self.0.fetch().await?,
            Issuer::Endpoint(_) | Issuer::Iam(_) => self.0.cached().await?,
        };
        let since_1970 = fetched.expires_at.duration_since(UNIX_EPOCH).unwrap_or_default();
        Ok(Token {
            value: fetched.value,
            principal: fetched.principal,
            expires_at_ms: i64::try_from(since_1970.as_millis()).unwrap_or(i64::MAX),
            extensions: self.0.extensions.clone(),
        })
    }

    /// What to look at if a broker refuses a token.
    pub(crate) fn advice(&self) -> &'static str {
        match self.0.issuer {
            Issuer::File(_) => "check kafka.security.token_file, extensions and sasl_mechanism",
            Issuer::Endpoint(_) => {
                "check kafka.security.token_endpoint, client_id, scope, extensions and sasl_mechanism"
            }
            Issuer::Iam(_) => {
                "check that the AWS credentials are allowed kafka-cluster:Connect, and kafka.security.aws_region"
            }
        }
    }
}

impl fmt::Debug for TokenSource {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = formatter.debug_struct("TokenSource");
        match &self.0.issuer {
            Issuer::File(file) => shown.field("file", file),
            Issuer::Endpoint(endpoint) => shown.field("endpoint", &endpoint.to_string()),
            Issuer::Iam(_) => &mut shown,
        };
        shown.finish_non_exhaustive()
    }
}

impl Shared {
    async fn cached(&self) -> Result<Fetched, Refusal> {
        let asked = Instant::now();
        let mut state = self.state.lock().await;
        if let Some(token) = &state.token
            && Instant::now() < token.refresh_at
        {
            return Ok(token.clone());
        }
        let is_answer = |at: &Instant| *at >= asked || at.elapsed() < FETCH_PAUSE;
        let refusal = match &state.failure {
            Some((at, refusal)) if is_answer(at) => refusal.clone(),
            _ => match self.fetch().await {
                Ok(token) => {
                    state.failure = None;
                    return Ok(state.token.insert(token).clone());
                }
                Err(refusal) => {
                    tracing::warn!(reason = %refusal, "no new token for the brokers");
                    state.failure = Some((Instant::now(), refusal.clone()));
                    refusal
                }
            },
        };
        let usable = state.token.as_ref();
        usable
            .filter(|token| Instant::now() < token.unusable_at)
            .cloned()
            .ok_or(refusal)
    }

    async fn fetch(&self) -> Result<Fetched, Refusal> {
        let within = self.timeout;
        timeout(within, self.issuer.fetch())
            .await
            .unwrap_or_else(|_elapsed| Err(self.issuer.is_silent(within)))
    }
}

impl Issuer {
    async fn fetch(&self) -> Result<Fetched, Refusal> {
        match self {
            Self::File(file) => file::read(file).await,
            Self::Endpoint(endpoint) => endpoint.fetch().await,
            Self::Iam(iam) => iam.fetch().await,
        }
    }

    fn is_silent(&self, within: Duration) -> Refusal {
        match self {
            Self::File(file) => Refusal::unreachable(format!(
                "kafka.security.token_file: {} was not read within {within:?}",
                file.display()
            )),
            Self::Endpoint(endpoint) => endpoint.is_silent(within),
            Self::Iam(_) => Iam::is_silent(within),
        }
    }
}

impl Fetched {
    /// `lifetime` is what the issuer says; the token itself says it, too, if it is a JWT. The shorter one counts.
    fn new(value: &str, principal: &str, lifetime: Option<Duration>) -> Self {
        let claims = Claims::of(value);
        let now = SystemTime::now();
        let expires = claims
            .expires_at
            .map(|at| at.duration_since(now).unwrap_or_default());
        let lifetimes = [lifetime, expires, Some(MAX_LIFETIME)].into_iter().flatten();
        let lifetime = match (lifetime, expires) {
            (None, None) => DEFAULT_LIFETIME,
            _ => lifetimes.min().unwrap_or(DEFAULT_LIFETIME),
        };
        let fetched = Instant::now();
        Self {
            value: Secret::from(value),
            principal: claims.subject.unwrap_or_else(|| principal.to_owned()),
            expires_at: now + lifetime,
            refresh_at: fetched + lifetime.mul_f64(REFRESH_AFTER),
            expired_since: claims.expires_at.and_then(|at| now.duration_since(at).ok()),
            unusable_at: fetched + lifetime.mul_f64(UNUSABLE_AFTER),
        }
    }
}

/// A token as it may be sent (RFC 6750, section 2.1): nothing that would end it in the message.
fn valid(token: &str) -> Result<&str, &'static str> {
    let is_allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~+/=".contains(&byte);
    if token.is_empty() {
        return Err("is empty");
    }
    if token.len() > MAX_TOKEN_BYTES || !token.bytes().all(is_allowed) {
        return Err("has characters that are not a token's, or too many");
    }
    Ok(token)
}
