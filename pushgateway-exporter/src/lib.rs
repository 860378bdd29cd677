//! Prometheus text to a Pushgateway: metrics out of clusters that cannot be scraped.
//!
//! ```text
//! scrape ─▶ exposition ─▶ shape ─▶ status ─▶ report ─▶ push
//! page      samples       names    per       per       gateway, remote write,
//!                                  target    target    or a port to pull from
//! ```
//!
//! The page of each [`target`] is fetched ([`scrape`]), read ([`exposition`]), and given names that stay ([`shape`]).
//! What is known of a target ([`status`]) and [`report`]ed about it is a [`document`] that a sink sends ([`push`]: to the
//! target's group of a Pushgateway that [`grouping`] names, by [`remote_write`], or to a port). [`exporter`] is the loop that
//! joins them, at its [`pace`]. The law: one bad sample or target never blanks the others; nothing is invented.

pub mod client;
pub mod clock;
pub mod config;
pub mod document;
pub mod exporter;
pub mod exposition;
pub mod grouping;
pub mod metrics;
pub mod pace;
mod program;
pub mod push;
pub mod remote_write;
pub mod report;
pub mod scrape;
pub mod shape;
pub mod status;
pub mod target;

pub use program::PushgatewayExporter;
