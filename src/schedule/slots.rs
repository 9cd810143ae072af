//! The instances of a session: which are free, at work or lost, and how many items of which batch key they run.

use super::keys::RegisteredKey;
use crate::backend::instance::Instance;
use crate::error::Error;

/// A place for an instance.
pub struct Slot {
    /// The number of the instance group that it is of.
    group: usize,
    /// `None` while a batch runs in it, and when it is lost.
    instance: Option<Box<dyn Instance>>,
    /// The number of the batch key and the items of the batch that runs in it.
    batch: Option<(u64, usize)>,
    lost: bool,
}

impl Slot {
    pub fn new(group: usize, instance: Box<dyn Instance>) -> Self {
        Self { group, instance: Some(instance), batch: None, lost: false }
    }
}

pub struct Slots {
    slots: Vec<Slot>,
    /// Why the last instance that is lost was lost.
    loss: Option<Error>,
}

impl Slots {
    pub fn new(slots: Vec<Slot>) -> Self {
        Self { slots, loss: None }
    }

    /// How many instances are not lost.
    pub fn alive(&self) -> usize {
        self.slots.iter().filter(|slot| !slot.lost).count()
    }

    pub fn which_are_lost(&self) -> Vec<bool> {
        self.slots.iter().map(|slot| slot.lost).collect()
    }

    /// The group of each instance that is lost.
    fn lost(&self) -> impl Iterator<Item = usize> {
        self.slots.iter().filter(|slot| slot.lost).map(|slot| slot.group)
    }

    pub fn any_free(&self) -> bool {
        self.slots.iter().any(|slot| slot.instance.is_some())
    }

    /// Items that run, of all batches.
    pub fn running(&self) -> usize {
        self.batches().map(|(_, items)| items).fold(0, usize::saturating_add)
    }

    /// Items that run of a batch key.
    pub fn running_of(&self, key: u64) -> usize {
        self.batches().filter(|(of, _)| *of == key).map(|(_, items)| items).fold(0, usize::saturating_add)
    }

    pub fn any_running(&self) -> bool {
        self.batches().next().is_some()
    }

    fn batches(&self) -> impl Iterator<Item = (u64, usize)> {
        self.slots.iter().filter_map(|slot| slot.batch)
    }

    /// How many instances take requests with a key and are not lost.
    pub fn count_for(&self, known: &RegisteredKey) -> usize {
        let slots = self.slots.iter().zip(&known.capacities);
        slots.filter(|(slot, capacity)| !slot.lost && capacity.max > 0).count()
    }

    /// The error for requests with a key that no instance is left for.
    pub fn none_left_for(&self, known: &RegisteredKey) -> Option<Error> {
        let loss = self.loss.as_ref()?;
        let message = "every device of the session that could run this is lost";
        (self.count_for(known) == 0).then(|| loss.clone().within(message))
    }

    /// A free instance that takes so many items with a key, of the group with the least to do.
    pub fn free_for(&self, known: &RegisteredKey, items: usize) -> Option<usize> {
        let free = |i: &usize| self.slots[*i].instance.is_some() && known.capacities[*i].max >= items;
        let busy = |group| self.slots.iter().filter(|slot| slot.group == group && slot.instance.is_none()).count();
        (0..self.slots.len()).filter(free).min_by_key(|i| busy(self.slots[*i].group))
    }

    /// Takes a free instance for a batch, whose items are told next.
    pub fn take(&mut self, number: usize, key: u64) -> Option<Box<dyn Instance>> {
        let slot = &mut self.slots[number];
        let instance = slot.instance.take()?;
        slot.batch = Some((key, 0));
        Some(instance)
    }

    pub fn set_items(&mut self, number: usize, count: usize) {
        if let Some((_, items)) = &mut self.slots[number].batch {
            *items = count;
        }
    }

    /// The batch has ended; `None` where the instance is lost.
    pub fn give_back(&mut self, number: usize, instance: Option<Box<dyn Instance>>) {
        let slot = &mut self.slots[number];
        slot.batch = None;
        slot.instance = instance;
    }

    /// The batch has ended, and the instance with it.
    pub fn lose(&mut self, number: usize, error: Error) {
        self.give_back(number, None);
        self.slots[number].lost = true;
        self.loss = Some(error);
    }

    /// The group that looks best after requests which any device may run: one that has lost nothing, if there is one.
    pub fn best_group(&self) -> Option<usize> {
        let whole = |group: &usize| !self.lost().any(|lost| lost == *group);
        let groups = || self.slots.iter().filter(|slot| !slot.lost).map(|slot| slot.group);
        groups().find(whole).or_else(|| groups().next())
    }

    /// Takes all that are free, for the end.
    pub fn take_all(&mut self) -> Vec<Box<dyn Instance>> {
        self.slots.iter_mut().filter_map(|slot| slot.instance.take()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::batch::{BatchKey, Capacity};
    use crate::error::Code;

    #[test]
    fn only_instances_that_take_a_key_share_its_requests() {
        let slot = |group| Slot { group, instance: None, batch: None, lost: false };
        let mut slots = Slots::new(vec![slot(0), slot(0), slot(1), slot(1)]);
        let key = BatchKey { inputs: Vec::new(), outputs: Vec::new(), batched: true, device: Some(0) };
        let taken = || Capacity { optimal: 4, max: 8, ..Capacity::default() };
        let capacities = vec![taken(), taken(), Capacity::default(), Capacity::default()];
        let known = RegisteredKey { number: 1, key, capacities };
        assert_eq!(slots.count_for(&known), 2);
        slots.lose(0, Error::new(Code::Cuda, "gone"));
        assert!(slots.count_for(&known) == 1 && slots.none_left_for(&known).is_none());
        assert_eq!(slots.best_group(), Some(1));
        slots.lose(1, Error::new(Code::Cuda, "gone"));
        assert!(slots.none_left_for(&known).is_some());
    }
}
