//! Owns what a failure of a token endpoint means: the setting to look at.

use std::error::Error;
use std::io;

use reqwest::StatusCode;
use serde::Deserialize;
use tokio_rustls::rustls::Error as TlsError;

use super::KEY;
use crate::refusal::shortened;

/// RFC 6749, section 5.2.
#[derive(Deserialize, Default)]
struct Denial {
    #[serde(default)]
    error: String,
    #[serde(default)]
    error_description: String,
}

/// Whether the endpoint may answer otherwise when it is asked again.
pub(super) fn is_transient(status: StatusCode) -> bool {
    status.is_server_error()
        || matches!(
            status,
            StatusCode::TOO_MANY_REQUESTS | StatusCode::REQUEST_TIMEOUT
        )
}

/// The status, the reason that the endpoint gives, and what to look at.
pub(super) fn describe_status(status: StatusCode, body: &[u8]) -> String {
    let denial: Denial = serde_json::from_slice(body).unwrap_or_default();
    let reason = [denial.error.as_str(), denial.error_description.as_str()]
        .map(shortened)
        .into_iter()
        .filter(|part| !part.is_empty())
        .collect::<Vec<_>>()
        .join(": ");
    let reason = if reason.is_empty() {
        reason
    } else {
        format!(": {reason}")
    };
    let advice = match (status, denial.error.as_str()) {
        (_, "invalid_scope") => "check kafka.security.scope",
        (StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN, _)
        | (_, "invalid_client" | "unauthorized_client" | "access_denied") => {
            "check kafka.security.client_id and client_secret"
        }
        _ if status.is_redirection() => {
            "redirects are not followed: set kafka.security.token_endpoint to the final address"
        }
        _ if is_transient(status) => "the endpoint may answer later",
        (StatusCode::BAD_REQUEST, _) => "check kafka.security.client_id, client_secret and scope",
        _ => "check kafka.security.token_endpoint",
    };
    format!("HTTP status {}{reason}; {advice}", status.as_u16())
}

/// What happened instead of an answer, and what to look at.
pub(super) fn advise(error: reqwest::Error) -> String {
    let error = error.without_url();
    let advice = match tls_error(&error) {
        Some(TlsError::InvalidCertificate(_)) => {
            "check kafka.security.token_ca_file and the host of token_endpoint".to_owned()
        }
        Some(TlsError::InvalidMessage(_)) => format!("the port does not use HTTPS: check {KEY}"),
        _ => format!("check {KEY}, and the network"),
    };
    format!("{}; {advice}", describe(&error))
}

/// An error with its causes.
pub(super) fn describe(error: &reqwest::Error) -> String {
    if error.is_timeout() {
        return "no answer in time".to_owned();
    }
    let mut deepest: &dyn Error = error;
    while let Some(source) = deepest.source() {
        deepest = source;
    }
    let what = if error.is_connect() {
        "cannot connect: "
    } else {
        ""
    };
    format!("{what}{}", shortened(&deepest.to_string()))
}

fn tls_error<'e>(error: &'e (dyn Error + 'static)) -> Option<&'e TlsError> {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(found) = error.downcast_ref() {
            return Some(found);
        }
        // What an I/O error wraps is not its source, only the source of that is.
        let wrapped = error.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
        next = match wrapped {
            Some(wrapped) => Some(wrapped),
            None => error.source(),
        };
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_status_names_what_to_look_at() {
        for (status, body, expected) in [
            (
                401,
                "",
                "HTTP status 401; check kafka.security.client_id and client_secret",
            ),
            (
                400,
                "{\"error\":\"invalid_scope\",\"error_description\":\"no\\nsuch scope\"}",
                "HTTP status 400: invalid_scope: no such scope; check kafka.security.scope",
            ),
            (
                400,
                "{\"error\":\"invalid_client\"}",
                "HTTP status 400: invalid_client; check kafka.security.client_id and client_secret",
            ),
            (
                404,
                "<html>",
                "HTTP status 404; check kafka.security.token_endpoint",
            ),
            (503, "", "HTTP status 503; the endpoint may answer later"),
            (
                302,
                "",
                "HTTP status 302; redirects are not followed: set kafka.security.token_endpoint to the final address",
            ),
        ] {
            let status = StatusCode::from_u16(status).unwrap();
            assert_eq!(describe_status(status, body.as_bytes()), expected);
        }
        let long = format!("{{\"error\":\"{}\"}}", "x".repeat(100_000));
        assert!(describe_status(StatusCode::BAD_REQUEST, long.as_bytes()).len() < 500);
    }
}
