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

    /// What is not named in a filter is silent, so a level for all targets must stand in it, once.
    fn try_from(text: String) -> Result<Self, String> {
        let is_level = |part: &&str| LEVELS.contains(&part.to_lowercase().as_str());
        let (levels, targets): (Vec<&str>, Vec<&str>) = text.split(',').map(str::trim).partition(is_level);
        if let Some(part) = targets.iter().find(|part| !part.contains('=')) {
            return Err(format!(
                "{part:?} is not a level; the levels are {}, and a target needs one, as in info,kafka_io=debug",
                LEVELS.join(", ")
            ));
        }
        if levels.len() != 1 {
            return Err(format!(
                "{text:?} must have one level for all targets, and may have more for some, as in info,kafka_io=debug"
            ));
        }
        if let Some(part) = targets
            .iter()
            .find(|part| part.split('=').next().is_some_and(|name| name.contains('-')))
        {
            return Err(format!(
                "{part:?}: the names of targets have _ where those of programs have -"
            ));
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
        for valid in [
            "info",
            "WARN",
            "off",
            "info,librdkafka=debug",
            "inference[record]=trace, error",
        ] {
            LogFilter::try_from(valid.to_owned()).unwrap();
        }
        for invalid in [
            "warning",
            "",
            "info,kafka_io",
            "info,kafka_io=loud",
            "kafka_io=debug",
            "info,debug",
            "info,offset-reporter=debug",
        ] {
            LogFilter::try_from(invalid.to_owned()).unwrap_err();
        }
    }
}
