//! Owns the worker's configuration: what is said ([`Raw`]) becomes what is meant, where it holds together.

mod raw;

use std::time::Duration;

use checkpoint::Location;
use kafka_admin::{Connection, Topic};
use kafka_io::Membership;
use sidecar::Problems;

pub use self::raw::{
    OnReset, ProgressKind, Raw, RawDeadLetter, RawEngine, RawInput, RawModel, RawOutput, RawProgress,
};

/// The configuration, checked.
#[derive(Debug, Clone)]
pub struct Config {
    /// How to reach the cluster.
    pub connection: Connection,
    /// The topics.
    pub topics: Topics,
    /// Which partitions are ours.
    pub shard: Shard,
    /// How the group is joined.
    pub membership: Membership,
    /// How often positions are committed.
    pub commit_interval: Duration,
    /// What was said, for what needs no checking.
    pub raw: Raw,
}

/// The topics of a worker.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Topics {
    /// Where messages come from.
    pub input: Topic,
    /// Where results go.
    pub output: Topic,
    /// Where messages go that are none.
    pub dead_letter: Option<Topic>,
}

/// A part of a topic's partitions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shard {
    index: u32,
    count: u32,
}

impl Shard {
    /// Reads `INDEX/COUNT`, counted from 0 like the pods of a stateful set.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn parse(text: &str) -> Result<Self, String> {
        let parts = text
            .split_once('/')
            .and_then(|(index, count)| Some((index.parse().ok()?, count.parse().ok()?)));
        match parts {
            Some((index, count)) if index < count => Ok(Self { index, count }),
            Some((index, count)) => Err(format!(
                "there is no part {index} of {count}; the parts are 0 to COUNT - 1"
            )),
            None => Err(format!("{text:?} is not INDEX/COUNT, such as \"0/2\"")),
        }
    }

    /// Whether a partition belongs to the part.
    pub fn has(self, partition: kafka_admin::Partition) -> bool {
        u32::try_from(partition.0).is_ok_and(|partition| partition % self.count == self.index)
    }
}

impl TryFrom<Raw> for Config {
    type Error = Problems;

    fn try_from(raw: Raw) -> Result<Self, Problems> {
        let mut problems = Problems::new();
        let connection = kafka_io::check(raw.kafka.clone(), &mut problems);
        let topics = check_topics(&raw, &mut problems);
        let shard = Shard::parse(&raw.input.shard).map_err(|what| problems.add("input.shard", what));
        check_progress(&raw.progress, &raw.input, &mut problems);
        check_bounds(&raw, &mut problems);
        let (Some(connection), Ok(shard)) = (connection, shard) else {
            return Err(problems);
        };
        let membership = Membership {
            group: raw.progress.group.clone(),
            instance_id: raw.progress.instance_id.clone(),
            protocol: raw.progress.protocol,
            start: raw.input.start,
            session_timeout: raw.progress.session_timeout,
            max_poll_interval: raw.progress.max_poll_interval,
            drain_timeout: raw.progress.drain_timeout,
        };
        problems.into_result(Self {
            connection,
            topics,
            shard,
            membership,
            commit_interval: commit_interval(&raw.progress),
            raw,
        })
    }
}

/// How often positions are committed if the configuration does not say. On S3 each commit is two requests to pay for.
const COMMIT_INTERVAL: Duration = Duration::from_secs(1);
const COMMIT_INTERVAL_S3: Duration = Duration::from_secs(5);

fn commit_interval(progress: &RawProgress) -> Duration {
    let default = match (progress.kind, &progress.checkpoint) {
        (ProgressKind::Checkpoint, Location::S3 { .. }) => COMMIT_INTERVAL_S3,
        _ => COMMIT_INTERVAL,
    };
    progress.commit_interval.unwrap_or(default)
}

fn check_topics(raw: &Raw, problems: &mut Problems) -> Topics {
    let RawDeadLetter { topic: dead_letter } = &raw.dead_letter;
    let named = [
        ("input.topic", Some(&raw.input.topic)),
        ("output.topic", Some(&raw.output.topic)),
    ];
    for (key, topic) in named
        .into_iter()
        .chain([("dead_letter.topic", dead_letter.as_ref())])
    {
        if topic.is_some_and(|topic| topic.trim().is_empty()) {
            problems.add(key, "is empty");
        }
    }
    if [Some(&raw.output.topic), dead_letter.as_ref()].contains(&Some(&raw.input.topic)) {
        problems.add(
            "input.topic",
            "is written to as well; the worker would answer itself without end",
        );
    }
    Topics {
        input: raw.input.topic.as_str().into(),
        output: raw.output.topic.as_str().into(),
        dead_letter: dead_letter.as_deref().map(Topic::from),
    }
}

fn check_progress(progress: &RawProgress, input: &RawInput, problems: &mut Problems) {
    if progress.kind == ProgressKind::Checkpoint {
        return;
    }
    if progress.group.trim().is_empty() {
        problems.add("progress.group", "is empty");
    }
    if input.shard != "0/1" {
        problems.add(
            "input.shard",
            "has no effect with progress.kind = \"group\": the group shares the partitions",
        );
    }
    if progress.drain_timeout >= progress.max_poll_interval {
        problems.add(
            "progress.drain_timeout",
            "must be shorter than progress.max_poll_interval",
        );
    }
    if progress.session_timeout > progress.max_poll_interval {
        problems.add(
            "progress.session_timeout",
            "must not be longer than progress.max_poll_interval",
        );
    }
}

fn check_bounds(raw: &Raw, problems: &mut Problems) {
    let durations = [
        ("output.delivery_timeout", raw.output.delivery_timeout),
        ("input.metadata_interval", raw.input.metadata_interval),
        ("progress.commit_interval", commit_interval(&raw.progress)),
    ];
    for (key, duration) in durations {
        if duration.is_zero() {
            problems.add(key, "must be longer than nothing");
        }
    }
    if raw.output.linger >= raw.output.delivery_timeout {
        problems.add("output.linger", "must be shorter than output.delivery_timeout");
    }
    if raw.message.text.is_empty() {
        problems.add("message.text", "is empty; name the field that holds the text");
    }
    let answers = ["ner", "ts_start", "ts_end", "process_time", "error_message"];
    for name in raw
        .message
        .pass_through
        .iter()
        .filter(|name| answers.contains(&name.as_str()))
    {
        problems.add(
            "message.pass_through",
            format!("{name} is a field of every result"),
        );
    }
}
#[cfg(test)]
mod tests {
    use kafka_admin::Partition;

    use super::*;

    fn problems(toml: &str) -> String {
        let raw: Raw = toml::from_str(toml).unwrap();
        Config::try_from(raw)
            .err()
            .map(|problems| problems.to_string())
            .unwrap_or_default()
    }

    #[test]
    fn the_defaults_are_valid_and_the_reference_file_says_them() {
        let reference: Raw = toml::from_str(include_str!("../inference.toml")).unwrap();
        assert_eq!(reference, Raw::default());
        assert_eq!(problems(""), "");
    }

    #[test]
    fn every_key_stands_in_the_reference_file() {
        let reference = include_str!("../inference.toml");
        let mut raw = Raw::default();
        raw.dead_letter.topic = Some(String::new());
        raw.model.onnx_runtime = Some("x".into());
        raw.progress.instance_id = Some("x".into());
        raw.progress.commit_interval = Some(Duration::from_secs(1));
        for line in toml::to_string(&raw)
            .unwrap()
            .lines()
            .filter(|line| !line.trim().is_empty())
        {
            let key = line.split(" =").next().unwrap();
            assert!(reference.contains(key), "{key} is not in inference.toml");
        }
    }

    #[test]
    fn all_mistakes_are_told_at_once() {
        let told = problems(
            "[input]\ntopic = \"a\"\nshard = \"2/2\"\n[output]\ntopic = \"a\"\ndelivery_timeout = \"0s\"\n\
             [message]\npass_through = [\"ner\"]",
        );
        for key in [
            "input.topic: ",
            "input.shard: there is no part 2 of 2",
            "output.delivery_timeout: ",
            "message.pass_through: ",
        ] {
            assert!(told.contains(key), "{key} in {told}");
        }
    }

    #[test]
    fn a_drain_ends_before_the_group_gives_the_member_up() {
        let told = problems("[progress]\nkind = \"group\"\ndrain_timeout = \"10m\"");
        assert_eq!(
            told,
            "progress.drain_timeout: must be shorter than progress.max_poll_interval"
        );
    }

    #[test]
    fn times_that_librdkafka_would_refuse_together_are_mistakes() {
        let told = problems(
            "[progress]\nkind = \"group\"\nmax_poll_interval = \"40s\"\n[output]\nlinger = \"10m\"\n",
        );
        for key in ["progress.session_timeout: ", "output.linger: "] {
            assert!(told.contains(key), "{key} in {told}");
        }
    }

    #[test]
    fn commits_to_s3_are_rarer_unless_the_configuration_says_otherwise() {
        let interval = |toml: &str| {
            Config::try_from(toml::from_str::<Raw>(toml).unwrap())
                .unwrap()
                .commit_interval
        };
        assert_eq!(interval(""), Duration::from_secs(1));
        let s3 = "[progress]\ncheckpoint = \"s3://bucket/prefix\"\n";
        assert_eq!(interval(s3), Duration::from_secs(5));
        assert_eq!(
            interval(&format!("{s3}commit_interval = \"2s\"")),
            Duration::from_secs(2)
        );
    }

    #[test]
    fn a_shard_has_every_nth_partition() {
        let shard = Shard::parse("1/3").unwrap();
        let has: Vec<i32> = (0..8)
            .filter(|&partition| shard.has(Partition(partition)))
            .collect();
        assert_eq!(has, [1, 4, 7]);
        for wrong in ["", "1", "a/b", "1/0", "-1/2"] {
            Shard::parse(wrong).unwrap_err();
        }
    }
}
