//! Owns addresses of brokers.

use std::fmt;

use sidecar::Problems;

/// Kafka's port, where none is named.
const DEFAULT_PORT: u16 = 9092;
const KEY: &str = "kafka.bootstrap_servers";

/// A host and a port.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Address {
    /// A name, or an IP address without brackets.
    pub(crate) host: String,
    pub(crate) port: u16,
}

impl Address {
    /// The addresses in a list with commas; what is not an address is added to `problems`.
    pub(crate) fn parse_all(list: &str, problems: &mut Problems) -> Vec<Self> {
        let parts = list.split(',').map(str::trim).filter(|part| !part.is_empty());
        let mut addresses = Vec::new();
        for part in parts.clone() {
            match Self::parse(part) {
                Some(address) => addresses.push(address),
                None => problems.add(KEY, format!("\"{part}\" is not HOST:PORT")),
            }
        }
        if parts.count() == 0 {
            problems.add(KEY, "is empty; name at least one HOST:PORT");
        }
        addresses
    }

    /// The address that a broker advertises, unless its port is none.
    pub(crate) fn advertised(host: &str, port: i32) -> Option<Self> {
        let port = u16::try_from(port).ok().filter(|port| *port > 0)?;
        let host = host.to_owned();
        (!host.is_empty()).then_some(Self { host, port })
    }

    fn parse(text: &str) -> Option<Self> {
        let (host, port) = match text.strip_prefix('[') {
            Some(rest) => rest.split_once(']')?,
            None => text.split_at(text.find(':').unwrap_or(text.len())),
        };
        let port = match port.strip_prefix(':') {
            Some(port) => port.parse().ok().filter(|port| *port > 0)?,
            None if port.is_empty() => DEFAULT_PORT,
            None => return None,
        };
        let host = host.to_owned();
        (!host.is_empty()).then_some(Self { host, port })
    }
}

impl fmt::Display for Address {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            write!(formatter, "[{}]:{}", self.host, self.port)
        } else {
            write!(formatter, "{}:{}", self.host, self.port)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_addresses_are_read_and_printed() {
        let mut problems = Problems::new();
        let list = "a:1, b ,127.0.0.1:9093,[::1]:9094,";
        let addresses = Address::parse_all(list, &mut problems);
        let printed: Vec<_> = addresses.iter().map(Address::to_string).collect();
        assert_eq!(printed, ["a:1", "b:9092", "127.0.0.1:9093", "[::1]:9094"]);
        assert!(problems.is_empty(), "{problems}");
    }

    #[test]
    fn what_is_no_address_is_named() {
        for wrong in ["a:b", ":1", "a:0", "a:70000", "[::1", "[::1]x", ""] {
            let mut problems = Problems::new();
            Address::parse_all(wrong, &mut problems);
            assert!(!problems.is_empty(), "{wrong}");
        }
    }
}
