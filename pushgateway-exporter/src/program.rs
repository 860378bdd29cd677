//! Owns the wiring: which real parts the exporter is made of.

mod connect;
mod start;
mod sweep;

use sidecar::{Frame, FrameSettings, Peer, Program, RunMode, Settings};

use self::sweep::Sweep;
use crate::config::{Config, Raw};

/// The program `pushgateway-exporter`.
#[derive(Debug)]
pub struct PushgatewayExporter;

/// Its own verbs.
#[derive(Debug, clap::Subcommand)]
pub enum Verb {
    /// Delete groups that exporters have left behind on the Pushgateway; without --delete, only list them
    Sweep(Sweep),
}

impl Program for PushgatewayExporter {
    const NAME: &'static str = "pushgateway-exporter";
    const VERSION: &'static str = env!("CARGO_PKG_VERSION");
    const ABOUT: &'static str =
        "Prometheus metrics out of clusters that cannot be scraped, pushed to a Pushgateway";
    const CAN_DRY_RUN: bool = true;
    type Raw = Raw;
    type Config = Config;
    type Verb = Verb;

    fn frame(config: &Config) -> FrameSettings {
        FrameSettings::new(&config.raw.admin, &config.raw.log)
    }

    async fn run(config: Config, frame: Frame, mode: RunMode) -> anyhow::Result<()> {
        start::run(config, frame, mode).await
    }

    async fn connect(config: Config) -> Vec<Peer> {
        connect::peers(&config).await
    }

    fn verb(verb: Verb, settings: &Settings<Self>) -> anyhow::Result<()> {
        let Verb::Sweep(sweep) = verb;
        let config = settings.checked()?;
        sidecar::wait_for(sweep.run(&config, settings.mode.dry_run))
    }
}
