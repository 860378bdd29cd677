//! Owns what the exporter says of its targets in every push, and which of their samples go along.
//!
//! The names are part of what is pushed: `spark_exporter_…`. A metric called `up` is never pushed: it is Prometheus' own.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::time::Duration;

use crate::document::Document;
use crate::exposition::{Labels, Sample, Type};
use crate::status::Status;

/// The metric whose label `run` says who pushed last.
pub const RUN_INFO: &str = "spark_exporter_run_info";
/// The label of it.
pub const RUN: &str = "run";
/// Why a sample is dropped whose series another target has.
const COLLISION: &str = "collision";

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

/// What is known in a cycle.
#[derive(Debug, Clone, Copy)]
pub struct Report<'a> {
    /// What does not change.
    pub run: &'a Run,
    /// What is known of each target.
    pub statuses: &'a [Status],
}

impl<'a> Report<'a> {
    /// The push that leaves out the samples of `refused` targets and says so.
    pub fn document(&self, refused: &BTreeSet<usize>) -> Document<'a> {
        let statuses = self.statuses.iter().enumerate();
        let passes = statuses.filter(|(target, _)| !refused.contains(target));
        self.with_types(Document {
            about: self.about(refused, false),
            parts: passes.map(|(_, status)| status.part()).collect(),
            ..Document::default()
        })
    }

    /// The last push of a run: all targets are down, and nothing else stays.
    pub fn ending(&self) -> Document<'a> {
        self.with_types(Document {
            about: self.about(&BTreeSet::new(), true),
            ..Document::default()
        })
    }

    fn with_types(&self, mut document: Document<'a>) -> Document<'a> {
        if self.run.typed {
            document.about_types = document.about.iter().map(type_of).collect();
        }
        document
    }

    fn about(&self, refused: &BTreeSet<usize>, ends: bool) -> Vec<Sample> {
        let mut run_info: Labels = self.run.info.iter().collect();
        run_info.insert(RUN, &self.run.id);
        let version = [("version", env!("CARGO_PKG_VERSION"))];
        let mut samples = vec![
            Sample::new("spark_exporter_build_info", version, 1.0),
            Sample::new(RUN_INFO, run_info, 1.0),
            Sample::new(
                "spark_exporter_interval_seconds",
                Labels::new(),
                self.run.interval.as_secs_f64(),
            ),
        ];
        for (target, status) in self.statuses.iter().enumerate() {
            about_target(&mut samples, status, refused.contains(&target), ends);
        }
        samples
    }
}

fn about_target(samples: &mut Vec<Sample>, status: &Status, is_refused: bool, ends: bool) {
    let named = |metric: &str, more: Option<(&str, &str)>, value: f64| {
        let labels = std::iter::once(("target", status.name.as_str())).chain(more);
        Sample::new(
            format!("spark_exporter_target_{metric}"),
            labels.collect::<Labels>(),
            value,
        )
    };
    let is_up = status.is_up && !ends;
    let count = if is_refused || ends {
        0
    } else {
        status.part().samples.len()
    };
    samples.push(named("up", None, f64::from(u8::from(is_up))));
    samples.push(named("refused", None, f64::from(u8::from(is_refused))));
    samples.push(named("samples", None, float(count)));
    samples.push(named("scrape_duration_seconds", None, status.took.as_secs_f64()));
    samples.push(named("repaired_total", None, float(status.repaired)));
    for (&reason, &dropped) in &status.dropped {
        samples.push(named("dropped_total", Some(("reason", reason)), float(dropped)));
    }
    if let Some(last_success) = status.last_success {
        samples.push(named("last_success_timestamp_seconds", None, last_success));
    }
    if !ends {
        let mut info = named("info", Some(("role", status.role)), 1.0);
        for (name, value) in &status.ids {
            info.labels.insert(name, value);
        }
        samples.push(info);
    }
}

fn type_of(sample: &Sample) -> (String, Type) {
    let is_counter = sample.name.ends_with("_total");
    (
        sample.name.clone(),
        if is_counter { Type::Counter } else { Type::Gauge },
    )
}

#[expect(clippy::cast_precision_loss, reason = "a count of samples is far below 2^52")]
fn float(count: usize) -> f64 {
    count as f64
}

/// Removes samples whose series an earlier target has, or the exporter itself: a gateway refuses a push that has a
/// series twice. They are counted with their target.
pub fn remove_collisions(run: &Run, statuses: &mut [Status]) {
    let mut collisions: Vec<HashSet<(String, Labels)>> = Vec::new();
    {
        let about = Report { run, statuses }.about(&BTreeSet::new(), false);
        let mut seen: HashSet<(&str, &Labels)> = about.iter().map(Sample::series).collect();
        for status in statuses.iter() {
            let samples = status.part().samples.iter();
            let twice = samples.filter(|sample| !seen.insert(sample.series()));
            collisions.push(
                twice
                    .map(|sample| (sample.name.clone(), sample.labels.clone()))
                    .collect(),
            );
        }
    }
    for (status, twice) in statuses.iter_mut().zip(collisions) {
        if !twice.is_empty() {
            status.count_dropped(COLLISION, twice.len());
            status.remove(|sample| twice.contains(&(sample.name.clone(), sample.labels.clone())));
        }
    }
}
