//! Owns the checked configuration: what [`raw`] says, with everything that is wrong with it found at once.

mod raw;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use checkpoint::Location;
use kafka_admin::Connection;
use sidecar::Problems;

pub use raw::{Mode, Raw, RawReport, RawStream};

use crate::plan::RewindPolicy;
use crate::selection::Selection;

/// The name of the cluster that `[kafka]` describes.
pub const DEFAULT_CLUSTER: &str = "kafka";
/// Kafka forgets what was not committed for a week, if nobody said otherwise; a third of that leaves room for two
/// failures.
const LONGEST_KEEPALIVE: Duration = Duration::from_hours(7 * 24 / 3);

/// The checked configuration.
#[derive(Debug, Clone)]
pub struct Config {
    /// What it was made of.
    pub raw: Raw,
    /// The clusters that streams use, by name.
    pub clusters: BTreeMap<String, Connection>,
    /// The streams.
    pub streams: Vec<StreamSettings>,
}

/// A stream, checked.
#[derive(Debug, Clone)]
pub struct StreamSettings {
    /// Its name.
    pub name: String,
    /// Where its checkpoint is.
    pub checkpoint: Location,
    /// Its cluster's name.
    pub cluster: String,
    /// Whether it is committed.
    pub mode: Mode,
    /// What of it is reported.
    pub selection: Selection,
    /// Which steps back are reported.
    pub rewind: RewindPolicy,
    /// Whether the positions at which it began are reported before its first batch.
    pub report_initial: bool,
    /// Whether the group forgets stale partitions.
    pub prune: bool,
}

impl TryFrom<Raw> for Config {
    type Error = Problems;

    fn try_from(raw: Raw) -> Result<Self, Problems> {
        let mut problems = Problems::new();
        check_report(&raw.report, &mut problems);
        check_names(&raw, &mut problems);
        let streams: Vec<_> = raw.streams.iter().map(settings).collect();
        let clusters = clusters(&raw, &streams, &mut problems);
        problems.into_result(Self {
            raw,
            clusters,
            streams,
        })
    }
}

fn settings(raw: &RawStream) -> StreamSettings {
    StreamSettings {
        name: raw.name.clone(),
        checkpoint: raw.checkpoint.clone(),
        cluster: raw.cluster.clone().unwrap_or_else(|| DEFAULT_CLUSTER.to_owned()),
        mode: raw.mode,
        selection: Selection {
            group: raw.group.clone().unwrap_or_else(|| raw.name.clone()),
            source: raw.source.clone(),
            sources_as: raw.sources_as,
            topics: raw.topics.clone(),
            except_topics: raw.except_topics.clone(),
        },
        rewind: raw.rewind,
        report_initial: raw.report_initial,
        prune: raw.prune,
    }
}

fn check_report(report: &RawReport, problems: &mut Problems) {
    let RawReport {
        poll_interval,
        list_interval,
        keepalive_interval,
        ..
    } = report;
    if poll_interval.is_zero() {
        problems.add("report.poll_interval", "must be longer than nothing");
    }
    if report
        .idle_poll_interval
        .is_some_and(|idle| idle < *poll_interval)
    {
        problems.add(
            "report.idle_poll_interval",
            format!("must be at least report.poll_interval, {poll_interval:?}"),
        );
    }
    if report.idle_poll_interval() > *keepalive_interval {
        problems.add(
            "report.idle_poll_interval",
            format!("must be at most report.keepalive_interval, {keepalive_interval:?}"),
        );
    }
    if list_interval < poll_interval {
        problems.add(
            "report.list_interval",
            format!("must be at least report.poll_interval, {poll_interval:?}"),
        );
    }
    if keepalive_interval < poll_interval {
        problems.add(
            "report.keepalive_interval",
            format!("must be at least report.poll_interval, {poll_interval:?}"),
        );
    }
    if *keepalive_interval > LONGEST_KEEPALIVE {
        problems.add(
            "report.keepalive_interval",
            format!(
                "must be at most {} h: Kafka forgets offsets after a week (offsets.retention.minutes)",
                LONGEST_KEEPALIVE.as_secs() / 3600
            ),
        );
    }
}

fn check_names(raw: &Raw, problems: &mut Problems) {
    if raw.streams.is_empty() {
        problems.add(
            "streams",
            "names no checkpoint; add [[streams]] with name and checkpoint",
        );
    }
    let mut names = BTreeSet::new();
    let mut committed: Vec<StreamSettings> = Vec::new();
    for (place, stream) in raw.streams.iter().enumerate() {
        if stream.name.trim().is_empty() {
            problems.add(format!("streams[{place}].name"), "is empty");
        }
        if !names.insert(&stream.name) {
            problems.add(
                format!("streams[{place}].name"),
                format!("{} is another stream's name already", stream.name),
            );
        }
        let settings = settings(stream);
        if settings.selection.group.trim().is_empty() {
            problems.add(format!("streams[{place}].group"), "is empty");
        }
        if settings.mode == Mode::Observe {
            continue;
        }
        let shares = |other: &&StreamSettings| {
            other.cluster == settings.cluster && other.selection.shares_group(&settings.selection)
        };
        if let Some(StreamSettings { name, .. }) = committed.iter().find(shares) {
            problems.add(
                format!("streams[{place}].group"),
                format!("is the group of {name} too; each stream needs a group of its own"),
            );
        }
        committed.push(settings);
    }
}

/// The clusters that streams use.
fn clusters(raw: &Raw, streams: &[StreamSettings], problems: &mut Problems) -> BTreeMap<String, Connection> {
    let mut clusters = BTreeMap::new();
    for (place, stream) in streams.iter().enumerate() {
        if clusters.contains_key(&stream.cluster) {
            continue;
        }
        let named = match stream.cluster.as_str() {
            DEFAULT_CLUSTER => Some(&raw.kafka),
            name => raw.clusters.get(name),
        };
        let Some(kafka) = named else {
            problems.add(
                format!("streams[{place}].cluster"),
                format!("there is no [clusters.{}]", stream.cluster),
            );
            continue;
        };
        if let Some(connection) = Connection::check(kafka.clone(), problems) {
            clusters.insert(stream.cluster.clone(), connection);
        }
    }
    clusters
}

#[cfg(test)]
mod tests {
    use super::*;

    fn checked(text: &str) -> Result<Config, String> {
        let raw: Raw = toml::from_str(text).unwrap();
        Config::try_from(raw).map_err(|problems| problems.to_string())
    }

    #[test]
    fn a_name_and_a_place_are_enough() {
        let config = checked("[[streams]]\nname = \"ner\"\ncheckpoint = \"s3://b/c\"").unwrap();
        assert_eq!(config.streams[0].selection.group, "ner");
        assert_eq!(config.clusters.keys().collect::<Vec<_>>(), [DEFAULT_CLUSTER]);
    }

    #[test]
    fn all_problems_are_told_at_once() {
        let wrong = checked(
            r#"
            report.poll_interval = "2m"
            report.keepalive_interval = "30days"
            [[streams]]
            name = "a"
            checkpoint = "/c"
            group = "g"
            [[streams]]
            name = "a"
            checkpoint = "/d"
            group = "g"
            cluster = "other"
            [[streams]]
            name = "b"
            checkpoint = "/d"
            group = "g"
            "#,
        )
        .unwrap_err();
        assert_eq!(
            wrong,
            "report.list_interval: must be at least report.poll_interval, 120s\n\
             report.keepalive_interval: must be at most 56 h: Kafka forgets offsets after a week (offsets.retention.minutes)\n\
             streams[1].name: a is another stream's name already\n\
             streams[2].group: is the group of a too; each stream needs a group of its own\n\
             streams[1].cluster: there is no [clusters.other]"
        );
        assert!(checked("").unwrap_err().contains("[[streams]]"));
    }

    #[test]
    fn a_group_of_one_source_is_not_the_group_of_another_stream() {
        let two = |each: &str, other: &str| {
            checked(&format!(
                "[[streams]]\nname = \"a\"\ncheckpoint = \"/c\"\ngroup = \"g\"\nsources_as = \"group_each\"\n{each}\n\
                 [[streams]]\nname = \"b\"\ncheckpoint = \"/d\"\n{other}"
            ))
        };
        let problem = "streams[1].group: is the group of a too; each stream needs a group of its own";
        for shared in ["group = \"g.0\"", "group = \"g.clicks\""] {
            assert_eq!(two("", shared).unwrap_err(), problem);
        }
        assert_eq!(two("source = \"0\"", "group = \"g.0\"").unwrap_err(), problem);
        for apart in [
            "group = \"g.a.b\"",
            "group = \"g2.0\"",
            "group = \"g.0\"\nmode = \"observe\"",
            "group = \"g.0\"\ncluster = \"other\"\n[clusters.other]",
        ] {
            assert!(two("", apart).is_ok(), "{apart}");
        }
        assert!(two("source = \"1\"", "group = \"g.0\"").is_ok());
    }

    #[test]
    fn the_file_beside_the_program_shows_every_default() {
        let mut shown: Raw = toml::from_str(include_str!("../offset-reporter.toml")).unwrap();
        assert_eq!(shown.streams.len(), 1, "it shows a stream");
        let minimal: Raw =
            toml::from_str("[[streams]]\nname = \"ner\"\ncheckpoint = \"/checkpoints/ner\"").unwrap();
        shown.streams[0].group = None;
        assert_eq!(shown, minimal);
    }
}
