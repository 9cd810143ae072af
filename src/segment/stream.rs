//! The tiles of one volume as a stream of requests: a bounded number under way at once, finished in the tiles' order whatever the
//! order in which the session answers them, so that sums do not depend on what else runs.

use super::job::Shared;
use super::network::{Network, Pass};
use super::result::has_nan;
use crate::error::{Code, Error, Result};
use crate::volume::decide::activate;
use crate::volume::recipe::{Activation, Recipe};
use crate::volume::sweep::{add_mirrored, mirrorings};
use crate::volume::tiles::{Tiles, constants};
use crate::volume::work::allocate;
use std::collections::VecDeque;
use std::time::Instant;

/// What the stream is about.
pub struct Source<'a> {
    pub recipe: &'a Recipe,
    /// One for each fold.
    pub networks: &'a [Network],
    pub tiles: &'a Tiles,
    /// Dense: `[channel, z, y, x]` on the model's grid.
    pub volume: &'a [f32],
    pub priority: i32,
    pub deadline: Option<Instant>,
    pub nan_allowed: bool,
    /// How many passes are under way at most.
    pub limit: usize,
}

/// A part of a tile's work, in the order in which parts are begun and finished.
struct Step {
    work: Work,
    is_first: bool,
    is_last: bool,
}

enum Work {
    /// One network's run on the tile, and how it was mirrored.
    Pass(Pass, [bool; 3]),
    /// The same on a tile of one value, which stands for all mirrorings.
    Constant(Pass),
    /// Nothing: the tile has the value of the last one that had one only.
    Same,
}

pub struct Stream<'a> {
    source: Source<'a>,
    job: &'a Shared,
    mirrorings: Vec<[bool; 3]>,
    waiting: VecDeque<Step>,
    /// The tile that is begun next, its fold and its mirroring.
    next: (usize, usize, usize),
    /// How many tiles are finished.
    finished: usize,
    /// Whether the tile that is being begun has one value.
    is_constant: bool,
    /// The value of the last tile begun that had one only, and what the networks gave for the last one finished.
    constant: Option<Vec<u32>>,
    constant_result: Vec<f32>,
    /// Memory of passes that are over.
    spare: Vec<(Vec<f32>, Vec<f32>)>,
    sum: Vec<f32>,
}

impl<'a> Stream<'a> {
    pub fn new(source: Source<'a>, job: &'a Shared) -> Self {
        let mirrorings = mirrorings(source.recipe.tiling.mirrored);
        Self {
            source,
            job,
            mirrorings,
            waiting: VecDeque::new(),
            next: (0, 0, 0),
            finished: 0,
            is_constant: false,
            constant: None,
            constant_result: Vec::new(),
            spare: Vec::new(),
            sum: Vec::new(),
        }
    }

    /// Bytes that a stream with so many passes under way takes at most.
    pub fn memory(network: &Network, limit: usize) -> u64 {
        let (input, output) = network.elements();
        let pass = (input as u64).saturating_add(output as u64).saturating_mul(limit as u64);
        pass.saturating_add(2 * output as u64).saturating_mul(size_of::<f32>() as u64)
    }

    /// Runs all tiles. `tile` is called with each one's result, in order: what the networks give, averaged over folds and
    /// mirrorings, `[channel, z, y, x]`.
    pub fn run(&mut self, mut tile: impl FnMut(&[f32]) -> Result<()>) -> Result<()> {
        loop {
            self.fill()?;
            let Some(step) = self.waiting.pop_front() else { return Ok(()) };
            let is_last = step.is_last;
            self.finish(step).map_err(|error| self.within_tile(error, self.finished))?;
            if is_last {
                tile(&self.sum)?;
                self.finished += 1;
            }
        }
    }

    /// Begins passes until as many as may be are under way.
    fn fill(&mut self) -> Result<()> {
        while self.waiting.len() < self.source.limit && self.next.0 < self.source.tiles.count() {
            self.job.check(self.source.deadline)?;
            let tile = self.next.0;
            self.begin().map_err(|error| self.within_tile(error, tile))?;
        }
        Ok(())
    }

    fn begin(&mut self) -> Result<()> {
        let Source { recipe, networks, tiles, volume, priority, deadline, .. } = self.source;
        let (tile, fold, mirroring) = self.next;
        let is_first = (fold, mirroring) == (0, 0);
        let network = &networks[fold];
        let (mut input, output) = match self.spare.pop() {
            Some(spare) => spare,
            None => (allocate("a tile", network.elements().0)?, allocate("a tile", network.elements().1)?),
        };
        tiles.gather(volume, tiles.start(tile), self.mirrorings[mirroring], recipe.tiling.padding, &mut input);
        if is_first {
            let constant = constants(&input, recipe.channels);
            self.is_constant = constant.is_some();
            if self.is_constant && constant == self.constant {
                self.spare.push((input, output));
                self.waiting.push_back(Step { work: Work::Same, is_first, is_last: true });
                self.next = (tile + 1, 0, 0);
                return Ok(());
            }
            self.constant = constant.or(self.constant.take());
        }
        let timeout = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
        let pass = network.submit(input, output, priority, timeout)?;
        self.job.watch(pass.request.clone());
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
        self.waiting.push_back(Step { work, is_first, is_last: self.next.0 > tile });
        Ok(())
    }

    /// Adds a step's result to its tile's.
    fn finish(&mut self, step: Step) -> Result<()> {
        let Step { work, is_first, is_last } = step;
        let (pass, mirrored, is_constant) = match work {
            Work::Pass(pass, mirrored) => (pass, vec![mirrored], false),
            Work::Constant(pass) => (pass, self.mirrorings.clone(), true),
            Work::Same => {
                self.sum.clone_from(&self.constant_result);
                return Ok(());
            }
        };
        let request = pass.request.clone();
        let outcome = pass.finish();
        self.job.unwatch(&request);
        let (input, mut output) = outcome.map_err(|error| self.job.explain(error))?;
        if !self.source.nan_allowed && has_nan(&output) {
            return Err(Error::new(
                Code::InvalidModel,
                "the network gave what is no number (NaN); look for it in the image, or allow it",
            ));
        }
        let decision = &self.source.recipe.decision;
        if decision.blend_probabilities && decision.activation != Activation::None {
            activate(&mut output, self.source.networks[0].channels, decision.activation);
        }
        if self.sum.is_empty() {
            self.sum = allocate("a tile", output.len())?;
        }
        for (i, mirrored) in mirrored.into_iter().enumerate() {
            add_mirrored(&output, self.source.tiles.patch, mirrored, is_first && i == 0, &mut self.sum);
        }
        self.spare.push((input, output));
        let passes = self.source.networks.len() * self.mirrorings.len();
        if is_last && passes > 1 {
            let count = passes as f32;
            self.sum.iter_mut().for_each(|sum| *sum /= count);
        }
        if is_last && is_constant {
            self.constant_result.clone_from(&self.sum);
        }
        Ok(())
    }

    fn within_tile(&self, error: Error, tile: usize) -> Error {
        if matches!(error.code(), Code::Cancelled | Code::Deadline) {
            return error;
        }
        let [z, y, x] = self.source.tiles.start(tile);
        let count = self.source.tiles.count();
        error.within(format_args!("tile {} of {count}, from z {z}, y {y}, x {x} of the model's grid on", tile + 1))
    }
}

impl Drop for Stream<'_> {
    fn drop(&mut self) {
        // All at once, so that there is one batch to wait for; the passes then wait for themselves.
        for step in &self.waiting {
            if let Work::Pass(pass, _) | Work::Constant(pass) = &step.work {
                pass.request.cancel();
            }
        }
    }
}
