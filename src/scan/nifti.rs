//! NIfTI-1 in one file (`.nii`, `.nii.gz`): read with nothing believed that the file does not bear out, and written.
//!
//! The header has 348 bytes, in the byte order of whoever wrote it. Voxels lie x fastest, then y, z and time or components, which
//! are channels here. The world is RAS; planrt's grids are LPS.

use super::Scan;
use super::gzip::Members;
use crate::error::{Code, Error, Result};
use crate::process::memory;
use crate::quote::shown;
use crate::tensor::ElementType;
use crate::volume::grid::Grid;
use flate2::Compression;
use flate2::write::GzEncoder;
use std::collections::TryReserveError;
use std::fs::File;
use std::io::{self, BufReader, Read, Seek, Write};
use std::path::Path;

const HEADER: usize = 348;
/// Where voxels begin at the earliest: after the header and four bytes that say whether extensions follow.
const FIRST_VOXEL: usize = 352;
/// What may lie between the header and the voxels.
const MOST_EXTENSIONS: usize = 1 << 30;
/// Memory is taken so much at a time: a header's word is not enough for more.
const PORTION: usize = 16 << 20;
const GZIP: [u8; 2] = [0x1f, 0x8b];
/// Of voxels, where sform and qform disagree.
const DISAGREEMENT: f64 = 0.1;

/// A header in the byte order of this machine, whose geometry what is written takes over.
#[derive(Clone, Debug)]
pub struct Header([u8; HEADER]);

/// Fields of the header: where they begin.
mod field {
    pub(super) const SIZE: usize = 0;
    pub(super) const DIM: usize = 40;
    pub(super) const INTENT: usize = 56; // three parameters and a code
    pub(super) const DATATYPE: usize = 70;
    pub(super) const BITPIX: usize = 72;
    pub(super) const PIXDIM: usize = 76;
    pub(super) const VOX_OFFSET: usize = 108;
    pub(super) const SCL_SLOPE: usize = 112;
    pub(super) const SCL_INTER: usize = 116;
    pub(super) const UNITS: usize = 123;
    pub(super) const CAL: usize = 124; // from here on ranges and times of acquisition
    pub(super) const DESCRIPTION: usize = 148;
    pub(super) const QFORM_CODE: usize = 252;
    pub(super) const SFORM_CODE: usize = 254;
    pub(super) const QUATERN: usize = 256;
    pub(super) const QOFFSET: usize = 268;
    pub(super) const SROW: usize = 280;
    pub(super) const INTENT_NAME: usize = 328;
    pub(super) const MAGIC: usize = 344;
}

impl Header {
    /// A header in either byte order, and whether it is not this machine's.
    fn new(mut bytes: [u8; HEADER]) -> Result<(Self, bool)> {
        let size = i32::from_ne_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]);
        let is_swapped = size.swap_bytes() == HEADER as i32;
        if size == 540 || size.swap_bytes() == 540 {
            return Err(invalid("it is NIfTI-2, and NIfTI-1 is read"));
        }
        if size != HEADER as i32 && !is_swapped {
            return Err(invalid("it is no NIfTI file: it does not begin with the size of a header"));
        }
        match &bytes[field::MAGIC..HEADER] {
            b"n+1\0" => {}
            b"ni1\0" => return Err(invalid("its voxels are in another file (.hdr and .img): write both as one .nii")),
            _ => return Err(invalid("it has no NIfTI-1 mark: it is of another format, as Analyze 7.5")),
        }
        if is_swapped {
            let words =
                [(field::SIZE, 4, 1), (field::DIM, 2, 8), (field::INTENT, 4, 3), (68, 2, 4), (field::PIXDIM, 4, 11)];
            let more = [(120, 2, 1), (field::CAL, 4, 6), (field::QFORM_CODE, 2, 2), (field::QUATERN, 4, 18)];
            for (first, size, count) in words.into_iter().chain(more) {
                bytes[first..first + size * count].chunks_exact_mut(size).for_each(<[u8]>::reverse);
            }
        }
        Ok((Self(bytes), is_swapped))
    }

    fn bytes<const N: usize>(&self, at: usize) -> [u8; N] {
        std::array::from_fn(|i| self.0[at + i])
    }

    fn short(&self, at: usize) -> i16 {
        i16::from_ne_bytes(self.bytes(at))
    }

    fn float(&self, at: usize) -> f64 {
        f32::from_ne_bytes(self.bytes(at)).into()
    }

    fn floats<const N: usize>(&self, at: usize) -> [f64; N] {
        std::array::from_fn(|i| self.float(at + 4 * i))
    }

    fn set<const N: usize>(&mut self, at: usize, bytes: [u8; N]) {
        self.0[at..at + N].copy_from_slice(&bytes);
    }

    /// Channels, and voxels along z, y and x.
    fn extents(&self) -> Result<(usize, [usize; 3])> {
        let dim: [i16; 8] = std::array::from_fn(|i| self.short(field::DIM + 2 * i));
        let rank = usize::try_from(dim[0]).ok().filter(|rank| (1..=7).contains(rank));
        let Some(rank) = rank else {
            return Err(invalid(format!("it has {} dimensions; 1 to 7 there can be", dim[0])));
        };
        let mut extents = [1usize; 7];
        for (axis, extent) in extents.iter_mut().enumerate().take(rank) {
            *extent = usize::try_from(dim[axis + 1])
                .ok()
                .filter(|extent| *extent > 0)
                .ok_or_else(|| invalid(format!("it has {} voxels along dimension {}", dim[axis + 1], axis + 1)))?;
        }
        let [x, y, z, rest @ ..] = extents;
        let mut long = rest.iter().filter(|extent| **extent > 1);
        match (long.next(), long.next()) {
            (channels, None) => Ok((channels.copied().unwrap_or(1), [z, y, x])),
            _ => Err(invalid("it has several dimensions beside those of space: one can be the channels")),
        }
    }

    /// Millimetres in the unit of the file; one that is not said is a millimetre.
    fn unit_mm(&self) -> f64 {
        match self.0[field::UNITS] & 7 {
            1 => 1000.0,
            3 => 0.001,
            _ => 1.0,
        }
    }

    /// Where the grid lies, and what is to be said of that. sform goes before qform, as most programs have it.
    fn grid(&self, extents: [usize; 3]) -> Result<(Grid, String)> {
        let (has_qform, has_sform) = (self.short(field::QFORM_CODE) > 0, self.short(field::SFORM_CODE) > 0);
        let (matrix, note) = match (has_sform, has_qform) {
            (true, true) => {
                let sform = self.sform();
                let note = match self.qform() {
                    Ok(qform) => compare(&sform, &qform, extents),
                    Err(_) => "qform is damaged, and sform is taken".to_owned(),
                };
                (sform, note)
            }
            (true, false) => (self.sform(), String::new()),
            (false, true) => (self.qform()?, String::new()),
            (false, false) => {
                let [x, y, z] = self.spacing()?;
                // As nibabel has it, by which nnU-Net and MONAI read.
                let note = "neither sform nor qform says how the patient lies: x is taken to grow to the left, y to anterior, z to \
                            superior";
                ([[-x, 0.0, 0.0, 0.0], [0.0, y, 0.0, 0.0], [0.0, 0.0, z, 0.0]], note.to_owned())
            }
        };
        if matrix.iter().flatten().any(|value| !value.is_finite()) {
            return Err(invalid("its geometry has values that are no numbers"));
        }
        let unit = self.unit_mm();
        let spacing: [f64; 3] = std::array::from_fn(|j| matrix.iter().map(|row| row[j] * row[j]).sum::<f64>().sqrt());
        if spacing.contains(&0.0) {
            return Err(invalid("its geometry has an axis along which voxels do not move"));
        }
        // To the left and to posterior, where NIfTI has to the right and to anterior.
        let sign = [-1.0, -1.0, 1.0];
        let lps = |row: usize, j: usize| 0.0 + sign[row] * matrix[row][j];
        Ok((
            Grid {
                extents,
                spacing_mm: std::array::from_fn(|axis| spacing[2 - axis] * unit),
                origin_mm: std::array::from_fn(|row| lps(row, 3) * unit),
                direction: std::array::from_fn(|row| std::array::from_fn(|j| lps(row, j) / spacing[j])),
            },
            note,
        ))
    }

    fn sform(&self) -> [[f64; 4]; 3] {
        std::array::from_fn(|row| self.floats(field::SROW + 16 * row))
    }

    fn spacing(&self) -> Result<[f64; 3]> {
        let spacing = self.floats::<3>(field::PIXDIM + 4);
        match spacing.iter().all(|spacing| spacing.is_finite() && *spacing > 0.0) {
            true => Ok(spacing),
            false => Err(invalid(format!("its voxels have the spacing {spacing:?}"))),
        }
    }

    fn qform(&self) -> Result<[[f64; 4]; 3]> {
        let spacing = self.spacing()?;
        let [mut b, mut c, mut d] = self.floats(field::QUATERN);
        let offset = self.floats::<3>(field::QOFFSET);
        let squares = b * b + c * c + d * d;
        let a = match 1.0 - squares {
            // Half a turn, but for rounding.
            rest if rest < 1e-7 => {
                let length = squares.sqrt();
                (b, c, d) = (b / length, c / length, d / length);
                0.0
            }
            rest => rest.sqrt(),
        };
        if squares.is_nan() || squares > 1.01 || offset.iter().any(|value| !value.is_finite()) {
            return Err(invalid("its qform is no rotation"));
        }
        let rotation = [
            [a * a + b * b - c * c - d * d, 2.0 * (b * c - a * d), 2.0 * (b * d + a * c)],
            [2.0 * (b * c + a * d), a * a + c * c - b * b - d * d, 2.0 * (c * d - a * b)],
            [2.0 * (b * d - a * c), 2.0 * (c * d + a * b), a * a + d * d - b * b - c * c],
        ];
        // The sign of z, where the axes are left-handed.
        let hand = if self.float(field::PIXDIM) < 0.0 { -1.0 } else { 1.0 };
        let scale = [spacing[0], spacing[1], spacing[2] * hand];
        Ok(std::array::from_fn(|row| {
            std::array::from_fn(|j| if j == 3 { offset[row] } else { rotation[row][j] * scale[j] })
        }))
    }

    /// Slope and intercept of values; a slope of 0 means that there are none.
    fn rescale(&self) -> Result<(f64, f64)> {
        let (slope, intercept) = (self.float(field::SCL_SLOPE), self.float(field::SCL_INTER));
        match slope == 0.0 || slope.is_nan() {
            true => Ok((1.0, 0.0)),
            false if slope.is_finite() && intercept.is_finite() => Ok((slope, intercept)),
            false => Err(invalid(format!("its values are rescaled by slope {slope} and intercept {intercept}"))),
        }
    }
}

/// What is to be said where two geometries put the volume's corners to different places.
fn compare(sform: &[[f64; 4]; 3], qform: &[[f64; 4]; 3], extents: [usize; 3]) -> String {
    let mut most = 0f64;
    for corner in 0..8 {
        let index: [f64; 3] = std::array::from_fn(|axis| match corner >> axis & 1 {
            1 => (extents[2 - axis] - 1) as f64,
            _ => 0.0,
        });
        let moved = |row: usize| {
            let place =
                |matrix: &[[f64; 4]; 3]| (0..3).map(|j| matrix[row][j] * index[j]).sum::<f64>() + matrix[row][3];
            place(sform) - place(qform)
        };
        most = most.max((0..3).map(|row| moved(row) * moved(row)).sum::<f64>().sqrt());
    }
    let voxel = (0..3).map(|j| sform.iter().map(|row| row[j] * row[j]).sum::<f64>().sqrt()).fold(f64::MAX, f64::min);
    match most > DISAGREEMENT * voxel {
        true => format!("sform and qform put the volume's corners up to {most:.1} mm apart, and sform is taken"),
        false => String::new(),
    }
}

fn invalid(message: impl Into<String>) -> Error {
    Error::new(Code::InvalidArgument, message)
}

/// What voxels are in a file, and in memory.
#[derive(Clone, Copy)]
enum Stored {
    As(ElementType),
    /// Made float32, rescaled on the way.
    Wide(usize, fn([u8; 8]) -> f64),
}

impl Stored {
    fn new(datatype: i16) -> Result<Self> {
        Ok(match datatype {
            2 => Self::As(ElementType::Uint8),
            4 => Self::As(ElementType::Int16),
            8 => Self::As(ElementType::Int32),
            16 => Self::As(ElementType::Float32),
            64 => Self::Wide(8, f64::from_ne_bytes),
            256 => Self::As(ElementType::Int8),
            512 => Self::As(ElementType::Uint16),
            768 => Self::Wide(4, |[a, b, c, d, ..]| u32::from_ne_bytes([a, b, c, d]).into()),
            1024 => Self::Wide(8, |bytes| i64::from_ne_bytes(bytes) as f64),
            1280 => Self::Wide(8, |bytes| u64::from_ne_bytes(bytes) as f64),
            other => {
                return Err(Error::new(
                    Code::Unsupported,
                    format!("its voxels are of NIfTI's type {other}; whole and real numbers of 8 to 64 bits are read"),
                ));
            }
        })
    }

    fn size(self) -> usize {
        match self {
            Self::As(element_type) => element_type.size(),
            Self::Wide(size, _) => size,
        }
    }
}

/// Reads a file. Damaged and truncated ones are errors, and take no more memory than they hold voxels.
pub fn read(path: &Path) -> Result<Scan> {
    read_unnamed(path).map_err(|error| error.within(shown(path)))
}

fn read_unnamed(path: &Path) -> Result<Scan> {
    let opened = |error: io::Error| match error.kind() {
        io::ErrorKind::NotFound => Error::new(Code::NotFound, "there is no such file"),
        _ => Error::new(Code::Io, format!("it cannot be read: {error}")),
    };
    // Asked before it is opened, which for a pipe would wait until somebody writes.
    if !std::fs::metadata(path).map_err(opened)?.is_file() {
        return Err(Error::new(Code::Io, "it is no file"));
    }
    let mut file = File::open(path).map_err(opened)?;
    let length = file.metadata().map_err(opened)?.len();
    let mut mark = Vec::new();
    (&file).take(GZIP.len() as u64).read_to_end(&mut mark).map_err(opened)?;
    file.rewind().map_err(opened)?;
    match mark == GZIP {
        true => read_from(Members::new(BufReader::with_capacity(1 << 16, file)), None),
        false => read_from(BufReader::with_capacity(1 << 16, file), Some(length)),
    }
}

fn out_of_memory(_: TryReserveError) -> Error {
    Error::new(Code::OutOfMemory, "the host has no memory for its voxels")
}

/// Fills a buffer, or says what is missing.
fn fill(from: &mut impl Read, buffer: &mut [u8], what: &str) -> Result<()> {
    from.read_exact(buffer).map_err(|error| match error.kind() {
        io::ErrorKind::UnexpectedEof => invalid(format!("it ends within {what}")),
        _ => unreadable(&error),
    })
}

fn unreadable(error: &io::Error) -> Error {
    match error.kind() {
        // What the decoder says of streams that are none, or are cut off.
        io::ErrorKind::InvalidData | io::ErrorKind::InvalidInput => invalid(format!("it is damaged: {error}")),
        io::ErrorKind::UnexpectedEof => invalid("it is cut off: its compressed stream does not end"),
        _ => Error::new(Code::Io, format!("it cannot be read: {error}")),
    }
}

/// `length`: of the content, where it is known before.
fn read_from(mut from: impl Read, length: Option<u64>) -> Result<Scan> {
    let mut bytes = [0; HEADER];
    fill(&mut from, &mut bytes, "its header")?;
    let (header, is_swapped) = Header::new(bytes)?;
    let (channels, extents) = header.extents()?;
    let stored = Stored::new(header.short(field::DATATYPE))?;
    let (slope, intercept) = header.rescale()?;
    let (grid, note) = header.grid(extents)?;
    let offset = header.float(field::VOX_OFFSET);
    let first = match offset {
        0.0 => FIRST_VOXEL,
        offset if offset.fract() == 0.0 && (FIRST_VOXEL as f64..MOST_EXTENSIONS as f64).contains(&offset) => {
            offset as usize
        }
        _ => return Err(invalid(format!("its voxels begin at byte {offset}"))),
    };
    // At most 32767 to the power of 4, and 8 bytes each.
    let count = [channels, extents[0], extents[1], extents[2]].iter().map(|extent| *extent as u128).product::<u128>();
    let total = count * stored.size() as u128;
    let in_memory = count * stored.size().min(4) as u128;
    let [z, y, x] = extents;
    let lies = |there: u64| {
        invalid(format!(
            "it ends within its voxels: {channels} times {z}x{y}x{x} take {total} bytes, and {there} are there"
        ))
    };
    let total_here = usize::try_from(total).ok().filter(|_| isize::try_from(in_memory).is_ok());
    let Some(total_here) = total_here else { return Err(lies(length.unwrap_or(0))) };
    if let Some(length) = length
        && length < first as u64 + total_here as u64
    {
        return Err(lies(length.saturating_sub(first as u64)));
    }
    let skipped =
        io::copy(&mut (&mut from).take((first - HEADER) as u64), &mut io::sink()).map_err(|e| unreadable(&e))?;
    if skipped != (first - HEADER) as u64 {
        return Err(invalid("it ends before its voxels"));
    }

    let mut reader = Voxels { stored, is_swapped, slope, intercept, out: Vec::new() };
    let mut portion: Vec<u8> = Vec::new();
    let mut left = total_here;
    while left > 0 {
        let size = left.min(PORTION);
        portion.try_reserve_exact(size.saturating_sub(portion.len())).map_err(out_of_memory)?;
        portion.resize(size, 0);
        let read = read_up_to(&mut from, &mut portion).map_err(|error| unreadable(&error))?;
        if read < size {
            return Err(lies((total_here - left + read) as u64));
        }
        left -= size;
        reader.take(&mut portion, left)?;
    }
    // The end of a gzip stream says whether the rest was right.
    if length.is_none() {
        let most = PORTION as u64;
        let after = io::copy(&mut from.take(most), &mut io::sink()).map_err(|error| unreadable(&error))?;
        if after == most {
            return Err(invalid("it goes on after its voxels"));
        }
    }
    let is_wide = matches!(stored, Stored::Wide(..));
    Ok(Scan {
        grid,
        channels,
        element_type: match stored {
            Stored::As(element_type) => element_type,
            Stored::Wide(..) => ElementType::Float32,
        },
        voxels: reader.out,
        slope: if is_wide { 1.0 } else { slope },
        intercept: if is_wide { 0.0 } else { intercept },
        note,
        header,
    })
}

fn read_up_to(from: &mut impl Read, buffer: &mut [u8]) -> io::Result<usize> {
    let mut filled = 0;
    while filled < buffer.len() {
        match from.read(&mut buffer[filled..]) {
            Ok(0) => break,
            Ok(read) => filled += read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            // What came before the end of a stream that was cut off tells how much is missing.
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => break,
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}

/// Voxels on their way into memory.
struct Voxels {
    stored: Stored,
    is_swapped: bool,
    slope: f64,
    intercept: f64,
    out: Vec<u8>,
}

impl Voxels {
    /// Takes whole voxels; so many bytes are still to come, if the header is right.
    fn take(&mut self, bytes: &mut [u8], left: usize) -> Result<()> {
        let size = self.stored.size();
        if self.is_swapped && size > 1 {
            bytes.chunks_exact_mut(size).for_each(<[u8]>::reverse);
        }
        let of_memory = |bytes: usize| bytes / size * size.min(4);
        let more = of_memory(bytes.len());
        if self.out.capacity() - self.out.len() < more {
            // Doubled, so that what is there is moved a few times only; never beyond the end.
            let wanted = more.max(self.out.len()).min(more + of_memory(left));
            memory::require("the scan", wanted as u64)?;
            self.out.try_reserve_exact(wanted).map_err(out_of_memory)?;
        }
        match self.stored {
            Stored::As(_) => self.out.extend_from_slice(bytes),
            Stored::Wide(_, value) => {
                for voxel in bytes.chunks_exact(size) {
                    let mut wide = [0; 8];
                    wide[..size].copy_from_slice(voxel);
                    let value = (value(wide) * self.slope + self.intercept) as f32;
                    self.out.extend_from_slice(&value.to_ne_bytes());
                }
            }
        }
        Ok(())
    }
}

/// The content of a file with labels on the scan's grid, of the type uint8 or uint16; compressed for `.gz`.
pub fn labels_file(scan: &Scan, labels: &[u8], element_type: ElementType, is_compressed: bool) -> Result<Vec<u8>> {
    let datatype: i16 = match element_type {
        ElementType::Uint8 => 2,
        ElementType::Uint16 => 512,
        other => return Err(invalid(format!("labels are of uint8 or uint16, not {other}"))),
    };
    let size = element_type.size();
    let needed = scan.grid.extents.iter().product::<usize>() * size;
    if labels.len() != needed {
        return Err(Error::new(
            Code::BufferTooSmall,
            format!("labels of the scan's grid take {needed} bytes, not {}", labels.len()),
        ));
    }
    let mut header = scan.header.clone();
    let [z, y, x] = scan.grid.extents;
    for (i, extent) in [3, x, y, z, 1, 1, 1, 1].into_iter().enumerate() {
        // They came from such numbers.
        header.set(field::DIM + 2 * i, (extent as i16).to_ne_bytes());
    }
    header.set(field::INTENT, [0; 14]);
    header.set(field::DATATYPE, datatype.to_ne_bytes());
    header.set(field::BITPIX, (8 * size as i16).to_ne_bytes());
    header.set(field::VOX_OFFSET, (FIRST_VOXEL as f32).to_ne_bytes());
    header.set(field::SCL_SLOPE, 1f32.to_ne_bytes());
    header.set(field::SCL_INTER, 0f32.to_ne_bytes());
    header.set(field::CAL, [0; 24]);
    header.set(field::DESCRIPTION, [0; 104]); // and the name of another file
    let made_by = concat!("planrt ", env!("CARGO_PKG_VERSION")).as_bytes();
    header.0[field::DESCRIPTION..][..made_by.len()].copy_from_slice(made_by);
    header.set(field::INTENT_NAME, [0; 16]);

    let failed = |error: io::Error| match error.kind() {
        io::ErrorKind::OutOfMemory => {
            Error::new(Code::OutOfMemory, "the host has no memory for the file of the labels")
        }
        _ => Error::new(Code::Io, format!("the labels could not be compressed: {error}")),
    };
    let write = |out: &mut dyn Write| {
        out.write_all(&header.0)?;
        out.write_all(&[0; FIRST_VOXEL - HEADER])?;
        out.write_all(labels)
    };
    let mut content = Content(Vec::new());
    if is_compressed {
        let mut encoder = GzEncoder::new(content, Compression::default());
        write(&mut encoder).map_err(failed)?;
        return Ok(encoder.finish().map_err(failed)?.0);
    }
    memory::require("the file", (FIRST_VOXEL + needed) as u64)?;
    write(&mut content).map_err(failed)?;
    Ok(content.0)
}

/// What is written becomes a file's content, as long as there is memory.
struct Content(Vec<u8>);

impl Write for Content {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.try_reserve(bytes.len()).map_err(|_| io::Error::from(io::ErrorKind::OutOfMemory))?;
        self.0.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
pub mod tests;
