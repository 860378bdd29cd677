//! Owns what librdkafka is told of a connection, and what it refuses of it.

mod owned;

use std::path::PathBuf;

use kafka_admin::{Connection, RawKafka};
use rdkafka::ClientConfig;
use rdkafka::client::{Client, DefaultClientContext};
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::types::RDKafkaType;
use sidecar::{Problems, Secret};

/// The connection of a program that reads or writes records, if neither `kafka-admin` nor librdkafka has problems with
/// `raw`; they are added to `problems`.
pub fn check(raw: RawKafka, problems: &mut Problems) -> Option<Connection> {
    let mut found = Problems::new();
    owned::check(&raw.properties, &mut found);
    if !raw.security.extensions.is_empty() {
        found.add(
            "kafka.security.extensions",
            "cannot be used by a program that reads or writes records: rdkafka sends no extensions",
        );
    }
    let connection = Connection::check(raw, &mut found);
    if found.is_empty()
        && let Some(connection) = &connection
        && let Err(reason) = try_settings(connection)
    {
        found.add("kafka", reason);
    }
    let is_valid = found.is_empty();
    problems.append(found);
    connection.filter(|_| is_valid)
}

/// Makes clients that know of no broker: librdkafka reads the files, and looks at what does not go together.
fn try_settings(connection: &Connection) -> Result<(), String> {
    let mut config = client_config(connection);
    config.remove("bootstrap.servers");
    let mut producing = config.clone();
    producing.set("enable.idempotence", "true").set("acks", "all");
    for (config, kind) in [
        (config, RDKafkaType::RD_KAFKA_CONSUMER),
        (producing, RDKafkaType::RD_KAFKA_PRODUCER),
    ] {
        let client = config
            .create_native_config()
            .and_then(|native| Client::new(&config, native, kind, DefaultClientContext));
        client.map(drop).map_err(|error| error.to_string())?;
    }
    Ok(())
}

/// librdkafka's settings for a connection, by their own names.
pub fn librdkafka_settings(connection: &Connection) -> Vec<(String, String)> {
    let RawKafka {
        bootstrap_servers,
        client_id,
        security,
        properties,
    } = connection.settings();
    let file = |file: &Option<PathBuf>| file.as_ref().map(|path| path.display().to_string());
    let secret = |secret: &Option<Secret>| secret.as_ref().map(|secret| secret.expose().to_owned());
    let text = |text: &str| Some(text.to_owned());
    let mechanism = security
        .sasl_mechanism
        .map(|mechanism| mechanism.name().to_owned());
    let named = [
        ("bootstrap.servers", text(bootstrap_servers)),
        ("client.id", text(client_id)),
        // A small record waits for nobody; a broker that comes back is found within seconds.
        ("socket.nagle.disable", text("true")),
        ("reconnect.backoff.max.ms", text("2000")),
        ("security.protocol", text(security.protocol.name())),
        ("ssl.ca.location", file(&security.ca_file)),
        ("ssl.certificate.location", file(&security.certificate_file)),
        ("ssl.key.location", file(&security.key_file)),
        ("ssl.key.password", secret(&security.key_password)),
        ("sasl.mechanisms", mechanism),
        ("sasl.username", security.username.clone()),
        ("sasl.password", secret(&security.password)),
    ];
    let named = named
        .into_iter()
        .filter_map(|(name, value)| Some((name.to_owned(), value?)));
    let properties = properties
        .iter()
        .map(|(name, value)| (name.to_owned(), value.to_owned()));
    named.chain(properties).collect()
}

/// What every client of a connection sets.
pub(crate) fn client_config(connection: &Connection) -> ClientConfig {
    let mut config = ClientConfig::new();
    for (name, value) in librdkafka_settings(connection) {
        config.set(name, value);
    }
    // What librdkafka says of a broker that ends connections is no more than `info` to it. `context` sorts it.
    config.set_log_level(if config.get("debug").is_some() {
        RDKafkaLogLevel::Debug
    } else {
        RDKafkaLogLevel::Info
    });
    config
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problems(toml: &str) -> String {
        let mut problems = Problems::new();
        let connection = check(toml::from_str(toml).unwrap(), &mut problems);
        assert_eq!(connection.is_some(), problems.is_empty());
        problems.to_string()
    }

    #[test]
    fn the_defaults_are_valid() {
        assert_eq!(problems(""), "");
    }

    #[test]
    fn what_both_clients_refuse_is_told_at_once() {
        let told = problems("[properties]\n\"acks\" = \"1\"\n\"client.id\" = \"x\"");
        assert_eq!(
            told,
            "kafka.properties.\"acks\": cannot be set here: without all of them a result can be lost with its broker\n\
             kafka.properties.\"client.id\": cannot be set here: it is kafka.client_id"
        );
    }

    #[test]
    fn settings_that_do_not_go_together_are_found_without_a_broker() {
        let told = problems("[properties]\n\"max.in.flight\" = \"10\"");
        assert!(
            told.starts_with("kafka: ") && told.contains("enable.idempotence"),
            "{told}"
        );
    }

    #[test]
    fn properties_go_through_verbatim() {
        let raw: RawKafka = toml::from_str("[properties]\n\"fetch.min.bytes\" = \"7\"").unwrap();
        let connection = check(raw, &mut Problems::new()).unwrap();
        assert_eq!(client_config(&connection).get("fetch.min.bytes"), Some("7"));
    }
}
