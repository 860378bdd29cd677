//! Owns the HTTP client of this crate: nobody who hangs holds it up for ever.

use std::time::Duration;

use anyhow::Context as _;

/// How long a request may take, its answer included: the peer may be stopped on purpose.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);

pub(crate) fn client() -> anyhow::Result<reqwest::Client> {
    let client = reqwest::Client::builder().timeout(REQUEST_TIMEOUT);
    client.build().context("cannot make an HTTP client")
}
