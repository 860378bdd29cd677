//! Owns the shape of every program, and the way from `main` to its loop and back to an exit code.

use std::future::Future;
use std::io::Write;
use std::net::SocketAddr;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context;
use clap::{CommandFactory, FromArgMatches, Subcommand};
use prometheus::{IntGauge, Opts, Registry};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use tokio_util::sync::CancellationToken;

use crate::admin::{AdminPort, Told};
use crate::cli::{Arguments, Verb};
use crate::config::{self, ConfigError, Problems};
use crate::health::{Heartbeat, Readiness};
use crate::logs::{self, RawLog};
use crate::stopping::{Signals, until_stopped};

/// The exit code for a wrong command line or configuration (`EX_USAGE` of sysexits.h).
const USAGE: u8 = 64;
/// How long threads that still run may hold up the exit.
const EXIT_PATIENCE: Duration = Duration::from_secs(1);

/// A program of the workspace.
pub trait Program: Sized + Send + 'static {
    /// Its name: of the binary, and in upper case the prefix of its environment variables.
    const NAME: &'static str;
    /// Its version.
    const VERSION: &'static str;
    /// What it does, in a sentence.
    const ABOUT: &'static str;
    /// What its configuration file may say. Must deny unknown fields.
    type Raw: DeserializeOwned + Serialize + Clone;
    /// Its checked configuration.
    type Config: TryFrom<Self::Raw, Error = Problems> + Send;
    /// Its own verbs.
    type Verb: Subcommand;

    /// What the frame has to know of a configuration.
    fn frame(config: &Self::Config) -> FrameSettings;
    /// The program's work: ends by itself, or when [`Frame::stop`] is cancelled.
    fn run(
        config: Self::Config,
        frame: Frame,
        mode: RunMode,
    ) -> impl Future<Output = anyhow::Result<()>> + Send;
    /// Tries each peer that the configuration names.
    fn connect(config: Self::Config) -> impl Future<Output = Vec<Peer>> + Send;
    /// Does what a verb of its own asks; needs no configuration.
    ///
    /// # Errors
    /// Where it could not be done.
    fn verb(verb: Self::Verb) -> anyhow::Result<()>;
}

/// How to run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RunMode {
    /// Process what is there, then stop.
    pub once: bool,
}

/// What the frame gives to a running program.
#[derive(Clone)]
pub struct Frame {
    /// Cancelled when the program shall end.
    pub stop: CancellationToken,
    /// Where it says whether it is ready.
    pub readiness: Readiness,
    /// Where its loop shows that it advances.
    pub heartbeat: Heartbeat,
    /// Where its metrics go.
    pub registry: Registry,
}

/// `[admin]` of every program's configuration.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct RawAdmin {
    /// Where health and metrics are served.
    pub address: SocketAddr,
    /// How long the work may go on after a signal.
    #[serde(with = "humantime_serde")]
    pub grace_period: Duration,
}

impl Default for RawAdmin {
    fn default() -> Self {
        Self {
            address: SocketAddr::from(([127, 0, 0, 1], 9464)),
            grace_period: Duration::from_secs(30),
        }
    }
}

/// What the frame has to know of a configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FrameSettings {
    /// The admin port, and the grace period.
    pub admin: RawAdmin,
    /// The logs.
    pub log: RawLog,
}

/// A peer that was tried, and how it went.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Peer {
    /// What was tried, by the key that names it.
    pub name: String,
    /// What was found, or what is wrong.
    pub result: Result<String, String>,
}

/// Why a program ends without having done its work.
enum Failure {
    Usage(clap::Error),
    Config(ConfigError),
    Work(anyhow::Error),
}

/// Runs a program: `fn main() -> ExitCode { sidecar::start::<Inference>() }`.
pub fn start<P: Program>() -> ExitCode {
    let (code, message) = match run::<P>() {
        Ok(()) => return ExitCode::SUCCESS,
        Err(Failure::Usage(error)) if !error.use_stderr() => {
            return if error.print().is_ok() {
                ExitCode::SUCCESS
            } else {
                ExitCode::FAILURE
            };
        }
        Err(Failure::Usage(error)) => (USAGE, error.render().to_string()),
        Err(Failure::Config(error)) => (USAGE, format!("{:#}\n", anyhow::Error::from(error))),
        Err(Failure::Work(error)) => (1, format!("{error:#}\n")),
    };
    // Nobody is left to tell if standard error is closed.
    drop(std::io::stderr().write_all(format!("{}: {message}", P::NAME).as_bytes()));
    ExitCode::from(code)
}

fn run<P: Program>() -> Result<(), Failure> {
    let command = Arguments::<P::Verb>::command()
        .name(P::NAME)
        .version(P::VERSION)
        .about(P::ABOUT);
    let matches = command.clone().try_get_matches().map_err(Failure::Usage)?;
    let arguments = Arguments::<P::Verb>::from_arg_matches(&matches).map_err(Failure::Usage)?;
    let raw = || -> Result<P::Raw, Failure> {
        let prefix = format!("{}_", P::NAME.to_uppercase().replace('-', "_"));
        config::load(arguments.config.as_deref(), &prefix, std::env::vars()).map_err(Failure::Config)
    };
    let checked = || P::Config::try_from(raw()?).map_err(|problems| Failure::Config(problems.into()));
    match arguments.verb {
        None => work::<P>(checked()?, RunMode { once: arguments.once }),
        Some(Verb::Run { once }) => work::<P>(
            checked()?,
            RunMode {
                once: once || arguments.once,
            },
        ),
        Some(Verb::Check { connect: false }) => {
            checked()?;
            print("the configuration is valid\n")
        }
        Some(Verb::Check { connect: true }) => try_peers::<P>(checked()?),
        Some(Verb::Config) => {
            checked()?;
            print(&toml::to_string_pretty(&raw()?).map_err(|error| Failure::Work(error.into()))?)
        }
        Some(Verb::Completions { shell }) => {
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut command.clone(), P::NAME, &mut script);
            print(&String::from_utf8_lossy(&script))
        }
        Some(Verb::Own(verb)) => P::verb(verb).map_err(Failure::Work),
    }
}

fn print(text: &str) -> Result<(), Failure> {
    let written = std::io::stdout().write_all(text.as_bytes());
    written
        .context("cannot write to standard output")
        .map_err(Failure::Work)
}

fn work<P: Program>(config: P::Config, mode: RunMode) -> Result<(), Failure> {
    block_on(&P::frame(&config), serve::<P>(config, mode))
}

fn block_on<T>(
    settings: &FrameSettings,
    future: impl Future<Output = anyhow::Result<T>>,
) -> Result<T, Failure> {
    logs::start(&settings.log).map_err(Failure::Work)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    let runtime = runtime
        .context("cannot start the runtime")
        .map_err(Failure::Work)?;
    let result = runtime.block_on(future);
    runtime.shutdown_timeout(EXIT_PATIENCE);
    result.map_err(Failure::Work)
}

async fn serve<P: Program>(config: P::Config, mode: RunMode) -> anyhow::Result<()> {
    let settings = P::frame(&config);
    let signals = Signals::listen()?;
    let frame = Frame {
        stop: CancellationToken::new(),
        readiness: Readiness::default(),
        heartbeat: Heartbeat::default(),
        registry: registry::<P>()?,
    };
    let told = Told {
        readiness: frame.readiness.clone(),
        heartbeat: frame.heartbeat.clone(),
        registry: frame.registry.clone(),
        version: P::VERSION,
    };
    let admin = AdminPort::bind(settings.admin.address).await?.serve(told);
    let stop = frame.stop.clone();
    let work = until_stopped(
        P::run(config, frame, mode),
        stop,
        signals,
        settings.admin.grace_period,
    );
    // The admin port answers until the work is done and is then dropped: a slow scrape does not hold up the exit.
    tokio::select! {
        result = work => result,
        result = admin => result,
    }
}

fn registry<P: Program>() -> anyhow::Result<Registry> {
    let registry = Registry::new();
    let name = format!("{}_build_info", P::NAME.replace('-', "_"));
    let version =
        IntGauge::with_opts(Opts::new(name, "The running version").const_label("version", P::VERSION))?;
    version.set(1);
    registry.register(Box::new(version))?;
    #[cfg(target_os = "linux")]
    registry.register(Box::new(
        prometheus::process_collector::ProcessCollector::for_self(),
    ))?;
    Ok(registry)
}

fn try_peers<P: Program>(config: P::Config) -> Result<(), Failure> {
    let settings = P::frame(&config);
    let peers = block_on(&settings, async { Ok(P::connect(config).await) })?;
    let mut failed = 0;
    for Peer { name, result } in &peers {
        failed += usize::from(result.is_err());
        let line = match result {
            Ok(found) => format!("ok      {name}: {found}\n"),
            Err(wrong) => format!("failed  {name}: {wrong}\n"),
        };
        print(&line)?;
    }
    if failed > 0 {
        return Err(Failure::Work(anyhow::anyhow!(
            "{failed} of {} checks failed",
            peers.len()
        )));
    }
    Ok(())
}
