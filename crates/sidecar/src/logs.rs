//! Owns how a program logs: to standard error, for people on a terminal and as JSON elsewhere.

use std::fmt;
use std::io::{IsTerminal, stderr};

use serde::{Deserialize, Serialize};
use tracing_subscriber::EnvFilter;

/// The levels of a filter.
const LEVELS: [&str; 6] = ["off", "error", "warn", "info", "debug", "trace"];

/// `[log]` of every program's configuration.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct RawLog {
    /// What is logged.
    pub filter: LogFilter,
    /// How.
    pub format: LogFormat,
}

/// What is logged: `error`, `warn`, `info`, `debug`, `trace`, `off`, or `target=level` pairs, with commas between.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
#[serde(try_from = "String", into = "String")]
pub struct LogFilter(String);

impl Default for LogFilter {
    fn default() -> Self {
        Self("info".to_owned())
    }
}

impl TryFrom<String> for LogFilter {
    type Error = String;

    /// A word that is no level would be taken for the name of a target, and silence all others.
    fn try_from(text: String) -> Result<Self, String> {
        for part in text.split(',').map(str::trim) {
            let is_level = LEVELS.contains(&part.to_lowercase().as_str());
            if !is_level && !part.contains('=') {
                return Err(format!(
                    "{part:?} is not a level; the levels are {}, and a target needs one, as in kafka_io=debug",
                    LEVELS.join(", ")
                ));
            }
        }
        EnvFilter::try_new(&text).map_err(|error| format!("{text:?}: {error}"))?;
        Ok(Self(text))
    }
}

impl From<LogFilter> for String {
    fn from(filter: LogFilter) -> Self {
        filter.0
    }
}

impl fmt::Display for LogFilter {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

/// The form of a log line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// For people if standard error is a terminal, else JSON.
    #[default]
    Auto,
    /// One JSON object per line.
    Json,
    /// For people.
    Pretty,
}

/// Begins to log. A second call changes nothing.
pub(crate) fn start(log: &RawLog) {
    let filter = EnvFilter::new(&log.filter.0);
    let terminal = stderr().is_terminal();
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(stderr)
        .with_ansi(terminal);
    let json = match log.format {
        LogFormat::Auto => !terminal,
        LogFormat::Json => true,
        LogFormat::Pretty => false,
    };
    // It fails only if a subscriber is set already, and that one then serves.
    drop(if json {
        builder.json().flatten_event(true).try_init()
    } else {
        builder.try_init()
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_filter_that_would_silence_everything_is_refused() {
        for valid in ["info", "WARN", "off", "info,librdkafka=debug", "inference[record]=trace, error"] {
            LogFilter::try_from(valid.to_owned()).unwrap();
        }
        for invalid in ["warning", "", "info,kafka_io", "kafka_io=loud"] {
            LogFilter::try_from(invalid.to_owned()).unwrap_err();
        }
    }
}
