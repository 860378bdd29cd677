//! Owns the way to a receiver of Prometheus' remote write: samples of now, and the end of series that are no more.

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::time::sleep;

use super::{PushError, Sink};
use crate::client::{Answer, Client, Message, NoAnswer};
use crate::clock;
use crate::document::Document;
use crate::exposition::Sample;
use crate::remote_write::{HEADERS, Tracker, encode};

/// How often a push is tried while the receiver answers that it cannot now. Later samples come anyway.
const TRIALS: u32 = 3;
/// How long to wait before the second trial; each time twice as long.
const FIRST_WAIT: Duration = Duration::from_millis(250);

/// A receiver.
#[derive(Debug)]
pub struct RemoteWrite {
    client: Client,
    url: String,
    labels: BTreeMap<String, String>,
    tracker: Tracker,
    /// Bytes that were sent.
    pub sent: prometheus::IntCounter,
}

impl RemoteWrite {
    /// The receiver at this address, which gets everything with these labels.
    pub fn new(
        client: Client,
        url: &str,
        labels: BTreeMap<String, String>,
        sent: prometheus::IntCounter,
    ) -> Self {
        Self {
            client,
            url: url.to_owned(),
            labels,
            tracker: Tracker::default(),
            sent,
        }
    }

    async fn write(&mut self, present: &[Sample]) -> Result<(), PushError> {
        let mut samples = self.tracker.vanished(present);
        samples.extend_from_slice(present);
        self.tracker.sending(present);
        self.send(&encode(&samples, &self.labels, clock::milliseconds()))
            .await?;
        self.tracker.sent(present);
        Ok(())
    }

    /// Tells whether the receiver answers and takes what we send, without sending a sample.
    ///
    /// # Errors
    /// Where it does not.
    pub async fn probe(&self) -> Result<(), PushError> {
        self.send(&encode(&[], &self.labels, clock::milliseconds())).await
    }

    async fn send(&self, body: &[u8]) -> Result<(), PushError> {
        let mut trial = 1;
        loop {
            let message = Message {
                body: body.to_vec(),
                headers: HEADERS.to_vec(),
            };
            self.sent.inc_by(body.len() as u64);
            let answer = self.client.post(&self.url, message).await;
            let is_busy = answer
                .as_ref()
                .is_ok_and(|answer| answer.status == 429 || answer.status >= 500);
            if !is_busy || trial == TRIALS {
                return self.judge(answer);
            }
            sleep(FIRST_WAIT * 2_u32.pow(trial - 1)).await;
            trial += 1;
        }
    }

    fn judge(&self, answer: Result<Answer, NoAnswer>) -> Result<(), PushError> {
        match answer {
            Ok(answer) if (200..300).contains(&answer.status) => Ok(()),
            Ok(answer) if answer.status == 404 => Err(PushError::Failed(format!(
                "{} answers 404: {}; Prometheus needs --web.enable-remote-write-receiver",
                self.url,
                answer.explanation()
            ))),
            Ok(answer) => Err(PushError::of(answer.status, &self.url, &answer.explanation())),
            Err(error) => Err(PushError::without_answer(&self.url, &error)),
        }
    }
}

impl Sink for RemoteWrite {
    async fn put(&mut self, document: &Document<'_>) -> Result<(), PushError> {
        let present: Vec<Sample> = document.samples().cloned().collect();
        self.write(&present).await
    }

    async fn delete(&mut self) -> Result<(), PushError> {
        self.write(&[]).await
    }

    /// A receiver does not tell: each run ends its own series, and another's go on with its next push.
    async fn owner(&mut self) -> Result<Option<String>, PushError> {
        Ok(None)
    }
}
