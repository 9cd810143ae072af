//! The tiles of one volume as a stream of requests: a bounded number under way at once, finished in the tiles' order whatever the
//! order in which the session answers them, so that sums do not depend on what else runs.

use super::job::Shared;
use super::network::{Network, Pass};
use super::place::{Place, within_tile};
use crate::error::Result;
use crate::volume::recipe::{Activation, Recipe};
use crate::volume::sweep::mirrorings;
use crate::volume::tiles::Tiles;
use std::collections::VecDeque;
use std::time::Instant;

/// What the stream is about.
pub struct Source<'a> {
    pub recipe: &'a Recipe,
    /// One for each fold.
    pub networks: &'a [Network],
    pub tiles: &'a Tiles,
    pub priority: i32,
    pub deadline: Option<Instant>,
    /// How many passes are under way at most.
    pub limit: usize,
}

/// A part of a tile's work, in the order in which parts are begun and finished.
struct Step<T> {
    work: Work<T>,
    is_first: bool,
    is_last: bool,
}

enum Work<T> {
    /// One network's run on the tile, and how it was mirrored.
    Pass(Pass<T>, [bool; 3]),
    /// The same on a tile of one value, which stands for all mirrorings.
    Constant(Pass<T>),
    /// Nothing: the tile has the value of the last one that had one only.
    Same,
}

pub struct Stream<'a, P: Place> {
    /// Dropped first.
    waiting: Waiting<P::Tile>,
    source: Source<'a>,
    place: P,
    job: &'a Shared,
    mirrorings: Vec<[bool; 3]>,
    /// The tile that is begun next, its fold and its mirroring.
    next: (usize, usize, usize),
    /// How many tiles are finished.
    finished: usize,
    /// Whether the tile that is being begun has one value.
    is_constant: bool,
    /// The value of the last tile begun that had one only, and what the networks gave for the last one finished.
    constant: Option<Vec<u32>>,
    constant_result: Option<P::Tile>,
    /// Memory of passes that are over.
    spare: Vec<(P::Tile, P::Tile)>,
    sum: Option<P::Tile>,
}

impl<'a, P: Place> Stream<'a, P> {
    pub fn new(source: Source<'a>, place: P, job: &'a Shared) -> Self {
        let mirrorings = mirrorings(source.recipe.tiling.mirrored);
        Self {
            waiting: Waiting(VecDeque::new()),
            source,
            place,
            job,
            mirrorings,
            next: (0, 0, 0),
            finished: 0,
            is_constant: false,
            constant: None,
            constant_result: None,
            spare: Vec::new(),
            sum: None,
        }
    }

    /// Runs all tiles, and blends in their order what the networks give, averaged over folds and mirrorings. `done` is called after
    /// each.
    pub fn run(mut self, mut done: impl FnMut() -> Result<()>) -> Result<P> {
        loop {
            self.fill()?;
            let Some(step) = self.waiting.0.pop_front() else { break };
            let (is_last, is_same) = (step.is_last, matches!(step.work, Work::Same));
            self.finish(step).map_err(|error| within_tile(self.source.tiles, self.finished, error))?;
            if is_last {
                if let Some(result) = if is_same { &self.constant_result } else { &self.sum } {
                    self.place.blend(result)?;
                }
                self.finished += 1;
                done()?;
            }
        }
        Ok(self.place)
    }

    /// Begins passes until as many as may be are under way.
    fn fill(&mut self) -> Result<()> {
        while self.waiting.0.len() < self.source.limit && self.next.0 < self.source.tiles.count() {
            self.job.check(self.source.deadline)?;
            let tile = self.next.0;
            self.begin().map_err(|error| within_tile(self.source.tiles, tile, error))?;
        }
        Ok(())
    }

    fn begin(&mut self) -> Result<()> {
        let Source { networks, priority, deadline, .. } = self.source;
        let (tile, fold, mirroring) = self.next;
        let is_first = (fold, mirroring) == (0, 0);
        let network = &networks[fold];
        if is_first {
            self.place.ready(tile)?;
        }
        if is_first && self.constant.is_some() && self.place.known(tile) == self.constant {
            return self.skip(tile);
        }
        let (mut input, output) = match self.spare.pop() {
            Some(spare) => spare,
            None => (self.place.input()?, self.place.output()?),
        };
        self.place.gather(tile, self.mirrorings[mirroring], &mut input)?;
        if is_first {
            let constant = self.place.constant(tile, &input);
            self.is_constant = constant.is_some();
            if self.is_constant && constant == self.constant {
                self.spare.push((input, output));
                return self.skip(tile);
            }
            self.constant = constant.or(self.constant.take());
        }
        let timeout = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
        let pass = network.submit((input, output), priority, timeout, self.place.dependency(), self.job)?;
        let fold_is_done = self.is_constant || mirroring + 1 == self.mirrorings.len();
        self.next = match (fold_is_done, fold + 1 < networks.len()) {
            (false, _) => (tile, fold, mirroring + 1),
            (true, true) => (tile, fold + 1, 0),
            (true, false) => (tile + 1, 0, 0),
        };
        let work = match self.is_constant {
            true => Work::Constant(pass),
            false => Work::Pass(pass, self.mirrorings[mirroring]),
        };
        self.waiting.0.push_back(Step { work, is_first, is_last: self.next.0 > tile });
        Ok(())
    }

    /// A tile has the value of the last one that had one only.
    fn skip(&mut self, tile: usize) -> Result<()> {
        self.waiting.0.push_back(Step { work: Work::Same, is_first: true, is_last: true });
        self.next = (tile + 1, 0, 0);
        Ok(())
    }

    /// Adds a step's result to its tile's.
    fn finish(&mut self, step: Step<P::Tile>) -> Result<()> {
        let Step { work, is_first, is_last } = step;
        let (pass, mirrored, is_constant) = match work {
            Work::Pass(pass, mirrored) => (pass, vec![mirrored], false),
            Work::Constant(pass) => (pass, self.mirrorings.clone(), true),
            Work::Same => return Ok(()),
        };
        let request = pass.request.clone();
        let outcome = pass.finish();
        self.job.unwatch(&request);
        let (input, mut output) = outcome.map_err(|error| self.job.explain(error))?;
        self.place.take(self.finished, &mut output)?;
        let decision = &self.source.recipe.decision;
        if decision.blend_probabilities && decision.activation != Activation::None {
            self.place.activate(&mut output, decision.activation)?;
        }
        let sum = match &mut self.sum {
            Some(sum) => sum,
            none => none.insert(self.place.output()?),
        };
        let passes = self.source.networks.len() * self.mirrorings.len();
        if passes == 1 {
            // There is nothing to add.
            std::mem::swap(sum, &mut output);
        } else {
            for (i, mirrored) in mirrored.into_iter().enumerate() {
                self.place.add(&output, mirrored, is_first && i == 0, sum)?;
            }
            if is_last {
                self.place.divide(sum, passes as f32)?;
            }
        }
        self.spare.push((input, output));
        if is_last && is_constant {
            let result = match &mut self.constant_result {
                Some(result) => result,
                none => none.insert(self.place.output()?),
            };
            self.place.copy(sum, result)?;
        }
        Ok(())
    }
}

/// Bytes that the tiles of so many passes under way take at most.
pub fn memory(network: &Network, limit: usize) -> u64 {
    let (input, output) = network.elements();
    let pass = (input as u64).saturating_add(output as u64).saturating_mul(limit as u64);
    pass.saturating_add(2 * output as u64).saturating_mul(size_of::<f32>() as u64)
}

/// The steps that are under way: those that are dropped are given up.
struct Waiting<T>(VecDeque<Step<T>>);

impl<T> Drop for Waiting<T> {
    fn drop(&mut self) {
        // All at once, so that there is one batch to wait for; the passes then wait for themselves.
        for step in &self.0 {
            if let Work::Pass(pass, _) | Work::Constant(pass) = &step.work {
                pass.request.cancel();
            }
        }
    }
}
