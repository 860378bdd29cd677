//! The exporter as its operators see it: its loop between fakes, its ends against local servers, and the program as a
//! process.

#![expect(clippy::unwrap_used, reason = "a test that cannot set itself up has failed")]

mod ending;
mod fakes;
mod gateway;
mod losing;
mod process;
mod receiver;
mod refusals;
mod run;
mod scraping;
mod server;
mod sweeping;
