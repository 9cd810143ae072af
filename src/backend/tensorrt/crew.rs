//! What a session runs a plan with: lanes, with contexts and memory, as many as are of use and fit.

use super::context::Context;
use super::engine::Engine;
use super::intake::TensorRtIntake;
use super::lane::TensorRtLane;
use super::prepared::Captures;
use super::sizes::{Group, pays};
use crate::backend::lane::{Crew, CrewSize};
use crate::backend::{Context as _, Engine as _};
use crate::cuda::Copier;
use crate::engine::{Description, Role};
use crate::error::{Code, Error, Result};
use crate::log::Level;
use crate::tensor::Shape;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tensorrt_sys::{ExecutionContextAllocationStrategy, HostMemory};

/// Lanes where the device has room for more than one small batch: while some are between two batches, the others keep it
/// busy.
const LANES: usize = 4;

/// Lanes where one batch fills the device, or nobody knows: what one computes and what the other copies overlap.
const FEW: usize = 2;

/// Contexts of a lane whose shapes are not known beforehand: one for full batches and one for the rest.
const SPARE: usize = 2;

/// The part of the free device memory that copies of the engine may take where the application sets no limits.
const COPIES: usize = 8;

/// No session takes longer than this and one run to be made ready.
const PATIENCE: Duration = Duration::from_secs(3);

pub fn crew(engine: &Arc<Engine>, size: &CrewSize) -> Result<Crew> {
    let start = Instant::now();
    let mut maker = Maker::new(engine, size)?;
    let groups = Group::all(engine, size);
    let count = groups.len();
    // Of each lane, the number of its group.
    let mut places: Vec<usize> = Vec::new();
    let mut lanes: Vec<TensorRtLane> = Vec::new();
    // Group by group, so that each has one lane before any has two.
    while lanes.len() < wanted(&mut lanes, count, size)? {
        let place = lanes.len() % count;
        let made = match places.iter().position(|other| *other == place) {
            None => maker.first_lane(&groups[place], size),
            Some(first) => maker.further_lane(&lanes[first].group.clone()),
        };
        match made {
            Ok(lane) => {
                places.push(place);
                lanes.push(lane);
            }
            // As many as fit.
            Err(error) if size.contexts == 0 && !lanes.is_empty() => {
                let message = format!("the session goes without context {}: {error}", lanes.len() + 1);
                engine.runtime().log().write(Level::Info, &message);
                break;
            }
            Err(error) if size.contexts == 0 => return Err(error),
            Err(error) => {
                return Err(error.within(format_args!(
                    "context {} of {} of the session",
                    lanes.len() + 1,
                    size.contexts
                )));
            }
        }
    }
    if count == 1 && lanes.len() > 1 && lanes[0].group.costs.len() > 1 && maker.has_time() {
        lanes[0].group.costs = loaded_costs(&mut lanes)?;
    }
    // Those of sizes that did not pay go.
    maker.engines.retain(|copy| Arc::strong_count(copy) > 1);
    let sizes: Vec<_> = lanes[0].group.sizes.iter().map(usize::to_string).collect();
    let message = format!(
        "session: {} lanes on {} engines, batches of {}, {} bytes of device memory, made in {:.0} ms",
        lanes.len(),
        maker.engines.len(),
        sizes.join(", "),
        maker.spent,
        start.elapsed().as_secs_f64() * 1e3
    );
    engine.runtime().log().write(Level::Info, &message);
    let groups = places.iter().take(count).map(|place| &lanes[*place]);
    let groups = groups.map(|lane| (lane.group.clone(), lane.any_context().clone())).collect();
    let intake = TensorRtIntake::new(engine, groups, places);
    Ok(Crew { lanes: lanes.into_iter().map(|lane| Box::new(lane) as _).collect(), intake: Arc::new(intake) })
}

/// How many lanes there shall be, as far as the ones that there are tell.
fn wanted(lanes: &mut [TensorRtLane], groups: usize, size: &CrewSize) -> Result<usize> {
    Ok(match (size.contexts, lanes) {
        (0, _) if groups > 1 => FEW * groups,
        (0, [one, other]) if let Some((least, alone)) = one.group.costs.first().copied() => {
            let both = one.time(least, std::slice::from_mut(other))?;
            if pays(both, 2.0 * alone) { LANES } else { FEW }
        }
        (0, [_, _, _, ..]) => LANES,
        (0, _) => FEW,
        (count, _) => count,
    })
}

/// What the batch sizes cost where all lanes are at work. That is when it matters which is chosen.
fn loaded_costs(lanes: &mut [TensorRtLane]) -> Result<Vec<(usize, f64)>> {
    let [first, others @ ..] = lanes else { return Ok(Vec::new()) };
    let sizes = first.group.costs.clone();
    sizes.into_iter().map(|(size, _)| Ok((size, first.time(size, others)?))).collect()
}

/// Makes contexts and lanes, and counts what they take.
struct Maker<'a> {
    engine: &'a Arc<Engine>,
    /// The engine and its copies.
    engines: Vec<Arc<Engine>>,
    /// What copies are made from.
    plan: Option<HostMemory>,
    captures: Arc<Captures>,
    copier: Arc<Copier>,
    /// Bytes of device memory that may still be taken, and what limits them.
    left: usize,
    limit: &'static str,
    spent: usize,
    /// What the last copy of the engine took, all of them, and what they may take.
    copy_cost: usize,
    copies_cost: usize,
    copies_limit: usize,
    /// Why there are no more of them.
    no_more_copies: Option<Error>,
    /// Until then sizes are made ready and timed; what is left is when requests come.
    deadline: Instant,
}

impl<'a> Maker<'a> {
    fn new(engine: &'a Arc<Engine>, size: &CrewSize) -> Result<Self> {
        let (free, _) = engine.runtime().device().memory()?;
        let (left, limit) = match size.memory_budget {
            0 => (free, "is free on the device"),
            budget if budget <= free => (budget, "is left of the session's memory budget"),
            _ => (free, "is free on the device"),
        };
        let limited = size.contexts > 0 || size.memory_budget > 0;
        Ok(Self {
            engine,
            engines: vec![engine.clone()],
            plan: None,
            captures: Arc::default(),
            copier: Arc::new(Copier::new(engine.runtime().device())?),
            left,
            limit,
            spent: 0,
            copy_cost: 0,
            copies_cost: 0,
            copies_limit: if limited { left } else { free / COPIES },
            no_more_copies: None,
            deadline: Instant::now() + PATIENCE,
        })
    }

    fn has_time(&self) -> bool {
        Instant::now() < self.deadline
    }

    fn spend(&mut self, bytes: usize, purpose: &str) -> Result<()> {
        if bytes > self.left {
            return Err(Error::new(
                Code::OutOfMemory,
                format!("{purpose} takes {bytes} bytes of device memory, of which {} {}", self.left, self.limit),
            ));
        }
        self.left -= bytes;
        self.spent += bytes;
        Ok(())
    }

    /// Makes what TensorRT does not say the memory of beforehand: it is measured, with what others take meanwhile.
    fn measured<T>(&mut self, purpose: &str, make: impl FnOnce(&mut Self) -> Result<T>) -> Result<T> {
        let device = self.engine.runtime().device();
        let (before, _) = device.memory()?;
        let spent = self.spent;
        let made = make(self)?;
        let (after, _) = device.memory()?;
        // A copy of the engine that was made on the way is counted already.
        self.spend(before.saturating_sub(after).saturating_sub(self.spent - spent), purpose)?;
        Ok(made)
    }

    /// A context on one of these profiles, for a lane's size of that number. Where a profile serves one context only there
    /// are copies of the engine: one for each size, rather, since lanes that run the same kernels side by side share caches.
    fn context(&mut self, profiles: &[usize], number: usize) -> Result<Context> {
        let in_use = |outcome: &Result<Context>| matches!(outcome, Err(error) if error.code() == Code::InUse);
        let exclusive = self.engine.profiles().are_exclusive();
        if exclusive && number == self.engines.len() {
            // If there is no room for it, the others may do.
            _ = self.add_copy();
        }
        let mut outcome = self.context_of(number.min(self.engines.len() - 1), profiles);
        for engine in 0..self.engines.len() {
            if in_use(&outcome) {
                outcome = self.context_of(engine, profiles);
            }
        }
        if in_use(&outcome) {
            self.add_copy()?;
            outcome = self.context_of(self.engines.len() - 1, profiles);
        }
        outcome
    }

    fn add_copy(&mut self) -> Result<()> {
        if let Some(error) = &self.no_more_copies {
            return Err(error.clone());
        }
        let added = self.try_to_add_copy();
        self.no_more_copies = added.as_ref().err().cloned();
        added
    }

    fn try_to_add_copy(&mut self) -> Result<()> {
        if self.copies_cost + self.copy_cost > self.copies_limit {
            let message = format!(
                "copies of the engine take {} bytes of device memory each, and may take {} together",
                self.copy_cost, self.copies_limit
            );
            return Err(Error::new(Code::OutOfMemory, message));
        }
        if self.plan.is_none() {
            self.plan = Some(self.engine.serialize()?);
        }
        let spent = self.spent;
        let copy = self.measured("one more copy of the engine", |maker| {
            maker.plan.as_ref().map(|plan| maker.engine.copy(plan)).transpose()
        })?;
        self.copy_cost = self.spent - spent;
        self.copies_cost += self.copy_cost;
        self.engines.extend(copy);
        Ok(())
    }

    fn context_of(&self, engine: usize, profiles: &[usize]) -> Result<Context> {
        Context::new(
            self.engines[engine].clone(),
            ExecutionContextAllocationStrategy::UserManaged,
            profiles.iter().copied(),
        )
    }

    fn lane(&mut self, group: &Group) -> Result<TensorRtLane> {
        let scratch = self.engine.profile_device_memory_size(group.profiles[0]);
        self.spend(scratch, "an execution context")?;
        let mut context = self.measured("an execution context", |maker| maker.context(&group.profiles, 0))?;
        let description = self.engine.description();
        let largest = shapes(description, group, group.most, &mut context)?;
        let bytes = largest.iter().zip(&description.tensors).map(|(shape, info)| shape.bytes(info.element_type));
        let bytes = bytes.collect::<Result<Vec<_>>>()?;
        self.spend(bytes.iter().sum(), "a batch's memory")?;
        let mut group = group.clone();
        if group.known {
            let least = shapes(description, &group, group.least, &mut context)?;
            group.outputs = description.indexes(Role::Output).map(|tensor| least[tensor]).collect();
        }
        TensorRtLane::new(self.engine, group, context, &bytes, scratch, &self.captures, &self.copier)
    }

    /// Gives a lane one more context, if there is one to be had: without it the others change their shapes more often.
    fn widen(&mut self, lane: &mut TensorRtLane, number: usize) -> bool {
        let context = self.measured("an execution context", |maker| maker.context(&lane.group.profiles, number));
        context.and_then(|context| lane.add(context)).is_ok()
    }

    /// The first lane of a group finds out which batch sizes pay, unless the application has said which it wants.
    fn first_lane(&mut self, group: &Group, size: &CrewSize) -> Result<TensorRtLane> {
        let mut lane = self.lane(group)?;
        if !group.known {
            (1..SPARE).for_each(|number| _ = self.widen(&mut lane, number));
            return Ok(lane);
        }
        let asked_for = size.largest > 0 || !size.preferred.is_empty();
        for (i, candidate) in group.sizes.iter().copied().enumerate() {
            let widened = i > 0 && self.widen(&mut lane, i);
            let time = match self.has_time() {
                true => lane.settle(candidate).and_then(|()| lane.time(candidate, &mut [])),
                false => Ok(f64::INFINITY),
            };
            let Some((last, cost)) = lane.group.costs.last().copied().filter(|_| !asked_for) else {
                lane.group.costs.push((candidate, time?));
                continue;
            };
            match time {
                Ok(time) if pays(time, cost * candidate as f64 / last as f64) => {
                    lane.group.costs.push((candidate, time))
                }
                // It does not pay, or not even run.
                _ => {
                    match widened {
                        true => lane.remove_last(),
                        false => lane.settle(last)?,
                    }
                    lane.group.sizes.truncate(i);
                    break;
                }
            }
        }
        if lane.group.costs.iter().any(|(_, time)| time.is_infinite()) {
            lane.group.costs.clear();
        }
        Ok(lane)
    }

    /// One more lane of a group.
    fn further_lane(&mut self, group: &Group) -> Result<TensorRtLane> {
        let mut lane = self.lane(group)?;
        let contexts = if group.known { group.sizes.len() } else { SPARE };
        (1..contexts).for_each(|number| _ = self.widen(&mut lane, number));
        if group.known {
            group.sizes.iter().take_while(|_| self.has_time()).try_for_each(|size| lane.settle(*size))?;
        }
        Ok(lane)
    }
}

/// All tensors' shapes for a batch of that size, other extents at their largest.
fn shapes(description: &Description, group: &Group, size: usize, context: &mut Context) -> Result<Vec<Shape>> {
    for (tensor, shape) in description.indexes(Role::Input).zip(group.shapes(size)) {
        context.set_shape(tensor, &shape)?;
    }
    (0..description.tensors.len()).map(|tensor| context.shape(tensor)).collect()
}
