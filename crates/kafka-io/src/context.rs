//! Owns what librdkafka says of its connections, in words that name the setting to look at.

use std::sync::{Mutex, MutexGuard, PoisonError};

use rdkafka::client::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::error::RDKafkaErrorCode as Code;

/// The facility of log lines that say why a connection failed. An error event has the code only.
const CONNECTION_FAILED: &str = "FAIL";

/// Why a connection failed last.
#[derive(Default)]
pub(crate) struct Trouble(Mutex<Option<String>>);

impl Trouble {
    /// Hears a log line, and passes it on for debugging. What a program must know comes as an event.
    pub(crate) fn hear(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        tracing::debug!(target: "librdkafka", ?level, facility, "{message}");
        if facility == CONNECTION_FAILED {
            // It begins with the name of a thread, in brackets.
            let told = message.split_once("]: ").map_or(message, |(_thread, told)| told);
            *self.lock() = Some(with_hint(told));
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
        self.trouble.hear(level, facility, message);
    }
}

impl rdkafka::consumer::ConsumerContext for Quiet {}
