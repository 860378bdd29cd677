//! Owns the command line that all programs share.

use std::path::PathBuf;

use clap::{Parser, Subcommand};

/// The arguments of a program whose own verbs are `V`.
#[derive(Debug, Parser)]
pub(crate) struct Arguments<V: Subcommand> {
    #[command(subcommand)]
    pub(crate) verb: Option<Verb<V>>,
    /// The configuration file, in TOML
    #[arg(short, long, global = true, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// Process what is there, then stop
    #[arg(long, global = true)]
    pub(crate) once: bool,
    /// Say what would be written, and write nothing
    #[arg(long, global = true)]
    pub(crate) dry_run: bool,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub(crate) enum Verb<V: Subcommand> {
    /// Run until a signal comes (the default)
    Run,
    /// Check the configuration
    Check {
        /// Also try each peer that the configuration names
        #[arg(long)]
        connect: bool,
    },
    /// Print the effective configuration, secrets redacted
    Config,
    /// Print a completion script for a shell
    Completions {
        /// The shell
        shell: clap_complete::Shell,
    },
    /// A verb of the program's own
    #[command(flatten)]
    Own(V),
}

/// For a program without verbs of its own.
#[derive(Debug, Subcommand)]
pub enum NoVerbs {}
