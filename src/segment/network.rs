//! An engine as the network of a segmentation: which of its tensors is the image and which the result, and runs of one tile.

use super::job::Shared;
use crate::backend::admission::Dependency;
use crate::backend::job::CallerMemory;
use crate::backend::{Engine, with_stack};
use crate::engine::{Description, Role};
use crate::error::{Code, Error, Result};
use crate::quote::quoted;
use crate::schedule::{Request, Session, Submission, Tensor};
use crate::tensor::{ElementType, MemoryKind, Shape, converts};
use std::sync::Arc;
use std::time::Duration;

/// A session that runs tiles of one shape.
pub struct Network {
    pub session: Arc<Session>,
    input: String,
    output: String,
    shape: Shape,
    result: Shape,
    element_types: (ElementType, ElementType),
    /// Channels that it gives.
    pub channels: usize,
    /// How many voxels of a tile on either side it gives nothing for.
    pub margin: [usize; 3],
}

impl Network {
    /// What can be said without a session is said before one is made.
    pub fn new(
        engine: &Arc<dyn Engine>,
        session: impl FnOnce() -> Result<Arc<Session>>,
        channels: usize,
        patch: [usize; 3],
        output: Option<&str>,
    ) -> Result<Self> {
        let description = engine.description();
        let mut inputs = description.indexes(Role::Input);
        let (Some(input), None) = (inputs.next(), inputs.next()) else {
            let count = description.indexes(Role::Input).count();
            let message = format!("a segmentation's network has one input, the image; this model has {count}");
            return Err(Error::new(Code::Unsupported, message));
        };
        let shape = tile_shape(description, input, channels, patch)?;
        description.check_shape(input, &shape)?;
        let result = result_of(engine, input, &shape, output)?;
        let margin = margin(&result.1, &shape).ok_or_else(|| not_a_map(description, result.0, &result.1, &shape))?;
        for tensor in [input, result.0].map(|tensor| &description.tensors[tensor]) {
            if !converts(ElementType::Float32, tensor.element_type) {
                let message = format!(
                    "{} has elements of {}; a segmentation's network takes and gives floating-point numbers",
                    tensor.quoted(),
                    tensor.element_type
                );
                return Err(Error::new(Code::Unsupported, message));
            }
        }
        let name = |tensor: usize| description.tensors[tensor].name().to_owned();
        let channels = usize::try_from(result.1[1]).unwrap_or(0);
        let element_types = (description.tensors[input].element_type, description.tensors[result.0].element_type);
        let session = session()?;
        let (input, output) = (name(input), name(result.0));
        Ok(Self { session, input, output, shape, result: result.1, element_types, channels, margin })
    }

    /// Elements of a tile that it takes, and of what it gives for it.
    pub fn elements(&self) -> (usize, usize) {
        let count =
            |extents: &[i64]| extents.iter().map(|extent| usize::try_from(*extent).unwrap_or(0)).product::<usize>();
        (count(&self.shape), count(&self.result))
    }

    /// The model's own types of both.
    pub fn element_types(&self) -> (ElementType, ElementType) {
        self.element_types
    }

    /// Gives the session a tile, which stays its own until the pass is over. The job can cancel it from the beginning, also while it
    /// waits for room in the session's queue, and watches it until it is let go of by [`Shared::unwatch`].
    pub fn submit<T: Tile>(
        &self,
        (mut input, mut output): (T, T),
        priority: i32,
        timeout: Option<Duration>,
        after: Dependency<'_>,
        job: &Shared,
    ) -> Result<Pass<T>> {
        let (input_elements, output_elements) = self.elements();
        let (from, to) = (input.lend(), output.lend());
        if (from.elements, to.elements) != (input_elements, output_elements) {
            return Err(Error::new(Code::Internal, "a tile is not of the network's size; please report this"));
        }
        let lend = |tile: LentTile, shape| {
            let bytes = tile.elements * tile.element_type.size();
            // SAFETY: the pass keeps both tiles, and neither drops nor gives them out before the request is answered.
            unsafe { CallerMemory::new(tile.data, bytes, tile.element_type, tile.kind, shape) }
        };
        let inputs = vec![Tensor { name: &self.input, memory: lend(from, self.shape) }];
        let outputs = vec![Tensor { name: &self.output, memory: lend(to, self.result) }];
        let mut handed = None;
        let submission =
            Submission { inputs, outputs, priority, timeout, after, callback: None, copied_by_session: false };
        let submitted = self.session.submit_early(submission, |request| {
            let request = Arc::new(request);
            job.watch(request.clone());
            handed = Some(request);
        });
        match (submitted, handed) {
            (Ok(()), Some(request)) => Ok(Pass { request, tiles: Some((input, output)) }),
            (Ok(()), None) => {
                Err(Error::new(Code::Internal, "a request was taken in and not handed out; please report this"))
            }
            (Err(error), handed) => {
                handed.iter().for_each(|request| job.unwatch(request));
                Err(job.explain(error))
            }
        }
    }
}

/// Memory of a tile, which stays where it is however the value is moved.
pub trait Tile {
    fn lend(&mut self) -> LentTile;
}

/// Where a tile's elements lie.
pub struct LentTile {
    pub data: *mut u8,
    pub elements: usize,
    pub element_type: ElementType,
    pub kind: MemoryKind,
}

impl Tile for Vec<f32> {
    fn lend(&mut self) -> LentTile {
        let (data, elements) = (self.as_mut_ptr().cast(), self.len());
        LentTile { data, elements, element_type: ElementType::Float32, kind: MemoryKind::Host }
    }
}

/// One run of the network on a tile, under way. Who drops it waits until its memory is free.
pub struct Pass<T> {
    pub request: Arc<Request>,
    tiles: Option<(T, T)>,
}

impl<T> Pass<T> {
    /// Waits for the result; with the memory, to be used again.
    pub fn finish(mut self) -> Result<(T, T)> {
        self.request.wait(None).unwrap_or(Ok(()))?;
        let tiles = self.tiles.take();
        tiles.ok_or_else(|| Error::new(Code::Internal, "a tile was taken twice; please report this"))
    }
}

impl<T> Drop for Pass<T> {
    fn drop(&mut self) {
        if self.tiles.is_some() {
            self.request.cancel();
            let _ = self.request.wait(None);
        }
    }
}

/// The shape of one tile for the model's input, which has two spatial axes where tiles are of one plane.
fn tile_shape(description: &Description, input: usize, channels: usize, patch: [usize; 3]) -> Result<Shape> {
    let info = &description.tensors[input];
    let extents = [1, channels, patch[0], patch[1], patch[2]].map(|extent| i64::try_from(extent).unwrap_or(i64::MAX));
    let shape = match info.shape.len() {
        5 => Shape::new(&extents)?,
        4 if patch[0] == 1 => Shape::new(&[extents[0], extents[1], extents[3], extents[4]])?,
        rank => {
            let message = format!(
                "input {} has {rank} dimensions; a network for tiles of {patch:?} voxels has a batch, channels and {} more",
                info.quoted(),
                if patch[0] == 1 { "two or three" } else { "three" }
            );
            return Err(Error::new(Code::Shape, message));
        }
    };
    match info.shape[0] {
        batch @ 2.. => Err(Error::new(
            Code::Shape,
            format!(
                "input {} takes batches of {batch} items only; make the model with an open batch, or one of 1",
                info.quoted()
            ),
        )),
        _ => Ok(shape),
    }
}

/// The output that is asked for, else the first one, and its shape for tiles of that shape.
fn result_of(engine: &Arc<dyn Engine>, input: usize, shape: &Shape, wanted: Option<&str>) -> Result<(usize, Shape)> {
    let description = engine.description();
    let mut outputs = description.indexes(Role::Output);
    let output = match wanted {
        None => outputs.next().ok_or_else(|| {
            Error::new(Code::Unsupported, "a segmentation's network has an output; this model has none")
        })?,
        Some(wanted) => outputs.find(|output| description.tensors[*output].name() == wanted).ok_or_else(|| {
            let names: Vec<_> =
                description.indexes(Role::Output).map(|output| description.tensors[output].name()).collect();
            let message = format!("the model has no output {}, only {}", quoted(wanted), quoted(&names.join(", ")));
            Error::new(Code::NotFound, message)
        })?,
    };
    let said = &description.tensors[output].shape;
    if said.iter().skip(1).all(|extent| *extent >= 0) && !said.is_empty() {
        // Whatever the batch is, it is 1 for a tile.
        return Ok((output, if said[0] < 0 { said.with_first(1) } else { *said }));
    }
    let found = with_stack(&**engine, || {
        let mut context = engine.clone().new_context_without_memory()?;
        context.set_shape(input, shape)?;
        context.shape(output)
    })?;
    Ok((output, found))
}

/// How many of a tile's voxels on either side a result has none for: the same number on both, as where a network computes without
/// padding. Nothing where it is no map of the tile.
fn margin(result: &[i64], tile: &[i64]) -> Option<[usize; 3]> {
    let (spatial, around) = (result.get(2..)?, tile.get(2..)?);
    if result[0] != 1 || result[1] < 1 || spatial.len() != around.len() {
        return None;
    }
    let mut margin = [0; 3];
    // The last axes are those of planes.
    for ((place, given), taken) in margin[3 - spatial.len()..].iter_mut().zip(spatial).zip(around) {
        let less = usize::try_from(taken - given).ok().filter(|less| *given > 0 && less.is_multiple_of(2))?;
        *place = less / 2;
    }
    Some(margin)
}

fn not_a_map(description: &Description, output: usize, result: &Shape, tile: &Shape) -> Error {
    let name = description.tensors[output].quoted();
    let message = format!(
        "output {name} of shape {result} has not one value a channel for each voxel of a tile of shape {tile}, or of its middle, as far \
         from either side"
    );
    Error::new(Code::Unsupported, message)
}
