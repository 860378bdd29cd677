//! Owns the tokens with which librdkafka's clients log in (`OAUTHBEARER`, Amazon MSK with IAM). They come from the source that
//! requests to the cluster use, too.

use std::error::Error;

use kafka_admin::{Connection, TokenSource};
use rdkafka::client::OAuthToken;
use tokio::runtime::Handle;

/// Where a client's tokens come from.
pub(crate) struct Tokens(Option<(TokenSource, Handle)>);

impl Tokens {
    /// To be made where the runtime is that fetches the tokens.
    pub(crate) fn of(connection: &Connection) -> Self {
        let source = connection.token_source().cloned();
        Self(source.and_then(|source| Some((source, Handle::try_current().ok()?))))
    }

    /// The token that librdkafka asks for, on a thread of its own. It waits as long as the source allows.
    pub(crate) fn generate(&self) -> Result<OAuthToken, Box<dyn Error>> {
        let (source, runtime) = self.0.as_ref().ok_or("no runtime fetches tokens")?;
        let token = runtime.block_on(source.token())?;
        Ok(OAuthToken {
            token: token.value.expose().to_owned(),
            principal_name: token.principal,
            lifetime_ms: token.expires_at_ms,
        })
    }
}
