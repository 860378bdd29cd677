//! Owns logging in with SASL: the mechanism, its messages, and how long the broker believes them (KIP-368).

mod scram;

use std::time::Duration;

use bytes::Bytes;
use kafka_protocol::messages::{SaslAuthenticateRequest, SaslHandshakeRequest};
use kafka_protocol::protocol::StrBytes;
use tokio::time::Instant;

use self::scram::{Scram, ScramHash};
use super::handshake::Exchange;
use super::versions::Versions;
use crate::connection::Credentials;
use crate::refusal::shortened;
use crate::{Refusal, RefusalKind, SaslMechanism, Token};

/// After which part of a session's time it is renewed.
const RENEW_AFTER: f64 = 0.8;
/// No session is renewed earlier: a shorter one ends, and a connection is made again, instead of logging in all the time.
const MIN_RENEWAL: Duration = Duration::from_millis(100);

/// Credentials, with a token if they need one.
pub(crate) struct Identity<'i> {
    credentials: &'i Credentials,
    token: Option<Token>,
}

impl<'i> Identity<'i> {
    /// The token comes before a connection is made, or a broker waits: it may take a while.
    pub(crate) async fn of(credentials: &'i Credentials) -> Result<Self, Refusal> {
        let token = match credentials {
            Credentials::Token(source) => Some(source.token().await?),
            Credentials::Password { .. } => None,
        };
        Ok(Self { credentials, token })
    }
}

/// Logs in; says when to do so again, if the broker ends sessions.
pub(crate) async fn authenticate(
    exchange: &mut Exchange<'_>,
    versions: &Versions,
    identity: &Identity<'_>,
) -> Result<Option<Instant>, Refusal> {
    let credentials = identity.credentials;
    choose(exchange, versions, credentials.mechanism()).await?;
    let mut login = Login {
        version: versions.newest::<SaslAuthenticateRequest>(i16::MAX)?,
        exchange,
        advice: credentials.advice(),
        lifetime_ms: 0,
    };
    if let Some(token) = &identity.token {
        login.token(token).await?;
    }
    if let Credentials::Password {
        mechanism,
        username,
        password,
    } = credentials
    {
        login.password(*mechanism, username, password.expose()).await?;
    }
    let lifetime = u64::try_from(login.lifetime_ms)
        .ok()
        .filter(|lifetime| *lifetime > 0)
        .map(|lifetime| Duration::from_millis(lifetime).mul_f64(RENEW_AFTER));
    Ok(lifetime.map(|lifetime| Instant::now() + lifetime.max(MIN_RENEWAL)))
}

async fn choose(
    exchange: &mut Exchange<'_>,
    versions: &Versions,
    mechanism: SaslMechanism,
) -> Result<(), Refusal> {
    let address = exchange.target.address.clone();
    let version = versions.newest::<SaslHandshakeRequest>(i16::MAX)?;
    let request = SaslHandshakeRequest::default().with_mechanism(StrBytes::from_static_str(mechanism.name()));
    let response = exchange.call(&request, version).await?;
    Refusal::check(response.error_code, None).map_err(|refusal| {
        let enabled: Vec<_> = response.mechanisms.iter().map(StrBytes::as_str).collect();
        let reason = match refusal.code.as_str() {
            "UNSUPPORTED_SASL_MECHANISM" => format!(
                "the broker enables {}, not {}: check kafka.security.sasl_mechanism",
                shortened(&enabled.join(", ")),
                mechanism.name()
            ),
            "ILLEGAL_SASL_STATE" => "the listener does not use SASL: set kafka.security.protocol to \
                                     \"plaintext\" or \"ssl\""
                .to_owned(),
            _ => refusal.reason,
        };
        Refusal {
            kind: RefusalKind::Denied,
            code: refusal.code,
            reason: format!("{address}: {reason}"),
        }
    })
}

struct Login<'l, 'e> {
    exchange: &'l mut Exchange<'e>,
    version: i16,
    /// What to look at if the broker refuses.
    advice: &'static str,
    lifetime_ms: i64,
}

impl Login<'_, '_> {
    /// Sends a message of the mechanism and returns the broker's.
    async fn send(&mut self, message: Bytes) -> Result<Bytes, Refusal> {
        let request = SaslAuthenticateRequest::default().with_auth_bytes(message);
        let response = self.exchange.call(&request, self.version).await?;
        let message = response.error_message.as_deref();
        Refusal::check(response.error_code, message).map_err(|refusal| self.denied(&refusal.reason))?;
        self.lifetime_ms = response.session_lifetime_ms;
        Ok(response.auth_bytes)
    }

    async fn password(
        &mut self,
        mechanism: SaslMechanism,
        username: &str,
        password: &str,
    ) -> Result<(), Refusal> {
        match mechanism {
            SaslMechanism::ScramSha256 => self.scram(ScramHash::Sha256, username, password).await,
            SaslMechanism::ScramSha512 => self.scram(ScramHash::Sha512, username, password).await,
            SaslMechanism::Plain | SaslMechanism::OauthBearer | SaslMechanism::AwsMskIam => {
                let message = format!("\0{username}\0{password}");
                self.send(message.into()).await.map(drop)
            }
        }
    }

    async fn scram(&mut self, hash: ScramHash, username: &str, password: &str) -> Result<(), Refusal> {
        let scram = Scram::new(hash, username).map_err(|reason| self.denied(&reason))?;
        let first = self.send(scram.first_message().into()).await?;
        let proof = scram
            .prove(password, &first)
            .map_err(|reason| self.denied(&reason))?;
        let last = self.send(proof.message.clone().into()).await?;
        proof.verify(&last).map_err(|reason| self.denied(&reason))
    }

    async fn token(&mut self, token: &Token) -> Result<(), Refusal> {
        let extensions = token.extensions.iter();
        let extensions: String = extensions
            .flat_map(|(name, value)| ["\u{1}", name, "=", value])
            .collect();
        let message = format!(
            "n,,\u{1}auth=Bearer {}{extensions}\u{1}\u{1}",
            token.value.expose()
        );
        let answer = self.send(message.into()).await?;
        if answer.is_empty() {
            return Ok(());
        }
        // RFC 7628: the reason came as a challenge; an empty answer makes the broker end it, for no other reason.
        drop(self.send(Bytes::from_static(b"\x01")).await);
        Err(self.denied(&shortened(&String::from_utf8_lossy(&answer))))
    }

    fn denied(&self, reason: &str) -> Refusal {
        let (address, advice) = (&self.exchange.target.address, self.advice);
        Refusal::unauthenticated(format!("{address}: {reason}; {advice}"))
    }
}
