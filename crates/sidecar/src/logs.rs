//! Owns how a program logs: to standard error, for people on a terminal and as JSON elsewhere.

use std::io::{IsTerminal, stderr};

use serde::{Deserialize, Serialize};
use tracing_subscriber::EnvFilter;

/// `[log]` of every program's configuration.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct RawLog {
    /// What is logged: `error`, `warn`, `info`, `debug`, `trace`, or `target=level` pairs, with commas between.
    pub filter: String,
    /// How.
    pub format: LogFormat,
}

impl Default for RawLog {
    fn default() -> Self {
        Self {
            filter: "info".to_owned(),
            format: LogFormat::Auto,
        }
    }
}

/// The form of a log line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// For people if standard error is a terminal, else JSON.
    Auto,
    /// One JSON object per line.
    Json,
    /// For people.
    Pretty,
}

/// Begins to log. A second call changes nothing.
pub(crate) fn start(log: &RawLog) -> anyhow::Result<()> {
    let filter = EnvFilter::try_new(&log.filter).map_err(|error| anyhow::anyhow!("log.filter: {error}"))?;
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
    // It fails only where a subscriber is set already, and that one then serves.
    drop(if json {
        builder.json().flatten_event(true).try_init()
    } else {
        builder.try_init()
    });
    Ok(())
}
