//! Owns the grouping key: which labels name a group of the Pushgateway, and the path of its URL.
//!
//! A value that the path could not carry as it is goes in base64 (`job@base64/…`), as the Pushgateway asks for.

use std::collections::BTreeMap;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

/// The label that begins every key.
const JOB: &str = "job";
/// An empty value in base64: the path must not end with nothing.
const EMPTY: &str = "=";

/// The labels of a group.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct GroupingKey(BTreeMap<String, String>);

/// Why labels are no grouping key.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NoKey {
    /// There is no job.
    #[error("the job is empty; name the application")]
    NoJob,
    /// A label's name is not one of Prometheus'.
    #[error("{0:?} is no name of a label; use letters, digits and _, and do not begin with a digit or __")]
    Name(String),
}

impl GroupingKey {
    /// From all labels, `job` among them.
    ///
    /// # Errors
    /// Where the Pushgateway would refuse them.
    pub fn new(labels: BTreeMap<String, String>) -> Result<Self, NoKey> {
        if labels.get(JOB).is_none_or(String::is_empty) {
            return Err(NoKey::NoJob);
        }
        match labels.keys().find(|name| !is_label_name(name)) {
            Some(name) => Err(NoKey::Name(name.clone())),
            None => Ok(Self(labels)),
        }
    }

    /// The labels.
    pub fn labels(&self) -> &BTreeMap<String, String> {
        &self.0
    }

    /// The path of the group, from `/metrics/job/…` on.
    pub fn path(&self) -> String {
        let job = self.0.iter().filter(|(name, _)| *name == JOB);
        let others = self.0.iter().filter(|(name, _)| *name != JOB);
        let segments = job.chain(others).map(|(name, value)| segment(name, value));
        std::iter::once("/metrics".to_owned()).chain(segments).collect()
    }
}

impl std::fmt::Display for GroupingKey {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let labels = self.0.iter().map(|(name, value)| format!("{name}={value:?}"));
        write!(formatter, "{{{}}}", labels.collect::<Vec<_>>().join(", "))
    }
}

/// Whether Prometheus takes `name` for a label, and does not keep it for itself.
pub fn is_label_name(name: &str) -> bool {
    let is_word = |character: char| character.is_ascii_alphanumeric() || character == '_';
    !name.is_empty()
        && !name.starts_with("__")
        && !name.starts_with(|first: char| first.is_ascii_digit())
        && name.chars().all(is_word)
}

fn segment(name: &str, value: &str) -> String {
    if value.is_empty() {
        format!("/{name}@base64/{EMPTY}")
    } else if is_plain(value) {
        format!("/{name}/{value}")
    } else {
        format!("/{name}@base64/{}", URL_SAFE_NO_PAD.encode(value))
    }
}

/// Whether a value is the same in a path. `.` and `..` are not: clients take them for folders.
fn is_plain(value: &str) -> bool {
    let is_safe = |character: char| character.is_ascii_alphanumeric() || "_.-".contains(character);
    value.chars().all(is_safe) && value != "." && value != ".."
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(labels: &[(&str, &str)]) -> Result<GroupingKey, NoKey> {
        let owned = labels
            .iter()
            .map(|(name, value)| ((*name).into(), (*value).into()));
        GroupingKey::new(owned.collect())
    }

    fn path(labels: &[(&str, &str)]) -> String {
        key(labels).unwrap().path()
    }

    #[test]
    fn plain_values_stand_in_the_path_with_the_job_first() {
        assert_eq!(
            path(&[("env", "a.b-c_1"), ("instance", "driver"), ("job", "orders")]),
            "/metrics/job/orders/env/a.b-c_1/instance/driver"
        );
    }

    #[test]
    fn what_a_path_cannot_carry_goes_in_base64() {
        assert_eq!(path(&[("job", "a/b")]), "/metrics/job@base64/YS9i");
        assert_eq!(
            path(&[("job", "j"), ("instance", "")]),
            "/metrics/job/j/instance@base64/="
        );
        assert_eq!(path(&[("job", "a b")]), "/metrics/job@base64/YSBi");
        assert_eq!(path(&[("job", "größe")]), "/metrics/job@base64/Z3LDtsOfZQ");
        assert_eq!(path(&[("job", "..")]), "/metrics/job@base64/Li4");
    }

    #[test]
    fn a_key_that_would_be_refused_is_none() {
        assert_eq!(key(&[("instance", "i")]), Err(NoKey::NoJob));
        assert_eq!(key(&[("job", "")]), Err(NoKey::NoJob));
        for name in ["__name__", "1a", "a-b", ""] {
            assert_eq!(
                key(&[("job", "j"), (name, "x")]),
                Err(NoKey::Name(name.to_owned()))
            );
        }
    }
}
