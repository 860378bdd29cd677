//! Owns the shape of every program, and the way from `main` to its loop and back to an exit code.

use std::future::Future;
use std::io::Write;
use std::marker::PhantomData;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context;
use clap::error::ErrorKind;
use clap::{CommandFactory, FromArgMatches, Subcommand};
use prometheus::{IntGauge, Opts, Registry};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use tokio::runtime::{Builder, Handle, Runtime};
use tokio_util::sync::CancellationToken;

use crate::admin::{AdminPort, AdminState};
use crate::cli::{Arguments, Verb};
use crate::config::{self, ConfigError, Problems};
use crate::health::{Heartbeat, Readiness};
use crate::logs::{self, RawLog};
use crate::stopping::{Signals, until_stopped};

/// The exit code for a wrong command line or configuration (`EX_USAGE` of sysexits.h).
const USAGE: u8 = 64;
/// The exit code of work that failed or was abandoned.
const FAILURE: u8 = 1;
/// How long threads that still run may hold up the exit.
const EXIT_TIMEOUT: Duration = Duration::from_secs(1);

/// A program of the workspace.
pub trait Program: Sized + Send + 'static {
    /// Its name: of the binary, and in upper case the prefix of its environment variables.
    const NAME: &'static str;
    /// Its version.
    const VERSION: &'static str;
    /// What it does, in a sentence.
    const ABOUT: &'static str;
    /// Whether it can say what it would write instead of writing it (`--dry-run`).
    const CAN_DRY_RUN: bool = false;
    /// What its configuration file may say. Must deny unknown fields.
    type Raw: DeserializeOwned + Serialize + Clone;
    /// Its checked configuration.
    type Config: TryFrom<Self::Raw, Error = Problems> + Send;
    /// Its own verbs.
    type Verb: Subcommand;

    /// What the frame has to know of a configuration.
    fn frame(config: &Self::Config) -> FrameSettings;
    /// What a person should know of a valid configuration, such as a setting that this program does not use. `check` prints
    /// it, and a start logs it as a warning.
    fn notes(_config: &Self::Config) -> Vec<String> {
        Vec::new()
    }
    /// The program's work: ends by itself, or when [`Frame::stop`] is cancelled.
    fn run(
        config: Self::Config,
        frame: Frame,
        mode: RunMode,
    ) -> impl Future<Output = anyhow::Result<()>> + Send;
    /// Tries each peer that the configuration names.
    fn connect(config: Self::Config) -> impl Future<Output = Vec<Peer>> + Send;
    /// Does what a verb of its own asks. Only one that reads `settings` needs a configuration.
    ///
    /// # Errors
    /// Where it could not be done.
    fn verb(verb: Self::Verb, settings: &Settings<Self>) -> anyhow::Result<()>;
}

/// How to run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RunMode {
    /// Process what is there, then stop.
    pub once: bool,
    /// Say what would be written, and write nothing.
    pub dry_run: bool,
}

/// Where a verb of a program's own finds the configuration.
#[derive(Debug)]
pub struct Settings<P> {
    file: Option<PathBuf>,
    /// What the command line says of the way to run.
    pub mode: RunMode,
    program: PhantomData<P>,
}

impl<P: Program> Settings<P> {
    /// What the file and the environment say, unchecked.
    ///
    /// # Errors
    /// Where they cannot be read.
    pub fn raw(&self) -> Result<P::Raw, ConfigError> {
        let prefix = format!("{}_", P::NAME.to_uppercase().replace('-', "_"));
        config::load(self.file.as_deref(), &prefix, std::env::vars_os())
    }

    /// The checked configuration.
    ///
    /// # Errors
    /// Where it cannot be read, or says something wrong.
    pub fn checked(&self) -> Result<P::Config, ConfigError> {
        Ok(P::Config::try_from(self.raw()?)?)
    }
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

/// `[admin]` of every program's configuration. `PORT` is the program's own, since sidecars of a pod share an address.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct RawAdmin<const PORT: u16> {
    /// Where health and metrics are served.
    #[serde(default = "on_loopback::<PORT>")]
    pub address: SocketAddr,
    /// How long the work may go on after a signal.
    #[serde(with = "humantime_serde", default = "grace_period")]
    pub grace_period: Duration,
}

impl<const PORT: u16> Default for RawAdmin<PORT> {
    fn default() -> Self {
        Self {
            address: on_loopback::<PORT>(),
            grace_period: grace_period(),
        }
    }
}

fn on_loopback<const PORT: u16>() -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], PORT))
}

fn grace_period() -> Duration {
    Duration::from_secs(30)
}

/// What the frame has to know of a configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FrameSettings {
    address: SocketAddr,
    grace_period: Duration,
    log: RawLog,
}

impl FrameSettings {
    /// From the tables of a configuration that are the frame's.
    pub fn new<const PORT: u16>(admin: &RawAdmin<PORT>, log: &RawLog) -> Self {
        Self {
            address: admin.address,
            grace_period: admin.grace_period,
            log: log.clone(),
        }
    }
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

impl From<ConfigError> for Failure {
    fn from(error: ConfigError) -> Self {
        Self::Config(error)
    }
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
        Err(Failure::Work(error)) => (FAILURE, format!("{error:#}\n")),
    };
    print_error::<P>(&message);
    ExitCode::from(code)
}

/// Says on standard error why the program ends.
fn print_error<P: Program>(message: &str) {
    // If standard error is closed, nobody reads it.
    drop(std::io::stderr().write_all(format!("{}: {message}", P::NAME).as_bytes()));
}

fn run<P: Program>() -> Result<(), Failure> {
    let command = Arguments::<P::Verb>::command()
        .name(P::NAME)
        .version(P::VERSION)
        .about(P::ABOUT)
        .mut_arg("dry_run", |argument| argument.hide(!P::CAN_DRY_RUN));
    let matches = command.clone().try_get_matches().map_err(Failure::Usage)?;
    let arguments = Arguments::<P::Verb>::from_arg_matches(&matches).map_err(Failure::Usage)?;
    if arguments.dry_run && !P::CAN_DRY_RUN {
        let what = format!("{} has no --dry-run", P::NAME);
        return Err(Failure::Usage(
            command.clone().error(ErrorKind::UnknownArgument, what),
        ));
    }
    let settings = Settings::<P> {
        file: arguments.config,
        mode: RunMode {
            once: arguments.once,
            dry_run: arguments.dry_run,
        },
        program: PhantomData,
    };
    match arguments.verb {
        None | Some(Verb::Run) => work::<P>(settings.checked()?, settings.mode),
        Some(Verb::Check { connect: false }) => {
            print_notes::<P>(&settings.checked()?)?;
            print("the configuration is valid\n")
        }
        Some(Verb::Check { connect: true }) => try_peers::<P>(settings.checked()?),
        Some(Verb::Config) => {
            settings.checked()?;
            print(&toml::to_string_pretty(&settings.raw()?).map_err(|error| Failure::Work(error.into()))?)
        }
        Some(Verb::Completions { shell }) => {
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut command.clone(), P::NAME, &mut script);
            print(&String::from_utf8_lossy(&script))
        }
        Some(Verb::Own(verb)) => P::verb(verb, &settings).map_err(|error| match error.downcast() {
            Ok(config) => Failure::Config(config),
            Err(error) => Failure::Work(error),
        }),
    }
}

fn print_notes<P: Program>(config: &P::Config) -> Result<(), Failure> {
    let mut notes = P::notes(config).into_iter();
    notes.try_for_each(|note| print(&format!("note    {note}\n")))
}

fn print(text: &str) -> Result<(), Failure> {
    let written = std::io::stdout().write_all(text.as_bytes());
    written
        .context("cannot write to standard output")
        .map_err(Failure::Work)
}

/// Runs the program. The work has threads of its own; signals and the admin port are served on this one, so they answer
/// whatever the work does.
fn work<P: Program>(config: P::Config, mode: RunMode) -> Result<(), Failure> {
    let settings = P::frame(&config);
    logs::start(&settings.log);
    for note in P::notes(&config) {
        tracing::warn!("{note}");
    }
    let workers = runtime(Builder::new_multi_thread()).map_err(Failure::Work)?;
    let served = runtime(Builder::new_current_thread())
        .and_then(|frame| frame.block_on(serve::<P>(config, mode, workers.handle())));
    let Err(error) = served else {
        workers.shutdown_timeout(EXIT_TIMEOUT);
        return Ok(());
    };
    tracing::error!(error = format!("{error:#}"), "the program ends");
    print_error::<P>(&format!("{error:#}\n"));
    // The work, or threads of C libraries, may still run: these libraries' destructors must not run under them.
    signal_hook::low_level::exit(i32::from(FAILURE))
}

fn runtime(mut builder: Builder) -> anyhow::Result<Runtime> {
    builder.enable_all().build().context("cannot start the runtime")
}

/// Runs a future to its end: for a verb that has to wait for others.
///
/// # Errors
/// If it fails, or threads cannot be had.
pub fn wait_for<T>(future: impl Future<Output = anyhow::Result<T>>) -> anyhow::Result<T> {
    let runtime = runtime(Builder::new_multi_thread())?;
    let result = runtime.block_on(future);
    runtime.shutdown_timeout(EXIT_TIMEOUT);
    result
}

/// Serves signals and the admin port until the work, on `workers`, is done.
async fn serve<P: Program>(config: P::Config, mode: RunMode, workers: &Handle) -> anyhow::Result<()> {
    let settings = P::frame(&config);
    let signals = Signals::listen()?;
    let frame = Frame {
        stop: CancellationToken::new(),
        readiness: Readiness::default(),
        heartbeat: Heartbeat::default(),
        registry: registry::<P>()?,
    };
    let state = AdminState {
        readiness: frame.readiness.clone(),
        heartbeat: frame.heartbeat.clone(),
        registry: frame.registry.clone(),
        version: P::VERSION,
    };
    // A run that ends by itself is not watched: cron jobs of one machine need no ports of their own.
    let port = if mode.once {
        None
    } else {
        Some(AdminPort::bind(settings.address).await?)
    };
    let (stop, readiness) = (frame.stop.clone(), frame.readiness.clone());
    let work = workers.spawn(P::run(config, frame, mode));
    let work = async { work.await.context("the program panicked")? };
    let on_signal = || {
        readiness.stop();
        stop.cancel();
    };
    let unmet = || readiness.unmet();
    let work = until_stopped(work, on_signal, signals, (settings.grace_period, unmet));
    // The admin port answers until the work is done and is then dropped: a slow scrape does not hold up the exit.
    match port {
        None => work.await,
        Some(port) => tokio::select! {
            result = work => result,
            result = port.serve(state) => result.and(Err(anyhow::anyhow!("the admin port ended by itself"))),
        },
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
    logs::start(&settings.log);
    print_notes::<P>(&config)?;
    let peers = wait_for(async {
        let port = AdminPort::bind(settings.address).await;
        let port = Peer {
            name: "admin.address".to_owned(),
            result: match port {
                Ok(_) => Ok(format!("{} is free", settings.address)),
                Err(error) => Err(format!("{error:#}; is the program running already?")),
            },
        };
        let mut peers = P::connect(config).await;
        peers.push(port);
        Ok(peers)
    });
    let peers = peers.map_err(Failure::Work)?;
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
