//! Owns the way to a Pushgateway: one group, replaced by each push.

mod groups;

use std::io::Write;

use flate2::Compression;
use flate2::write::GzEncoder;

pub use self::groups::{Group, Groups};
use super::{PushError, Sink};
use crate::client::{Answer, Client, Message, NoAnswer};
use crate::document::Document;
use crate::grouping::GroupingKey;

/// What a gateway says that takes a compressed body for text, or text for what it is not.
const CANNOT_READ: &str = "text format parsing error in line 1";
const TEXT: (&str, &str) = ("content-type", "text/plain; version=0.0.4; charset=utf-8");
const GZIP: (&str, &str) = ("content-encoding", "gzip");

/// A group of a Pushgateway.
#[derive(Debug)]
pub struct Gateway {
    client: Client,
    groups: Groups,
    url: String,
    key: GroupingKey,
    gzip: bool,
    /// Bytes that were sent.
    pub sent: prometheus::IntCounter,
}

impl Gateway {
    /// The group of this key at the gateway of this address.
    pub fn new(
        client: Client,
        base: &str,
        key: GroupingKey,
        gzip: bool,
        sent: prometheus::IntCounter,
    ) -> Self {
        Self {
            groups: Groups::new(client.clone(), base),
            url: format!("{}{}", base.trim_end_matches('/'), key.path()),
            client,
            key,
            gzip,
            sent,
        }
    }

    async fn send(&self, document: &Document<'_>) -> Result<Answer, NoAnswer> {
        let message = if self.gzip {
            Message {
                body: compressed(document),
                headers: vec![TEXT, GZIP],
            }
        } else {
            Message {
                body: document.to_text().into_bytes(),
                headers: vec![TEXT],
            }
        };
        self.sent.inc_by(message.body.len() as u64);
        self.client.put(&self.url, message).await
    }

    fn judge(&self, answer: Result<Answer, NoAnswer>) -> Result<(), PushError> {
        match answer {
            Ok(answer) if (200..300).contains(&answer.status) => Ok(()),
            Ok(answer) => {
                let why = match &answer.location {
                    Some(location) => format!("it has moved to {location}"),
                    None => answer.explanation(),
                };
                Err(PushError::of(answer.status, &self.url, &why))
            }
            Err(error) => Err(PushError::without_answer(&self.url, &error)),
        }
    }
}

impl Sink for Gateway {
    async fn put(&mut self, document: &Document<'_>) -> Result<(), PushError> {
        let answer = self.send(document).await;
        let is_unread = |answer: &Answer| answer.status == 400 && answer.explanation().contains(CANNOT_READ);
        if !self.gzip || !answer.as_ref().is_ok_and(is_unread) {
            return self.judge(answer);
        }
        self.gzip = false;
        let answer = self.send(document).await;
        // Else it was not for the compression, or nothing was learned.
        let is_read = answer.as_ref().is_ok_and(|answer| !is_unread(answer));
        if is_read {
            tracing::info!(
                url = self.url,
                "the gateway cannot read gzip; from now on it gets plain text"
            );
        }
        self.gzip = !is_read;
        self.judge(answer)
    }

    async fn delete(&mut self) -> Result<(), PushError> {
        self.judge(self.client.delete(&self.url).await)
    }

    async fn owner(&mut self) -> Result<Option<String>, PushError> {
        let groups = self.groups.list().await?;
        let ours = groups.into_iter().find(|group| group.is_of(&self.key));
        Ok(ours.and_then(|group| group.run))
    }
}

fn compressed(document: &Document<'_>) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    for text in document.texts() {
        // Writing to memory cannot fail.
        drop(encoder.write_all(text.as_bytes()));
    }
    encoder.finish().unwrap_or_default()
}
