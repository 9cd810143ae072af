//! A volume on the GPU that the sessions run on: it goes there once (`bring`), tiles are cut out and blended there (`place`), and
//! labels come back (`labels`). `needs` says beforehand what memory that takes.

mod bring;
mod labels;
mod needs;
mod place;

pub use bring::Brought;
pub use needs::{Needs, Outline};
pub use place::{OnDevice, Swept, Target};

use super::network::Network;
use crate::cuda::{Device, Stream};
use crate::error::Error;
use crate::log::{Level, Log};
use crate::volume::device::{Buffer, Kernels};
use std::sync::Arc;

/// Kernels go before what the network computes, which waits for them.
const FIRST: i32 = -5;

/// A GPU that volumes are put together on.
pub struct Gpu {
    kernels: Kernels,
    /// A weight for each voxel that the networks give for a tile.
    window: Arc<Buffer<f32>>,
    log: Option<Arc<Log>>,
}

impl Gpu {
    /// Those that all networks run on, and that take the kernels. Why there is none is in the log.
    pub fn all_of(networks: &[Network], window: &[f32]) -> Vec<Self> {
        let Some((first, others)) = networks.split_first() else { return Vec::new() };
        let log = first.session.engine().log().cloned();
        let tell = |level, message: String| log.iter().for_each(|log| log.write(level, &message));
        let on_host =
            |why| tell(Level::Info, format!("volumes are put together by the processor, and not on the GPU: {why}"));
        let runs_there = |network: &Network, ordinal| network.session.devices().any(|it| it.info.ordinal == ordinal);
        let mut devices: Vec<&Arc<Device>> = Vec::new();
        for device in first.session.devices() {
            let ordinal = device.info.ordinal;
            if others.iter().all(|other| runs_there(other, ordinal))
                && devices.iter().all(|known| known.info.ordinal != ordinal)
            {
                devices.push(device);
            }
        }
        if devices.is_empty() {
            if networks.iter().any(|network| network.session.devices().next().is_some()) {
                on_host("there is none that all sessions run on");
            }
            return Vec::new();
        }
        let types = |network: &Network| network.element_types();
        if networks.windows(2).any(|pair| types(&pair[0]) != types(&pair[1])) {
            on_host("the folds take and give elements of different types");
            return Vec::new();
        }
        let gpu = |device: &Arc<Device>| {
            let made = Stream::new(device, FIRST).and_then(|stream| {
                let kernels = Kernels::new(device, Arc::new(stream))?;
                let window = Arc::new(kernels.upload(window)?);
                Ok(Self { kernels, window, log: log.clone() })
            });
            let told = |error: &Error| {
                let why = error.message();
                let message = format!("volumes are not put together on CUDA device {}: {why}", device.info.ordinal);
                tell(Level::Warning, message);
            };
            made.inspect_err(told).ok()
        };
        devices.into_iter().filter_map(gpu).collect()
    }

    pub fn device(&self) -> &Arc<Device> {
        self.kernels.device()
    }

    pub fn ordinal(&self) -> i32 {
        self.device().info.ordinal
    }

    /// Says why a volume is put together on another device or on the host nevertheless.
    pub fn tell(&self, why: &str) {
        let message = format!("a volume is not put together on CUDA device {}: {why}", self.ordinal());
        self.log.iter().for_each(|log| log.write(Level::Warning, &message));
    }
}
