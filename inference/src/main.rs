//! The program `inference`.

use std::process::ExitCode;

fn main() -> ExitCode {
    sidecar::start::<inference::Inference>()
}
