//! Owns which of librdkafka's properties a program that reads or writes records needs to be what they are, or has under a
//! name of its own: they are refused with the reason. Names and values of the others are checked by librdkafka itself.

use kafka_admin::Properties;
use rdkafka::ClientConfig;
use rdkafka::error::KafkaError as NativeError;
use sidecar::Problems;

const COMMITS: &str = "an offset is committed when its result is acknowledged";
const LINGER: &str = "it is inference's output.linger";
const COMPRESSION: &str = "it is inference's output.compression";
const DELIVERY_TIMEOUT: &str = "it is inference's output.delivery_timeout";
const ACKS: &str = "without all of them a result can be lost with its broker";
const LOST: &str = "the program depends on the report of every delivery";

/// Aliases included.
const OWNED: [(&str, &str); 31] = [
    ("group.id", "it is inference's progress.group"),
    ("group.instance.id", "it is inference's progress.instance_id"),
    ("group.protocol", "it is inference's progress.protocol"),
    ("session.timeout.ms", "it is inference's progress.session_timeout"),
    (
        "max.poll.interval.ms",
        "it is inference's progress.max_poll_interval",
    ),
    (
        "partition.assignment.strategy",
        "partitions are drained one by one, which needs cooperative-sticky",
    ),
    ("enable.auto.commit", COMMITS),
    ("auto.commit.enable", COMMITS),
    ("auto.commit.interval.ms", COMMITS),
    ("enable.auto.offset.store", COMMITS),
    (
        "auto.offset.reset",
        "no position moves in silence; where reading begins is inference's input.start",
    ),
    ("enable.partition.eof", "the program depends on it"),
    ("linger.ms", LINGER),
    ("queue.buffering.max.ms", LINGER),
    ("compression.type", COMPRESSION),
    ("compression.codec", COMPRESSION),
    ("message.timeout.ms", DELIVERY_TIMEOUT),
    ("delivery.timeout.ms", DELIVERY_TIMEOUT),
    (
        "queue.buffering.max.messages",
        "the program bounds what is in hand; see inference's engine.in_flight_rows",
    ),
    (
        "enable.idempotence",
        "without it a retry can write a result twice or out of order",
    ),
    ("acks", ACKS),
    ("request.required.acks", ACKS),
    ("transactional.id", "results are not written in transactions"),
    ("delivery.report.only.error", LOST),
    ("dr_cb", LOST),
    ("dr_msg_cb", LOST),
    ("enabled_events", LOST),
    ("log.queue", "log lines go through the program's log"),
    (
        "log_level",
        "it is log.filter, such as \"info,librdkafka=debug\"; librdkafka's own details come with the property debug",
    ),
    ("test.mock.num.brokers", "it replaces the cluster by a mock"),
    (
        "topic.metadata.propagation.max.ms",
        "the program depends on learning soon that a topic does not exist",
    ),
];

/// Adds what is wrong with each of them to `problems`.
pub(super) fn check(properties: &Properties, problems: &mut Problems) {
    for (name, value) in properties.iter() {
        let key = format!("kafka.properties.\"{name}\"");
        if let Some((_, reason)) = OWNED.iter().find(|(owned, _)| *owned == name) {
            problems.add(key, format!("cannot be set here: {reason}"));
        } else if let Err(error) = ClientConfig::new().set(name, value).create_native_config() {
            problems.add(key, refused(name, &error));
        }
    }
}

/// Why librdkafka refuses a setting, without the value of a secret.
fn refused(name: &str, error: &NativeError) -> String {
    match error {
        NativeError::ClientConfig(_, _, _, _) if Properties::is_secret(name) => {
            "has no value that librdkafka takes".to_owned()
        }
        NativeError::ClientConfig(_, reason, _, _) => format!("librdkafka refuses it: {reason}"),
        error => format!("librdkafka refuses it: {error}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problems(properties: &[(&str, &str)]) -> String {
        let mut found = Problems::new();
        let mut checked = Properties::default();
        for (name, value) in properties {
            checked.insert(*name, *value);
        }
        check(&checked, &mut found);
        found.to_string()
    }

    #[test]
    fn what_the_program_owns_is_refused_by_all_of_its_names() {
        for name in [
            "linger.ms",
            "queue.buffering.max.ms",
            "compression.codec",
            "delivery.timeout.ms",
            "session.timeout.ms",
            "delivery.report.only.error",
        ] {
            assert!(
                problems(&[(name, "1")]).contains("cannot be set here: "),
                "{name}"
            );
        }
        assert!(problems(&[("compression.codec", "zstd")]).contains("output.compression"));
    }

    #[test]
    fn names_and_values_are_checked_by_librdkafka() {
        let told = problems(&[
            ("fetch.min.byte", "1"),
            ("fetch.wait.max.ms", "long"),
            ("fetch.min.bytes", "1"),
        ]);
        assert!(
            told.contains(
                "kafka.properties.\"fetch.min.byte\": librdkafka refuses it: No such configuration property"
            ),
            "{told}"
        );
        assert!(
            told.contains("kafka.properties.\"fetch.wait.max.ms\": "),
            "{told}"
        );
        assert_eq!(told.lines().count(), 2, "{told}");
    }
}
