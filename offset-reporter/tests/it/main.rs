//! The reporter as its operator sees it: against fakes at its seams with a paused clock, and as a process.

#![expect(clippy::unwrap_used, reason = "a test that cannot set itself up has failed")]

mod fake_s3;
mod fakes;
mod faults;
mod first_batch;
mod following;
mod log_ends;
mod loops;
mod process;
mod pruning;
mod refusals;
mod rewinds;
mod storage;
