//! Owns reading a configuration: a TOML file, then the environment, then the program's own checks.
//!
//! What the file may say is the raw type of the program, which denies unknown fields; every error names where the
//! mistake stands. `PROGRAM_TABLE__KEY` in the environment sets `key` of `[table]`. Any other variable with the prefix of
//! the program is an error, except those that Kubernetes makes for a service of the program's name.

use std::ffi::OsString;
use std::fmt::{self, Display};
use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;

/// Between the tables and the key in the name of an environment variable.
const SEPARATOR: &str = "__";
/// A key is offered instead of an unknown one if so much of it is alike (Jaro-Winkler, 0 to 1).
const LIKENESS: f64 = 0.7;
/// The most underscores in a name for which all ways to double some are tried.
const MAX_GAPS: usize = 8;

/// Why there is no configuration.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("cannot read the configuration file {}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The file, or a variable, does not say what it may say.
    #[error("{place}: {what}")]
    Mistaken {
        /// The file and line, or the variable.
        place: String,
        /// What is wrong.
        what: String,
    },
    /// Values are wrong in themselves or together.
    #[error(transparent)]
    Problems(#[from] Problems),
}

/// Everything that is wrong with a configuration, collected so that it can be told at once.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Problems(Vec<(String, String)>);

impl Problems {
    /// No problems yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Notes that the value of `key` (`kafka.bootstrap_servers`) is wrong, and why.
    pub fn add(&mut self, key: impl Into<String>, what: impl Display) {
        self.0.push((key.into(), what.to_string()));
    }

    /// Adds those of `others`.
    pub fn append(&mut self, others: Self) {
        self.0.extend(others.0);
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// `value` if there are no problems.
    ///
    /// # Errors
    /// The problems, if there are any.
    pub fn into_result<T>(self, value: T) -> Result<T, Self> {
        if self.is_empty() { Ok(value) } else { Err(self) }
    }
}

impl Display for Problems {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (place, (key, what)) in self.0.iter().enumerate() {
            let separator = if place == 0 { "" } else { "\n" };
            write!(formatter, "{separator}{key}: {what}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Problems {}

/// The raw configuration from `file`, if there is one, and those of `variables` that begin with `prefix`.
///
/// # Errors
/// Where the file cannot be read, or it or a variable says something that is not a setting.
pub fn load<Raw: DeserializeOwned>(
    file: Option<&Path>,
    prefix: &str,
    variables: impl IntoIterator<Item = (OsString, OsString)>,
) -> Result<Raw, ConfigError> {
    let text = file.map(read).transpose()?.unwrap_or_default();
    let at = |error: &toml::de::Error| mistake_in_file(file, &text, error);
    let mut table: toml::Table = toml::from_str(&text).map_err(|error| at(&error))?;
    let mut raw: Raw = toml::from_str(&text).map_err(|error| at(&error))?;
    let mut settings: Vec<_> = variables
        .into_iter()
        .filter(|(name, _)| name.to_string_lossy().starts_with(prefix))
        .collect();
    settings.sort();
    for (name, value) in settings {
        let mistaken = |what: String| ConfigError::Mistaken {
            place: format!("environment variable {}", name.to_string_lossy()),
            what,
        };
        let (Some(rest), Some(value)) = (
            name.to_str().and_then(|name| name.strip_prefix(prefix)),
            value.to_str(),
        ) else {
            return Err(mistaken("is not UTF-8".to_owned()));
        };
        if is_kubernetes_service(rest, value) {
            continue;
        }
        let path: Vec<String> = rest.split(SEPARATOR).map(str::to_lowercase).collect();
        (table, raw) = with_variable(&table, &path, value).map_err(|what| {
            mistaken(match nearest_variable::<Raw>(&table, rest, value) {
                Some(meant) => format!("is not a setting; did you mean {prefix}{meant}?"),
                None => what,
            })
        })?;
    }
    Ok(raw)
}

/// Whether Kubernetes makes this variable in every pod, for a service whose name begins with the program's:
/// `…SERVICE_HOST`, `…SERVICE_PORT`, `…SERVICE_PORT_HTTP`, `…PORT`, `…PORT_9464_TCP`, `…PORT_9464_TCP_ADDR`.
fn is_kubernetes_service(rest: &str, value: &str) -> bool {
    let is_url = ["tcp://", "udp://", "sctp://"]
        .iter()
        .any(|scheme| value.starts_with(scheme));
    let words: Vec<&str> = rest.split('_').collect();
    match words[..] {
        [.., "SERVICE", "HOST"] => value.parse::<std::net::IpAddr>().is_ok(),
        [
            ..,
            "PORT",
            number,
            "TCP" | "UDP" | "SCTP",
            "PROTO" | "PORT" | "ADDR",
        ] => number.parse::<u16>().is_ok(),
        [.., "PORT", _, "TCP" | "UDP" | "SCTP"] | [.., "PORT"] if is_url => true,
        _ => rest.contains("SERVICE_PORT") && value.parse::<u16>().is_ok(),
    }
}

/// The variable that is a setting and differs only in how many underscores stand between tables and key.
fn nearest_variable<Raw: DeserializeOwned>(table: &toml::Table, rest: &str, value: &str) -> Option<String> {
    let words: Vec<&str> = rest.split('_').filter(|word| !word.is_empty()).collect();
    let gaps = words.len().checked_sub(1).filter(|&gaps| gaps <= MAX_GAPS)?;
    let name = |between: u32| {
        let mut name = String::new();
        for (index, word) in words.iter().enumerate() {
            if let Some(gap) = index.checked_sub(1) {
                name += if between >> gap & 1 == 1 { SEPARATOR } else { "_" };
            }
            name += word;
        }
        name
    };
    let is_setting = |name: &String| {
        let path: Vec<String> = name.split(SEPARATOR).map(str::to_lowercase).collect();
        with_variable::<Raw>(table, &path, value).is_ok()
    };
    (0..1_u32 << gaps).map(name).find(is_setting)
}

fn read(path: &Path) -> Result<String, ConfigError> {
    std::fs::read_to_string(path).map_err(|source| ConfigError::Unreadable {
        path: path.to_owned(),
        source,
    })
}

/// `table` with the value set: as text where text is wanted, else as TOML (`8080`, `true`, `["a"]`).
fn with_variable<Raw: DeserializeOwned>(
    table: &toml::Table,
    path: &[String],
    value: &str,
) -> Result<(toml::Table, Raw), String> {
    let set_to = |value: toml::Value| {
        let mut changed = table.clone();
        set(&mut changed, path, value)?;
        let raw = Raw::deserialize(changed.clone()).map_err(|error| with_nearest(error.message()))?;
        Ok((changed, raw))
    };
    let as_text = set_to(toml::Value::String(value.to_owned()));
    let parsed = toml::from_str::<toml::Table>(&format!("value = {value}"));
    match (as_text, parsed) {
        (Err(_), Ok(mut parsed)) if parsed.len() == 1 => parsed
            .remove("value")
            .map_or_else(|| Err("has no value".to_owned()), set_to),
        (as_text, _) => as_text,
    }
}

fn set(table: &mut toml::Table, path: &[String], value: toml::Value) -> Result<(), String> {
    let [first, rest @ ..] = path else {
        return Err("names no key".to_owned());
    };
    if rest.is_empty() {
        table.insert(first.clone(), value);
        return Ok(());
    }
    let inner = table
        .entry(first.clone())
        .or_insert_with(|| toml::Value::Table(toml::Table::new()));
    let inner = inner
        .as_table_mut()
        .ok_or_else(|| format!("{first} is not a table"))?;
    set(inner, rest, value)
}

fn mistake_in_file(file: Option<&Path>, text: &str, error: &toml::de::Error) -> ConfigError {
    let line = error
        .span()
        .map(|span| text[..span.start.min(text.len())].matches('\n').count() + 1);
    let file = file.map_or_else(|| "configuration".to_owned(), |file| file.display().to_string());
    let place = line.map_or_else(|| file.clone(), |line| format!("{file}:{line}"));
    ConfigError::Mistaken {
        place,
        what: with_nearest(error.message()),
    }
}

/// serde's message about an unknown field, shortened to the nearest of the fields that it lists.
fn with_nearest(message: &str) -> String {
    let mut names = message.split('`').skip(1).step_by(2);
    let Some(unknown) = names.next().filter(|_| message.starts_with("unknown field")) else {
        return message.trim_end().to_owned();
    };
    let nearest = names
        .map(|name| (strsim::jaro_winkler(unknown, name), name))
        .filter(|(likeness, _)| *likeness >= LIKENESS)
        .max_by(|a, b| a.0.total_cmp(&b.0));
    match nearest {
        Some((_, name)) => format!("unknown key `{unknown}`; did you mean `{name}`?"),
        None => message.replacen("unknown field", "unknown key", 1),
    }
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use super::*;

    #[derive(Debug, Default, PartialEq, Deserialize)]
    #[serde(default, deny_unknown_fields)]
    struct Raw {
        kafka: Kafka,
    }

    #[derive(Debug, Default, PartialEq, Deserialize)]
    #[serde(default, deny_unknown_fields)]
    struct Kafka {
        bootstrap_servers: String,
        retries: u16,
        topics: Vec<String>,
    }

    fn loaded(text: &str, variables: &[(&str, &str)]) -> Result<Raw, String> {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), text).unwrap();
        let variables = variables
            .iter()
            .map(|(name, value)| (OsString::from(name), OsString::from(value)));
        let told = |error: ConfigError| {
            error
                .to_string()
                .replace(&file.path().display().to_string(), "FILE")
        };
        load(Some(file.path()), "WORKER_", variables).map_err(told)
    }

    #[test]
    fn an_unknown_key_is_told_with_its_line_and_the_nearest_key() {
        let mistaken = loaded("[kafka]\nbotstrap_servers = \"a:1\"\n", &[]).unwrap_err();
        assert_eq!(
            mistaken,
            "FILE:2: unknown key `botstrap_servers`; did you mean `bootstrap_servers`?"
        );
        let unlike = loaded("[zookeeper]\n", &[]).unwrap_err();
        assert_eq!(unlike, "FILE:1: unknown key `zookeeper`, expected `kafka`");
    }

    #[test]
    fn a_value_of_the_wrong_type_is_told_with_its_line() {
        let mistaken = loaded("[kafka]\n\nretries = \"many\"\n", &[]).unwrap_err();
        assert_eq!(mistaken, "FILE:3: invalid type: string \"many\", expected u16");
    }

    #[test]
    fn the_environment_overrides_the_file() {
        let raw = loaded(
            "[kafka]\nbootstrap_servers = \"a:1\"\nretries = 1",
            &[
                ("WORKER_KAFKA__BOOTSTRAP_SERVERS", "9092"),
                ("WORKER_KAFKA__RETRIES", "7"),
                ("WORKER_KAFKA__TOPICS", r#"["x", "y"]"#),
                ("WORKER_PORT", "tcp://10.0.0.1:80"),
                ("WORKER_PORT_80_TCP_ADDR", "10.0.0.1"),
                ("WORKER_SERVICE_HOST", "10.0.0.1"),
                ("WORKER_METRICS_SERVICE_PORT_HTTP", "80"),
                ("WORKER_SERVICE_SERVICE_HOST", "fd00::1"),
                ("WORKER_SERVICE_PORT_443_TCP", "tcp://10.0.0.1:443"),
                ("OTHER_KAFKA__RETRIES", "9"),
            ],
        );
        let topics = vec!["x".to_owned(), "y".to_owned()];
        assert_eq!(
            raw,
            Ok(Raw {
                kafka: Kafka {
                    bootstrap_servers: "9092".into(),
                    retries: 7,
                    topics
                }
            })
        );
    }

    #[test]
    fn a_mistaken_variable_is_told_by_name() {
        let unknown = loaded("", &[("WORKER_KAFKA__RETRY", "7")]).unwrap_err();
        assert_eq!(
            unknown,
            "environment variable WORKER_KAFKA__RETRY: unknown key `retry`; did you mean `retries`?"
        );
    }

    #[test]
    fn a_variable_that_is_no_setting_is_an_error_with_the_one_that_is_meant() {
        let meant = |name| loaded("", &[(name, "7")]).unwrap_err();
        let why = "is not a setting; did you mean WORKER_KAFKA__RETRIES?";
        for name in ["WORKER_KAFKA_RETRIES", "WORKER__KAFKA__RETRIES"] {
            assert_eq!(meant(name), format!("environment variable {name}: {why}"));
        }
        for name in ["WORKER_ADMIN_PORT", "WORKER_SERVICE_HOST"] {
            loaded("", &[(name, "nine")]).unwrap_err();
        }
        assert!(
            meant("WORKER_RETRIES").starts_with("environment variable WORKER_RETRIES: unknown key `retries`")
        );
    }

    #[test]
    fn a_variable_that_is_not_text_is_an_error_only_if_it_is_ours() {
        use std::os::unix::ffi::OsStringExt;
        let broken = || OsString::from_vec(vec![0xff]);
        let load = |name: &str| load::<Raw>(None, "WORKER_", [(name.into(), broken())]);
        load("OTHER").unwrap();
        assert_eq!(
            load("WORKER_KAFKA__RETRIES").unwrap_err().to_string(),
            "environment variable WORKER_KAFKA__RETRIES: is not UTF-8"
        );
    }

    #[test]
    fn problems_are_printed_once() {
        let mut problems = Problems::new();
        problems.add("a.b", "is empty");
        let error = anyhow::Error::from(ConfigError::from(problems));
        assert_eq!(format!("{error:#}"), "a.b: is empty");
    }

    #[test]
    fn all_problems_are_told_at_once() {
        let mut problems = Problems::new();
        problems.add("a.b", "is empty");
        problems.add("c", format!("is {}", 7));
        assert_eq!(
            problems.into_result(()).unwrap_err().to_string(),
            "a.b: is empty\nc: is 7"
        );
    }
}
