//! Owns what can happen in the world. Each step takes one action that can be taken now, chosen by the tape.

mod faults;
mod group;
mod quiet;

use crate::world::{Checked, World};

/// One thing that can happen; to a worker, it has the worker's place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Action {
    // What always goes on.
    Append,
    Start,
    Fetch(usize),
    Event(usize),
    Restarts(usize),
    Answer(usize),
    Write(usize),
    Report(usize),
    CommitArrives(usize),
    CommitAnswered(usize),
    Inspect(usize),
    Inspected(usize),
    Turn(usize),
    Rebalance,
    RebalanceDone,
    Learn(usize),
    // Faults.
    AnswerFails(usize),
    CommitFails(usize),
    CommitAnswerLost(usize),
    InspectionFails(usize),
    InspectedLow(usize),
    InspectedMissing(usize),
    Trouble(usize),
    Rewind(usize),
    Marker,
    Compact,
    Expire,
    Truncate,
    CreateAgain,
    AddPartition,
    DrainEnds(usize),
    Fence(usize),
    DeliveryFails(usize),
    SessionEnds(usize),
    StartSecond,
    Stop(usize),
    Kill(usize),
}

/// How many partitions there can be.
const MAX_PARTITIONS: usize = 4;

impl World {
    /// What can happen now, each with its weight. What is harmless comes first.
    fn enabled(&self) -> Vec<(Action, usize)> {
        let mut actions = vec![(Action::Append, 6)];
        if self.instances.is_empty() {
            actions.push((Action::Start, 40));
        }
        for place in 0..self.instances.len() {
            self.add_quiet(place, &mut actions);
        }
        self.add_rebalance(&mut actions);
        for place in 0..self.instances.len() {
            self.add_faults(place, &mut actions);
        }
        actions.extend([(Action::Marker, 2), (Action::Compact, 2), (Action::Expire, 1)]);
        actions.extend([(Action::Truncate, 1), (Action::CreateAgain, 1)]);
        if self.logs.partitions.len() < MAX_PARTITIONS {
            actions.push((Action::AddPartition, 1));
        }
        if self.instances.len() == 1 {
            actions.push((Action::StartSecond, if self.setup.is_group { 4 } else { 1 }));
        }
        actions
    }

    pub(crate) fn is_enabled(&self, action: Action) -> bool {
        self.enabled().iter().any(|(its, _)| *its == action)
    }

    /// Takes one step.
    pub(crate) fn step(&mut self) -> Checked {
        let actions = self.enabled();
        let all: usize = actions.iter().map(|(_, weight)| weight).sum();
        let mut chosen = usize::from(self.tape.byte()) * all / 256;
        let action = actions.iter().find(|(_, weight)| {
            let here = chosen < *weight;
            chosen = chosen.saturating_sub(*weight);
            here
        });
        let action = action.map_or(Action::Append, |(action, _)| *action);
        self.take(action)
    }

    /// Does one thing.
    pub(crate) fn take(&mut self, action: Action) -> Checked {
        self.tally.steps += 1;
        self.now += std::time::Duration::from_millis(1);
        self.tell(|| format!("{action:?}"));
        self.perform(action)?;
        self.excuse_hidden();
        Ok(())
    }

    fn perform(&mut self, action: Action) -> Checked {
        match action {
            Action::Append => self.append(),
            Action::Start | Action::StartSecond => {
                self.start();
                Ok(())
            }
            Action::Fetch(place) => self.fetch(place),
            Action::Event(place) => self.event(place),
            Action::Restarts(place) => {
                self.instances[place].consumer.carry_out_restarts();
                Ok(())
            }
            Action::Answer(place) => self.answer(place, false),
            Action::AnswerFails(place) => self.answer(place, true),
            Action::Write(place) => self.write(place),
            Action::Report(place) => self.report(place),
            Action::CommitArrives(place) => self.commit_arrives(place),
            Action::CommitAnswered(place) => self.commit_answered(place),
            Action::Inspect(place) => self.inspect(place),
            Action::Inspected(place) => self.inspected(place),
            Action::Turn(place) => self.turn(place),
            Action::Rebalance => self.rebalance(),
            Action::RebalanceDone => self.rebalance_done(),
            Action::Learn(place) => self.learn(place),
            fault => self.fault(fault),
        }
    }
}
