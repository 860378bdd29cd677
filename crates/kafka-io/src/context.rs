//! Owns what becomes of librdkafka's errors and log lines: the last error that explains something, and our log.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rdkafka::config::RDKafkaLogLevel as Level;
use rdkafka::error::{KafkaError, RDKafkaErrorCode as Code};
use tokio::time::Instant;

use crate::limit::Limit;
pub(crate) use crate::reason::describe;
use crate::reason::{Rank, Reason};

/// How long a reason holds: librdkafka repeats an error that lasts every 30 seconds.
const LIFETIME: Duration = Duration::from_mins(1);
/// The facility of librdkafka's log lines about a broker that cannot be reached. Not all of them come as errors.
const BROKER_FAILURE: &str = "FAIL";

/// Why a connection failed last. Errors come when the client is polled.
#[derive(Default)]
pub(crate) struct Trouble {
    last: Mutex<Option<(Reason, Instant)>>,
    logged: Limit,
}

impl Trouble {
    /// Records an error. One that explains less than the last does not replace it.
    pub(crate) fn hear(&self, error: &KafkaError, reason: &str) {
        let explains_nothing = matches!(
            error.rdkafka_error_code(),
            Some(Code::AllBrokersDown | Code::PartitionEOF | Code::AutoOffsetReset)
        );
        if !explains_nothing {
            self.record(Reason::of(reason));
        }
    }

    /// Passes a log line on: librdkafka's warnings and errors are ours, but not a flood of them.
    pub(crate) fn log(&self, level: Level, facility: &str, line: &str) {
        let line = without_thread(line);
        if facility == BROKER_FAILURE {
            self.record(Reason::of(line));
        }
        let is_warning = matches!(
            level,
            Level::Emerg | Level::Alert | Level::Critical | Level::Error | Level::Warning
        );
        if is_warning && self.logged.allows() {
            tracing::warn!(target: "librdkafka", facility, "{line}");
        } else {
            tracing::debug!(target: "librdkafka", ?level, facility, "{line}");
        }
    }

    /// What explains most of what was recorded of late.
    pub(crate) fn reason(&self) -> Option<Reason> {
        let last = self.lock();
        let recent = last.as_ref().filter(|(_, at)| at.elapsed() < LIFETIME);
        recent.map(|(reason, _)| reason.clone())
    }

    /// The connection stands: what was wrong is over.
    pub(crate) fn forget(&self) {
        *self.lock() = None;
    }

    pub(crate) fn record(&self, reason: Reason) {
        let mut last = self.lock();
        let kept: Option<Rank> = last
            .as_ref()
            .filter(|(_, at)| at.elapsed() < LIFETIME)
            .map(|(reason, _)| reason.rank);
        if kept.is_none_or(|kept| reason.rank >= kept) {
            *last = Some((reason, Instant::now()));
        }
    }

    fn lock(&self) -> MutexGuard<'_, Option<(Reason, Instant)>> {
        self.last.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Without librdkafka's `[thrd:NAME]: `.
fn without_thread(line: &str) -> &str {
    let after = line
        .strip_prefix("[thrd:")
        .and_then(|line| line.split_once("]: "));
    after.map_or(line, |(_, line)| line)
}

#[cfg(test)]
mod tests {
    use super::*;

    const PASSWORD: &str = "SASL authentication error: Invalid username or password";

    fn text(trouble: &Trouble) -> String {
        trouble.reason().map(|reason| reason.text).unwrap_or_default()
    }

    #[tokio::test(start_paused = true)]
    async fn a_good_reason_is_not_replaced_by_a_symptom() {
        let trouble = Trouble::default();
        trouble.hear(&KafkaError::Global(Code::Authentication), PASSWORD);
        trouble.hear(&KafkaError::Global(Code::AllBrokersDown), "1/1 brokers are down");
        trouble.log(
            Level::Info,
            "FAIL",
            "[thrd:a:1/bootstrap]: a:1/bootstrap: Disconnected (after 3ms in state UP)",
        );
        assert!(text(&trouble).starts_with(PASSWORD), "{}", text(&trouble));
        assert!(
            text(&trouble).starts_with(PASSWORD),
            "reading it does not forget it"
        );
        trouble.forget();
        assert_eq!(text(&trouble), "");
    }

    #[tokio::test(start_paused = true)]
    async fn a_reason_that_is_not_repeated_ends() {
        let trouble = Trouble::default();
        trouble.hear(&KafkaError::Global(Code::Authentication), PASSWORD);
        tokio::time::advance(LIFETIME).await;
        assert_eq!(text(&trouble), "");
        trouble.hear(&KafkaError::Global(Code::BrokerTransportFailure), "Disconnected");
        assert!(text(&trouble).starts_with("Disconnected"));
    }
}
