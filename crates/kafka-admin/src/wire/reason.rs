//! Owns what a failure of a connection means: what happened at which step in, a sentence that names the setting to change
//! out.

use std::io;

use tokio_rustls::rustls::{AlertDescription, CertificateError, Error as TlsError};

use super::frame::FrameError;
use crate::connection::Address;
use crate::{BrokerId, SecurityProtocol};

/// Where an address comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Origin {
    /// It is one of `kafka.bootstrap_servers`.
    Bootstrap,
    /// A broker advertises it.
    Advertised(BrokerId),
}

impl Origin {
    /// Where the address of a broker comes from, which may be one of `bootstrap` too.
    pub(crate) fn of(broker: BrokerId, address: &Address, bootstrap: &[Address]) -> Self {
        if bootstrap.contains(address) {
            Self::Bootstrap
        } else {
            Self::Advertised(broker)
        }
    }

    fn advice(self) -> String {
        match self {
            Self::Bootstrap => "check kafka.bootstrap_servers".to_owned(),
            Self::Advertised(broker) => format!(
                "broker {broker} advertises this address: check the broker's advertised.listeners, and the network"
            ),
        }
    }
}

/// Whom a connection is to.
#[derive(Debug, Clone)]
pub(crate) struct Target {
    pub(crate) address: Address,
    pub(crate) origin: Origin,
    pub(crate) protocol: SecurityProtocol,
}

/// A step of making a connection, or of using it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Step {
    Token,
    Resolve,
    Connect,
    Tls,
    Versions,
    Authenticate,
    /// It was made, and nothing has been answered yet.
    FirstRequest,
    /// Requests have been answered.
    Requests,
}

const NEEDS_TLS: &str = "set kafka.security.protocol to \"ssl\" or \"sasl_ssl\"";
const NEEDS_NO_TLS: &str = "the port does not use TLS: set kafka.security.protocol to \"plaintext\" or \"sasl_plaintext\", or name \
                            the TLS port";
const NEEDS_CERTIFICATE: &str =
    "the broker asks for a certificate: check kafka.security.certificate_file and kafka.security.key_file";
const UNKNOWN_AUTHORITY: &str =
    "the broker's certificate is not signed by a known authority: check kafka.security.ca_file";

impl Target {
    /// A failure in words.
    pub(crate) fn describe(&self, step: Step, error: &FrameError) -> String {
        let address = &self.address;
        match error {
            FrameError::Size { announced, .. } => match self.foreign(*announced) {
                Some(text) => format!("{address}: {text}"),
                None => format!("{address}: {error}"),
            },
            FrameError::Io(io) if tls_error(io).is_some() => {
                let advice = tls_error(io).and_then(|error| self.tls_advice(step, error));
                format!("{address}: {io}; {}", advice.unwrap_or(UNKNOWN_TLS))
            }
            _ => self.describe_step(
                step,
                &error.to_string(),
                matches!(error, FrameError::Closed) || is_reset(error),
            ),
        }
    }

    /// Nothing happened for too long.
    pub(crate) fn describe_timeout(&self, step: Step, after: std::time::Duration) -> String {
        let what = match step {
            Step::Token => "no token",
            Step::Resolve => "the name is not resolved",
            Step::Connect => "no connection",
            Step::Tls => "no TLS handshake",
            Step::Versions => "no answer to ApiVersions",
            Step::Authenticate => "no answer to SaslAuthenticate",
            Step::FirstRequest | Step::Requests => "no answer",
        };
        self.describe_step(step, &format!("{what} within {after:?}"), false)
    }

    fn describe_step(&self, step: Step, what: &str, is_closed: bool) -> String {
        let address = &self.address;
        let advice = match step {
            Step::Resolve | Step::Connect => Some(self.origin.advice()),
            Step::Tls => Some(NEEDS_NO_TLS.to_owned()),
            Step::Versions if self.protocol.has_tls() => Some(NEEDS_CERTIFICATE.to_owned()),
            Step::Versions => Some(format!(
                "the port may expect TLS ({NEEDS_TLS}), or it is no Kafka broker's: {}",
                self.origin.advice()
            )),
            Step::Token | Step::Authenticate => Some("check kafka.security".to_owned()),
            Step::FirstRequest if is_closed && !self.protocol.has_sasl() => Some(
                "the listener may require SASL: set kafka.security.protocol to \"sasl_plaintext\" or \"sasl_ssl\""
                    .to_owned(),
            ),
            Step::FirstRequest | Step::Requests => None,
        };
        let advice = advice.map(|advice| format!("; {advice}")).unwrap_or_default();
        let what = match step {
            Step::Resolve => format!("cannot resolve {}: {what}", address.host),
            Step::Connect => format!("cannot connect: {what}"),
            _ => what.to_owned(),
        };
        format!("{address}: {what}{advice}")
    }

    /// A port of something else: the first four bytes of its answer were taken for a size.
    fn foreign(&self, announced: i32) -> Option<String> {
        match announced.to_be_bytes() {
            // A TLS record (an alert or a handshake message) of TLS 1.0 or newer, whose versions all begin with 3.
            [0x15 | 0x16, 3, ..] => Some(format!("the port uses TLS: {NEEDS_TLS}")),
            text if text.iter().all(u8::is_ascii_graphic) => Some(format!(
                "the port is no Kafka broker's, its answer begins with \"{}\": {}",
                String::from_utf8_lossy(&text),
                self.origin.advice()
            )),
            _ => None,
        }
    }

    fn tls_advice(&self, step: Step, error: &TlsError) -> Option<&'static str> {
        match error {
            TlsError::InvalidCertificate(
                CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
            ) => Some(match self.origin {
                Origin::Bootstrap => {
                    "the broker's certificate is for another host: check kafka.bootstrap_servers"
                }
                Origin::Advertised(_) => {
                    "the broker's certificate is for another host than the broker advertises: check its \
                     advertised.listeners"
                }
            }),
            // The signature is bad if an authority was made again under the same name.
            TlsError::InvalidCertificate(
                CertificateError::UnknownIssuer | CertificateError::BadSignature,
            ) => Some(UNKNOWN_AUTHORITY),
            TlsError::InvalidCertificate(_) => Some("the broker's certificate cannot be used"),
            TlsError::InvalidMessage(_) if step == Step::Tls => Some(NEEDS_NO_TLS),
            TlsError::AlertReceived(
                AlertDescription::CertificateRequired
                | AlertDescription::BadCertificate
                | AlertDescription::UnknownCA
                | AlertDescription::CertificateUnknown
                | AlertDescription::HandshakeFailure,
            ) => Some(NEEDS_CERTIFICATE),
            _ => None,
        }
    }
}

const UNKNOWN_TLS: &str = "check kafka.security.protocol and kafka.security.ca_file";

fn tls_error(error: &io::Error) -> Option<&TlsError> {
    error.get_ref()?.downcast_ref()
}

fn is_reset(error: &FrameError) -> bool {
    matches!(error, FrameError::Io(error) if matches!(
        error.kind(),
        io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe | io::ErrorKind::UnexpectedEof
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn target(protocol: SecurityProtocol) -> Target {
        Target {
            address: Address {
                host: "kafka".to_owned(),
                port: 9092,
            },
            origin: Origin::Bootstrap,
            protocol,
        }
    }

    fn size(bytes: [u8; 4]) -> FrameError {
        FrameError::Size {
            correlation: None,
            announced: i32::from_be_bytes(bytes),
            allowed: 100,
        }
    }

    #[test]
    fn a_port_of_http_or_tls_is_named_instead_of_a_limit() {
        let plain = target(SecurityProtocol::Plaintext);
        assert_eq!(
            plain.describe(Step::Versions, &size(*b"HTTP")),
            "kafka:9092: the port is no Kafka broker's, its answer begins with \"HTTP\": check kafka.bootstrap_servers"
        );
        let tls = plain.describe(Step::Versions, &size([0x15, 3, 3, 0]));
        assert!(
            tls.contains("the port uses TLS: set kafka.security.protocol"),
            "{tls}"
        );
        let large = plain.describe(Step::Requests, &size([8, 0, 0, 0]));
        assert!(
            large.contains("134217728 bytes, and receive.message.max.bytes allows 100"),
            "{large}"
        );
    }

    #[test]
    fn each_step_names_its_own_setting() {
        let tls = |error| FrameError::Io(io::Error::new(io::ErrorKind::InvalidData, error));
        let issuer = tls(TlsError::InvalidCertificate(CertificateError::UnknownIssuer));
        let refused = FrameError::Io(io::ErrorKind::ConnectionRefused.into());
        for (protocol, step, error, setting) in [
            (SecurityProtocol::Ssl, Step::Tls, issuer, "ca_file"),
            (
                SecurityProtocol::Ssl,
                Step::Tls,
                FrameError::Closed,
                "\"plaintext\"",
            ),
            (
                SecurityProtocol::Plaintext,
                Step::Versions,
                FrameError::Closed,
                "\"ssl\"",
            ),
            (
                SecurityProtocol::Ssl,
                Step::Versions,
                FrameError::Closed,
                "certificate_file",
            ),
            (
                SecurityProtocol::Plaintext,
                Step::FirstRequest,
                FrameError::Closed,
                "\"sasl_ssl\"",
            ),
            (
                SecurityProtocol::Plaintext,
                Step::Connect,
                refused,
                "kafka.bootstrap_servers",
            ),
        ] {
            let text = target(protocol).describe(step, &error);
            assert!(text.contains(setting), "{text}");
        }
    }

    #[test]
    fn an_advertised_address_names_the_brokers_setting() {
        let mut target = target(SecurityProtocol::Plaintext);
        target.origin = Origin::Advertised(BrokerId(2));
        let text = target.describe_timeout(Step::Connect, std::time::Duration::from_secs(5));
        assert_eq!(
            text,
            "kafka:9092: cannot connect: no connection within 5s; broker 2 advertises this address: check the broker's \
             advertised.listeners, and the network"
        );
    }
}
