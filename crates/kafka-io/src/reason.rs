//! Owns what a failure of a connection means: librdkafka's words in, a sentence that names the setting to change out.

use rdkafka::types::RDKafkaErrorCode as Code;

/// How much a reason explains. A reason is never replaced by one that explains less.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Rank {
    /// It says only that something failed.
    Symptom,
    /// It says which connection failed, and how.
    Connection,
    /// It says what is wrong with the configuration.
    Cause,
}

/// Why something failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Reason {
    pub(crate) rank: Rank,
    pub(crate) text: String,
}

/// What librdkafka says, or OpenSSL through it, in lower case, and what to do about it. The first match counts.
const ADVICE: [(&[&str], Rank, &str); 12] = [
    (
        &["certificate verify failed", "could not be verified"],
        Rank::Cause,
        "the broker's certificate is not signed by a known authority, or is for another host: check \
         kafka.security.ca_file and the host in kafka.bootstrap_servers",
    ),
    (
        &[
            "plaintext broker listener",
            "wrong version number",
            "http request",
            "packet length too long",
            "record layer failure",
        ],
        Rank::Cause,
        "the port does not speak TLS: set kafka.security.protocol to \"plaintext\" or \"sasl_plaintext\", or name the \
         TLS port in kafka.bootstrap_servers",
    ),
    (
        &["ssl listener"],
        Rank::Cause,
        "the port may expect TLS: set kafka.security.protocol to \"ssl\" or \"sasl_ssl\", or check that the port in \
         kafka.bootstrap_servers is a broker's",
    ),
    (
        &[
            "client ssl authentication",
            "certificate required",
            "bad certificate",
        ],
        Rank::Cause,
        "the broker asks for a certificate: check kafka.security.certificate_file and kafka.security.key_file",
    ),
    (
        &["not valid in current sasl state"],
        Rank::Cause,
        "the listener does not use SASL: set kafka.security.protocol to \"plaintext\" or \"ssl\"",
    ),
    (
        &["unsupported sasl mechanism", "mechanism handshake failed"],
        Rank::Cause,
        "check kafka.security.sasl_mechanism",
    ),
    (
        &["require sasl"],
        Rank::Cause,
        "the listener may require SASL: set kafka.security.protocol to \"sasl_plaintext\" or \"sasl_ssl\"",
    ),
    (
        &["sasl", "authentication"],
        Rank::Cause,
        "check kafka.security.username, kafka.security.password and kafka.security.sasl_mechanism",
    ),
    (
        &["ssl handshake", "ssl error", "certificate"],
        Rank::Cause,
        "check kafka.security.ca_file and kafka.security.protocol",
    ),
    (&["resolve"], Rank::Connection, "check kafka.bootstrap_servers"),
    (
        &["connect to", "refused", "unreachable"],
        Rank::Connection,
        "check kafka.bootstrap_servers",
    ),
    (
        &["transport", "disconnected", "timed out"],
        Rank::Symptom,
        "check kafka.bootstrap_servers and kafka.security.protocol",
    ),
];

impl Reason {
    /// What our own source of tokens says: it names the setting itself.
    pub(crate) fn of_login(said: &str) -> Self {
        Self {
            rank: Rank::Cause,
            text: said.to_owned(),
        }
    }

    /// What librdkafka says of a failed connection.
    pub(crate) fn of(said: &str) -> Self {
        let (said, state) = without_state(said);
        if let Some(text) = foreign_protocol(said) {
            return Self {
                rank: Rank::Cause,
                text,
            };
        }
        let lower = format!("{}{}", without_broker(said), hint(said, state)).to_lowercase();
        let matching = ADVICE
            .iter()
            .find(|(words, ..)| words.iter().any(|word| lower.contains(word)));
        matching.map_or_else(
            || Self {
                rank: Rank::Symptom,
                text: said.to_owned(),
            },
            |(_, rank, advice)| Self {
                rank: *rank,
                text: format!("{said}; {advice}"),
            },
        )
    }
}

/// An error code in words that name the setting to look at.
pub(crate) fn describe(code: Code) -> String {
    Reason::of(&code.to_string()).text
}

/// Without librdkafka's `(after 5ms in state CONNECT, 3 identical error(s) suppressed)`, which differs each time; and the
/// state that it names.
fn without_state(said: &str) -> (&str, &str) {
    let Some(at) = said.rfind(" (after ") else {
        return (said, "");
    };
    let state = said[at..].split("in state ").nth(1).unwrap_or_default();
    (&said[..at], state.split([',', ')']).next().unwrap_or_default())
}

/// Without `sasl_ssl://HOST:PORT/NAME: `, which says what we speak, not what failed.
fn without_broker(said: &str) -> &str {
    let (broker, rest) = said.split_once(": ").unwrap_or(("", said));
    if broker.contains("://") { rest } else { said }
}

/// What a connection means that was closed during its first steps. librdkafka means to say it, and does not always.
fn hint(said: &str, state: &str) -> &'static str {
    match state {
        _ if !said.contains("Disconnected") => "",
        "SSL_HANDSHAKE" => " plaintext broker listener",
        "APIVERSION_QUERY" if !said.contains("ssl://") => " ssl listener",
        _ => "",
    }
}

/// A port that speaks something else: librdkafka takes the first four bytes of its answer for a length, and says
/// `BROKER: Receive failed: Invalid response size 1213486160 (…): increase receive.message.max.bytes`.
fn foreign_protocol(said: &str) -> Option<String> {
    const SIZE: &str = "Invalid response size ";
    let at = said.find(SIZE)?;
    let digits = said[at + SIZE.len()..].split(' ').next()?;
    let bytes = digits.parse::<i32>().ok()?.to_be_bytes();
    let broker = said[..at].trim_end_matches("Receive failed: ");
    match bytes {
        // A TLS record (an alert or a handshake message) of TLS 1.0 or newer, whose versions all begin with 3.
        [0x15 | 0x16, 3, ..] => Some(format!(
            "{broker}the port speaks TLS: set kafka.security.protocol to \"ssl\" or \"sasl_ssl\""
        )),
        text if text.iter().all(u8::is_ascii_graphic) => Some(format!(
            "{broker}the port is no Kafka broker's, its answer begins with \"{}\": check the port in kafka.bootstrap_servers",
            String::from_utf8_lossy(&text)
        )),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(said: &str) -> (Rank, String) {
        let Reason { rank, text } = Reason::of(said);
        (rank, text)
    }

    #[test]
    fn a_port_that_speaks_http_or_tls_is_named_instead_of_a_limit() {
        let invalid = |size: i32| {
            of(&format!(
                "localhost:80/bootstrap: Receive failed: Invalid response size {size} (0..100000000): increase \
                 receive.message.max.bytes (after 1ms in state APIVERSION_QUERY)"
            ))
        };
        let (rank, text) = invalid(i32::from_be_bytes(*b"HTTP"));
        assert_eq!(rank, Rank::Cause);
        assert!(
            text.starts_with("localhost:80/bootstrap: the port is no Kafka broker's"),
            "{text}"
        );
        assert!(
            text.contains("kafka.bootstrap_servers") && !text.contains("max.bytes"),
            "{text}"
        );
        let (_, text) = invalid(0x1503_0302);
        assert!(text.contains("the port speaks TLS"), "{text}");
        let (_, text) = invalid(150_000_000);
        assert!(
            text.contains("receive.message.max.bytes"),
            "a response may be too large: {text}"
        );
    }

    #[test]
    fn what_differs_each_time_is_left_out() {
        let (rank, text) = of(
            "a:1: Connect to ipv4#127.0.0.1:1 failed: Connection refused (after 0ms in state CONNECT, 7 identical error(s) suppressed)",
        );
        assert_eq!(rank, Rank::Connection);
        assert_eq!(
            text,
            "a:1: Connect to ipv4#127.0.0.1:1 failed: Connection refused; check kafka.bootstrap_servers"
        );
    }

    #[test]
    fn each_mistake_names_its_own_setting() {
        for (said, setting) in [
            (
                "SSL handshake failed: error:0A000086:SSL routines::certificate verify failed",
                "ca_file",
            ),
            (
                "SSL handshake failed: error:0A00010B:SSL routines::wrong version number",
                "\"plaintext\"",
            ),
            (
                "Disconnected: might be caused by incorrect security.protocol configuration (connecting to a SSL listener?)",
                "\"ssl\"",
            ),
            (
                "SASL PLAIN mechanism handshake failed: Broker: Request not valid in current SASL state: broker's supported mechanisms: ",
                "does not use SASL",
            ),
            (
                "SASL PLAIN mechanism handshake failed: Broker: Unsupported SASL mechanism: broker's supported mechanisms: SCRAM-SHA-512",
                "sasl_mechanism",
            ),
            (
                "SASL authentication error: Authentication failed: Invalid username or password",
                "kafka.security.password",
            ),
            (
                "Failed to resolve 'nowhere:9092': Name or service not known",
                "kafka.bootstrap_servers",
            ),
        ] {
            let (rank, text) = of(said);
            assert!(text.contains(setting) && rank > Rank::Symptom, "{text}");
        }
    }
}
