//! Owns the form of what stands beside each commit. Pure.

use checkpoint::BatchId;

/// How much of a query's id stands beside a commit.
const ID_LETTERS: usize = 8;

/// What stands beside each commit: which batch of which query it is. Below a hundred bytes; Kafka allows 4,096.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stamp {
    /// The query, by the beginning of its id.
    pub query: String,
    /// The batch.
    pub batch: BatchId,
    /// When the query made it, in milliseconds since 1970.
    pub timestamp_ms: i64,
}

impl Stamp {
    /// Of a batch of the query with this id.
    pub fn new(query: &str, batch: BatchId, timestamp_ms: Option<i64>) -> Self {
        // Spark's ids are UUIDs. What another has besides might not be told from the rest of a stamp.
        let is_of_id = |letter: &char| letter.is_ascii_alphanumeric() || *letter == '-';
        Self {
            query: query.chars().filter(is_of_id).take(ID_LETTERS).collect(),
            batch,
            timestamp_ms: timestamp_ms.unwrap_or_default(),
        }
    }

    /// As it is written: `q=1f3a99c2 b=17 t=1795337460366`.
    pub fn render(&self) -> String {
        format!("q={} b={} t={}", self.query, self.batch, self.timestamp_ms)
    }

    /// A stamp that one of us wrote; `None` if somebody else committed.
    pub fn parse(text: &str) -> Option<Self> {
        let mut words = text.split(' ');
        let mut value = |key| words.next()?.strip_prefix(key);
        let (query, batch, timestamp_ms) = (value("q=")?, value("b=")?, value("t=")?);
        Some(Self {
            query: query.to_owned(),
            batch: BatchId(batch.parse().ok()?),
            timestamp_ms: timestamp_ms.parse().ok()?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stamp_is_read_as_it_was_written() {
        let stamp = Stamp::new("1f3a99c2-0195-4220", BatchId(17), Some(1_795_337_460_366));
        assert_eq!(stamp.render(), "q=1f3a99c2 b=17 t=1795337460366");
        assert_eq!(Stamp::parse(&stamp.render()), Some(stamp));
        for other in ["", "by hand", "q=a b=x t=1", "b=1 q=a t=1"] {
            assert_eq!(Stamp::parse(other), None, "{other}");
        }
    }

    #[test]
    fn a_stamp_is_short_and_can_be_read_whatever_the_id_is() {
        let long = "ä".repeat(1 << 20);
        for id in ["", "a b=9 t=9", "1f3a99cä-0195-4220", "q=\n", &long] {
            let stamp = Stamp::new(id, BatchId(17), Some(1));
            assert!(stamp.render().len() < 100, "{}", stamp.render().len());
            assert_eq!(Stamp::parse(&stamp.render()), Some(stamp));
        }
    }
}
