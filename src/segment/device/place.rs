//! [`Place`] on a GPU: a volume's tiles are cut out of it there, and blended in the sweep's ring.

use super::bring::Brought;
use super::labels::{Labels, Pending, decides_there, write, write_all};
use super::needs::Sweeping;
use crate::backend::admission::Dependency;
use crate::error::{Code, Error, Result};
use crate::process::thread;
use crate::segment::labels::LabelMap;
use crate::segment::network::{LentTile, Network, Tile};
use crate::segment::place::{Place, Written, no_number, within_tile};
use crate::segment::result::{Outputs, Writer, no_number_of_head};
use crate::tensor::{ElementType, MemoryKind};
use crate::volume::Back;
use crate::volume::device::{Buffer, Coming, Constants, DeviceSweep, Download, Kernels, Piece, Planes};
use crate::volume::head::Head;
use crate::volume::recipe::{Activation, Recipe};
use crate::volume::tiles::Tiles;
use crate::volume::work::Work;
use std::collections::VecDeque;
use std::sync::Arc;

/// What is swept of it, and how.
pub struct Swept<'s, 'a> {
    pub recipe: &'a Recipe,
    pub tiles: &'s Tiles,
    pub back: &'s Back,
    /// At least one.
    pub networks: &'s [Network],
    pub head: Option<&'s Head>,
    /// Whether labels have 16 bits, where they are all that is asked for.
    pub labels: Option<bool>,
}

impl Brought {
    /// Finds room for all that is needed to sweep it.
    pub fn begin<'a>(self, swept: Swept<'_, 'a>, limit: usize) -> Result<OnDevice<'a>> {
        let Self { kernels, volume, coming, window } = self;
        let Swept { recipe, tiles, back, networks, head, labels } = swept;
        let (tiles, back, network) = (tiles.clone(), back.clone(), &networks[0]);
        let decides = labels.is_some() && decides_there(&recipe.decision, head, false, &back);
        let sweeping = Sweeping { recipe, tiles: &tiles, back: &back, network, head, decides };
        let making = kernels.with_room(sweeping.room(limit.min(tiles.count())))?;
        let sweep = DeviceSweep::new(&making, tiles.clone(), network.channels, &window)?;
        let room = making.room_for_constants(&tiles, recipe.channels)?;
        let found = making.buffer(tiles.count())?;
        found.clear(0..tiles.count(), kernels.stream())?;
        let types = network.element_types();
        let (input, output) = network.elements();
        let count = limit.min(tiles.count());
        // A sum more, and the result of tiles of one value.
        let spare = (
            DeviceTile::several(&making, count, input, types.0)?,
            DeviceTile::several(&making, count + 2, output, types.1)?,
        );
        let decided = match labels.filter(|_| decides) {
            Some(are_wide) => Some(Labels::new(&making, &recipe.decision, (network.channels, head), &back, are_wide)?),
            None => None,
        };
        drop(making);
        let channels = network.channels;
        Ok(OnDevice {
            kernels,
            recipe,
            is_one_fold: networks.len() == 1,
            tiles,
            back,
            channels,
            elements: network.elements(),
            types,
            volume,
            coming,
            constants: Vec::new(),
            room,
            sweep,
            found,
            spare,
            output: decided,
        })
    }
}

/// A tile in device memory.
pub struct DeviceTile {
    values: Piece<f32>,
    /// The same for a network whose elements are of 16 bits, and their type.
    narrow: Option<(Piece<u16>, ElementType)>,
}

impl DeviceTile {
    fn several(kernels: &Kernels, count: usize, elements: usize, element_type: ElementType) -> Result<Vec<Self>> {
        let values = Piece::several(kernels, count, elements)?;
        let mut narrow = match element_type {
            ElementType::Float32 => Vec::new(),
            _ => Piece::several(kernels, count, elements)?,
        };
        let tile = |values| Self { values, narrow: narrow.pop().map(|narrow| (narrow, element_type)) };
        Ok(values.into_iter().map(tile).collect())
    }

    fn one(kernels: &Kernels, elements: usize, element_type: ElementType) -> Result<Self> {
        let made = Self::several(kernels, 1, elements, element_type)?.pop();
        made.ok_or_else(|| Error::new(Code::Internal, "a tile was not made; please report this"))
    }

    /// Makes what the network takes of its values.
    fn narrow(&self, kernels: &Kernels) -> Result<()> {
        match &self.narrow {
            None => Ok(()),
            Some((narrow, element_type)) => {
                kernels.narrow(self.values.view(), narrow.view(), *element_type == ElementType::BFloat16)
            }
        }
    }

    /// Makes its values of what the network gave.
    fn widen(&self, kernels: &Kernels) -> Result<()> {
        match &self.narrow {
            None => Ok(()),
            Some((narrow, element_type)) => {
                kernels.widen(narrow.view(), self.values.view(), *element_type == ElementType::BFloat16)
            }
        }
    }
}

impl Tile for DeviceTile {
    fn lend(&mut self) -> LentTile {
        let elements = self.values.view().count();
        let (data, element_type) = match &self.narrow {
            None => (self.values.view().address(), ElementType::Float32),
            Some((narrow, element_type)) => (narrow.view().address(), *element_type),
        };
        LentTile { data: data.cast(), elements, element_type, kind: MemoryKind::Device }
    }
}

/// A volume that is on the device, and room for what is made of it.
pub struct OnDevice<'a> {
    kernels: Arc<Kernels>,
    recipe: &'a Recipe,
    tiles: Tiles,
    back: Back,
    /// Whether there is one network.
    is_one_fold: bool,
    /// Channels that the network gives.
    channels: usize,
    /// Of a tile that they take, and of one that they give, and the types of both.
    elements: (usize, usize),
    types: (ElementType, ElementType),
    /// `[channel, z, y, x]` on the model's grid.
    volume: Arc<Buffer<f32>>,
    /// How far that has come.
    coming: Option<Arc<Coming>>,
    /// Of each tile that is ready the bits of its one value, if it has only one.
    constants: Vec<Option<Vec<u32>>>,
    room: Constants,
    sweep: DeviceSweep,
    /// Of each tile 1 where the network gave what is no number.
    found: Buffer<u32>,
    /// Inputs and outputs.
    spare: (Vec<DeviceTile>, Vec<DeviceTile>),
    /// Where labels are decided there.
    output: Option<Labels>,
}

impl<'a> Target<'a> {
    /// Where some voxels may get no label of the network's they are 0.
    pub fn labels(outputs: Outputs, cropped: bool) -> Result<Self> {
        let Some(mut map) = outputs.labels else {
            return Err(Error::new(Code::Internal, "there is no label map; please report this"));
        };
        if cropped {
            map.clear();
        }
        Ok(Self::Labels(map))
    }
}

impl<'a> OnDevice<'a> {
    /// Has labels written to a map, from those that are decided there or else by a writer on the host.
    pub fn into(
        self,
        target: Target<'a>,
        nan_allowed: bool,
        work: &'a Work<'a>,
        check: &'a dyn Fn() -> Result<()>,
    ) -> DevicePlace<'a> {
        DevicePlace { on: self, target, nan_allowed, work, check, pending: VecDeque::new() }
    }

    /// Whether labels are decided there.
    pub fn decides(&self) -> bool {
        self.output.is_some()
    }
}

/// What becomes of planes that are final.
pub enum Target<'a> {
    /// Labels come back.
    Labels(LabelMap),
    /// Values do.
    Values(Box<Writer<'a>>),
}

/// [`Place`] on a GPU. What comes back is written a little at a time, while networks run.
pub struct DevicePlace<'a> {
    /// Dropped first: copies end before their memory goes.
    pending: VecDeque<Pending>,
    on: OnDevice<'a>,
    target: Target<'a>,
    nan_allowed: bool,
    work: &'a Work<'a>,
    check: &'a dyn Fn() -> Result<()>,
}

impl DevicePlace<'_> {
    /// Writes so much of what comes back: pieces, of which each is a group of planes.
    fn write(&mut self, most: usize) -> Result<()> {
        let Target::Labels(map) = &mut self.target else { return Ok(()) };
        let most = most.min(self.pending.len());
        write(map, &self.on.tiles, &self.on.back, self.pending.drain(..most))
    }
}

impl DevicePlace<'_> {
    /// Whether what is blended is what the network gave, so that both are looked at together.
    fn is_looked_at_when_blended(&self) -> bool {
        let Recipe { tiling, decision, .. } = self.on.recipe;
        let is_activated = decision.blend_probabilities && decision.activation != Activation::None;
        self.on.is_one_fold && tiling.mirrored == [false; 3] && !is_activated
    }
}

impl Place for DevicePlace<'_> {
    type Tile = DeviceTile;

    fn input(&mut self) -> Result<DeviceTile> {
        self.on.input()
    }

    fn output(&mut self) -> Result<DeviceTile> {
        self.on.output()
    }

    fn ready(&mut self, tile: usize) -> Result<()> {
        let OnDevice { kernels, tiles, volume, recipe, constants, room, coming, .. } = &mut self.on;
        while constants.len() <= tile {
            // All tiles that start on the same plane.
            let numbers = constants.len()..(constants.len() + tiles.row()).min(tiles.count());
            if let Some(coming) = coming {
                let [first, ..] = tiles.taken_from(tiles.start(numbers.start));
                let end = usize::try_from(first.saturating_add_unsigned(tiles.taken()[0])).unwrap_or(0);
                coming.wait(end.min(tiles.extents[0]), kernels.stream())?;
            }
            constants.extend(kernels.constants(tiles, numbers, volume.view(), recipe.tiling.padding, room)?);
        }
        Ok(())
    }

    fn gather(&mut self, tile: usize, mirrored: [bool; 3], input: &mut DeviceTile) -> Result<()> {
        let OnDevice { kernels, tiles, volume, recipe, .. } = &self.on;
        let values = input.values.view();
        kernels.gather(tiles, volume.view(), tiles.start(tile), mirrored, recipe.tiling.padding, values)?;
        input.narrow(kernels)
    }

    fn constant(&self, tile: usize, _input: &DeviceTile) -> Option<Vec<u32>> {
        self.known(tile)
    }

    fn known(&self, tile: usize) -> Option<Vec<u32>> {
        self.on.constants.get(tile).cloned().flatten()
    }

    fn dependency(&self) -> Dependency<'_> {
        Dependency::Stream(self.on.kernels.stream())
    }

    fn take(&mut self, tile: usize, output: &mut DeviceTile) -> Result<()> {
        let OnDevice { kernels, found, .. } = &self.on;
        output.widen(kernels)?;
        match self.nan_allowed || self.is_looked_at_when_blended() {
            true => Ok(()),
            false => kernels.find_nan(output.values.view(), found.part(tile..tile + 1)?),
        }
    }

    fn activate(&mut self, output: &mut DeviceTile, activation: Activation) -> Result<()> {
        let (values, channels) = (output.values.view(), self.on.channels);
        self.on.kernels.activate(values, values.count(), self.on.tiles.given(1), channels, activation)
    }

    fn add(&mut self, output: &DeviceTile, mirrored: [bool; 3], is_first: bool, sum: &mut DeviceTile) -> Result<()> {
        let OnDevice { kernels, tiles, .. } = &self.on;
        kernels.add_mirrored(output.values.view(), tiles.patch, mirrored, is_first, sum.values.view())
    }

    fn divide(&mut self, sum: &mut DeviceTile, by: f32) -> Result<()> {
        self.on.kernels.divide(sum.values.view(), by)
    }

    fn copy(&mut self, from: &DeviceTile, to: &mut DeviceTile) -> Result<()> {
        self.on.kernels.copy(from.values.view(), to.values.view())
    }

    fn blend(&mut self, tile: &DeviceTile) -> Result<()> {
        let gives = self.on.sweep.gives_next();
        // What came back before is written before more does.
        self.write(if gives { usize::MAX } else { 1 })?;
        let is_looked_at = !self.nan_allowed && self.is_looked_at_when_blended();
        let Self { pending, on, target, nan_allowed, work, check } = self;
        let OnDevice { kernels, tiles, channels, sweep, found, output, .. } = on;
        let next = sweep.next();
        let place = if is_looked_at { Some(found.part(next..next + 1)?) } else { None };
        let by_rows = output.as_ref().is_some_and(Labels::takes_rows);
        sweep.blend(kernels, tile.values.view(), place, by_rows, |planes| {
            check()?;
            match (&mut *target, &mut *output) {
                (Target::Values(writer), _) => {
                    push((kernels, tiles, *channels, found), &planes, writer, *nan_allowed, work)
                }
                (Target::Labels(_), Some(labels)) => labels.take(kernels, &planes, pending),
                (Target::Labels(_), None) => {
                    Err(Error::new(Code::Internal, "labels are not decided on the device; please report this"))
                }
            }
        })?;
        if gives && !*nan_allowed && matches!(target, Target::Labels(_)) {
            let tiles = Download::start(kernels, found.view())?;
            pending.push_front(Pending::Checks { tiles, planes: Download::start(kernels, sweep.found())? });
        }
        Ok(())
    }

    fn finish(self) -> Result<Written> {
        let Self { pending, on, target, nan_allowed, work, .. } = self;
        let OnDevice {
            kernels, recipe, tiles, back, volume, coming, room, sweep, found: of_tiles, spare, output, ..
        } = on;
        let (mut map, labels) = match (target, output) {
            (Target::Labels(map), Some(labels)) => (map, labels),
            (Target::Values(writer), _) => return Ok(Written { outputs: writer.finish(), counts: None }),
            _ => return Err(Error::new(Code::Internal, "nothing was decided; please report this")),
        };
        let mut counts = vec![0; labels.counts.view().count()];
        // When these are there nothing more is computed.
        kernels.download(labels.counts.view(), &mut counts)?;
        let mut is_found = [0];
        if let (Some((_, found)), false) = (&labels.head, nan_allowed) {
            kernels.download(found.view(), &mut is_found)?;
        }
        let unused = move || {
            // Else the driver would, and whatever else there is to do would wait with it.
            let _ = labels.copies.stream().synchronize();
            // All that are in one room: it goes with the last of them.
            drop((volume, coming, room, sweep, of_tiles, spare, labels));
        };
        std::thread::scope(|scope| {
            // The driver takes milliseconds to free memory.
            let freeing = thread::spawn_scoped(scope, "planrt-free".to_owned(), unused);
            let written = write_all(&mut map, &tiles, &back, pending, work);
            drop(freeing);
            written
        })?;
        if is_found != [0] {
            return Err(no_number_of_head());
        }
        let is_counted = !recipe.decision.largest_component;
        let outputs = Outputs { labels: Some(map), scores: None };
        Ok(Written { outputs, counts: is_counted.then_some(counts) })
    }
}

impl OnDevice<'_> {
    fn input(&mut self) -> Result<DeviceTile> {
        match self.spare.0.pop() {
            Some(tile) => Ok(tile),
            None => DeviceTile::one(&self.kernels, self.elements.0, self.types.0),
        }
    }

    fn output(&mut self) -> Result<DeviceTile> {
        match self.spare.1.pop() {
            Some(tile) => Ok(tile),
            None => DeviceTile::one(&self.kernels, self.elements.1, self.types.1),
        }
    }
}

/// Has the host take planes: a copy is under way while the one before is worked on.
fn push(
    (kernels, tiles, channels, found): (&Kernels, &Tiles, usize, &Buffer<u32>),
    planes: &Planes<'_>,
    writer: &mut Writer<'_>,
    nan_allowed: bool,
    work: &Work,
) -> Result<()> {
    if !nan_allowed {
        let mut of_tiles = vec![0; tiles.count()];
        kernels.download(found.view(), &mut of_tiles)?;
        if let Some(tile) = of_tiles.iter().position(|found| *found != 0) {
            return Err(within_tile(tiles, tile, no_number()));
        }
    }
    let [_, height, width] = tiles.swept();
    let size = channels * height * width;
    let start = |z: usize| Download::start(kernels, planes.of_plane(z, size)?);
    let mut next = planes.numbers.clone().next().map(start).transpose()?;
    for z in planes.numbers.clone() {
        let Some(mut plane) = next.take() else { break };
        if z + 1 < planes.numbers.end {
            next = Some(start(z + 1)?);
        }
        writer.push(z, plane.wait()?, work)?;
    }
    Ok(())
}
