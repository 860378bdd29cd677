//! Owns those of librdkafka's properties that concern requests: their defaults, what they may be, and which others are
//! not used.

use std::net::IpAddr;
use std::ops::RangeInclusive;
use std::time::Duration;

use sidecar::Problems;

use super::properties::{Properties, key};

/// How long it may take until a connection can be used: DNS, TCP, TLS, versions and SASL together.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// How long an answer may take.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);
/// The largest response, as in librdkafka.
const MAX_RESPONSE_BYTES: usize = 100_000_000;
/// How long a broker that failed is left alone, at first.
const RECONNECT_BACKOFF: Duration = Duration::from_millis(100);
/// How long a broker that failed is left alone, at most.
const MAX_RECONNECT_BACKOFF: Duration = Duration::from_secs(2);
/// After how long metadata is asked for again, though nothing says that it changed.
const METADATA_MAX_AGE: Duration = Duration::from_mins(5);

/// A day: no property of librdkafka that counts milliseconds is sensible beyond it.
const MAX_MS: u64 = 86_400_000;

const CONNECT_TIMEOUT_MS: &str = "socket.connection.setup.timeout.ms";
const REQUEST_TIMEOUT_MS: &str = "socket.timeout.ms";
const MAX_RESPONSE: &str = "receive.message.max.bytes";
const BACKOFF_MS: &str = "reconnect.backoff.ms";
const MAX_BACKOFF_MS: &str = "reconnect.backoff.max.ms";
const METADATA_AGE_MS: &str = "metadata.max.age.ms";
const FAMILY: &str = "broker.address.family";
const KEEPALIVE: &str = "socket.keepalive.enable";
const HOST_CHECK: &str = "ssl.endpoint.identification.algorithm";

const USED: [&str; 9] = [
    CONNECT_TIMEOUT_MS,
    REQUEST_TIMEOUT_MS,
    MAX_RESPONSE,
    BACKOFF_MS,
    MAX_BACKOFF_MS,
    METADATA_AGE_MS,
    FAMILY,
    KEEPALIVE,
    HOST_CHECK,
];

/// How connections behave.
#[derive(Debug, Clone)]
pub(crate) struct Tuning {
    pub(crate) connect_timeout: Duration,
    pub(crate) request_timeout: Duration,
    pub(crate) max_response_bytes: usize,
    pub(crate) backoff: Duration,
    pub(crate) max_backoff: Duration,
    pub(crate) metadata_max_age: Duration,
    pub(crate) family: AddressFamily,
    pub(crate) has_keepalive: bool,
    pub(crate) checks_host: bool,
}

/// Which addresses of a host are used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum AddressFamily {
    Any,
    V4,
    V6,
}

impl AddressFamily {
    pub(crate) fn allows(self, address: IpAddr) -> bool {
        match self {
            Self::Any => true,
            Self::V4 => address.is_ipv4(),
            Self::V6 => address.is_ipv6(),
        }
    }
}

impl Tuning {
    /// What the properties say; mistakes are added to `problems`.
    pub(crate) fn check(properties: &Properties, problems: &mut Problems) -> Self {
        let mut read = Reading { properties, problems };
        let family = [
            ("any", AddressFamily::Any),
            ("v4", AddressFamily::V4),
            ("v6", AddressFamily::V6),
        ];
        Self {
            connect_timeout: read.milliseconds(CONNECT_TIMEOUT_MS, CONNECT_TIMEOUT),
            request_timeout: read.milliseconds(REQUEST_TIMEOUT_MS, REQUEST_TIMEOUT),
            max_response_bytes: read
                .number(MAX_RESPONSE, 1000..=i32::MAX as u64)
                .map_or(MAX_RESPONSE_BYTES, |bytes| {
                    usize::try_from(bytes).unwrap_or(MAX_RESPONSE_BYTES)
                }),
            backoff: read.milliseconds(BACKOFF_MS, RECONNECT_BACKOFF),
            max_backoff: read.milliseconds(MAX_BACKOFF_MS, MAX_RECONNECT_BACKOFF),
            metadata_max_age: read.milliseconds(METADATA_AGE_MS, METADATA_MAX_AGE),
            family: read.one_of(FAMILY, &family),
            has_keepalive: read.one_of(KEEPALIVE, &[("false", false), ("true", true)]),
            checks_host: read.one_of(HOST_CHECK, &[("https", true), ("none", false)]),
        }
    }
}

/// The properties that requests to a cluster do not use.
pub(crate) fn unused(properties: &Properties) -> Vec<&str> {
    let names = properties.iter().map(|(name, _)| name);
    names.filter(|name| !USED.contains(name)).collect()
}

struct Reading<'r> {
    properties: &'r Properties,
    problems: &'r mut Problems,
}

impl Reading<'_> {
    fn milliseconds(&mut self, name: &str, default: Duration) -> Duration {
        self.number(name, 1..=MAX_MS)
            .map_or(default, Duration::from_millis)
    }

    fn number(&mut self, name: &str, range: RangeInclusive<u64>) -> Option<u64> {
        let value = self.properties.get(name)?;
        let number = value.parse().ok().filter(|number| range.contains(number));
        if number.is_none() {
            let (from, to) = range.into_inner();
            self.problems.add(
                key(name),
                format!("is \"{value}\"; it must be a number from {from} to {to}"),
            );
        }
        number
    }

    /// The value of the first choice if the property is absent or wrong.
    fn one_of<T: Copy>(&mut self, name: &str, choices: &[(&str, T)]) -> T {
        let default = choices[0].1;
        let Some(value) = self.properties.get(name) else {
            return default;
        };
        if let Some((_, choice)) = choices.iter().find(|(choice, _)| *choice == value) {
            return *choice;
        }
        let names: Vec<_> = choices
            .iter()
            .map(|(choice, _)| format!("\"{choice}\""))
            .collect();
        self.problems.add(
            key(name),
            format!("is \"{value}\"; it must be {}", names.join(" or ")),
        );
        default
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_concerns_requests_is_read_and_the_rest_is_named() {
        let mut properties = Properties::default();
        properties.insert(FAMILY, "v6");
        properties.insert(CONNECT_TIMEOUT_MS, "1500");
        properties.insert("fetch.min.bytes", "1");
        let mut problems = Problems::new();
        let tuning = Tuning::check(&properties, &mut problems);
        assert!(problems.is_empty(), "{problems}");
        assert_eq!(tuning.family, AddressFamily::V6);
        assert_eq!(tuning.connect_timeout, Duration::from_millis(1500));
        assert_eq!(unused(&properties), ["fetch.min.bytes"]);
    }

    #[test]
    fn a_value_that_is_none_is_named() {
        let mut properties = Properties::default();
        properties.insert(HOST_CHECK, "http");
        properties.insert(BACKOFF_MS, "soon");
        let mut problems = Problems::new();
        Tuning::check(&properties, &mut problems);
        assert_eq!(
            problems.to_string(),
            "kafka.properties.\"reconnect.backoff.ms\": is \"soon\"; it must be a number from 1 to 86400000\n\
             kafka.properties.\"ssl.endpoint.identification.algorithm\": is \"http\"; it must be \"https\" or \"none\""
        );
    }
}
