//! GroupNormalization taken apart. Its scale and bias are of groups up to opset 20, of channels from 21 on.

use super::Place;
use super::channels::{self, Affine, Groups, Normalization};
use super::tensors::MOST_CHANNELS;
use super::writer::Writer;
use crate::quote::quoted;

pub fn write(writer: &mut Writer<'_>, place: &Place<'_>) -> Result<(), String> {
    const OF_CHANNELS: u64 = 21;
    let [x, scale, bias] = &place.node.inputs[..] else { return Err("it has not three inputs".to_owned()) };
    let (rank, element_type) = (place.rank()?, place.element_type(Some(scale))?);
    let channels = place.known.channels.ok_or_else(|| place.unknown("how many channels there are in"))?;
    let count = place.node.num_groups.unwrap_or_default();
    if rank < 2 || count == 0 || channels % count != 0 || channels > MOST_CHANNELS {
        return Err(format!("{} has {rank} dimensions and {channels} channels, in {count} groups", quoted(x)));
    }
    let affine = match writer.opset {
        OF_CHANNELS.. => Affine::OfChannels { scale, bias },
        _ => Affine::OfGroups { scale, bias },
    };
    let epsilon = place.node.epsilon.unwrap_or(1e-5);
    let groups = Some(Groups { count, channels });
    channels::write(writer, &Normalization { x, affine, epsilon, rank, element_type, groups, y: place.y });
    Ok(())
}
