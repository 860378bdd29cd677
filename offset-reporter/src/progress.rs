//! Owns the judgement whether a batch may be reported after the one that was. Pure: what was seen goes in, a verdict
//! comes out.
//!
//! Going on is always allowed. Going back needs a reason, and the stream's policy has the last word. A lower batch of
//! the same query must stand in two listings one after the other: a store may list late.

use checkpoint::BatchId;
use serde::{Deserialize, Serialize};

/// In how many listings, one after the other, a lower batch must be the newest.
const CONFIRMATIONS: u8 = 2;

/// Which steps back are reported.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum RewindPolicy {
    /// All that have a reason.
    #[default]
    Allow,
    /// Only that of a checkpoint that began anew.
    NewQuery,
    /// None: a person must reset the group.
    Never,
}

/// Why positions go back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Rewind {
    /// The checkpoint began anew: its query has another id.
    NewQuery,
    /// The newest batches of the checkpoint were deleted.
    RolledBack,
    /// The batch is newer, and yet a position in it is lower than what the group has: the topic began anew, or somebody
    /// else committed.
    Lowered,
}

impl Rewind {
    /// The name as logs and metrics have it.
    pub fn name(self) -> &'static str {
        match self {
            Self::NewQuery => "new_query",
            Self::RolledBack => "rolled_back",
            Self::Lowered => "lowered",
        }
    }
}

impl RewindPolicy {
    /// Whether a step back for this reason is reported.
    pub fn allows(self, reason: Rewind) -> bool {
        match self {
            Self::Allow => true,
            Self::NewQuery => reason == Rewind::NewQuery,
            Self::Never => false,
        }
    }
}

/// A batch of a query.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Batch {
    /// The query, by the beginning of its id.
    pub query: String,
    /// Its number.
    pub id: BatchId,
}

/// What was seen of a checkpoint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sight {
    /// The query, by the beginning of its id.
    pub query: String,
    /// The newest batch that is committed.
    pub newest: BatchId,
    /// The newest one whose positions can be read: the same, unless that one's are missing or damaged.
    pub readable: BatchId,
    /// Whether the folder was listed to see this.
    pub listed: bool,
}

/// What to do about a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Report it.
    Report,
    /// Report it, though it goes back.
    Rewind(Rewind),
    /// Do not report it; what was reported stands.
    Hold(Hold),
}

/// Why a batch is not reported.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hold {
    /// It would go back, which was seen once only.
    Unconfirmed,
    /// It would go back for this reason, which the policy forbids.
    Forbidden(Rewind),
    /// The positions of the newest batch cannot be read, and an older one that can be was reported already.
    Unreadable,
}

/// How far a stream was reported.
#[derive(Debug)]
pub struct Progress {
    policy: RewindPolicy,
    reported: Option<Batch>,
    confirmations: u8,
}

impl Progress {
    /// Of a stream of which `reported` is known to have been reported last.
    pub fn new(policy: RewindPolicy, reported: Option<Batch>) -> Self {
        Self {
            policy,
            reported,
            confirmations: 0,
        }
    }

    /// Judges what was seen.
    pub fn judge(&mut self, sight: &Sight) -> Verdict {
        let Some(reported) = &self.reported else {
            return Verdict::Report;
        };
        if reported.query != sight.query {
            return self.by_policy(Rewind::NewQuery);
        }
        if sight.newest >= reported.id {
            self.confirmations = 0;
            return if sight.readable < reported.id {
                Verdict::Hold(Hold::Unreadable)
            } else {
                Verdict::Report
            };
        }
        self.confirmations = self.confirmations.saturating_add(u8::from(sight.listed));
        if self.confirmations < CONFIRMATIONS {
            return Verdict::Hold(Hold::Unconfirmed);
        }
        self.by_policy(Rewind::RolledBack)
    }

    /// Notes what has been reported.
    pub fn reported(&mut self, sight: &Sight) {
        self.confirmations = 0;
        self.reported = Some(Batch {
            query: sight.query.clone(),
            id: sight.readable,
        });
    }

    /// Whether a lower batch was seen that another listing has to confirm.
    pub fn is_unconfirmed(&self) -> bool {
        (1..CONFIRMATIONS).contains(&self.confirmations)
    }

    fn by_policy(&self, reason: Rewind) -> Verdict {
        if self.policy.allows(reason) {
            Verdict::Rewind(reason)
        } else {
            Verdict::Hold(Hold::Forbidden(reason))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn listed(query: &str, newest: i64) -> Sight {
        Sight {
            query: query.to_owned(),
            newest: BatchId(newest),
            readable: BatchId(newest),
            listed: true,
        }
    }

    fn after(policy: RewindPolicy, batch: i64) -> Progress {
        Progress::new(
            policy,
            Some(Batch {
                query: "q".into(),
                id: BatchId(batch),
            }),
        )
    }

    #[test]
    fn going_on_is_allowed_and_so_is_the_first_batch() {
        let mut progress = Progress::new(RewindPolicy::Never, None);
        assert_eq!(progress.judge(&listed("q", 7)), Verdict::Report);
        progress.reported(&listed("q", 7));
        assert_eq!(progress.judge(&listed("q", 7)), Verdict::Report);
        assert_eq!(progress.judge(&listed("q", 8)), Verdict::Report);
    }

    #[test]
    fn a_checkpoint_that_began_anew_goes_back_once() {
        let mut progress = after(RewindPolicy::NewQuery, 90);
        assert_eq!(
            progress.judge(&listed("new", 0)),
            Verdict::Rewind(Rewind::NewQuery)
        );
        progress.reported(&listed("new", 0));
        assert_eq!(progress.judge(&listed("new", 1)), Verdict::Report);
        let never = after(RewindPolicy::Never, 90).judge(&listed("new", 0));
        assert_eq!(never, Verdict::Hold(Hold::Forbidden(Rewind::NewQuery)));
    }

    #[test]
    fn a_lower_batch_must_be_listed_twice() {
        let mut progress = after(RewindPolicy::Allow, 9);
        let probed = Sight {
            listed: false,
            ..listed("q", 7)
        };
        assert_eq!(progress.judge(&listed("q", 7)), Verdict::Hold(Hold::Unconfirmed));
        assert_eq!(progress.judge(&probed), Verdict::Hold(Hold::Unconfirmed));
        assert_eq!(
            progress.judge(&listed("q", 7)),
            Verdict::Rewind(Rewind::RolledBack)
        );
    }

    #[test]
    fn a_listing_that_was_late_is_forgotten() {
        let mut progress = after(RewindPolicy::Allow, 9);
        assert_eq!(progress.judge(&listed("q", 8)), Verdict::Hold(Hold::Unconfirmed));
        assert_eq!(progress.judge(&listed("q", 9)), Verdict::Report);
        assert_eq!(progress.judge(&listed("q", 8)), Verdict::Hold(Hold::Unconfirmed));
    }

    #[test]
    fn the_policy_forbids_what_it_says() {
        for policy in [RewindPolicy::NewQuery, RewindPolicy::Never] {
            let mut progress = after(policy, 9);
            progress.judge(&listed("q", 7));
            let verdict = progress.judge(&listed("q", 7));
            assert_eq!(
                verdict,
                Verdict::Hold(Hold::Forbidden(Rewind::RolledBack)),
                "{policy:?}"
            );
        }
    }

    #[test]
    fn an_older_batch_does_not_stand_in_for_an_unreadable_one_that_was_reported() {
        let mut progress = after(RewindPolicy::Allow, 9);
        let sight = Sight {
            readable: BatchId(8),
            ..listed("q", 10)
        };
        assert_eq!(progress.judge(&sight), Verdict::Hold(Hold::Unreadable));
        let sight = Sight {
            readable: BatchId(9),
            ..listed("q", 10)
        };
        assert_eq!(progress.judge(&sight), Verdict::Report);
    }
}
