//! The frame that every program of the workspace stands in.
//!
//! A program says what its configuration is and what it does ([`Program`]); [`start`] does the rest: arguments
//! ([`cli`]), configuration ([`config`]), logs ([`logs`]), the admin port ([`admin`]) with readiness and liveness
//! ([`health`]), metrics ([`registrar`]), stopping on signals ([`stopping`]) and exit codes. It knows nothing of Kafka or of models.

mod admin;
mod cli;
pub mod config;
mod health;
mod logs;
mod program;
mod registrar;
mod secret;
mod stopping;

pub use cli::NoVerbs;
pub use config::Problems;
pub use health::{Condition, Heartbeat, Readiness};
pub use logs::{LogFilter, LogFormat, RawLog};
pub use program::{Frame, FrameSettings, Peer, Program, RawAdmin, RunMode, Settings, start, wait_for};
pub use registrar::Registrar;
pub use secret::Secret;
