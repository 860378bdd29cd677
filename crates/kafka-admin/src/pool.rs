//! Owns the connections: one an address and purpose, made when it is needed, made again with growing pauses if it cannot be
//! made.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::connection::{Address, Tuning};
use crate::wire::{BrokerConnection, Origin, State, Target};
use crate::{Connection, Refusal};

/// A pause is this part of itself to all of itself, by chance, so that clients do not come back all at once.
const JITTER: f64 = 0.5;
/// From here on the pause does not double any more, whatever its maximum.
const MAX_DOUBLINGS: u32 = 10;

/// What a connection is for. A broker works on one request of a connection at a time, and a commit is answered only when
/// all replicas have it: questions must not wait behind one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Purpose {
    /// What the broker knows itself.
    Reading,
    /// What it has to hear from other brokers, too.
    Committing,
}

/// The connections to a cluster.
pub(crate) struct Pool {
    settings: Arc<Connection>,
    slots: Mutex<Slots>,
}

type Slots = HashMap<(Address, Purpose), Slot>;

struct Slot {
    connection: Arc<BrokerConnection>,
    /// How many connections in a row could not be made before this one.
    failures: u32,
    /// The chance part of the pause after this connection.
    chance: f64,
}

impl Pool {
    pub(crate) fn new(settings: Arc<Connection>) -> Self {
        Self {
            settings,
            slots: Mutex::default(),
        }
    }

    pub(crate) fn settings(&self) -> &Arc<Connection> {
        &self.settings
    }

    /// The connection to an address, or one that is being made.
    ///
    /// # Errors
    /// If the last could not be made a moment ago, with the reason.
    pub(crate) fn get(
        &self,
        address: &Address,
        origin: Origin,
        purpose: Purpose,
    ) -> Result<Arc<BrokerConnection>, Refusal> {
        let mut slots = self.lock();
        let key = (address.clone(), purpose);
        let slot = slots.get(&key);
        let mut failures = 0;
        if let Some(slot) = slot {
            match slot.connection.state() {
                State::Connecting | State::Ready(_) => return Ok(Arc::clone(&slot.connection)),
                State::Ended { has_served: true, .. } => {}
                State::Ended { refusal, at, .. } => {
                    if at.elapsed() < pause(&self.settings.tuning, slot.failures, slot.chance) {
                        return Err(refusal);
                    }
                    failures = slot.failures + 1;
                }
            }
        }
        let target = Target {
            address: address.clone(),
            origin,
            protocol: self.settings.protocol(),
        };
        let previous = slot.map(|slot| &*slot.connection);
        let connection = BrokerConnection::open(Arc::clone(&self.settings), target, previous);
        let slot = Slot {
            connection: Arc::new(connection),
            failures,
            chance: fastrand::f64(),
        };
        let connection = Arc::clone(&slot.connection);
        slots.insert(key, slot);
        Ok(connection)
    }

    /// Whether a question to an address would be sent at once, to a broker that is not known to hang.
    pub(crate) fn is_lively(&self, address: &Address) -> bool {
        let slots = self.lock();
        slots
            .get(&(address.clone(), Purpose::Reading))
            .is_some_and(|slot| slot.connection.is_lively())
    }

    /// Ends the connections to all but these addresses, as soon as nobody waits for them any more.
    pub(crate) fn retain(&self, addresses: &BTreeSet<Address>) {
        self.lock().retain(|(address, _), _| addresses.contains(address));
    }

    fn lock(&self) -> MutexGuard<'_, Slots> {
        self.slots.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// How long an address is left alone after so many failures before the last.
fn pause(tuning: &Tuning, failures: u32, chance: f64) -> Duration {
    let longest = tuning.backoff * 2_u32.pow(failures.min(MAX_DOUBLINGS));
    longest
        .min(tuning.max_backoff)
        .mul_f64(JITTER + (1.0 - JITTER) * chance)
}

#[cfg(test)]
mod tests {
    use sidecar::Problems;

    use super::*;
    use crate::RawKafka;

    #[test]
    fn the_pause_doubles_up_to_its_maximum() {
        let connection = Connection::check(RawKafka::default(), &mut Problems::new()).unwrap();
        let pause = |failures, chance| pause(&connection.tuning, failures, chance);
        assert_eq!(pause(0, 1.0), Duration::from_millis(100));
        assert_eq!(pause(0, 0.0), Duration::from_millis(50));
        assert_eq!(pause(2, 1.0), Duration::from_millis(400));
        assert_eq!(pause(u32::MAX, 1.0), Duration::from_secs(2));
    }
}
