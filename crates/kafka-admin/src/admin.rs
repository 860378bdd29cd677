//! Owns [`Admin`], which asks: one broker, or whichever answers. Families of requests are in `requests/`.

use std::collections::BTreeSet;
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::Duration;

use kafka_protocol::protocol::Request;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

use crate::connection::Address;
use crate::pool::{Pool, Purpose};
use crate::topology::Topology;
use crate::wire::{BrokerConnection, Origin};
use crate::{BrokerId, Connection, Refusal, RefusalKind};

/// If the first broker does not answer in this time, the next is asked too.
const NEXT_BROKER_AFTER: Duration = Duration::from_millis(300);
/// No time-out is longer: further away there may be no point in time.
const MAX_TIMEOUT: Duration = Duration::from_hours(24);
/// The most brokers of which one is asked what any of them knows.
const MAX_CANDIDATES: usize = 16;

/// A client that asks a cluster. Clones share its connections.
#[derive(Clone)]
pub struct Admin {
    shared: Arc<Shared>,
    timeout: Duration,
    purpose: Purpose,
}

struct Shared {
    pool: Pool,
    topology: Topology,
}

impl Admin {
    /// A client of this cluster. It connects when it is asked.
    pub fn new(connection: &Connection) -> Self {
        let settings = Arc::new(connection.clone());
        let topology = Topology::new(settings.tuning.metadata_max_age);
        Self {
            timeout: settings.tuning.request_timeout,
            purpose: Purpose::Reading,
            shared: Arc::new(Shared {
                pool: Pool::new(settings),
                topology,
            }),
        }
    }

    /// The same client, whose requests take at most this long each.
    #[must_use]
    pub fn with_timeout(&self, timeout: Duration) -> Self {
        Self {
            timeout,
            ..self.clone()
        }
    }

    /// The same client, for what brokers answer only when others have it.
    pub(crate) fn committing(&self) -> Self {
        Self {
            purpose: Purpose::Committing,
            ..self.clone()
        }
    }

    pub(crate) fn deadline(&self) -> Instant {
        Instant::now() + self.timeout.min(MAX_TIMEOUT)
    }

    pub(crate) fn topology(&self) -> &Topology {
        &self.shared.topology
    }

    pub(crate) fn settings(&self) -> &Connection {
        self.shared.pool.settings()
    }

    /// Asks a broker, in the newest version that it knows.
    pub(crate) async fn ask<Req: Request>(
        &self,
        broker: BrokerId,
        deadline: Instant,
        request: impl FnOnce(i16) -> Req,
    ) -> Result<(Req::Response, i16), Refusal> {
        self.ask_in(0..=i16::MAX, broker, deadline, request).await
    }

    /// Asks a broker, in the newest of these versions that it knows.
    pub(crate) async fn ask_in<Req: Request>(
        &self,
        versions: RangeInclusive<i16>,
        broker: BrokerId,
        deadline: Instant,
        request: impl FnOnce(i16) -> Req,
    ) -> Result<(Req::Response, i16), Refusal> {
        self.connection(broker)?.ask(versions, deadline, request).await
    }

    /// Asks whichever broker answers first: those that are connected before others, the next if one hesitates.
    pub(crate) async fn ask_any<Req>(
        &self,
        deadline: Instant,
        request: impl Fn(i16) -> Req + Clone + Send + 'static,
    ) -> Result<(Req::Response, i16), Refusal>
    where
        Req: Request + Send + Sync,
        Req::Response: Send + 'static,
    {
        let mut candidates = self.candidates().into_iter();
        let mut asked = JoinSet::new();
        let mut refusals = Vec::new();
        loop {
            let next = candidates.next();
            let has_more = next.is_some();
            if let Some((address, origin)) = next {
                let (admin, request) = (self.clone(), request.clone());
                asked.spawn(async move {
                    let connection = admin.shared.pool.get(&address, origin, Purpose::Reading)?;
                    connection.ask(0..=i16::MAX, deadline, request).await
                });
            }
            tokio::select! {
                answer = asked.join_next() => match answer {
                    Some(Ok(Ok(answer))) => return Ok(answer),
                    Some(Ok(Err(refusal))) => refusals.push(refusal),
                    Some(Err(panicked)) => refusals.push(Refusal::impossible(panicked.to_string())),
                    None if has_more => {}
                    None => return Err(most_telling(refusals)),
                },
                () = sleep(NEXT_BROKER_AFTER), if has_more => {}
            }
        }
    }

    fn candidates(&self) -> Vec<(Address, Origin)> {
        let mut candidates = self.topology().candidates(&self.settings().servers);
        fastrand::shuffle(&mut candidates);
        candidates.sort_by_key(|(address, _)| !self.shared.pool.is_lively(address));
        candidates.truncate(MAX_CANDIDATES);
        candidates
    }

    fn connection(&self, broker: BrokerId) -> Result<Arc<BrokerConnection>, Refusal> {
        let address = self.topology().address(broker).ok_or_else(|| {
            Refusal::unreachable(format!("broker {broker} is not in the cluster at the moment"))
        })?;
        let origin = Origin::of(broker, &address, &self.settings().servers);
        self.shared.pool.get(&address, origin, self.purpose)
    }

    /// Takes note of where the brokers are; connections to others end.
    pub(crate) fn set_brokers(&self, brokers: impl IntoIterator<Item = (BrokerId, Address)>) {
        self.topology().set_brokers(brokers.into_iter().collect());
        let candidates = self.topology().candidates(&self.settings().servers);
        let addresses: BTreeSet<_> = candidates.into_iter().map(|(address, _)| address).collect();
        self.shared.pool.retain(&addresses);
    }
}

/// Of several brokers' refusals the one that says most: wrong credentials before all else.
fn most_telling(refusals: Vec<Refusal>) -> Refusal {
    let rank = |refusal: &Refusal| match (refusal.kind, refusal.code.as_str()) {
        (RefusalKind::Denied, _) => 0,
        (_, "NETWORK_EXCEPTION" | "BROKER_NOT_AVAILABLE") => 1,
        _ => 2,
    };
    let first = refusals.into_iter().min_by_key(rank);
    first.unwrap_or_else(|| Refusal::without_answer("no broker answers"))
}
