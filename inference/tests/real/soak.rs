//! Kills and stops: rounds by seeds, each with some faults, on one broker; after each fault the books must balance.
//!
//! `OUTRIGGER_SOAK_ROUNDS` says how many, `OUTRIGGER_SOAK_SEED` the seed of the first; `make soak` runs two hundred. A seed
//! gives the same plan again; the moment at which the machine does what stays its own.

mod books;
mod place;
mod plan;
mod round;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use tokio::time::Instant;

use self::place::Place;
use self::plan::{Fault, Keeping, Plan};
use self::round::Outcome;

/// How long the worker may work on after SIGTERM, and what the end of a process on a busy machine may take beside that.
const GRACE: Duration = Duration::from_secs(10);
const STOP_MARGIN: Duration = Duration::from_secs(5);
/// How long a rebalance may wait for the work in hand.
const DRAIN: Duration = Duration::from_secs(5);
/// After so long without a heartbeat a member is out of its group.
const SESSION: Duration = Duration::from_secs(6);
/// Everything else that has to happen does within so long.
const WITHIN: Duration = Duration::from_mins(1);
/// How often a look at a checkpoint is repeated.
const LOOK: Duration = Duration::from_millis(50);
/// The rounds of `make test`: with all faults and all ways to keep progress.
const SHORT: (u64, usize) = (100_302, 4);
/// After so many rounds that failed the rest would tell nothing new.
const MAX_FAILURES: usize = 10;

/// What became of all rounds so far.
#[derive(Default)]
struct Tally {
    rounds: usize,
    messages: usize,
    faults: BTreeMap<Fault, usize>,
    lost: usize,
    duplicates: usize,
    longest_stop: Duration,
    failed: Vec<u64>,
}

impl Tally {
    fn add(&mut self, plan: &Plan, outcome: &Outcome) {
        self.rounds += 1;
        self.messages += outcome.messages;
        self.lost += outcome.lost;
        self.duplicates += outcome.duplicates;
        self.longest_stop = self.longest_stop.max(outcome.longest_stop);
        for (fault, times) in &outcome.faults {
            *self.faults.entry(*fault).or_default() += times;
        }
        if !outcome.findings.is_empty() {
            self.failed.push(plan.seed);
        }
    }
}

/// A number from the environment: a test has no configuration.
fn number<T: std::str::FromStr>(name: &str) -> Option<T> {
    let value = std::env::var_os(name)?;
    let number = value.to_str().and_then(|value| value.parse().ok());
    assert!(
        number.is_some(),
        "{name} is {}, which is not a number",
        value.display()
    );
    number
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_is_killed_stopped_or_frozen_nothing_is_lost_and_nothing_done_twice_without_a_reason() {
    let (seed, rounds) = SHORT;
    let rounds = number("OUTRIGGER_SOAK_ROUNDS").unwrap_or(rounds);
    let seed = number("OUTRIGGER_SOAK_SEED").unwrap_or(seed);
    let mut place = Place::new().await.unwrap();
    let mut tally = Tally::default();
    for seed in (seed..).take(rounds) {
        let (plan, began) = (Plan::of(seed), Instant::now());
        println!("{plan}");
        let outcome = round::run(&mut place, &plan).await.unwrap();
        tally.add(&plan, &outcome);
        for finding in &outcome.findings {
            println!("  WRONG: {finding}");
        }
        print!("{}", outcome.logs);
        println!(
            "  {} of {rounds} rounds, this in {:.1} s; {:?}; {} messages, {} lost, {} duplicates; longest stop {:.1} s; \
             failed {:?}",
            tally.rounds,
            began.elapsed().as_secs_f64(),
            tally.faults,
            tally.messages,
            tally.lost,
            tally.duplicates,
            tally.longest_stop.as_secs_f64(),
            tally.failed,
        );
        if tally.failed.len() >= MAX_FAILURES {
            break;
        }
    }
    assert!(
        tally.failed.is_empty(),
        "{} of {} rounds failed; again with OUTRIGGER_SOAK_ROUNDS=1 OUTRIGGER_SOAK_SEED= one of {:?}",
        tally.failed.len(),
        tally.rounds,
        tally.failed
    );
}

#[test]
fn the_short_form_has_every_fault_and_every_way_to_keep_progress() {
    let (seed, rounds) = SHORT;
    let plans: Vec<_> = (seed..).take(rounds).map(Plan::of).collect();
    for keeping in Keeping::ALL {
        assert!(plans.iter().any(|plan| plan.keeping == keeping), "{keeping:?}");
    }
    let faults = plans
        .iter()
        .flat_map(|plan| plan.steps.iter().map(|step| step.fault));
    assert_eq!(faults.collect::<BTreeSet<_>>(), BTreeSet::from(Fault::ALL));
}
