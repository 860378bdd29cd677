//! The reporter as its operator sees it: against fakes at its seams with a paused clock, and as a process.

#![expect(clippy::unwrap_used, reason = "a test that cannot set itself up has failed")]

mod fakes;
mod following;
mod process;
mod refusals;
mod rewinds;
mod storage;
