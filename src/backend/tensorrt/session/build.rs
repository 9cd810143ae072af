//! What a session runs a plan with: instances, with contexts and memory, as many as are of use and fit.

use super::super::context::Context;
use super::super::engine::Engine;
use super::admission::TensorRtAdmission;
use super::batch_sizes::{Group, pays};
use super::graph_context::Captures;
use super::instance::TensorRtInstance;
use crate::backend::Context as _;
use crate::backend::instance_group::{Choices, InstanceGroup, InstanceGroupOptions};
use crate::cuda::Copier;
use crate::engine::{Description, Role};
use crate::error::{Code, Error, Result};
use crate::log::Level;
use crate::tensor::Shape;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tensorrt_sys::{ExecutionContextAllocationStrategy, HostMemory};

/// Instances where the device has room for more than one small batch: while some are between two batches, the others keep it
/// busy.
const INSTANCES: usize = 4;

/// Instances where one batch fills the device, or nobody knows: what one computes and what the other copies overlap.
const FEW: usize = 2;

/// Contexts of an instance whose shapes are not known beforehand: one for full batches and one for the rest.
const SPARE: usize = 2;

/// The part of the free device memory that copies of the engine may take where the application sets no limits.
const COPIES: usize = 8;

/// No session takes longer than this and a few runs to be made ready. Until then batch sizes are tried.
const TUNING_LIMIT: Duration = Duration::from_secs(3);

/// Until then instances are made ready, too, for what their first batches would find out by themselves.
const WARM_UP_LIMIT: Duration = Duration::from_secs(1);

pub fn instance_group(engine: &Arc<Engine>, size: &InstanceGroupOptions) -> Result<InstanceGroup> {
    let mut maker = Maker::new(engine, size)?;
    let groups = Group::all(engine, size);
    let mut instances: Vec<Vec<TensorRtInstance>> = groups.iter().map(|_| Vec::new()).collect();
    let mut count = 0;
    while count < wanted(&maker, &mut instances, size)? {
        // Group by group, so that each has one instance before any has two.
        let group = count % groups.len();
        match maker.instance(&groups[group]) {
            Ok(instance) => instances[group].push(instance),
            Err(error) if count == 0 && size.contexts == 0 => return Err(error),
            Err(error) => {
                maker.go_without(&format!("context {}", count + 1), error, size)?;
                break;
            }
        }
        count += 1;
    }
    instances.retain(|of_group| !of_group.is_empty());
    let mut made = Vec::with_capacity(instances.len());
    for mut of_group in instances {
        match maker.add_sizes(&mut of_group, size) {
            Ok(()) => made.push(of_group),
            Err(error) if made.is_empty() => return Err(error),
            Err(error) => maker.go_without("a context for each range of shapes", error, size)?,
        }
    }
    let mut instances = made;
    if let [of_group] = instances.as_mut_slice()
        && of_group.len() > 1
        && of_group[0].group.costs.len() > 1
        && maker.has_tuning_time()
    {
        of_group[0].group.costs = loaded_costs(of_group)?;
    }
    // Those of sizes that did not pay go.
    maker.engines.retain(|copy| Arc::strong_count(copy) > 1);
    let sizes: Vec<_> = instances[0][0].group.sizes.iter().map(usize::to_string).collect();
    let message = format!(
        "session: {} instances on {} engines, batches of {}, {} bytes of device memory, made in {:.0} ms",
        instances.iter().map(Vec::len).sum::<usize>(),
        maker.engines.len(),
        sizes.join(", "),
        maker.spent,
        maker.start.elapsed().as_secs_f64() * 1e3
    );
    engine.library().log().write(Level::Info, &message);
    let groups =
        instances.iter().map(|of_group| (of_group[0].group.clone(), of_group[0].any_context().clone())).collect();
    let places =
        instances.iter().enumerate().flat_map(|(group, instances)| instances.iter().map(move |_| group)).collect();
    let choices = Choices {
        device_memory_bytes: maker.spent,
        engine_copies: maker.engines.len() - 1,
        instances: instances.iter().flatten().map(|instance| instance.group.choices()).collect(),
    };
    let admission = TensorRtAdmission::new(engine, groups, places);
    Ok(InstanceGroup {
        choices,
        instances: instances.into_iter().flatten().map(|instance| Box::new(instance) as _).collect(),
        admission: Arc::new(admission),
    })
}

/// How many instances there shall be, as far as the ones that there are tell.
fn wanted(maker: &Maker<'_>, instances: &mut [Vec<TensorRtInstance>], size: &InstanceGroupOptions) -> Result<usize> {
    let [of_group] = instances else {
        return Ok(if size.contexts == 0 { FEW * instances.len() } else { size.contexts });
    };
    Ok(match (size.contexts, of_group.as_mut_slice()) {
        (0, [one, other]) if one.group.known && maker.has_warm_up_time() => {
            let least = one.group.sizes[0];
            let alone = one.time(least, &mut [])?;
            let both = one.time(least, std::slice::from_mut(other))?;
            if pays(both, 2.0 * alone) { INSTANCES } else { FEW }
        }
        (0, [_, _, _, ..]) => INSTANCES,
        (0, _) => FEW,
        (count, _) => count,
    })
}

/// What the batch sizes cost where all instances are at work. That is when it matters which is chosen.
fn loaded_costs(instances: &mut [TensorRtInstance]) -> Result<Vec<(usize, f64)>> {
    let [first, others @ ..] = instances else { return Ok(Vec::new()) };
    let sizes = first.group.costs.clone();
    sizes.into_iter().map(|(size, _)| Ok((size, first.time(size, others)?))).collect()
}

/// Makes contexts and instances, and counts what they take.
struct Maker<'a> {
    engine: &'a Arc<Engine>,
    /// The engine and its copies.
    engines: Vec<Arc<Engine>>,
    /// What copies are made from.
    plan: Option<HostMemory>,
    captures: Arc<Captures>,
    copier: Arc<Copier>,
    /// Bytes of device memory that may be taken, what limits them, and how many were.
    budget: usize,
    limit: &'static str,
    spent: usize,
    /// What the last copy of the engine took, all of them, and what they may take.
    copy_cost: usize,
    copies_cost: usize,
    copies_limit: usize,
    /// Why there are no more of them.
    no_more_copies: Option<Error>,
    start: Instant,
}

impl<'a> Maker<'a> {
    fn new(engine: &'a Arc<Engine>, size: &InstanceGroupOptions) -> Result<Self> {
        let (free, _) = engine.library().device().memory()?;
        let (budget, limit) = match size.memory_budget {
            budget if (1..=free).contains(&budget) => (budget, "is left of the session's memory budget"),
            _ => (free, "is free on the device"),
        };
        let limited = size.contexts > 0 || size.memory_budget > 0;
        Ok(Self {
            engine,
            engines: vec![engine.clone()],
            plan: None,
            captures: Arc::default(),
            copier: Arc::new(Copier::new(engine.library().device())?),
            budget,
            limit,
            spent: 0,
            copy_cost: 0,
            copies_cost: 0,
            copies_limit: if limited { budget } else { free / COPIES },
            no_more_copies: None,
            start: Instant::now(),
        })
    }

    fn has_tuning_time(&self) -> bool {
        self.start.elapsed() < TUNING_LIMIT
    }

    fn has_warm_up_time(&self) -> bool {
        self.start.elapsed() < WARM_UP_LIMIT
    }

    fn spend(&mut self, bytes: usize, purpose: &str) -> Result<()> {
        let left = self.budget - self.spent;
        if bytes > left {
            return Err(Error::new(
                Code::OutOfMemory,
                format!("{purpose} takes {bytes} bytes of device memory, of which {left} {}", self.limit),
            ));
        }
        self.spent += bytes;
        Ok(())
    }

    /// Makes what TensorRT does not say the memory of beforehand: it is measured, with what others take meanwhile.
    fn measured<T>(&mut self, purpose: &str, make: impl FnOnce(&mut Self) -> Result<T>) -> Result<T> {
        let device = self.engine.library().device();
        let (before, _) = device.memory()?;
        let spent = self.spent;
        let made = make(self)?;
        let (after, _) = device.memory()?;
        // A copy of the engine that was made on the way is counted already.
        self.spend(before.saturating_sub(after).saturating_sub(self.spent - spent), purpose)?;
        Ok(made)
    }

    /// A context on one of these profiles, for an instance's size of that number. Where a profile serves one context only there
    /// are copies of the engine: one for each size, rather, since instances that run the same kernels side by side share caches.
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

    /// An instance with one context, which is ready for the least size if the shapes are known.
    fn instance(&mut self, group: &Group) -> Result<TensorRtInstance> {
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
        let (known, least) = (group.known, group.sizes[0]);
        let mut instance =
            TensorRtInstance::new(self.engine, group, context, &bytes, scratch, &self.captures, &self.copier)?;
        if known && self.has_warm_up_time() {
            instance.warm_up(least)?;
        }
        Ok(instance)
    }

    /// Gives an instance one more context, if there is one to be had: without it the others change their shapes more often.
    fn widen(&mut self, instance: &mut TensorRtInstance, number: usize) -> bool {
        let context = self.measured("an execution context", |maker| maker.context(&instance.group.profiles, number));
        context.and_then(|context| instance.add(context)).is_ok()
    }

    /// Gives the instances of a group a context for each batch size; which pay, the first instance finds out.
    ///
    /// Size by size and not instance by instance: graphs that run side by side were then made one after the other, and are 2 % faster
    /// (unet32 in batches of one on two to four instances; not so where contexts alone were made in between).
    fn add_sizes(&mut self, instances: &mut Vec<TensorRtInstance>, size: &InstanceGroupOptions) -> Result<()> {
        if !instances[0].group.known {
            for number in 1..SPARE {
                instances.iter_mut().for_each(|instance| _ = self.widen(instance, number));
            }
            return Ok(());
        }
        let asked_for = size.largest > 0 || !size.preferred.is_empty();
        let mut costs: Vec<(usize, f64)> = Vec::new();
        for (i, candidate) in instances[0].group.sizes.clone().into_iter().enumerate() {
            let first = &mut instances[0];
            if i > 0 && !asked_for && !self.has_tuning_time() {
                first.group.sizes.truncate(i);
                break;
            }
            let widened = i > 0 && self.widen(first, i);
            let time = match self.has_tuning_time() {
                true => first.warm_up(candidate).and_then(|()| first.time(candidate, &mut [])),
                false => Ok(f64::INFINITY),
            };
            let time = match (time, costs.last()) {
                (time, Some((last, cost))) if !asked_for => {
                    time.ok().filter(|time| pays(*time, cost * candidate as f64 / *last as f64))
                }
                (time, _) => Some(time?),
            };
            let Some(time) = time else {
                // It does not pay, or not even run.
                match widened {
                    true => first.remove_last(),
                    false => first.warm_up(first.group.sizes[i - 1])?,
                }
                first.group.sizes.truncate(i);
                break;
            };
            costs.push((candidate, time));
            let others = if i > 0 { instances.split_off(1) } else { Vec::new() };
            for mut other in others {
                self.widen(&mut other, i);
                let settled = if self.has_warm_up_time() { other.warm_up(candidate) } else { Ok(()) };
                match settled {
                    Ok(()) => instances.push(other),
                    Err(error) => {
                        self.go_without(&format!("a context that runs batches of {candidate}"), error, size)?
                    }
                }
            }
        }
        instances[0].group.costs = if costs.iter().all(|(_, time)| time.is_finite()) { costs } else { Vec::new() };
        let group = instances[0].group.clone();
        instances.iter_mut().for_each(|instance| instance.group = group.clone());
        Ok(())
    }

    /// Where the application names no number there are as many instances as fit.
    fn go_without(&self, what: &str, error: Error, size: &InstanceGroupOptions) -> Result<()> {
        if size.contexts > 0 {
            return Err(error.within(format_args!("{what}, one of {} that the session shall have", size.contexts)));
        }
        self.engine.library().log().write(Level::Info, &format!("the session goes without {what}: {error}"));
        Ok(())
    }
}

/// All tensors' shapes for a batch of that size, other extents at their largest.
fn shapes(description: &Description, group: &Group, size: usize, context: &mut Context) -> Result<Vec<Shape>> {
    for (tensor, shape) in description.indexes(Role::Input).zip(group.shapes(size)) {
        context.set_shape(tensor, &shape)?;
    }
    (0..description.tensors.len()).map(|tensor| context.shape(tensor)).collect()
}
