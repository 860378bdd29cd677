//! The worker as its users see it: its loop between fakes, its model, and the program as a process.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test that cannot set itself up has failed"
)]

mod entities;
mod fakes;
mod hostile;
mod members;
mod once;
mod predict;
mod process;
mod resets;
mod run;
