//! Owns a token that somebody else writes to a file.

use std::path::Path;
use std::time::Duration;

use tokio::io::AsyncReadExt as _;

use super::{Fetched, MAX_TOKEN_BYTES};
use crate::Refusal;

/// How much a broker's clock may be behind ours, as Kafka has it.
const CLOCK_SKEW: Duration = Duration::from_secs(30);

pub(super) async fn read(file: &Path) -> Result<Fetched, Refusal> {
    let refused = |reason| Refusal::unauthenticated(format!("kafka.security.token_file: {reason}"));
    let token = Fetched::new(&text(file).await.map_err(refused)?, "", None);
    let expired = token.expired_since.filter(|since| *since > CLOCK_SKEW);
    match expired {
        Some(since) => Err(refused(format!(
            "the token in {} expired {} s ago; it must be renewed by whoever writes it",
            file.display(),
            since.as_secs()
        ))),
        None => Ok(token),
    }
}

async fn text(file: &Path) -> Result<String, String> {
    let shown = file.display();
    let failed = |error| format!("cannot read the token in {shown}: {error}");
    let opened = tokio::fs::File::open(file).await.map_err(failed)?;
    let mut text = String::new();
    let mut bounded = opened.take(MAX_TOKEN_BYTES as u64 + 1);
    let size = bounded.read_to_string(&mut text).await.map_err(failed)?;
    if size > MAX_TOKEN_BYTES {
        return Err(format!("{shown} is larger than {MAX_TOKEN_BYTES} bytes"));
    }
    let token = super::valid(text.trim());
    token
        .map(str::to_owned)
        .map_err(|reason| format!("the content of {shown} {reason}"))
}
