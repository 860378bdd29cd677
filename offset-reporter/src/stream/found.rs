//! Owns what was found in a checkpoint, before it is judged.

use std::time::SystemTime;

use crate::ledger::short;
use crate::progress::Sight;
use crate::selection::ByGroup;
use crate::source::{BEFORE_FIRST, Seen};

/// What was found in a checkpoint, before it is judged.
#[derive(Debug)]
pub(super) struct Found {
    pub(super) sight: Sight,
    pub(super) groups: ByGroup,
    pub(super) timestamp_ms: Option<i64>,
    pub(super) committed_at: Option<SystemTime>,
}

impl Found {
    pub(super) fn of(seen: &Seen, groups: ByGroup) -> Self {
        let Seen {
            query,
            newest,
            readable,
            log,
            committed_at,
            listed,
        } = seen;
        let query = short(query).to_owned();
        Self {
            sight: Sight {
                query,
                newest: *newest,
                readable: *readable,
                listed: *listed,
            },
            groups,
            timestamp_ms: log.timestamp_ms,
            committed_at: *committed_at,
        }
    }

    pub(super) fn before_first(query: &str, groups: ByGroup) -> Self {
        let query = short(query).to_owned();
        let sight = Sight {
            query,
            newest: BEFORE_FIRST,
            readable: BEFORE_FIRST,
            listed: true,
        };
        Self {
            sight,
            groups,
            timestamp_ms: None,
            committed_at: None,
        }
    }
}
