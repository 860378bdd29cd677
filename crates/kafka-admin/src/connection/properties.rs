//! Owns `[kafka.properties]`: librdkafka's settings by their own names. Those that stand elsewhere in the configuration are
//! refused with the reason; secrets are never printed; what concerns requests is read by [`super::tuning`].

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize, Serializer};
use sidecar::{Problems, Secret};

const MECHANISM: &str = "it is kafka.security.sasl_mechanism";

/// Settings that stand elsewhere in the configuration, aliases included.
const OWNED: [(&str, &str); 18] = [
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
    ("sasl.mechanism", MECHANISM),
    ("sasl.mechanisms", MECHANISM),
    ("sasl.username", "it is kafka.security.username"),
    ("sasl.password", "it is kafka.security.password"),
    (
        "sasl.oauthbearer.method",
        "it follows from kafka.security.token_endpoint",
    ),
    (
        "sasl.oauthbearer.token.endpoint.url",
        "it is kafka.security.token_endpoint",
    ),
    ("sasl.oauthbearer.client.id", "it is kafka.security.client_id"),
    (
        "sasl.oauthbearer.client.secret",
        "it is kafka.security.client_secret",
    ),
    ("sasl.oauthbearer.scope", "it is kafka.security.scope"),
    ("sasl.oauthbearer.extensions", "it is kafka.security.extensions"),
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

    /// The value of one.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }

    /// All of them, by their names.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(name, value)| (name.as_str(), value.as_str()))
    }

    /// Adds those that stand elsewhere in the configuration to `problems`.
    pub(crate) fn check(&self, problems: &mut Problems) {
        for (name, _) in self.iter() {
            if let Some((_, reason)) = OWNED.iter().find(|(owned, _)| *owned == name) {
                problems.add(key(name), format!("cannot be set here: {reason}"));
            }
        }
    }

    /// Whether a setting of this name holds a secret.
    pub fn is_secret(name: &str) -> bool {
        // Where a key lies is no secret.
        let is_file = name.rsplit('.').next() == Some("file");
        SECRET.iter().any(|part| name.contains(part)) || (name.contains("private.key") && !is_file)
    }

    /// As they may be printed.
    fn printable(&self) -> BTreeMap<&str, Printable<'_>> {
        let printable = |(name, value)| {
            let value = if Self::is_secret(name) {
                Printable::Secret(Secret::from(value))
            } else {
                Printable::Open(value)
            };
            (name, value)
        };
        self.iter().map(printable).collect()
    }
}

/// Where a property stands in the configuration.
pub(crate) fn key(name: &str) -> String {
    format!("kafka.properties.\"{name}\"")
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

#[cfg(test)]
mod tests {
    use super::*;

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
}
