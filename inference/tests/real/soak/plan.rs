//! Owns what a seed makes of a round: where progress is kept, and what happens when. Pure.

use std::fmt;
use std::time::Duration;

use fastrand::Rng;

/// The most that is made to happen in a round, and the least.
const STEPS: std::ops::RangeInclusive<usize> = 2..=4;
/// The latest moment of a stop that comes early, from the start of the process.
const EARLY: Duration = Duration::from_secs(2);
/// The latest moment of anything else, from when the worker is ready and messages flow.
const LATE: Duration = Duration::from_millis(800);
/// The latest moment of the second SIGTERM, from the first.
const SECOND: Duration = Duration::from_millis(300);
/// The longest that the broker, the network or a worker without a session is away.
const AWAY: Duration = Duration::from_secs(3);

/// Where the worker of a round keeps its progress.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Keeping {
    Disk,
    S3,
    Classic,
    Consumer,
}

impl Keeping {
    pub(crate) const ALL: [Self; 4] = [Self::Disk, Self::S3, Self::Classic, Self::Consumer];

    /// Whether it is a consumer group of Kafka, which can lose its member.
    pub(crate) fn is_group(self) -> bool {
        matches!(self, Self::Classic | Self::Consumer)
    }
}

/// What is made to happen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Fault {
    /// SIGKILL.
    Kill,
    /// SIGTERM.
    Stop,
    /// SIGTERM while it starts, after a kill if it runs.
    EarlyStop,
    /// SIGTERM, and another one.
    SecondStop,
    /// SIGSTOP, in a group for longer than the session while another member takes over; then SIGCONT.
    Freeze,
    /// The broker is killed, and started again on its data.
    BrokerKill,
    /// The broker gets SIGSTOP, and SIGCONT later.
    BrokerFreeze,
    /// Requests to the broker and the store are done, and their answers lost.
    SwallowedAnswers,
}

impl Fault {
    pub(crate) const ALL: [Self; 8] = [
        Self::Kill,
        Self::Stop,
        Self::EarlyStop,
        Self::SecondStop,
        Self::Freeze,
        Self::BrokerKill,
        Self::BrokerFreeze,
        Self::SwallowedAnswers,
    ];

    /// How often it is chosen, beside the others: what is dear is rarer.
    fn weight(self) -> usize {
        match self {
            Self::EarlyStop => 6,
            Self::Kill | Self::Stop => 4,
            Self::SecondStop => 2,
            Self::Freeze | Self::BrokerKill | Self::BrokerFreeze | Self::SwallowedAnswers => 1,
        }
    }
}

/// A fault with its moments.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Step {
    pub(crate) fault: Fault,
    /// When.
    pub(crate) after: Duration,
    /// How long it lasts, if it does.
    pub(crate) lasts: Duration,
}

/// A round.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Plan {
    pub(crate) seed: u64,
    pub(crate) keeping: Keeping,
    pub(crate) partitions: i32,
    pub(crate) steps: Vec<Step>,
}

impl Plan {
    /// The round of a seed. Four seeds in a row keep progress in four ways.
    pub(crate) fn of(seed: u64) -> Self {
        let mut random = Rng::with_seed(seed);
        let keeping = Keeping::ALL[usize::try_from(seed % 4).unwrap()];
        let steps = random.usize(STEPS);
        Self {
            seed,
            keeping,
            partitions: random.i32(1..=3),
            steps: (0..steps).map(|_| step(&mut random)).collect(),
        }
    }
}

fn step(random: &mut Rng) -> Step {
    let mut chosen = random.usize(0..Fault::ALL.map(Fault::weight).iter().sum());
    let reached = |fault: &Fault| {
        let reached = chosen < fault.weight();
        chosen = chosen.saturating_sub(fault.weight());
        reached
    };
    let fault = Fault::ALL.into_iter().find(reached).unwrap();
    let mut moment = |latest: Duration, power| latest.mul_f64(random.f64().powi(power));
    Step {
        fault,
        after: match fault {
            // Half of them within the first half second: a start takes no longer.
            Fault::EarlyStop => moment(EARLY, 2),
            _ => moment(LATE, 1),
        },
        lasts: moment(if fault == Fault::SecondStop { SECOND } else { AWAY }, 1),
    }
}

impl fmt::Display for Plan {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            formatter,
            "seed {} {:?}/{}",
            self.seed, self.keeping, self.partitions
        )?;
        for step in &self.steps {
            write!(formatter, " {:?}@{}ms", step.fault, step.after.as_millis())?;
        }
        Ok(())
    }
}
