//! The requests that wait: a line for each batch key, whose requests can run together, by priority and then by age.
//!
//! Only data: who may touch it when is the dispatcher's affair.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::time::Instant;

/// Who goes first: the higher priority, and among equals the older.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Rank {
    priority: Reverse<i32>,
    number: u64,
}

/// Where a request waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// The number of its batch key.
    pub key: u64,
    pub rank: Rank,
}

pub struct Waiting<T> {
    pub items: usize,
    pub since: Instant,
    pub deadline: Option<Instant>,
    pub request: T,
}

pub struct Queue<T> {
    lines: Vec<Line<T>>,
    count: usize,
    number: u64,
}

struct Line<T> {
    key: u64,
    waiting: BTreeMap<Rank, Waiting<T>>,
    items: usize,
    /// How many of them have a deadline.
    deadlines: usize,
}

/// What a line looks like to those who choose one.
pub struct Head<'a, T> {
    pub key: u64,
    rank: Rank,
    pub first: &'a Waiting<T>,
    /// Items of the whole line.
    pub items: usize,
}

impl<T> Head<'_, T> {
    /// Whether the first of the line is the one that waits there.
    pub fn is_at(&self, place: Place) -> bool {
        self.key == place.key && self.rank == place.rank
    }
}

impl<T> Default for Queue<T> {
    fn default() -> Self {
        Self { lines: Vec::new(), count: 0, number: 0 }
    }
}

impl<T> Queue<T> {
    pub fn len(&self) -> usize {
        self.count
    }

    pub fn push(&mut self, key: u64, priority: i32, waiting: Waiting<T>) -> Place {
        self.number += 1;
        let place = Place { key, rank: Rank { priority: Reverse(priority), number: self.number } };
        self.put(place, waiting);
        place
    }

    /// Puts a request where it was.
    pub fn put(&mut self, place: Place, waiting: Waiting<T>) {
        let line = match self.lines.iter().position(|line| line.key == place.key) {
            Some(i) => &mut self.lines[i],
            None => {
                self.lines.push(Line { key: place.key, waiting: BTreeMap::new(), items: 0, deadlines: 0 });
                self.lines.last_mut().unwrap_or_else(|| unreachable!("one was pushed"))
            }
        };
        line.items += waiting.items;
        line.deadlines += usize::from(waiting.deadline.is_some());
        line.waiting.insert(place.rank, waiting);
        self.count += 1;
    }

    /// Takes a request out; `None` where it waits no more.
    pub fn remove(&mut self, place: Place) -> Option<Waiting<T>> {
        let i = self.lines.iter().position(|line| line.key == place.key)?;
        let taken = self.lines[i].remove(place.rank)?;
        self.count -= 1;
        self.drop_if_empty(i);
        Some(taken)
    }

    /// The first of each line, the most urgent line first.
    pub fn heads(&self) -> impl Iterator<Item = Head<'_, T>> {
        let mut heads: Vec<Head<'_, T>> = self.lines.iter().filter_map(Line::head).collect();
        heads.sort_unstable_by_key(|head| head.rank);
        heads.into_iter()
    }

    /// Takes the first requests of a line that have room together. The first one goes however large it is; behind one
    /// that does not fit none is taken, or large requests would wait for ever.
    pub fn take(&mut self, key: u64, max_items: usize) -> Vec<(Place, Waiting<T>)> {
        let Some(i) = self.lines.iter().position(|line| line.key == key) else { return Vec::new() };
        let line = &mut self.lines[i];
        let mut taken = Vec::with_capacity(max_items.min(line.waiting.len()));
        let mut items = 0;
        while let Some((rank, first)) = line.waiting.first_key_value()
            && (taken.is_empty() || items + first.items <= max_items)
        {
            let rank = *rank;
            items += first.items;
            taken.extend(line.remove(rank).map(|waiting| (Place { key, rank }, waiting)));
        }
        self.count -= taken.len();
        self.drop_if_empty(i);
        taken
    }

    /// Takes those out whose deadline has passed.
    pub fn take_late(&mut self, now: Instant) -> Vec<Waiting<T>> {
        let mut taken = Vec::new();
        for i in (0..self.lines.len()).rev() {
            let line = &mut self.lines[i];
            if line.deadlines == 0 {
                continue;
            }
            let late = |waiting: &Waiting<T>| waiting.deadline.is_some_and(|deadline| deadline <= now);
            let ranks: Vec<Rank> = line.waiting.iter().filter(|(_, w)| late(w)).map(|(rank, _)| *rank).collect();
            taken.extend(ranks.into_iter().filter_map(|rank| line.remove(rank)));
            self.drop_if_empty(i);
        }
        self.count -= taken.len();
        taken
    }

    pub fn take_all(&mut self) -> Vec<Waiting<T>> {
        self.count = 0;
        std::mem::take(&mut self.lines).into_iter().flat_map(|line| line.waiting.into_values()).collect()
    }

    /// The deadline that passes next.
    pub fn next_deadline(&self) -> Option<Instant> {
        let late = self.lines.iter().filter(|line| line.deadlines > 0);
        late.flat_map(|line| line.waiting.values().filter_map(|waiting| waiting.deadline)).min()
    }

    fn drop_if_empty(&mut self, i: usize) {
        if self.lines[i].waiting.is_empty() {
            self.lines.remove(i);
        }
    }
}

impl<T> Line<T> {
    fn head(&self) -> Option<Head<'_, T>> {
        let (rank, first) = self.waiting.first_key_value()?;
        Some(Head { key: self.key, rank: *rank, first, items: self.items })
    }

    fn remove(&mut self, rank: Rank) -> Option<Waiting<T>> {
        let taken = self.waiting.remove(&rank)?;
        self.items -= taken.items;
        self.deadlines -= usize::from(taken.deadline.is_some());
        Some(taken)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn waiting(items: usize, request: &'static str) -> Waiting<&'static str> {
        Waiting { items, since: Instant::now(), deadline: None, request }
    }

    fn names(taken: Vec<(Place, Waiting<&'static str>)>) -> Vec<&'static str> {
        taken.into_iter().map(|(_, waiting)| waiting.request).collect()
    }

    #[test]
    fn by_priority_then_by_age_and_never_split() {
        let mut queue = Queue::default();
        queue.push(1, 0, waiting(1, "first"));
        queue.push(1, 0, waiting(3, "second, of three"));
        queue.push(1, 0, waiting(1, "third"));
        queue.push(1, 5, waiting(1, "urgent"));
        queue.push(2, 0, waiting(1, "with another key"));
        assert_eq!(queue.len(), 5);
        assert_eq!(names(queue.take(1, 4)), ["urgent", "first"]);
        assert_eq!(names(queue.take(1, 2)), ["second, of three"]);
        assert_eq!(names(queue.take(1, 4)), ["third"]);
        assert_eq!(names(queue.take(1, 4)), [""; 0]);
        assert_eq!(queue.len(), 1);
    }

    #[test]
    fn the_most_urgent_line_first() {
        let mut queue = Queue::default();
        queue.push(1, 0, waiting(1, "a"));
        queue.push(2, 1, waiting(2, "b"));
        let lines: Vec<_> = queue.heads().map(|head| (head.key, head.items)).collect();
        assert_eq!(lines, [(2, 2), (1, 1)]);
    }

    #[test]
    fn removed_once_and_put_back_where_it_was() {
        let mut queue = Queue::default();
        let place = queue.push(1, 0, waiting(1, "a"));
        queue.push(1, 0, waiting(1, "b"));
        let taken = queue.remove(place).unwrap();
        assert!(queue.remove(place).is_none());
        queue.put(place, taken);
        assert_eq!(names(queue.take(1, 2)), ["a", "b"]);
        assert!(queue.remove(place).is_none() && queue.len() == 0);
    }

    #[test]
    fn late_ones_are_taken_out() {
        let mut queue = Queue::default();
        let now = Instant::now();
        let until = |after: u64| Some(now + Duration::from_secs(after));
        queue.push(1, 0, Waiting { deadline: until(5), ..waiting(1, "five") });
        queue.push(1, 0, waiting(1, "none"));
        queue.push(2, 0, Waiting { deadline: until(2), ..waiting(1, "two") });
        assert_eq!(queue.next_deadline(), until(2));
        assert!(queue.take_late(now).is_empty());
        let late: Vec<_> = queue.take_late(now + Duration::from_secs(3)).into_iter().map(|w| w.request).collect();
        assert_eq!(late, ["two"]);
        assert_eq!(queue.next_deadline(), until(5));
        assert_eq!(queue.take_all().len(), 2);
        assert!(queue.len() == 0 && queue.next_deadline().is_none());
    }
}
