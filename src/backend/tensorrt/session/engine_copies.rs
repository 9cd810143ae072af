//! An engine and its copies, for contexts on the same profile.
//!
//! TensorRT 8 gives an optimization profile to one context only; a copy of the engine has profiles, and weights, of its own.

use super::super::context::Context;
use super::super::engine::Engine;
use super::budget::Budget;
use crate::error::{Code, Error, Result};
use std::sync::Arc;
use tensorrt_sys::{ExecutionContextAllocationStrategy, HostMemory};

pub struct EngineCopies {
    /// The engine, then its copies.
    engines: Vec<Arc<Engine>>,
    /// What copies are made from.
    plan: Option<HostMemory>,
    /// Bytes of device memory that the last copy took, all of them, and what they may take.
    last_cost: usize,
    cost: usize,
    limit: usize,
    /// Why there are no more of them.
    no_more: Option<Error>,
}

impl EngineCopies {
    pub fn new(engine: &Arc<Engine>, limit: usize) -> Self {
        Self { engines: vec![engine.clone()], plan: None, last_cost: 0, cost: 0, limit, no_more: None }
    }

    /// How many engines there are.
    pub fn count(&self) -> usize {
        self.engines.len()
    }

    /// A context on one of these profiles, for an instance's size of that number. Where a profile serves one context only there
    /// are copies of the engine: one for each size, rather, since instances that run the same kernels side by side share caches.
    pub fn context(&mut self, profiles: &[usize], number: usize, budget: &Budget) -> Result<Context> {
        let device = self.engines[0].library().device().clone();
        budget.measured(&device, "an execution context", || self.try_context(profiles, number, budget))
    }

    fn try_context(&mut self, profiles: &[usize], number: usize, budget: &Budget) -> Result<Context> {
        let in_use = |outcome: &Result<Context>| matches!(outcome, Err(error) if error.code() == Code::InUse);
        let exclusive = self.engines[0].profiles().are_exclusive();
        if exclusive && number == self.engines.len() {
            // If there is no room for it, the others may do.
            _ = self.add(budget);
        }
        let mut outcome = self.context_of(number.min(self.engines.len() - 1), profiles);
        for engine in 0..self.engines.len() {
            if in_use(&outcome) {
                outcome = self.context_of(engine, profiles);
            }
        }
        if in_use(&outcome) {
            self.add(budget)?;
            outcome = self.context_of(self.engines.len() - 1, profiles);
        }
        outcome
    }

    fn context_of(&self, engine: usize, profiles: &[usize]) -> Result<Context> {
        Context::new(
            self.engines[engine].clone(),
            ExecutionContextAllocationStrategy::UserManaged,
            profiles.iter().copied(),
        )
    }

    /// Makes one more, unless that has failed before.
    fn add(&mut self, budget: &Budget) -> Result<()> {
        if let Some(error) = &self.no_more {
            return Err(error.clone());
        }
        let added = self.try_to_add(budget);
        self.no_more = added.as_ref().err().cloned();
        added
    }

    fn try_to_add(&mut self, budget: &Budget) -> Result<()> {
        if self.cost.saturating_add(self.last_cost) > self.limit {
            let (each, limit) = (self.last_cost, self.limit);
            let message =
                format!("copies of the engine take {each} bytes of device memory each, and may take {limit} together");
            return Err(Error::new(Code::OutOfMemory, message));
        }
        let engine = &self.engines[0];
        let plan = match self.plan.take() {
            Some(plan) => plan,
            None => engine.serialize()?,
        };
        let plan = self.plan.insert(plan);
        let spent = budget.spent();
        let copy = budget.measured(engine.library().device(), "one more copy of the engine", || engine.copy(plan))?;
        self.last_cost = budget.spent() - spent;
        self.cost += self.last_cost;
        self.engines.push(copy);
        Ok(())
    }

    /// Lets go of copies that no context uses.
    pub fn drop_unused(&mut self) {
        self.engines.retain(|engine| Arc::strong_count(engine) > 1);
    }
}
