//! Owns one connection to a broker: a task that makes it, writes requests in turn, and gives each answer to whoever asked.
//!
//! Who asked may go away at any time; an answer that comes later is thrown away. When the connection ends, all that wait
//! learn at once why. A broker that does not answer in the time of a request has its connection closed.

use std::collections::HashMap;
use std::ops::RangeInclusive;
use std::sync::Arc;

use bytes::{Buf as _, Bytes, BytesMut};
use kafka_protocol::protocol::Request;
use tokio::io::AsyncWriteExt as _;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until, timeout, timeout_at};

use super::decode::decode_response;
use super::encode::{encode_request, request_name, set_correlation};
use super::frame::FrameError;
use super::handshake::{Established, Exchange, establish};
use super::pulse::{Monitor, Pulse, SUSPECT_WAIT, pulse};
use super::reason::{Step, Target};
use super::sasl::{self, Identity};
use super::versions::Versions;
use crate::{Connection, Refusal};

/// The most requests that a broker has not answered yet. It works on one at a time; the others are there when it is done.
const MAX_IN_FLIGHT: usize = 8;
/// The most requests that wait to be sent. Who comes then waits for a slot, as long as the request's deadline allows.
const MAX_QUEUED: usize = 64;

/// How a connection is.
#[derive(Debug, Clone)]
pub(crate) enum State {
    /// It is being made.
    Connecting,
    /// It can be used.
    Ready(Arc<Versions>),
    /// It is over.
    Ended {
        /// Why.
        refusal: Refusal,
        /// Since when.
        at: Instant,
        /// Whether it had answered requests.
        has_served: bool,
    },
}

/// A connection, or one that is being made. It ends when this is dropped.
pub(crate) struct BrokerConnection {
    queue: mpsc::Sender<Outgoing>,
    state: watch::Receiver<State>,
    settings: Arc<Connection>,
    target: Target,
    monitor: Monitor,
    /// Why the last connection to this address ended, or could not be made.
    previous: Option<Refusal>,
    opened: Instant,
    _task: JoinSet<()>,
}

struct Outgoing {
    frame: BytesMut,
    name: &'static str,
    answer: oneshot::Sender<Result<Bytes, Refusal>>,
}

impl BrokerConnection {
    /// Begins to connect, after `previous` to the same address has ended.
    pub(crate) fn open(settings: Arc<Connection>, target: Target, previous: Option<&Self>) -> Self {
        let (queue, queued) = mpsc::channel(MAX_QUEUED);
        let (report, state) = watch::channel(State::Connecting);
        let (pulse, monitor) = pulse(previous.is_none_or(|previous| previous.monitor.is_proven()));
        let mut task = JoinSet::new();
        let (of_task, to) = (Arc::clone(&settings), target.clone());
        task.spawn(async move { run(&of_task, &to, queued, (&report, pulse)).await });
        Self {
            queue,
            state,
            settings,
            target,
            monitor,
            previous: previous.map(Self::why_ended),
            opened: Instant::now(),
            _task: task,
        }
    }

    pub(crate) fn state(&self) -> State {
        let state = self.state.borrow().clone();
        match state {
            // Its task has ended by a panic.
            State::Connecting | State::Ready(_) if self.queue.is_closed() => State::Ended {
                refusal: self.why_ended(),
                at: self.opened,
                has_served: true,
            },
            state => state,
        }
    }

    /// Whether a request would be sent at once, to a broker that is not known to hang.
    pub(crate) fn is_lively(&self) -> bool {
        matches!(*self.state.borrow(), State::Ready(_)) && self.monitor.is_lively()
    }

    /// Sends a request in the newest of these versions that both sides know, and waits for its answer until `deadline`.
    pub(crate) async fn ask<Req: Request>(
        &self,
        allowed: RangeInclusive<i16>,
        deadline: Instant,
        request: impl FnOnce(i16) -> Req,
    ) -> Result<(Req::Response, i16), Refusal> {
        let begun = Instant::now();
        let version = self.versions(deadline).await?.newest_in::<Req>(allowed)?;
        let name = request_name::<Req>();
        let encoded = encode_request(&request(version), version, self.settings.client_id());
        let frame = encoded.map_err(Refusal::impossible)?;
        let address = &self.target.address;
        let may_wait = self.monitor.clone().may_ask(deadline).await;
        let until = may_wait.map_err(|silent| {
            Refusal::unreachable(format!(
                "{address}: the broker has answered nothing for {silent:.1?}, so {name} was not sent"
            ))
        })?;
        let (answer, answered) = oneshot::channel();
        let outgoing = Outgoing { frame, name, answer };
        let asked = async {
            let sent = self.queue.send(outgoing).await;
            sent.map_err(|_closed| self.why_ended())?;
            answered.await.unwrap_or_else(|_closed| Err(self.why_ended()))
        };
        let frame = timeout_at(until, asked).await.unwrap_or_else(|_elapsed| {
            let within = begun.elapsed();
            let reason = format!("{address}: no answer to {name} within {within:.1?}");
            if until < deadline {
                // It was sent: who asks again must know that it may be carried out.
                Err(Refusal::lost(reason + ", and none to others before"))
            } else {
                Err(Refusal::without_answer(reason))
            }
        })?;
        let decoded = decode_response::<Req>(frame, version);
        let decoded = decoded.map_err(|reason| Refusal::unreadable(format!("{address}: {name}: {reason}")));
        decoded.map(|response| (response, version))
    }

    async fn versions(&self, deadline: Instant) -> Result<Arc<Versions>, Refusal> {
        let mut state = self.state.clone();
        let wait = match &self.previous {
            Some(_) => deadline.min(self.opened + SUSPECT_WAIT),
            None => deadline,
        };
        let decided = state.wait_for(|state| !matches!(state, State::Connecting));
        match timeout_at(wait, decided).await {
            Ok(Ok(state)) => match &*state {
                State::Ready(versions) => Ok(Arc::clone(versions)),
                State::Ended { refusal, .. } => Err(refusal.clone()),
                State::Connecting => Err(self.why_ended()),
            },
            Ok(Err(_closed)) => Err(self.why_ended()),
            Err(_elapsed) => Err(self.previous.as_ref().map_or_else(
                || Refusal::without_answer(format!("{}: not connected in time", self.target.address)),
                |previous| Refusal::unreachable(&*previous.reason),
            )),
        }
    }

    fn why_ended(&self) -> Refusal {
        match &*self.state.borrow() {
            State::Ended { refusal, .. } => refusal.clone(),
            _ => Refusal::lost(format!("{}: the connection was given up", self.target.address)),
        }
    }
}

async fn run(
    settings: &Connection,
    target: &Target,
    queue: mpsc::Receiver<Outgoing>,
    (report, pulse): (&watch::Sender<State>, Pulse),
) {
    let within = settings.tuning.connect_timeout;
    let mut step = Step::Resolve;
    let made = timeout(within, establish(settings, target, &mut step)).await;
    let made =
        made.unwrap_or_else(|_elapsed| Err(Refusal::unreachable(target.describe_timeout(step, within))));
    let mut serving = match made {
        Ok(established) => Serving::new(settings, target, queue, (established, pulse)),
        Err(refusal) => return end(report, target, &refusal, false),
    };
    tracing::debug!(address = %target.address, "connected to a broker");
    report.send_replace(State::Ready(Arc::clone(&serving.versions)));
    if let Err(refusal) = serving.run().await {
        // Before the refusals: who asks again at once finds that this connection is over.
        end(report, target, &refusal, serving.step == Step::Requests);
        serving.refuse_all(&refusal);
    }
}

fn end(report: &watch::Sender<State>, target: &Target, refusal: &Refusal, has_served: bool) {
    tracing::debug!(address = %target.address, reason = %refusal, "a connection to a broker ended");
    report.send_replace(State::Ended {
        refusal: refusal.clone(),
        at: Instant::now(),
        has_served,
    });
}

/// A connection that stands.
struct Serving<'s> {
    settings: &'s Connection,
    target: &'s Target,
    queue: mpsc::Receiver<Outgoing>,
    established: Established,
    pulse: Pulse,
    versions: Arc<Versions>,
    in_flight: HashMap<i32, InFlight>,
    next_correlation: i32,
    /// What is being written.
    writing: BytesMut,
    is_written: bool,
    step: Step,
}

struct InFlight {
    name: &'static str,
    answer: oneshot::Sender<Result<Bytes, Refusal>>,
    /// When the broker counts as hanging.
    deadline: Instant,
}

impl<'s> Serving<'s> {
    fn new(
        settings: &'s Connection,
        target: &'s Target,
        queue: mpsc::Receiver<Outgoing>,
        (mut established, pulse): (Established, Pulse),
    ) -> Self {
        let versions = std::mem::take(&mut established.versions);
        Self {
            settings,
            target,
            queue,
            established,
            pulse,
            versions: Arc::new(versions),
            in_flight: HashMap::new(),
            next_correlation: 0,
            writing: BytesMut::new(),
            is_written: true,
            step: Step::FirstRequest,
        }
    }

    /// Runs until nobody can ask any more, or the connection fails.
    async fn run(&mut self) -> Result<(), Refusal> {
        loop {
            let is_idle = self.in_flight.is_empty() && self.is_written;
            let renewal = self.established.reauthenticate_at;
            let is_renewal_due = renewal.is_some_and(|at| at <= Instant::now());
            let takes_more = self.is_written && self.in_flight.len() < MAX_IN_FLIGHT && !is_renewal_due;
            let hanging = self.in_flight.values().map(|request| request.deadline).min();
            let channel = &mut self.established.channel;
            tokio::select! {
                frame = channel.reader.next() => match frame {
                    Ok(frame) => self.answer(frame)?,
                    Err(error) => return Err(self.unreadable(&error)),
                },
                written = write(&mut channel.writer, &mut self.writing), if !self.is_written => match written {
                    Ok(()) => self.is_written = true,
                    Err(error) => {
                        return Err(Refusal::lost(self.target.describe(self.step, &error.into())));
                    }
                },
                request = self.queue.recv(), if takes_more => match request {
                    Some(request) => self.take(request),
                    None => return Ok(()),
                },
                () = until(hanging) => return Err(self.is_hanging()),
                () = until(renewal), if is_idle => self.reauthenticate().await?,
            }
        }
    }

    fn take(&mut self, mut request: Outgoing) {
        if request.answer.is_closed() {
            return;
        }
        self.next_correlation = self.next_correlation.wrapping_add(1);
        set_correlation(&mut request.frame, self.next_correlation);
        let Outgoing { frame, name, answer } = request;
        let deadline = Instant::now() + self.settings.tuning.request_timeout;
        self.in_flight.insert(
            self.next_correlation,
            InFlight {
                name,
                answer,
                deadline,
            },
        );
        self.pulse.asked();
        self.writing = frame;
        self.is_written = false;
    }

    fn answer(&mut self, frame: Bytes) -> Result<(), Refusal> {
        let correlation = (&frame[..]).try_get_i32().ok();
        let Some(request) = correlation.and_then(|number| self.in_flight.remove(&number)) else {
            let address = &self.target.address;
            return Err(Refusal::lost(format!(
                "{address}: the broker answers a request that was not made"
            )));
        };
        self.step = Step::Requests;
        self.pulse.answered(self.in_flight.is_empty());
        // Whoever asked may have gone away.
        drop(request.answer.send(Ok(frame)));
        Ok(())
    }

    /// What follows from an answer that cannot be read. The request whose answer is too large is not to be sent again.
    fn unreadable(&mut self, error: &FrameError) -> Refusal {
        let reason = self.target.describe(self.step, error);
        if let FrameError::Size {
            correlation: Some(number),
            ..
        } = error
            && let Some(request) = self.in_flight.remove(number)
        {
            // The broker is well: it can be connected to again at once.
            self.step = Step::Requests;
            drop(request.answer.send(Err(Refusal::too_large(&reason))));
        }
        Refusal::lost(reason)
    }

    async fn reauthenticate(&mut self) -> Result<(), Refusal> {
        let Some(credentials) = &self.settings.credentials else {
            return Ok(());
        };
        let mut exchange = Exchange {
            channel: &mut self.established.channel,
            target: self.target,
            client_id: self.settings.client_id(),
            step: Step::Authenticate,
        };
        let within = self.settings.tuning.connect_timeout;
        let login = async {
            let identity = Identity::of(credentials).await?;
            sasl::authenticate(&mut exchange, &self.versions, &identity).await
        };
        let renewed = timeout(within, login).await.unwrap_or_else(|_elapsed| {
            let reason = self.target.describe_timeout(Step::Authenticate, within);
            Err(Refusal::lost(reason))
        });
        self.established.reauthenticate_at = renewed?;
        Ok(())
    }

    fn is_hanging(&self) -> Refusal {
        self.pulse.hung();
        let oldest = self.in_flight.values().min_by_key(|request| request.deadline);
        let name = oldest.map_or("a request", |request| request.name);
        Refusal::lost(format!(
            "{}: no answer to {name} within {:?}, so the connection was closed",
            self.target.address, self.settings.tuning.request_timeout
        ))
    }

    fn refuse_all(&mut self, refusal: &Refusal) {
        self.queue.close();
        for (_, request) in self.in_flight.drain() {
            drop(request.answer.send(Err(refusal.clone())));
        }
        while let Ok(request) = self.queue.try_recv() {
            drop(request.answer.send(Err(refusal.clone())));
        }
    }
}

/// Writes what is left. It can be given up and called again.
async fn write(
    writer: &mut (impl tokio::io::AsyncWrite + Unpin),
    rest: &mut BytesMut,
) -> std::io::Result<()> {
    writer.write_all_buf(rest).await?;
    writer.flush().await
}

async fn until(at: Option<Instant>) {
    match at {
        Some(at) => sleep_until(at).await,
        None => std::future::pending().await,
    }
}
