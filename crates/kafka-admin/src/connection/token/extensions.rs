//! Owns what may stand beside a token in the first message of `OAUTHBEARER` (RFC 7628, section 3.1; KIP-342).

use std::collections::BTreeMap;

use sidecar::Problems;

/// The name of the token itself.
const RESERVED: &str = "auth";

/// Adds names and values that a broker would not read to `problems`.
pub(super) fn check(extensions: &BTreeMap<String, String>, problems: &mut Problems) {
    for (name, value) in extensions {
        let problem = if name == RESERVED {
            "is the name of the token itself"
        } else if name.is_empty() || !name.bytes().all(|byte| byte.is_ascii_alphabetic()) {
            "is not a name: it must have ASCII letters only"
        } else if value.is_empty() || !value.bytes().all(is_allowed) {
            "has a value that cannot be sent: it must have printable ASCII characters, and at least one"
        } else {
            continue;
        };
        problems.add(format!("kafka.security.extensions.\"{name}\""), problem);
    }
}

fn is_allowed(byte: u8) -> bool {
    byte.is_ascii_graphic() || matches!(byte, b' ' | b'\t' | b'\r' | b'\n')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_broker_would_not_read_is_named() {
        for (name, value, is_valid) in [
            ("logicalCluster", "lkc-1", true),
            ("identityPoolId", "pool 1,2=3", true),
            ("auth", "x", false),
            ("a_b", "x", false),
            ("", "x", false),
            ("a", "", false),
            ("a", "x\u{1}auth=y", false),
            ("a", "ü", false),
        ] {
            let mut problems = Problems::new();
            let extensions = BTreeMap::from([(name.to_owned(), value.to_owned())]);
            check(&extensions, &mut problems);
            assert_eq!(problems.is_empty(), is_valid, "{name}: {problems}");
        }
    }
}
