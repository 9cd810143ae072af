//! Where a volume's tiles are cut out, and what the networks give for them is put together.

use super::network::Tile;
use super::result::{Outputs, Writer, has_nan};
use crate::backend::admission::Dependency;
use crate::error::{Code, Error, Result};
use crate::volume::decide::activate;
use crate::volume::recipe::{Activation, Padding};
use crate::volume::sweep::{Sweep, add_mirrored};
use crate::volume::tiles::{Tiles, constants};
use crate::volume::work::{Work, allocate};

/// In host memory, or on the GPU that the sessions run on. The sums are the same to the bit.
pub trait Place {
    /// A tile's values: `[channel, z, y, x]`.
    type Tile: Tile;

    /// Memory for what the network takes, and for what it gives.
    fn input(&mut self) -> Result<Self::Tile>;
    fn output(&mut self) -> Result<Self::Tile>;

    /// Before a tile is begun, for the first time.
    fn ready(&mut self, _tile: usize) -> Result<()> {
        Ok(())
    }

    /// Cuts a tile out of the volume, mirrored along some axes.
    fn gather(&mut self, tile: usize, mirrored: [bool; 3], input: &mut Self::Tile) -> Result<()>;

    /// The bits of the one value that each channel of a tile has, if each has only one; `input` is the tile.
    fn constant(&self, tile: usize, input: &Self::Tile) -> Option<Vec<u32>>;

    /// The same where it is known before the tile is cut out.
    fn known(&self, _tile: usize) -> Option<Vec<u32>> {
        None
    }

    /// Behind what a tile is given to the network.
    fn dependency(&self) -> Dependency<'_>;

    /// Takes in what the network gave for a tile: an error where that is no number, at once or as soon as planes are written.
    fn take(&mut self, tile: usize, output: &mut Self::Tile) -> Result<()>;

    /// Makes probabilities of it.
    fn activate(&mut self, output: &mut Self::Tile, activation: Activation) -> Result<()>;

    /// Adds it, mirrored back, to a sum, which it is if it is the first.
    fn add(&mut self, output: &Self::Tile, mirrored: [bool; 3], is_first: bool, sum: &mut Self::Tile) -> Result<()>;

    fn divide(&mut self, sum: &mut Self::Tile, by: f32) -> Result<()>;

    fn copy(&mut self, from: &Self::Tile, to: &mut Self::Tile) -> Result<()>;

    /// Blends the next tile, and goes on with planes that are final by it.
    fn blend(&mut self, tile: &Self::Tile) -> Result<()>;

    /// When all tiles are blended: what was written.
    fn finish(self) -> Result<Written>;
}

/// What was written, and how many voxels each label has, where that was counted on the way.
pub struct Written {
    pub outputs: Outputs,
    pub counts: Option<Vec<u64>>,
}

/// The place of an error in a volume.
pub fn within_tile(tiles: &Tiles, tile: usize, error: Error) -> Error {
    if matches!(error.code(), Code::Cancelled | Code::Deadline) {
        return error;
    }
    let [z, y, x] = tiles.start(tile);
    let count = tiles.count();
    error.within(format_args!("tile {} of {count}, from z {z}, y {y}, x {x} of the model's grid on", tile + 1))
}

/// What is answered where a network gives what is no number.
pub fn no_number() -> Error {
    Error::new(Code::InvalidModel, "the network gave what is no number (NaN); look for it in the image, or allow it")
}

pub struct OnHost<'a> {
    pub tiles: &'a Tiles,
    /// Dense: `[channel, z, y, x]` on the model's grid.
    pub volume: &'a [f32],
    pub padding: Padding,
    /// Channels that the network takes, and gives.
    pub channels: (usize, usize),
    pub nan_allowed: bool,
    pub sweep: Sweep,
    pub writer: Writer<'a>,
    pub work: &'a Work<'a>,
    /// An error if the job is to end.
    pub check: &'a dyn Fn() -> Result<()>,
}

impl Place for OnHost<'_> {
    type Tile = Vec<f32>;

    fn input(&mut self) -> Result<Vec<f32>> {
        allocate("a tile", self.tiles.elements(self.channels.0))
    }

    fn output(&mut self) -> Result<Vec<f32>> {
        allocate("a tile", self.tiles.given(self.channels.1))
    }

    fn gather(&mut self, tile: usize, mirrored: [bool; 3], input: &mut Vec<f32>) -> Result<()> {
        self.tiles.gather(self.volume, self.tiles.start(tile), mirrored, self.padding, input);
        Ok(())
    }

    fn constant(&self, _tile: usize, input: &Vec<f32>) -> Option<Vec<u32>> {
        constants(input, self.channels.0)
    }

    fn dependency(&self) -> Dependency<'_> {
        Dependency::Now
    }

    fn take(&mut self, _tile: usize, output: &mut Vec<f32>) -> Result<()> {
        if !self.nan_allowed && has_nan(output) { Err(no_number()) } else { Ok(()) }
    }

    fn activate(&mut self, output: &mut Vec<f32>, activation: Activation) -> Result<()> {
        activate(output, self.channels.1, activation);
        Ok(())
    }

    fn add(&mut self, output: &Vec<f32>, mirrored: [bool; 3], is_first: bool, sum: &mut Vec<f32>) -> Result<()> {
        add_mirrored(output, self.tiles.patch, mirrored, is_first, sum);
        Ok(())
    }

    fn divide(&mut self, sum: &mut Vec<f32>, by: f32) -> Result<()> {
        sum.iter_mut().for_each(|sum| *sum /= by);
        Ok(())
    }

    fn copy(&mut self, from: &Vec<f32>, to: &mut Vec<f32>) -> Result<()> {
        to.clone_from(from);
        Ok(())
    }

    fn blend(&mut self, tile: &Vec<f32>) -> Result<()> {
        self.sweep.blend(tile, |z, values| {
            (self.check)()?;
            self.writer.push(z, values, self.work)
        })
    }

    fn finish(self) -> Result<Written> {
        Ok(Written { outputs: self.writer.finish(), counts: None })
    }
}
