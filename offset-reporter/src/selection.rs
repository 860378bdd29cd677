//! Owns which positions of an offset log are reported, and under which groups. Pure.

use std::collections::{BTreeMap, BTreeSet};

use checkpoint::TopicOffsets;
use serde::{Deserialize, Serialize};

/// How a query with several Kafka sources is reported.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum SourcesAs {
    /// Under one group; of a partition that two sources read, the position of the one behind.
    #[default]
    OneGroup,
    /// Each under a group of its own: the stream's, a full stop, the source's name or place.
    GroupEach,
}

/// How many topics an error names.
const NAMED: usize = 10;

/// What of a checkpoint is reported.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Selection {
    /// The group.
    pub group: String,
    /// Only this source, by its name or its place among all sources of the query.
    pub source: Option<String>,
    /// Several sources.
    pub sources_as: SourcesAs,
    /// Only these topics; all if there are none.
    pub topics: Vec<String>,
    /// None of these.
    pub except_topics: Vec<String>,
}

/// Positions by the group under which they are reported.
pub type ByGroup = BTreeMap<String, TopicOffsets>;

impl Selection {
    /// The positions to report of these sources.
    pub fn of(&self, sources: &BTreeMap<String, TopicOffsets>) -> ByGroup {
        let mut groups = ByGroup::new();
        for (source, offsets) in sources.iter().filter(|(name, _)| self.has_source(name)) {
            let mut chosen = TopicOffsets::default();
            for (topic, partition, position) in offsets.iter().filter(|(topic, ..)| self.has_topic(topic)) {
                chosen.set(topic, partition, position);
            }
            if !chosen.is_empty() {
                groups.entry(self.group_of(source)).or_default().merge(&chosen);
            }
        }
        groups
    }

    /// Whether another selection may have a group in common with this one.
    pub fn shares_group(&self, other: &Self) -> bool {
        self.group == other.group || self.has_group(other) || other.has_group(self)
    }

    /// Whether the other's only group may be that of one of these sources. Names of sources are words.
    fn has_group(&self, other: &Self) -> bool {
        let source = other.group.strip_prefix(&self.group);
        let source = source.and_then(|rest| rest.strip_prefix('.'));
        let is_word = |name: &str| name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
        (self.sources_as, other.sources_as) == (SourcesAs::GroupEach, SourcesAs::OneGroup)
            && source.is_some_and(|name| is_word(name) && self.has_source(name))
    }

    fn has_source(&self, name: &str) -> bool {
        self.source.as_deref().is_none_or(|only| only == name)
    }

    fn has_topic(&self, topic: &str) -> bool {
        let named = |topics: &[String]| topics.iter().any(|name| name == topic);
        (self.topics.is_empty() || named(&self.topics)) && !named(&self.except_topics)
    }

    fn group_of(&self, source: &str) -> String {
        match self.sources_as {
            SourcesAs::OneGroup => self.group.clone(),
            SourcesAs::GroupEach => format!("{}.{source}", self.group),
        }
    }
}

/// The sources and topics that there are, if none of them is in `groups`.
pub fn unselected(sources: &BTreeMap<String, TopicOffsets>, groups: &ByGroup) -> Option<String> {
    if !groups.is_empty() || sources.is_empty() {
        return None;
    }
    let all = sources.iter().flat_map(|(source, offsets)| {
        let topics: BTreeSet<_> = offsets.iter().map(|(topic, ..)| topic).collect();
        topics.into_iter().map(move |topic| format!("{source} ({topic})"))
    });
    Some(all.take(NAMED).collect::<Vec<_>>().join(", "))
}

#[cfg(test)]
mod tests {
    use checkpoint::OffsetLog;

    use super::*;

    const LOG: &[u8] = b"v2\n{}\nclicks:{\"a\":{\"0\":7},\"b\":{\"1\":2}}\nviews:{\"a\":{\"0\":5}}\nrate:30";

    fn everything() -> Selection {
        Selection {
            group: "g".into(),
            source: None,
            sources_as: SourcesAs::OneGroup,
            topics: Vec::new(),
            except_topics: Vec::new(),
        }
    }

    fn chosen(selection: &Selection) -> Vec<(String, String, i32, i64)> {
        let groups = selection.of(&OffsetLog::parse(LOG).unwrap().sources);
        let flat = groups.iter().flat_map(|(group, offsets)| {
            offsets.iter().map(move |(topic, partition, position)| {
                (group.clone(), topic.to_owned(), partition, position)
            })
        });
        flat.collect()
    }

    fn row(group: &str, topic: &str, partition: i32, position: i64) -> (String, String, i32, i64) {
        (group.to_owned(), topic.to_owned(), partition, position)
    }

    #[test]
    fn of_a_partition_that_two_sources_read_the_one_behind_counts() {
        assert_eq!(chosen(&everything()), [row("g", "a", 0, 5), row("g", "b", 1, 2)]);
    }

    #[test]
    fn each_source_can_have_a_group_of_its_own() {
        let each = Selection {
            sources_as: SourcesAs::GroupEach,
            ..everything()
        };
        assert_eq!(
            chosen(&each),
            [
                row("g.clicks", "a", 0, 7),
                row("g.clicks", "b", 1, 2),
                row("g.views", "a", 0, 5)
            ]
        );
    }

    #[test]
    fn a_source_and_topics_can_be_chosen() {
        let source = Selection {
            source: Some("clicks".into()),
            ..everything()
        };
        assert_eq!(chosen(&source), [row("g", "a", 0, 7), row("g", "b", 1, 2)]);
        let topics = Selection {
            topics: vec!["b".into()],
            ..everything()
        };
        assert_eq!(chosen(&topics), [row("g", "b", 1, 2)]);
        let except = Selection {
            except_topics: vec!["a".into()],
            ..everything()
        };
        assert_eq!(chosen(&except), [row("g", "b", 1, 2)]);
        let none = Selection {
            topics: vec!["c".into()],
            ..everything()
        };
        assert_eq!(chosen(&none), []);
    }
}
