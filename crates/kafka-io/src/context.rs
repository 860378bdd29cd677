//! Owns what librdkafka says of its connections, in words that name the setting to look at.

use std::sync::{Mutex, MutexGuard, PoisonError};

use rdkafka::client::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::error::{KafkaError, RDKafkaErrorCode as Code};

/// Why a connection failed last. Errors come when the client is polled.
#[derive(Default)]
pub(crate) struct Trouble(Mutex<Option<String>>);

impl Trouble {
    /// Hears of an error. Of several, the one that says why is kept.
    pub(crate) fn hear(&self, error: &KafkaError, reason: &str) {
        tracing::debug!(target: "librdkafka", %error, reason);
        let says_why = !matches!(
            error.rdkafka_error_code(),
            Some(Code::AllBrokersDown | Code::PartitionEOF)
        );
        if says_why {
            *self.lock() = Some(with_hint(reason));
        }
    }

    /// What was heard last, and forgets it.
    pub(crate) fn take(&self) -> Option<String> {
        self.lock().take()
    }

    fn lock(&self) -> MutexGuard<'_, Option<String>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Passes a log line on. What a program must know comes as an error.
pub(crate) fn log(level: RDKafkaLogLevel, facility: &str, message: &str) {
    tracing::debug!(target: "librdkafka", ?level, facility, "{message}");
}

/// An error code in words that name the setting to look at.
pub(crate) fn describe(code: Code) -> String {
    with_hint(&code.to_string())
}

fn with_hint(told: &str) -> String {
    let lower = told.to_lowercase();
    let tells = |words: &[&str]| words.iter().any(|word| lower.contains(word));
    let hint = if tells(&["sasl", "authentication"]) {
        "check kafka.security.username, kafka.security.password and kafka.security.sasl_mechanism"
    } else if tells(&["ssl", "certificate"]) {
        "check kafka.security.ca_file and kafka.security.protocol"
    } else if tells(&["connect", "resolve", "transport"]) {
        "check kafka.bootstrap_servers and kafka.security.protocol"
    } else {
        return told.to_owned();
    };
    format!("{told}; {hint}")
}

/// The context of a client that needs nothing but its troubles heard.
#[derive(Default)]
pub(crate) struct Quiet {
    pub(crate) trouble: Trouble,
}

impl ClientContext for Quiet {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        log(level, facility, message);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        self.trouble.hear(&error, reason);
    }
}

impl rdkafka::consumer::ConsumerContext for Quiet {}
