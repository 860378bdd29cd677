//! Owns what a token says of itself, if it is a JWT (RFC 7519). Nothing is verified: the broker does that.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64;
use serde::Deserialize;

/// The claims that matter here; none if the token is no JWT.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Claims {
    /// `sub`.
    pub(super) subject: Option<String>,
    /// `exp`.
    pub(super) expires_at: Option<SystemTime>,
}

#[derive(Default, Deserialize)]
struct Raw {
    #[serde(default)]
    sub: Option<String>,
    /// Seconds since 1970, which may have a fraction.
    #[serde(default)]
    exp: Option<f64>,
}

impl Claims {
    pub(super) fn of(token: &str) -> Self {
        let payload = token.split('.').nth(1).unwrap_or_default();
        let json = BASE64.decode(payload.trim_end_matches('=')).unwrap_or_default();
        let raw: Raw = serde_json::from_slice(&json).unwrap_or_default();
        let since_1970 = raw
            .exp
            .and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
        Self {
            subject: raw.sub,
            expires_at: since_1970.and_then(|since| UNIX_EPOCH.checked_add(since)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(claims: &str) -> Claims {
        Claims::of(&format!("e30.{}.signature", BASE64.encode(claims)))
    }

    #[test]
    fn a_jwt_says_whom_it_is_for_and_until_when() {
        let claims = of("{\"sub\":\"a\",\"exp\":1500.5,\"aud\":[\"b\"]}");
        assert_eq!(claims.subject.as_deref(), Some("a"));
        let expected = UNIX_EPOCH + Duration::from_millis(1_500_500);
        assert_eq!(claims.expires_at, Some(expected));
    }

    #[test]
    fn other_tokens_say_nothing() {
        for token in ["", "opaque", "a.b.c", "..", "e30.!.x"] {
            assert_eq!(Claims::of(token), Claims::default(), "{token}");
        }
        for claims in [
            "[]",
            "{\"exp\":\"soon\"}",
            "{\"exp\":-1}",
            "{\"exp\":1e300}",
            "{}",
        ] {
            assert_eq!(of(claims), Claims::default(), "{claims}");
        }
    }
}
