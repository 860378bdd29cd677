//! The program `pushgateway-exporter`.

use std::process::ExitCode;

fn main() -> ExitCode {
    sidecar::start::<pushgateway_exporter::PushgatewayExporter>()
}
