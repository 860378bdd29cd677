//! The program `offset-reporter`.

use std::process::ExitCode;

fn main() -> ExitCode {
    sidecar::start::<offset_reporter::OffsetReporter>()
}
