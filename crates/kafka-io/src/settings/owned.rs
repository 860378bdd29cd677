//! Owns `[kafka.properties]`: librdkafka's settings by their own names. Those that the program needs to be what they are,
//! or that stand elsewhere in the configuration, are refused with the reason; names and values are checked by librdkafka
//! itself; secrets are never printed.

use std::collections::BTreeMap;
use std::fmt;

use rdkafka::ClientConfig;
use rdkafka::error::KafkaError as NativeError;
use serde::{Deserialize, Serialize, Serializer};
use sidecar::{Problems, Secret};

const ELSEWHERE_SASL: &str = "it is kafka.security.sasl_mechanism";
const COMMITS: &str = "an offset is committed when its result is acknowledged";
const LINGER: &str = "it is inference's output.linger";
const COMPRESSION: &str = "it is inference's output.compression";
const DELIVERY_TIMEOUT: &str = "it is inference's output.delivery_timeout";
const ACKS: &str = "without all of them a result can be lost with its broker";
const LOST: &str = "the program depends on the report of every delivery";

/// Settings that stand elsewhere in the configuration, or must be what they are; aliases included.
const OWNED: [(&str, &str); 43] = [
    ("bootstrap.servers", "it is kafka.bootstrap_servers"),
    ("metadata.broker.list", "it is kafka.bootstrap_servers"),
    ("client.id", "it is kafka.client_id"),
    ("security.protocol", "it is kafka.security.protocol"),
    ("ssl.ca.location", "it is kafka.security.ca_file"),
    (
        "ssl.certificate.location",
        "it is kafka.security.certificate_file",
    ),
    ("ssl.key.location", "it is kafka.security.key_file"),
    ("ssl.key.password", "it is kafka.security.key_password"),
    ("sasl.mechanism", ELSEWHERE_SASL),
    ("sasl.mechanisms", ELSEWHERE_SASL),
    ("sasl.username", "it is kafka.security.username"),
    ("sasl.password", "it is kafka.security.password"),
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

/// Parts of the names of settings that hold a secret. librdkafka marks most of them as sensitive.
const SECRET: [&str; 7] = [
    "password",
    "passphrase",
    "secret",
    "key.pem",
    "ssl_key",
    "oauthbearer.config",
    "kinit.cmd",
];

/// librdkafka's settings by their own names.
#[derive(Clone, PartialEq, Eq, Default, Deserialize)]
#[serde(transparent)]
pub struct Properties(BTreeMap<String, String>);

impl Properties {
    /// Sets one, whatever it was before.
    pub fn insert(&mut self, name: impl Into<String>, value: impl Into<String>) {
        self.0.insert(name.into(), value.into());
    }

    /// All of them, by their names.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(name, value)| (name.as_str(), value.as_str()))
    }

    /// Adds what is wrong with each of them to `problems`.
    pub(crate) fn check(&self, problems: &mut Problems) {
        for (name, value) in self.iter() {
            let key = format!("kafka.properties.\"{name}\"");
            if let Some((_, reason)) = OWNED.iter().find(|(owned, _)| *owned == name) {
                problems.add(key, format!("cannot be set here: {reason}"));
            } else if let Err(error) = ClientConfig::new().set(name, value).create_native_config() {
                problems.add(key, refused(name, &error));
            }
        }
    }

    /// As they may be printed.
    fn printable(&self) -> BTreeMap<&str, Printable<'_>> {
        let printable = |(name, value)| {
            let value = if is_secret(name) {
                Printable::Secret(Secret::from(value))
            } else {
                Printable::Open(value)
            };
            (name, value)
        };
        self.iter().map(printable).collect()
    }
}

impl Extend<(String, String)> for Properties {
    fn extend<I: IntoIterator<Item = (String, String)>>(&mut self, properties: I) {
        self.0.extend(properties);
    }
}

impl fmt::Debug for Properties {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.printable().fmt(formatter)
    }
}

impl Serialize for Properties {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.printable().serialize(serializer)
    }
}

#[derive(Debug, Serialize)]
#[serde(untagged)]
enum Printable<'p> {
    Secret(Secret),
    Open(&'p str),
}

fn is_secret(name: &str) -> bool {
    // Where a key lies is no secret.
    let is_file = name.rsplit('.').next() == Some("file");
    SECRET.iter().any(|part| name.contains(part)) || (name.contains("private.key") && !is_file)
}

/// Why librdkafka refuses a setting, without the value of a secret.
fn refused(name: &str, error: &NativeError) -> String {
    match error {
        NativeError::ClientConfig(_, _, _, _) if is_secret(name) => {
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
        checked.check(&mut found);
        found.to_string()
    }

    #[test]
    fn no_secret_of_librdkafka_is_printed() {
        // Those that librdkafka marks as sensitive, their aliases, and those that it forgot to mark.
        let secrets = [
            "ssl.key.password",
            "ssl.key.pem",
            "ssl.keystore.password",
            "sasl.password",
            "sasl.oauthbearer.config",
            "sasl.oauthbearer.client.secret",
            "sasl.oauthbearer.client.credentials.client.secret",
            "sasl.oauthbearer.assertion.private.key.passphrase",
            "sasl.oauthbearer.assertion.private.key.pem",
            "sasl.kerberos.kinit.cmd",
        ];
        let mut properties = Properties::default();
        for name in secrets {
            properties.insert(name, "hunter2");
        }
        properties.insert("ssl.keystore.location", "/etc/keystore");
        properties.insert("sasl.oauthbearer.assertion.private.key.file", "/etc/key");
        let printed = format!("{properties:?}{}", toml::to_string(&properties).unwrap());
        assert!(!printed.contains("hunter2"), "{printed}");
        assert!(
            printed.contains("/etc/keystore") && printed.contains("/etc/key\""),
            "{printed}"
        );
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
