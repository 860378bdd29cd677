//! Owns the way to a Pushgateway: one group a target, replaced by each push.

mod groups;

use std::io::Write;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};

use flate2::Compression;
use flate2::write::GzEncoder;

pub use self::groups::{Group, Groups, Listing};
use super::{PushError, Sink};
use crate::client::{Answer, Client, Message, NoAnswer};
use crate::document::Document;
use crate::exposition::{self, Labels};
use crate::grouping::GroupingKey;
use crate::report::RUN_INFO;

/// What a gateway says that takes a compressed body for text, or text for what it is not.
const CANNOT_READ: &str = "text format parsing error in line 1:";
/// What it says of a series that another group has.
const OF_ANOTHER_GROUP: &str = "was collected before";
const TEXT: (&str, &str) = ("content-type", "text/plain; version=0.0.4; charset=utf-8");
const GZIP: (&str, &str) = ("content-encoding", "gzip");

/// The groups of the targets at a Pushgateway.
#[derive(Debug)]
pub struct Gateway {
    client: Client,
    groups: Groups,
    base: String,
    keys: Vec<GroupingKey>,
    /// The one group that versions up to 0.1.0 pushed all targets to; none, once it has been looked for.
    older: Mutex<Option<GroupingKey>>,
    gzip: AtomicBool,
    /// Bytes that were sent.
    pub sent: prometheus::IntCounter,
}

/// Under which labels a gateway gets the targets.
#[derive(Debug, Clone)]
pub struct Keys {
    /// Those of each target's group.
    pub targets: Vec<GroupingKey>,
    /// Those of the group that all targets shared in versions up to 0.1.0.
    pub older: GroupingKey,
}

impl Gateway {
    /// The groups of these keys at the gateway of this address.
    pub fn new(client: Client, base: &str, keys: Keys, gzip: bool, sent: prometheus::IntCounter) -> Self {
        Self {
            groups: Groups::new(client.clone(), base),
            base: base.trim_end_matches('/').to_owned(),
            client,
            keys: keys.targets,
            older: Mutex::new(Some(keys.older)),
            gzip: AtomicBool::new(gzip),
            sent,
        }
    }

    fn url(&self, target: usize) -> String {
        format!("{}{}", self.base, self.keys[target].path())
    }

    async fn send(&self, url: &str, document: &Document<'_>, gzip: bool) -> Result<Answer, NoAnswer> {
        let message = if gzip {
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
        self.client.put(url, message).await
    }

    /// Puts the document there, in a form that the gateway can read.
    async fn replace(&self, url: &str, document: &Document<'_>) -> Result<Answer, NoAnswer> {
        let gzip = self.gzip.load(Ordering::Relaxed);
        let answer = self.send(url, document, gzip).await;
        if !gzip || !says(&answer, CANNOT_READ) {
            return answer;
        }
        let answer = self.send(url, document, false).await;
        // Else it was not for the compression, or nothing was learned.
        if answer.as_ref().is_ok_and(is_success) {
            self.gzip.store(false, Ordering::Relaxed);
            tracing::info!(
                url = self.base,
                "the gateway cannot read gzip; from now on it gets plain text"
            );
        }
        answer
    }

    /// Deletes the group that an exporter up to version 0.1.0 has left, whose series about the targets are the same;
    /// returns whether it was there. It is looked for once: a gateway's list of groups may be long.
    async fn delete_older(&self) -> bool {
        let older = self.older.lock().unwrap_or_else(PoisonError::into_inner).take();
        let Some(key) = older else {
            return false;
        };
        let deleted = self.groups.delete_shared(&key).await;
        match &deleted {
            Ok(true) => {
                tracing::info!(group = %key, "deleted the group of an older version, which had all targets");
            }
            Ok(false) => {}
            Err(error) => tracing::warn!(
                group = %key,
                %error,
                "the group of an older version, if there is one, is not deleted; delete it, or restart"
            ),
        }
        deleted.unwrap_or_default()
    }
}

/// Whether an answer is a refusal with these words.
fn says(answer: &Result<Answer, NoAnswer>, words: &str) -> bool {
    let is_said =
        |answer: &Answer| answer.status == 400 && String::from_utf8_lossy(&answer.body).contains(words);
    answer.as_ref().is_ok_and(is_said)
}

fn is_success(answer: &Answer) -> bool {
    (200..300).contains(&answer.status)
}

fn judge(url: &str, answer: Result<Answer, NoAnswer>) -> Result<(), PushError> {
    match answer {
        Ok(answer) if is_success(&answer) => Ok(()),
        Ok(answer) => {
            let why = match &answer.location {
                Some(location) => format!("it has moved to {location}"),
                None => answer.explanation(),
            };
            Err(PushError::of(answer.status, url, &why))
        }
        Err(error) => Err(PushError::without_answer(url, &error)),
    }
}

impl Sink for Gateway {
    async fn put(&self, target: usize, document: &Document<'_>) -> Result<(), PushError> {
        let url = self.url(target);
        let mut answer = self.replace(&url, document).await;
        if says(&answer, OF_ANOTHER_GROUP) && self.delete_older().await {
            answer = self.replace(&url, document).await;
        }
        judge(&url, answer)
    }

    async fn delete(&self, target: usize) -> Result<(), PushError> {
        let url = self.url(target);
        judge(&url, self.client.delete(&url).await)
    }

    /// The page for Prometheus is the shortest that says it: it is compressed, and its lines need not be kept.
    async fn owned(&self, run: &Labels) -> Result<Vec<bool>, PushError> {
        let url = format!("{}/metrics", self.base);
        let mut runs = Vec::new();
        let take = |line: &[u8]| {
            if line.starts_with(RUN_INFO.as_bytes()) {
                let samples = exposition::parse(line).samples;
                runs.extend(samples.into_iter().map(|sample| sample.labels));
            }
        };
        match self.client.lines(&url, "text/plain", take).await {
            Ok(answer) if answer.status == 200 => {}
            answer => judge(&url, answer)?,
        }
        let labels_of = |key: &GroupingKey| {
            let mut labels = run.clone();
            for (name, value) in key.labels() {
                labels.insert(name, value);
            }
            labels
        };
        Ok(self
            .keys
            .iter()
            .map(|key| runs.contains(&labels_of(key)))
            .collect())
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
