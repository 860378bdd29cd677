//! Owns `sweep`: groups whose exporter was killed, or moved, before it could clean up.
//!
//! Only groups with the mark of an exporter are touched, and by default none is. How old they are the gateway's clock
//! says, which also said when they were pushed; ours may be hours ahead.

use std::collections::BTreeMap;
use std::io::Write;
use std::time::{Duration, UNIX_EPOCH};

use anyhow::{Context, bail, ensure};

use super::start::sink_client;
use crate::config::{Config, SinkKind};
use crate::grouping::GroupingKey;
use crate::push::{Group, Groups, Listing};

/// The header `Date` has whole seconds, and a group may be pushed while the answer is made.
const CLOCK_TOLERANCE: Duration = Duration::from_secs(5);

/// The arguments of `sweep`.
#[derive(Debug, clap::Args)]
pub struct Sweep {
    /// Groups that nothing was pushed to for so long
    #[arg(long, value_parser = humantime_serde::re::humantime::parse_duration)]
    ttl: Duration,
    /// Only groups with this label, such as job=orders; several must all be there
    #[arg(long = "match", value_name = "LABEL=VALUE", value_parser = label)]
    labels: Vec<(String, String)>,
    /// Delete them
    #[arg(long)]
    delete: bool,
}

fn label(text: &str) -> Result<(String, String), String> {
    let (name, value) = text
        .split_once('=')
        .ok_or("is not LABEL=VALUE, such as job=orders")?;
    Ok((name.to_owned(), value.to_owned()))
}

impl Sweep {
    /// Lists the groups, and deletes them if that was asked for.
    pub(super) async fn run(&self, config: &Config, is_dry: bool) -> anyhow::Result<()> {
        if config.raw.push.sink != SinkKind::Pushgateway {
            bail!("only a Pushgateway keeps groups; there is nothing to sweep with another push.sink");
        }
        let url = &config.sink_url;
        let groups = Groups::new(sink_client(config, config.raw.pushgateway.timeout)?, url);
        let listing = groups.list().await?;
        let now = now(&listing).with_context(|| format!("cannot tell how old the groups at {url} are"))?;
        let old = self.select(listing.groups, now);
        let deletes = self.delete && !is_dry;
        let mut failed = 0;
        for (group, age) in &old {
            let key = GroupingKey::new(group.labels.clone())?;
            let age = humantime_serde::re::humantime::format_duration(*age);
            let line = if !deletes {
                format!("would delete {key}, last pushed {age} ago\n")
            } else if let Err(error) = groups.delete(&key).await {
                failed += 1;
                format!("cannot delete {key}: {error}\n")
            } else {
                format!("deleted {key}, last pushed {age} ago\n")
            };
            say(&line)?;
        }
        if failed > 0 {
            bail!("{failed} of {} groups could not be deleted", old.len());
        }
        let hint = if deletes || old.is_empty() {
            ""
        } else {
            "; --delete deletes them"
        };
        say(&format!("{} groups{hint}\n", old.len()))
    }

    /// The groups of exporters that match and are too old, with their age. One without a time is not.
    fn select(&self, groups: Vec<Group>, now: Duration) -> Vec<(Group, Duration)> {
        let with_age = groups.into_iter().filter_map(|group| {
            let pushed = Duration::try_from_secs_f64(group.push_time?).ok()?;
            Some((group, Duration::from_secs(now.saturating_sub(pushed).as_secs())))
        });
        with_age
            .filter(|(group, age)| group.run.is_some() && *age >= self.ttl && self.matches(&group.labels))
            .collect()
    }

    fn matches(&self, labels: &BTreeMap<String, String>) -> bool {
        let mut wanted = self.labels.iter();
        wanted.all(|(name, value)| labels.get(name).is_some_and(|found| found == value))
    }
}

/// The time since 1970 by the gateway's clock.
fn now(listing: &Listing) -> anyhow::Result<Duration> {
    let date = listing
        .now
        .context("its answer has no header Date with a time; is something in between that removes it?")?;
    let now = date.duration_since(UNIX_EPOCH).unwrap_or_default();
    let newest = listing.groups.iter().filter_map(|group| group.push_time);
    let newest = newest.fold(0.0, f64::max);
    ensure!(
        newest <= (now + CLOCK_TOLERANCE).as_secs_f64(),
        "it has a push of {newest} s after 1970, and its header Date says {} s; does something in between set that?",
        now.as_secs()
    );
    Ok(now)
}

fn say(line: &str) -> anyhow::Result<()> {
    std::io::stdout()
        .write_all(line.as_bytes())
        .context("cannot write to standard output")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_old_groups_of_exporters_that_match_are_swept() {
        let group = |job: &str, push_time: f64, run: Option<&str>| Group {
            labels: BTreeMap::from([("job".to_owned(), job.to_owned())]),
            push_time: Some(push_time),
            run: run.map(str::to_owned),
            is_shared: false,
        };
        let mut groups = vec![
            group("old", 100.0, Some("a")),
            group("new", 9_900.0, Some("b")),
            group("foreign", 100.0, None),
            group("other", 100.0, Some("c")),
            group("future", 20_000.0, Some("d")),
            group("wrong", f64::NAN, Some("e")),
            group("unknown", 100.0, Some("f")),
        ];
        groups[6].push_time = None;
        let select = |labels: &[(String, String)]| {
            let sweep = Sweep {
                ttl: Duration::from_hours(1),
                labels: labels.to_vec(),
                delete: false,
            };
            let found = sweep.select(groups.clone(), Duration::from_secs(10_000));
            let jobs = found
                .into_iter()
                .map(|(group, age)| (group.labels["job"].clone(), age.as_secs()));
            jobs.collect::<Vec<_>>()
        };
        assert_eq!(
            select(&[]),
            [("old".to_owned(), 9_900), ("other".to_owned(), 9_900)]
        );
        assert_eq!(
            select(&[("job".into(), "old".into())]),
            [("old".to_owned(), 9_900)]
        );
        assert_eq!(
            select(&[("job".into(), "old".into()), ("x".into(), "y".into())]),
            []
        );
    }

    #[test]
    fn the_gateways_clock_must_be_known_and_agree_with_its_pushes() {
        let listing = |now: Option<u64>, push_time: f64| Listing {
            groups: vec![Group {
                labels: BTreeMap::new(),
                push_time: Some(push_time),
                run: None,
                is_shared: false,
            }],
            now: now.map(|now| UNIX_EPOCH + Duration::from_secs(now)),
        };
        assert_eq!(now(&listing(Some(100), 104.0)).unwrap(), Duration::from_secs(100));
        assert!(now(&listing(Some(100), 110.0)).is_err());
        assert!(now(&listing(None, 1.0)).is_err());
    }
}
