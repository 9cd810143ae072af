//! A scan on its way to a GPU: as it comes, to be read and resampled there, or made ready by the processor.

use super::needs::{coming_room, goes_raw};
use super::{FIRST, Gpu};
use crate::cuda::Stream;
use crate::error::{Code, Error, Result};
use crate::process::thread;
use crate::volume::device::{Buffer, Coming, DeviceWay, Kernels, Slabs, Source, View, upload};
use crate::volume::image::Description;
use crate::volume::intensity::{self, Change};
use crate::volume::recipe::Recipe;
use crate::volume::resample::Way;
use crate::volume::work::{Pieces, Work, allocate};
use crate::volume::{Prepared, Surveyed};
use std::ops::Range;
use std::sync::Arc;
use std::thread::Scope;

/// A volume that is there: `[channel, z, y, x]` on the model's grid.
#[derive(Clone)]
pub struct Brought {
    pub(super) kernels: Arc<Kernels>,
    pub(super) volume: Arc<Buffer<f32>>,
    /// Where it is still on its way.
    pub(super) coming: Option<Arc<Coming>>,
    /// A weight for each voxel that the networks give for a tile.
    pub(super) window: Arc<Buffer<f32>>,
}

impl Gpu {
    /// Brings a scan there. A thread of the scope's may still be bringing it when this returns.
    pub fn bring<'scope>(
        &self,
        scope: &'scope Scope<'scope, '_>,
        recipe: &'scope Recipe,
        scan: &Description,
        surveyed: &'scope Surveyed<'_>,
        work: &'scope Work<'_>,
    ) -> Result<Brought> {
        let stream = Arc::new(Stream::new(self.device(), FIRST)?);
        let kernels = Arc::new(self.kernels.on(stream));
        let there = surveyed.there();
        let goes_raw = goes_raw(scan, there);
        let slabs = surveyed.view.span().filter(|_| goes_raw).and_then(Slabs::of);
        if let Some(slabs) = slabs {
            let changes = changes_of(recipe, surveyed, work)?;
            let voxels = recipe.channels * surveyed.extents().iter().product::<usize>();
            let staging = slabs.staging(recipe.channels) as u64;
            let of_mask = surveyed.mask.as_ref().map_or(0, |mask| mask.len() as u64);
            let making = kernels.with_room(coming_room(voxels as u64, staging, of_mask, there))?;
            let volume = Arc::new(making.buffer(voxels)?);
            let (mask, source) = (mask_of(&making, surveyed)?, source(&making, there)?);
            let coming = Arc::new(Coming::new(&kernels, &making, &slabs, recipe.channels, mask, source)?);
            drop(making);
            let (brings, to) = (coming.clone(), volume.clone());
            let brings = move || {
                let after = |kernels: &Kernels, channel: usize, target: View<'_, f32>| {
                    change_after(kernels, recipe, channel, there, target, work)
                };
                brings.bring(&slabs, &changes, &to, &after, work);
            };
            thread::spawn_scoped(scope, "planrt-bring".to_owned(), brings).map_err(|error| {
                Error::new(Code::OutOfMemory, "a thread that brings the scan to the GPU could not be started")
                    .with_detail(error.to_string())
            })?;
            return Ok(Brought { kernels, volume, coming: Some(coming), window: self.window.clone() });
        }
        let volume = match goes_raw {
            true => bring(&kernels, recipe, surveyed, work)?,
            false => {
                let Prepared { data, .. } = surveyed.prepare(recipe, work)?;
                kernels.upload(&data)?
            }
        };
        work.check()?;
        Ok(Brought { kernels, volume: Arc::new(volume), coming: None, window: self.window.clone() })
    }
}

/// Which voxels are inside of what is not zero, where the recipe asks.
fn mask_of(kernels: &Kernels, surveyed: &Surveyed<'_>) -> Result<Option<Buffer<u8>>> {
    let Some(mask) = &surveyed.mask else { return Ok(None) };
    let mut bytes: Vec<u8> = allocate("a mask", mask.len())?;
    bytes.iter_mut().zip(mask).for_each(|(byte, inside)| *byte = u8::from(*inside));
    kernels.upload(&bytes).map(Some)
}

/// What is done to channels as they are read.
fn changes_of(recipe: &Recipe, surveyed: &Surveyed<'_>, work: &Work) -> Result<Vec<Change>> {
    match changes_after(recipe, surveyed.there()) {
        true => Ok(vec![Change::Nothing; recipe.channels]),
        false => surveyed.changes(recipe, work),
    }
}

/// Whether channels are changed when they were resampled.
fn changes_after(recipe: &Recipe, there: &Way) -> bool {
    recipe.normalize_after_resampling && !there.is_nowhere()
}

/// Room for a channel on the scan's grid, where that is not the model's.
fn source(kernels: &Kernels, there: &Way) -> Result<Option<Source>> {
    match there.is_nowhere() {
        true => Ok(None),
        false => Ok(Some(Source {
            values: kernels.buffer(there.from.iter().product())?,
            way: DeviceWay::new(kernels, there)?,
        })),
    }
}

/// The volume on the model's grid, made there of the scan as it comes.
fn bring(kernels: &Kernels, recipe: &Recipe, surveyed: &Surveyed<'_>, work: &Work) -> Result<Buffer<f32>> {
    let span = surveyed
        .view
        .span()
        .ok_or_else(|| Error::new(Code::Internal, "a scan's elements are not where they were; please report this"))?;
    let memory = upload(kernels, span.memory, work)?;
    work.check()?;
    let mask = mask_of(kernels, surveyed)?;
    let there = surveyed.there();
    let changes = changes_of(recipe, surveyed, work)?;
    let voxels: usize = surveyed.extents().iter().product();
    let volume = kernels.buffer(recipe.channels * voxels)?;
    let source = source(kernels, there)?;
    for (channel, change) in changes.into_iter().enumerate() {
        let target = volume.part(channel * voxels..(channel + 1) * voxels)?;
        let dense = source.as_ref().map_or(target, |source| source.values.view());
        kernels.read(&span, memory.view(), channel, change, mask.as_ref().map(Buffer::view), dense)?;
        if let Some(Source { way, .. }) = &source {
            work.check()?;
            way.begin(kernels)?;
            way.bring_planes(kernels, dense, 0..there.from[0], target)?;
            way.finish(kernels, dense, target)?;
            change_after(kernels, recipe, channel, there, target, work)?;
        }
    }
    Ok(volume)
}

/// Changes a channel that was resampled, where the recipe wants it then. Sums over it are the host's, in its order.
fn change_after(
    kernels: &Kernels,
    recipe: &Recipe,
    channel: usize,
    there: &Way,
    values: View<'_, f32>,
    work: &Work,
) -> Result<()> {
    if !changes_after(recipe, there) {
        return Ok(());
    }
    let (intensity, extents) = (&recipe.intensities[channel], there.to);
    let mut data: Vec<f32> = Vec::new();
    if intensity.needs_survey() {
        data = allocate("a channel on the model's grid", values.count())?;
        kernels.download(values, &mut data)?;
    }
    let plane = extents[1] * extents[2];
    let read = |planes: Range<usize>, values: &mut [f32]| {
        values.copy_from_slice(&data[planes.start * plane..planes.end * plane]);
    };
    let planes = intensity::Planes { extents, together: 1, read: &read };
    let change = Change::of(intensity, &planes, None, work, &Pieces::new(extents[0]))?;
    kernels.change(values, change)
}
