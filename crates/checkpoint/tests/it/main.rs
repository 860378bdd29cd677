//! What a writer promises: however and wherever it ends, what stands as done is done, and of two writers one wins.

#![expect(clippy::unwrap_used, reason = "a test that cannot set itself up has failed")]

mod committing;
mod fakes;
mod faults;
mod purging;
mod s3;
mod taking_over;
