//! Owns how a server is asked: who we are, and whom we trust.

use std::path::PathBuf;

use sidecar::{Problems, Secret};

use super::RawSecurity;

/// Who we are and whom we trust, checked.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Security {
    /// User and password.
    pub user: Option<(String, Secret)>,
    /// A bearer token.
    pub bearer_token: Option<Secret>,
    /// Who may sign the server's certificate.
    pub ca_file: Option<PathBuf>,
    /// Our own certificate and its key.
    pub certificate: Option<(PathBuf, PathBuf)>,
}

impl Security {
    /// Checks the table that `key` names.
    pub(super) fn check(key: &str, raw: &RawSecurity, problems: &mut Problems) -> Self {
        let user = both(
            problems,
            (format!("{key}.username"), &raw.username),
            (format!("{key}.password"), &raw.password),
        );
        let certificate = both(
            problems,
            (format!("{key}.certificate_file"), &raw.certificate_file),
            (format!("{key}.key_file"), &raw.key_file),
        );
        if user.is_some() && raw.bearer_token.is_some() {
            problems.add(
                format!("{key}.bearer_token"),
                "cannot go with a username; leave one of them out",
            );
        }
        Self {
            user,
            bearer_token: raw.bearer_token.clone(),
            ca_file: raw.ca_file.clone(),
            certificate,
        }
    }
}

/// Two values that need each other.
fn both<A: Clone, B: Clone>(
    problems: &mut Problems,
    (first_key, first): (String, &Option<A>),
    (second_key, second): (String, &Option<B>),
) -> Option<(A, B)> {
    match (first, second) {
        (Some(first), Some(second)) => return Some((first.clone(), second.clone())),
        (None, None) => {}
        (Some(_), None) => problems.add(second_key, format!("is missing; {first_key} needs it")),
        (None, Some(_)) => problems.add(second_key, format!("has no effect without {first_key}")),
    }
    None
}
