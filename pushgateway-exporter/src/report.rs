//! Owns what the exporter says of a target in every push, and whether the target's samples go along.
//!
//! The names are part of what is pushed: `spark_exporter_…`. A metric called `up` is never pushed: it is Prometheus' own.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::document::{Document, Types};
use crate::exposition::{Labels, Sample, Type};
use crate::shape::OWN_PREFIX;
use crate::status::Status;

/// The metric whose label `run` says which run pushed last.
pub const RUN_INFO: &str = "spark_exporter_run_info";
/// The label of it.
pub const RUN: &str = "run";

static NO_TYPES: Types = Types::new();

/// What does not change while the exporter runs.
#[derive(Debug, Clone)]
pub struct Run {
    /// A number that no other run has.
    pub id: String,
    /// The labels of the info metric.
    pub info: BTreeMap<String, String>,
    /// How often is pushed.
    pub interval: Duration,
    /// Whether metrics have types.
    pub typed: bool,
}

/// How far a target's samples may be pushed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Accepted,
    /// The sink refuses them.
    Refused,
    /// The run ends.
    Ended,
}

impl Run {
    /// The labels of the info metric, its run among them.
    pub fn labels(&self) -> Labels {
        let mut labels: Labels = self.info.iter().collect();
        labels.insert(RUN, &self.id);
        labels
    }

    /// A push of all that is known of a target.
    pub fn document<'a>(&self, status: &'a Status) -> Document<'a> {
        Document {
            samples: status.samples(),
            types: status.types(),
            ..self.about(status, State::Accepted)
        }
    }

    /// A push without the target's samples, because the sink refuses them.
    pub fn refused<'a>(&self, status: &Status) -> Document<'a> {
        self.about(status, State::Refused)
    }

    /// The last push of the run: the target is down, and nothing else stays.
    pub fn ending<'a>(&self, status: &Status) -> Document<'a> {
        self.about(status, State::Ended)
    }

    fn about<'a>(&self, status: &Status, state: State) -> Document<'a> {
        let mut about = vec![
            own("build_info", [("version", env!("CARGO_PKG_VERSION"))], 1.0),
            Sample::new(RUN_INFO, self.labels(), 1.0),
            own("interval_seconds", Labels::new(), self.interval.as_secs_f64()),
        ];
        about_target(&mut about, status, state);
        let types = about.iter().filter(|_| self.typed).map(type_of).collect();
        Document {
            about,
            about_types: types,
            samples: &[],
            types: &NO_TYPES,
        }
    }
}

fn own(metric: &str, labels: impl Into<Labels>, value: f64) -> Sample {
    Sample::new(format!("{OWN_PREFIX}{metric}"), labels, value)
}

fn about_target(about: &mut Vec<Sample>, status: &Status, state: State) {
    let plain = |metric: &str, value: f64| own(&format!("target_{metric}"), Labels::new(), value);
    let flag = |is_set: bool| f64::from(u8::from(is_set));
    let accepted = if state == State::Accepted {
        status.samples().len()
    } else {
        0
    };
    about.extend([
        plain("up", flag(status.is_up && state != State::Ended)),
        plain("refused", flag(state == State::Refused)),
        plain("samples", float(accepted)),
        plain("scrape_duration_seconds", status.took.as_secs_f64()),
        plain("repaired_samples_total", float(status.repaired)),
    ]);
    for (reason, dropped) in status.dropped.iter() {
        let labels = [("reason", reason.as_str())];
        about.push(own("target_dropped_samples_total", labels, float(dropped)));
    }
    if let Some(last_success) = status.last_success {
        about.push(plain("last_success_timestamp_seconds", last_success));
    }
    if state != State::Ended {
        let mut labels = Labels::from([("role", status.role)]);
        for (name, value) in &status.ids {
            labels.insert(name, value);
        }
        about.push(own("target_info", labels, 1.0));
    }
}

fn type_of(sample: &Sample) -> (String, Type) {
    let is_counter = sample.name.ends_with("_total");
    let of = if is_counter { Type::Counter } else { Type::Gauge };
    (sample.name.clone(), of)
}

#[expect(clippy::cast_precision_loss, reason = "a count of samples is far below 2^52")]
fn float(count: usize) -> f64 {
    count as f64
}
