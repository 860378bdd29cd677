//! Owns what happens to a consumer group: partitions move, members are put out.

use super::Action;
use crate::world::{Assigned, Checked, Item, World};

impl World {
    pub(super) fn add_rebalance(&self, actions: &mut Vec<(Action, usize)>) {
        if !self.setup.is_group {
            return;
        }
        let under_way = self
            .instances
            .iter()
            .any(|instance| instance.consumer.revoking.is_some());
        let can = self.instances.iter().any(|instance| !instance.fenced);
        let unowned = self.store.owners.iter().any(Option::is_none);
        if !under_way && can {
            actions.push((Action::Rebalance, if unowned { 12 } else { 1 }));
        }
        if self.can_finish_rebalance() {
            actions.push((Action::RebalanceDone, 6));
        }
        for (place, instance) in self.instances.iter().enumerate() {
            if instance.fenced {
                actions.push((Action::Learn(place), 3));
            }
        }
    }

    pub(crate) fn can_finish_rebalance(&self) -> bool {
        let mut revoking = self
            .instances
            .iter()
            .filter(|instance| instance.consumer.revoking.is_some());
        revoking.any(|instance| instance.consumer.is_released())
    }

    /// Partitions without a member get one; perhaps some move.
    pub(super) fn rebalance(&mut self) -> Checked {
        self.tally.rebalances += 1;
        let members: Vec<u32> = self
            .instances
            .iter()
            .filter(|instance| !instance.fenced)
            .map(|instance| instance.id)
            .collect();
        for partition in 0..self.store.owners.len() {
            let chosen = members[self.tape.below(members.len())];
            match self.store.owners[partition] {
                None => self.assign(partition, chosen),
                Some(owner) if owner != chosen && self.tape.chance(128) => {
                    let has = self.instances.iter_mut().find(|instance| instance.id == owner);
                    let has = has.filter(|instance| instance.consumer.revoking.is_none());
                    if let Some(instance) = has.filter(|its| its.consumer.reading.contains_key(&partition)) {
                        instance.consumer.revoke(vec![partition]);
                    }
                }
                Some(_) => {}
            }
        }
        self.next_generation();
        Ok(())
    }

    fn assign(&mut self, partition: usize, member: u32) {
        self.store.owners[partition] = Some(member);
        let committed = self.store.begin(partition, &mut self.logs);
        let from = committed.unwrap_or(self.logs.now(partition).start);
        let generation = match self.store.committed[partition] {
            Some(position) if position.offset > self.logs.now(partition).end() => position.generation,
            _ => self.logs.generation(partition),
        };
        let assigned = Assigned {
            partition,
            from,
            generation,
        };
        self.tell(|| format!("    {assigned:?} to {member}"));
        let instance = self.instances.iter_mut().find(|instance| instance.id == member);
        if let Some(instance) = instance {
            instance.consumer.carry_out_restarts();
            instance.consumer.read(partition, from);
            instance
                .consumer
                .channel
                .push_back(Item::Assigned(vec![assigned]));
        }
    }

    /// A revocation was released: the partitions have no member, until the next rebalance.
    pub(super) fn rebalance_done(&mut self) -> Checked {
        for place in 0..self.instances.len() {
            if self.instances[place].consumer.is_released() {
                self.check_released(place)?;
                self.end_revocation(place, true);
            }
        }
        Ok(())
    }

    /// What a worker releases in good order is committed as far as it is acknowledged, so nobody does it again.
    fn check_released(&self, place: usize) -> Checked {
        let instance = &self.instances[place];
        let released = instance
            .consumer
            .revoking
            .iter()
            .flat_map(|(partitions, _)| partitions);
        for partition in released {
            let Some(opening) = instance.openings.get(partition) else {
                continue;
            };
            let committed = self.store.committed[*partition].map(|position| position.offset);
            let acknowledged = opening.acknowledged();
            if !instance.fenced && !opening.mixed && acknowledged > committed {
                return Err(format!(
                    "partition {partition} was released with {acknowledged:?} acknowledged and {committed:?} committed"
                ));
            }
            if let Some(offset) = opening.under_way() {
                return Err(format!(
                    "partition {partition} was released, the result of {offset} is under way"
                ));
            }
        }
        Ok(())
    }

    pub(crate) fn end_revocation(&mut self, place: usize, released: bool) {
        let instance = &mut self.instances[place];
        let Some((partitions, _)) = &instance.consumer.revoking else {
            return;
        };
        for partition in partitions {
            if released {
                instance.openings.remove(partition);
            }
            self.store.owners[*partition].take_if(|owner| *owner == instance.id);
        }
        instance.consumer.end_revocation(released);
        self.next_generation();
    }

    /// A member that was put out learns it, and joins again.
    pub(super) fn learn(&mut self, place: usize) -> Checked {
        let instance = &mut self.instances[place];
        instance.consumer.lose_all();
        instance.fenced = false;
        self.next_generation();
        Ok(())
    }

    /// A member is put out of the group: it was silent for too long.
    pub(super) fn fence(&mut self, place: usize) {
        let id = self.instances[place].id;
        for owner in &mut self.store.owners {
            owner.take_if(|owner| *owner == id);
        }
        self.instances[place].fenced = true;
        self.next_generation();
    }
}
