//! Owns the way to a receiver of Prometheus' remote write: samples of now, then the end of series that are no more. Each
//! has requests of its own, so that a mark that is refused does not cost the samples their place.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::sleep;

use super::{PushError, Sink};
use crate::client::{Answer, Client, Message, NoAnswer};
use crate::clock;
use crate::document::Document;
use crate::exposition::{Labels, Sample};
use crate::remote_write::{HEADERS, Tracker, encode};

/// How often a push is tried while the receiver answers that it cannot now. Later samples come anyway.
const TRIALS: u32 = 3;
/// How long to wait before the second trial; each time twice as long.
const FIRST_WAIT: Duration = Duration::from_millis(250);

/// The most series that are marked as ended in a request: half of what Prometheus itself sends in one.
const MAX_MARKS: usize = 1000;

/// A receiver.
#[derive(Debug)]
pub struct RemoteWrite {
    client: Client,
    url: String,
    targets: Vec<(BTreeMap<String, String>, Mutex<Tracker>)>,
    /// Bytes that were sent.
    pub sent: prometheus::IntCounter,
}

impl RemoteWrite {
    /// The receiver at this address, which gets all of each target with its labels.
    pub fn new(
        client: Client,
        url: &str,
        labels: Vec<BTreeMap<String, String>>,
        sent: prometheus::IntCounter,
    ) -> Self {
        Self {
            client,
            url: url.to_owned(),
            targets: labels
                .into_iter()
                .map(|labels| (labels, Mutex::default()))
                .collect(),
            sent,
        }
    }

    fn tracker(&self, target: usize) -> MutexGuard<'_, Tracker> {
        let (_, tracker) = &self.targets[target];
        tracker.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sends samples of now.
    async fn write(&self, target: usize, samples: &[Sample]) -> Result<(), PushError> {
        let (labels, _) = &self.targets[target];
        self.send(&encode(samples, labels, clock::milliseconds())).await
    }

    /// Marks the series as ended that are not present any more.
    async fn end(&self, target: usize, present: &[Sample]) -> Result<(), PushError> {
        let vanished = self.tracker(target).vanished(present);
        for marks in vanished.chunks(MAX_MARKS) {
            let sent = self.write(target, marks).await;
            // What is refused once would be refused in each cycle.
            if matches!(sent, Ok(()) | Err(PushError::Refused(_))) {
                self.tracker(target).ended(marks);
            }
            sent?;
        }
        Ok(())
    }

    /// Whether the receiver answers and takes what we send; no sample is sent.
    ///
    /// # Errors
    /// Where it does not.
    pub async fn probe(&self) -> Result<(), PushError> {
        self.send(&encode(&[], &BTreeMap::new(), clock::milliseconds()))
            .await
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
    async fn put(&self, target: usize, document: &Document<'_>) -> Result<(), PushError> {
        let present: Vec<Sample> = document.samples().cloned().collect();
        let new = self.tracker(target).sending(&present);
        let sent = self.write(target, &present).await;
        if sent.as_ref().is_err_and(|error| !error.may_have_arrived()) {
            self.tracker(target).not_sent(&new);
        }
        sent?;
        if let Err(error) = self.end(target, &present).await {
            let labels = &self.targets[target].0;
            tracing::warn!(?labels, %error, "series that are no more could not be marked as ended");
        }
        Ok(())
    }

    async fn delete(&self, target: usize) -> Result<(), PushError> {
        self.end(target, &[]).await
    }

    /// A receiver does not say: each run ends its own series, and another's go on with its next push.
    async fn owned(&self, _run: &Labels) -> Result<Vec<bool>, PushError> {
        Ok(vec![true; self.targets.len()])
    }
}
