//! Makes what a session runs a plan with: instances, with contexts and memory, as many as are of use and fit.

use super::super::context::Context;
use super::super::diagnostics::withhold;
use super::super::engine::Engine;
use super::admission::TensorRtAdmission;
use super::batch_sizes::{Group, pays, size_pays, sum};
use super::budget::Budget;
use super::engine_copies::EngineCopies;
use super::graph_context::Captures;
use super::instance::{Shared, TensorRtInstance};
use crate::backend::Context as _;
use crate::backend::instance_group::{Choices, InstanceGroup, InstanceGroupOptions};
use crate::cuda::{Blocks, Copier};
use crate::engine::{Description, Role};
use crate::error::{Error, Result};
use crate::log::Level;
use crate::tensor::Shape;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Instances where the device has room for more than one small batch: while some are between two batches, the others keep it
/// busy.
const INSTANCES_WHERE_THERE_IS_ROOM: usize = 4;

/// Instances where one batch fills the device, or nobody knows: what one computes and what the other copies overlap.
const INSTANCES_ON_A_FULL_DEVICE: usize = 2;

/// Contexts of an instance whose shapes are not known beforehand: one for full batches and one for the rest.
const CONTEXTS_FOR_OPEN_SHAPES: usize = 2;

/// Copies of the engine may take one part in so many of the free device memory where the application sets no limits.
const FREE_MEMORY_TO_COPIES: usize = 8;

/// No session takes longer than this and a few runs to be made ready. Until then batch sizes are tried.
const TUNING_LIMIT: Duration = Duration::from_secs(3);

/// Until then instances are made ready, too, for what their first batches would find out by themselves.
const WARM_UP_LIMIT: Duration = Duration::from_secs(1);

pub fn instance_group(engine: &Arc<Engine>, options: &InstanceGroupOptions) -> Result<InstanceGroup> {
    let mut builder = Builder::new(engine, options)?;
    let mut groups = Group::all(engine.description(), options);
    let mut instances: Vec<Vec<TensorRtInstance>> = groups.iter().map(|_| Vec::new()).collect();
    let mut count = 0;
    while count < builder.wanted(&mut instances)? {
        // Group by group, so that each has one instance before any has two.
        let group = count % groups.len();
        match builder.instance(&mut groups[group]) {
            Ok(instance) => instances[group].push(instance),
            Err(error) if count == 0 && options.contexts == 0 => return Err(error),
            Err(error) => {
                builder.go_without(&format!("context {}", count + 1), error)?;
                break;
            }
        }
        count += 1;
    }
    instances.retain(|of_group| !of_group.is_empty());
    let mut made = Vec::with_capacity(instances.len());
    for mut of_group in instances {
        match builder.add_sizes(&mut of_group) {
            Ok(()) => made.push(of_group),
            Err(error) if made.is_empty() => return Err(error),
            Err(error) => builder.go_without("a context for each range of shapes", error)?,
        }
    }
    let mut instances = made;
    if let [of_group] = instances.as_mut_slice() {
        builder.drop_needless(of_group)?;
    }
    if let [of_group] = instances.as_mut_slice()
        && of_group.len() > 1
        && of_group[0].group.costs.len() > 1
        && builder.has_tuning_time()
    {
        of_group[0].group.costs = loaded_costs(of_group)?;
    }
    Ok(builder.finish(instances))
}

/// What the batch sizes cost where all instances are at work. That is when it matters which is chosen.
fn loaded_costs(instances: &mut [TensorRtInstance]) -> Result<Vec<(usize, f64)>> {
    let [first, others @ ..] = instances else { return Ok(Vec::new()) };
    let sizes = first.group.costs.clone();
    sizes.into_iter().map(|(size, _)| Ok((size, first.time(size, others)?))).collect()
}

/// Makes contexts and instances.
struct Builder<'a> {
    options: &'a InstanceGroupOptions,
    shared: Arc<Shared>,
    engines: EngineCopies,
    start: Instant,
}

impl<'a> Builder<'a> {
    fn new(engine: &Arc<Engine>, options: &'a InstanceGroupOptions) -> Result<Self> {
        let device = engine.library().device();
        let (free, _) = device.memory()?;
        let budget = Budget::new(options.memory_budget, free);
        let limited = options.contexts > 0 || options.memory_budget > 0;
        let engines = EngineCopies::new(engine, if limited { budget.bytes() } else { free / FREE_MEMORY_TO_COPIES });
        let shared = Arc::new(Shared {
            engine: engine.clone(),
            budget,
            captures: Arc::new(Captures::default()),
            copier: Copier::new(device)?,
            blocks: Blocks::new(device),
        });
        Ok(Self { options, shared, engines, start: Instant::now() })
    }

    fn description(&self) -> &Description {
        self.shared.engine.description()
    }

    fn has_tuning_time(&self) -> bool {
        self.start.elapsed() < TUNING_LIMIT
    }

    fn has_warm_up_time(&self) -> bool {
        self.start.elapsed() < WARM_UP_LIMIT
    }

    /// How many instances there shall be, as far as the ones that there are tell.
    fn wanted(&self, instances: &mut [Vec<TensorRtInstance>]) -> Result<usize> {
        let few = INSTANCES_ON_A_FULL_DEVICE * instances.len();
        let [of_group] = instances else {
            return Ok(if self.options.contexts == 0 { few } else { self.options.contexts });
        };
        Ok(match (self.options.contexts, of_group.as_mut_slice()) {
            (0, [one, other]) if one.group.known && self.has_warm_up_time() => {
                let least = one.group.sizes[0];
                let alone = one.time(least, &mut [])?;
                let both = one.time(least, std::slice::from_mut(other))?;
                if pays(both, 2.0 * alone) { INSTANCES_WHERE_THERE_IS_ROOM } else { few }
            }
            (0, [_, _, _, ..]) => INSTANCES_WHERE_THERE_IS_ROOM,
            (0, _) => few,
            (count, _) => count,
        })
    }

    /// An instance with one context, which is ready for the least size if the shapes are known.
    fn instance(&mut self, group: &mut Group) -> Result<TensorRtInstance> {
        let scratch = self.shared.engine.profile_device_memory_size(group.profiles[0]);
        self.shared.budget.spend(scratch, "an execution context")?;
        let mut context = self.engines.context(&group.profiles, 0, &self.shared.budget)?;
        if group.bytes.is_empty() {
            let profile = context.profile();
            context.set_profile(profile)?;
            // What TensorRT says of shapes that it does not take is of no interest to anybody.
            let infer = &mut |shapes: &[Shape]| withhold(|| infer(self.description(), &mut context, shapes)).0;
            group.survey(self.description(), infer)?;
        }
        self.shared.budget.spend(sum(&group.bytes)?, "a batch's memory")?;
        let (known, least) = (group.known, group.sizes[0]);
        let mut instance = TensorRtInstance::new(&self.shared, group.clone(), context, scratch)?;
        if known && self.has_warm_up_time() {
            instance.warm_up(least)?;
        }
        Ok(instance)
    }

    /// Gives an instance one more context, if there is one to be had: without it the others change their shapes more often.
    fn widen(&mut self, instance: &mut TensorRtInstance, number: usize) -> bool {
        let context = self.engines.context(&instance.group.profiles, number, &self.shared.budget);
        context.and_then(|context| instance.add(context)).is_ok()
    }

    /// Gives the instances of a group a context for each batch size; which pay, the first instance finds out.
    ///
    /// Size by size and not instance by instance: graphs that run side by side were then made one after the other, and are 2 % faster
    /// (unet32 in batches of one on two to four instances; not so where contexts alone were made in between).
    fn add_sizes(&mut self, instances: &mut Vec<TensorRtInstance>) -> Result<()> {
        if !instances[0].group.known {
            for number in 1..CONTEXTS_FOR_OPEN_SHAPES {
                instances.iter_mut().for_each(|instance| _ = self.widen(instance, number));
            }
            return Ok(());
        }
        let asked_for = self.options.largest > 0 || !self.options.preferred.is_empty();
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
                (time, Some(last)) if !asked_for => {
                    time.ok().filter(|time| size_pays((candidate, *time), *last, self.options.is_stream))
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
                    Err(error) => self.go_without(&format!("a context that runs batches of {candidate}"), error)?,
                }
            }
        }
        instances[0].group.costs = if costs.iter().all(|(_, time)| time.is_finite()) { costs } else { Vec::new() };
        let group = instances[0].group.clone();
        instances.iter_mut().for_each(|instance| instance.group = group.clone());
        Ok(())
    }

    /// In a stream of requests batches are large: where two of them fill the device, more would only take longer each.
    fn drop_needless(&mut self, instances: &mut Vec<TensorRtInstance>) -> Result<()> {
        let is_asked = self.options.contexts > 0 || !self.options.is_stream || !self.has_tuning_time();
        let few = INSTANCES_ON_A_FULL_DEVICE;
        let [first, others @ ..] = instances.as_mut_slice() else { return Ok(()) };
        if is_asked || others.len() < 2 * few - 1 || !first.group.known {
            return Ok(());
        }
        let size = first.group.optimal();
        let (all, half) = (first.time(size, others)?, first.time(size, &mut others[..few - 1])?);
        if !pays(all, 2.0 * half) {
            let device = self.shared.engine.library().device();
            let (before, _) = device.memory()?;
            instances.truncate(few);
            self.engines.drop_unused();
            let (after, _) = device.memory()?;
            self.shared.budget.give_back(after.saturating_sub(before).min(self.shared.budget.spent()));
        }
        Ok(())
    }

    /// Where the application names no number there are as many instances as fit.
    fn go_without(&self, what: &str, error: Error) -> Result<()> {
        if self.options.contexts > 0 {
            let count = self.options.contexts;
            return Err(error.within(format_args!("{what}, one of {count} that the session shall have")));
        }
        let message = format!("the session goes without {what}: {error}");
        self.shared.engine.library().log().write(Level::Info, &message);
        Ok(())
    }

    fn finish(mut self, instances: Vec<Vec<TensorRtInstance>>) -> InstanceGroup {
        // Those of sizes that did not pay go.
        self.engines.drop_unused();
        let sizes: Vec<_> = instances[0][0].group.sizes.iter().map(usize::to_string).collect();
        let message = format!(
            "session: {} instances on {} engines, batches of {}, {} bytes of device memory, made in {:.0} ms",
            instances.iter().map(Vec::len).sum::<usize>(),
            self.engines.count(),
            sizes.join(", "),
            self.shared.budget.spent(),
            self.start.elapsed().as_secs_f64() * 1e3
        );
        self.shared.engine.library().log().write(Level::Info, &message);
        let groups =
            instances.iter().map(|of_group| (of_group[0].group.clone(), of_group[0].any_context().clone())).collect();
        let places =
            instances.iter().enumerate().flat_map(|(group, instances)| instances.iter().map(move |_| group)).collect();
        let choices = Choices {
            device_memory_bytes: self.shared.budget.spent(),
            engine_copies: self.engines.count() - 1,
            instances: instances.iter().flatten().map(|instance| instance.group.choices()).collect(),
        };
        let admission = TensorRtAdmission::new(&self.shared, groups, places);
        InstanceGroup {
            choices,
            instances: instances.into_iter().flatten().map(|instance| Box::new(instance) as _).collect(),
            admission: Arc::new(admission),
        }
    }
}

/// The outputs' shapes for these inputs' shapes.
fn infer(description: &Description, context: &mut Context, inputs: &[Shape]) -> Result<Vec<Shape>> {
    for (tensor, shape) in description.indexes(Role::Input).zip(inputs) {
        context.set_shape(tensor, shape)?;
    }
    description.indexes(Role::Output).map(|tensor| context.shape(tensor)).collect()
}
