//! Pictures for people: a scan in grey, labels over it in colour.
//!
//! Three planes through the middle of what is labelled, side by side at one scale, as radiologists expect them: the patient's right
//! is at the left, anterior or superior at the top; in the sagittal plane anterior is at the left. Letters at the edges say so.

use super::Scan;
use crate::error::{Code, Error, Result};
use crate::process::memory;
use crate::tensor::ElementType;

/// Pixels along the longest side of the volume, and the black around each plane where the letters stand.
const PICTURE_SIDE: f64 = 640.0;
const MARGIN: usize = 32;
const FILL_OPACITY: f64 = 0.18;
const OUTLINE_WIDTH: isize = 2;
/// Voxels that the grey scale is found from at most.
const MOST_SAMPLES: usize = 1 << 20;

/// Memory that a picture takes while it is made, by a large margin.
const PICTURE_BYTES: u64 = 48 << 20;

/// Of labels 1, 2 and so on, then again from the first one.
const COLOURS: [[u8; 3]; 10] = [
    [255, 112, 32],
    [64, 160, 255],
    [96, 208, 96],
    [232, 80, 160],
    [240, 208, 48],
    [64, 208, 208],
    [168, 112, 240],
    [208, 152, 96],
    [160, 216, 32],
    [255, 128, 128],
];

/// Axes of the patient, 0 to the left, 1 to posterior and 2 to superior, and which way they go in a picture.
struct Plane {
    right: usize,
    down: usize,
    is_upside_down: bool,
    normal: usize,
    /// What the edges are called: left, right, top, bottom.
    edges: [char; 4],
}

const PLANES: [Plane; 3] = [
    Plane { right: 0, down: 1, is_upside_down: false, normal: 2, edges: ['R', 'L', 'A', 'P'] },
    Plane { right: 0, down: 2, is_upside_down: true, normal: 1, edges: ['R', 'L', 'S', 'I'] },
    Plane { right: 1, down: 2, is_upside_down: true, normal: 0, edges: ['A', 'P', 'S', 'I'] },
];

const GLYPH: [usize; 2] = [5, 7];
const GLYPH_SCALE: usize = 3;

/// Letters of 5 by 7 dots; the highest of a row's five bits is the dot at the left.
fn glyph(letter: char) -> [u8; 7] {
    match letter {
        'A' => [0x0E, 0x11, 0x11, 0x1F, 0x11, 0x11, 0x11],
        'I' => [0x0E, 0x04, 0x04, 0x04, 0x04, 0x04, 0x0E],
        'L' => [0x10, 0x10, 0x10, 0x10, 0x10, 0x10, 0x1F],
        'P' => [0x1E, 0x11, 0x11, 0x1E, 0x10, 0x10, 0x10],
        'R' => [0x1E, 0x11, 0x11, 0x1E, 0x14, 0x12, 0x11],
        _ => [0x0F, 0x10, 0x10, 0x0E, 0x01, 0x01, 0x1E], // S
    }
}

/// A scan and its labels, turned as the patient is.
struct Turned<'a> {
    scan: &'a Scan,
    labels: &'a [u8],
    label_type: ElementType,
    /// For each axis of the patient: voxels, millimetres between them, voxels in memory from one to the next.
    extents: [usize; 3],
    spacing_mm: [f64; 3],
    strides: [isize; 3],
    first: usize,
}

impl<'a> Turned<'a> {
    fn new(scan: &'a Scan, labels: &'a [u8], label_type: ElementType) -> Result<Self> {
        let [z, y, x] = scan.grid.extents;
        if !matches!(label_type, ElementType::Uint8 | ElementType::Uint16)
            || labels.len() != z * y * x * label_type.size()
        {
            return Err(Error::new(Code::InvalidArgument, "labels are to be of uint8 or uint16, one for each voxel"));
        }
        let mut turned =
            Self { scan, labels, label_type, extents: [1; 3], spacing_mm: [1.0; 3], strides: [0; 3], first: 0 };
        for (row, axis) in axes(&scan.grid.direction).into_iter().enumerate() {
            // Axes x, y and z of the direction are 2, 1 and 0 of the memory.
            let extent = [x, y, z][axis];
            let stride = [1, x, x * y][axis];
            turned.extents[row] = extent;
            turned.spacing_mm[row] = scan.grid.spacing_mm[2 - axis];
            turned.strides[row] = stride as isize;
            if scan.grid.direction[row][axis] < 0.0 {
                turned.strides[row] = -turned.strides[row];
                turned.first += stride * (extent - 1);
            }
        }
        Ok(turned)
    }

    /// The place in memory of a voxel that is one.
    fn place(&self, index: [usize; 3]) -> usize {
        let moved: isize = (0..3).map(|axis| index[axis] as isize * self.strides[axis]).sum();
        self.first.wrapping_add_signed(moved)
    }

    fn label(&self, place: usize) -> u16 {
        match self.label_type {
            ElementType::Uint8 => self.labels[place].into(),
            _ => u16::from_ne_bytes([self.labels[2 * place], self.labels[2 * place + 1]]),
        }
    }

    /// The middle of what is labelled; where nothing is, of the volume.
    fn centre(&self) -> [usize; 3] {
        let mut sums = [0u64; 3];
        let mut count = 0u64;
        let [a, b, c] = self.extents;
        for i in 0..a {
            for j in 0..b {
                for k in 0..c {
                    if self.label(self.place([i, j, k])) != 0 {
                        count += 1;
                        [i, j, k].iter().zip(&mut sums).for_each(|(index, sum)| *sum += *index as u64);
                    }
                }
            }
        }
        match count {
            0 => self.extents.map(|extent| extent / 2),
            _ => sums.map(|sum| ((sum + count / 2) / count) as usize),
        }
    }

    /// What is black and what is white: from the darkest voxels to somewhat above the brightest of what is labelled. What is brighter
    /// elsewhere may saturate, and what is labelled must show under its tint.
    fn window(&self) -> (f32, f32) {
        let count = self.scan.grid.extents.iter().product::<usize>();
        let (mut all, mut labelled) = (Vec::new(), Vec::new());
        // A step without common factors with extents goes everywhere.
        for place in (0..count).step_by(count.div_ceil(MOST_SAMPLES) | 1) {
            let value = self.scan.value(place);
            if value.is_finite() {
                all.push(value);
                if self.label(place) != 0 {
                    labelled.push(value);
                }
            }
        }
        let percentile = |values: &mut Vec<f32>, fraction: f64| {
            let rank = (fraction * values.len().saturating_sub(1) as f64) as usize;
            if values.is_empty() { 0.0 } else { *values.select_nth_unstable_by(rank, f32::total_cmp).1 }
        };
        let black = percentile(&mut all, 0.01);
        let brightest = percentile(if labelled.is_empty() { &mut all } else { &mut labelled }, 0.99);
        (black, black + 1.2 * (brightest - black).max(f32::MIN_POSITIVE))
    }
}

/// For each axis of the patient the one of x, y and z that runs most nearly along it.
fn axes(direction: &[[f64; 3]; 3]) -> [usize; 3] {
    const ORDERS: [[usize; 3]; 6] = [[0, 1, 2], [0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]];
    let fit = |order: &[usize; 3]| (0..3).map(|row| direction[row][order[row]].abs()).sum::<f64>();
    ORDERS.into_iter().max_by(|a, b| fit(a).total_cmp(&fit(b))).unwrap_or([0, 1, 2])
}

struct Picture {
    width: usize,
    height: usize,
    pixels: Vec<u8>,
}

impl Picture {
    fn black(width: usize, height: usize) -> Self {
        Self { width, height, pixels: vec![0; 3 * width * height] }
    }

    fn set(&mut self, x: usize, y: usize, colour: [u8; 3]) {
        if x < self.width && y < self.height {
            self.pixels[3 * (y * self.width + x)..][..3].copy_from_slice(&colour);
        }
    }

    /// A letter around a point.
    fn letter(&mut self, letter: char, x: usize, y: usize) {
        let rows = glyph(letter);
        let [width, height] = GLYPH.map(|dots| dots * GLYPH_SCALE);
        for down in 0..height {
            for right in 0..width {
                if rows[down / GLYPH_SCALE] >> (GLYPH[0] - 1 - right / GLYPH_SCALE) & 1 == 1 {
                    self.set((x + right).saturating_sub(width / 2), (y + down).saturating_sub(height / 2), [230; 3]);
                }
            }
        }
    }
}

/// A sample between two voxels: their indexes, and how much the second one counts.
fn between(pixel: usize, pixel_mm: f64, spacing_mm: f64, extent: usize) -> (usize, usize, f64) {
    let last = (extent - 1) as f64;
    let position = (((pixel as f64 + 0.5) * pixel_mm) / spacing_mm - 0.5).clamp(0.0, last);
    let low = position.floor();
    (low as usize, (low + 1.0).min(last) as usize, position - low)
}

fn draw(
    picture: &mut Picture,
    turned: &Turned,
    plane: &Plane,
    left: usize,
    pixel_mm: f64,
    slice: usize,
    window: (f32, f32),
) {
    let pixels = |axis: usize| pixels_along(turned, axis, pixel_mm);
    let (width, height) = (pixels(plane.right), pixels(plane.down));
    let along = |axis: usize, pixel| between(pixel, pixel_mm, turned.spacing_mm[axis], turned.extents[axis]);
    let mut greys = vec![0f64; width * height];
    let mut labels = vec![0u16; width * height];
    for y in 0..height {
        let down = if plane.is_upside_down { height - 1 - y } else { y };
        let (top, bottom, lower) = along(plane.down, down);
        for x in 0..width {
            let (first, second, righter) = along(plane.right, x);
            let mut grey = 0.0;
            let mut votes = [(0u16, 0f64); 4];
            let corners = [(top, first), (top, second), (bottom, first), (bottom, second)];
            let weights =
                [(1.0 - lower) * (1.0 - righter), (1.0 - lower) * righter, lower * (1.0 - righter), lower * righter];
            for (i, ((v, u), weight)) in corners.into_iter().zip(weights).enumerate() {
                let mut index = [0; 3];
                (index[plane.right], index[plane.down], index[plane.normal]) = (u, v, slice);
                let place = turned.place(index);
                grey += weight * f64::from(turned.scan.value(place));
                let label = turned.label(place);
                let vote = votes[..i].iter().position(|(voted, _)| *voted == label).unwrap_or(i);
                votes[vote] = (label, votes[vote].1 + weight);
            }
            greys[y * width + x] = grey;
            // Of equals the first: outlines run between voxels, and not along their edges.
            labels[y * width + x] =
                votes.iter().fold((0, 0.0), |best, vote| if vote.1 > best.1 { *vote } else { best }).0;
        }
    }
    let label_at = |x: isize, y: isize| match (usize::try_from(x), usize::try_from(y)) {
        (Ok(x), Ok(y)) if x < width && y < height => labels[y * width + x],
        _ => 0,
    };
    let reach = || (-OUTLINE_WIDTH..=OUTLINE_WIDTH).flat_map(|v| (-OUTLINE_WIDTH..=OUTLINE_WIDTH).map(move |u| (u, v)));
    for y in 0..height {
        for x in 0..width {
            let share = (greys[y * width + x] - f64::from(window.0)) / f64::from(window.1 - window.0);
            let grey = if share.is_nan() { 0.0 } else { 255.0 * share.clamp(0.0, 1.0) };
            let label = labels[y * width + x];
            let is_outline = label != 0
                && reach().any(|(u, v)| {
                    u * u + v * v <= OUTLINE_WIDTH * OUTLINE_WIDTH && label_at(x as isize + u, y as isize + v) != label
                });
            let opacity = match label {
                0 => 0.0,
                _ if is_outline => 1.0,
                _ => FILL_OPACITY,
            };
            let tint = COLOURS[usize::from(label.wrapping_sub(1)) % COLOURS.len()];
            let colour = tint.map(|tint| (grey * (1.0 - opacity) + f64::from(tint) * opacity).round() as u8);
            picture.set(left + MARGIN + x, MARGIN + y, colour);
        }
    }
    let (middle_x, middle_y) = (left + MARGIN + width / 2, MARGIN + height / 2);
    let places = [
        (left + MARGIN / 2, middle_y),
        (left + MARGIN + width + MARGIN / 2, middle_y),
        (middle_x, MARGIN / 2),
        (middle_x, MARGIN + height + MARGIN / 2),
    ];
    plane.edges.into_iter().zip(places).for_each(|(letter, (x, y))| picture.letter(letter, x, y));
}

fn pixels_along(turned: &Turned, axis: usize, pixel_mm: f64) -> usize {
    ((turned.extents[axis] as f64 * turned.spacing_mm[axis] / pixel_mm).round() as usize).max(1)
}

/// A PNG file of a scan's first channel with labels, one for each voxel, of the type uint8 or uint16.
pub fn png(scan: &Scan, labels: &[u8], label_type: ElementType) -> Result<Vec<u8>> {
    png_of(scan, labels, label_type, PICTURE_SIDE)
}

/// One with so many pixels along the longest side of the volume.
fn png_of(scan: &Scan, labels: &[u8], label_type: ElementType, side: f64) -> Result<Vec<u8>> {
    let turned = Turned::new(scan, labels, label_type)?;
    memory::require("the picture", PICTURE_BYTES)?;
    let longest = (0..3).map(|axis| turned.extents[axis] as f64 * turned.spacing_mm[axis]).fold(0.0, f64::max);
    let pixel_mm = longest / side;
    let along = |axis| pixels_along(&turned, axis, pixel_mm) + 2 * MARGIN;
    let width = PLANES.iter().map(|plane| along(plane.right)).sum();
    let height = PLANES.iter().map(|plane| along(plane.down)).max().unwrap_or(1);
    let mut picture = Picture::black(width, height);
    let (centre, window) = (turned.centre(), turned.window());
    let mut left = 0;
    for plane in &PLANES {
        draw(&mut picture, &turned, plane, left, pixel_mm, centre[plane.normal], window);
        left += along(plane.right);
    }

    let failed =
        |error: png::EncodingError| Error::new(Code::Internal, format!("the picture could not be packed: {error}"));
    let mut file = Vec::new();
    let side = |pixels: usize| u32::try_from(pixels).unwrap_or(u32::MAX);
    let mut encoder = png::Encoder::new(&mut file, side(width), side(height));
    encoder.set_color(png::ColorType::Rgb);
    encoder.set_depth(png::BitDepth::Eight);
    let mut writer = encoder.write_header().map_err(failed)?;
    writer.write_image_data(&picture.pixels).map_err(failed)?;
    writer.finish().map_err(failed)?;
    Ok(file)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scan::nifti;

    /// A scan of uint8 in which each axis of the patient is told from the others, in the orientation of a direction.
    fn phantom(direction: [[f64; 3]; 3]) -> (Scan, Vec<u8>) {
        let mut scan = nifti::tests::scan_of_zeros([20, 20, 20]);
        scan.grid.direction = direction;
        let mut labels = vec![0; 8000];
        for (place, label) in labels.iter_mut().enumerate() {
            let index = [place % 20, place / 20 % 20, place / 400];
            // Where it lies for the patient: to the left, to posterior, to superior.
            let lps: [f64; 3] = std::array::from_fn(|row| {
                (0..3).map(|j| direction[row][j] * (index[j] as f64 - 9.5)).sum::<f64>() + 9.5
            });
            let [l, p, s] = lps.map(|value| value.round() as usize);
            scan.voxels[place] = if l >= 10 { 100 } else { 0 };
            *label = u8::from(l >= 10 && p < 10) + 2 * u8::from(p >= 10 && s >= 10);
        }
        (scan, labels)
    }

    fn decoded(file: &[u8]) -> (usize, usize, Vec<u8>) {
        let mut reader = png::Decoder::new(std::io::Cursor::new(file)).read_info().unwrap();
        let mut pixels = vec![0; reader.output_buffer_size().unwrap()];
        let info = reader.next_frame(&mut pixels).unwrap();
        (info.width as usize, info.height as usize, pixels)
    }

    #[test]
    fn the_picture_is_the_patients_whatever_the_orientation() {
        let straight = [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]];
        let (scan, labels) = phantom(straight);
        let expected = png_of(&scan, &labels, ElementType::Uint8, 40.0).unwrap();
        let (width, height, pixels) = decoded(&expected);
        assert_eq!((width, height), (3 * (40 + 2 * MARGIN), 40 + 2 * MARGIN));
        let at = |x: usize, y: usize| &pixels[3 * (y * width + x)..][..3];
        // Axial: the patient's left is at the right and bright there, anterior at the top: label 1.
        let (left, right, top) = (MARGIN + 10, MARGIN + 30, MARGIN + 10);
        assert_eq!(at(left, top), [0, 0, 0]);
        assert!(at(right, top)[0] > at(right, top)[2] && at(right, top)[2] > 100, "{:?}", at(right, top));
        // Sagittal: posterior at the right, superior at the top: label 2.
        let sagittal = 2 * (40 + 2 * MARGIN);
        assert!(at(sagittal + right, top)[2] > at(sagittal + right, top)[0]);
        for order in [[0, 1, 2], [2, 0, 1], [1, 0, 2], [2, 1, 0]] {
            for signs in 0..8 {
                let mut direction = [[0.0; 3]; 3];
                for (row, axis) in order.into_iter().enumerate() {
                    direction[row][axis] = if signs >> row & 1 == 1 { -1.0 } else { 1.0 };
                }
                let (scan, labels) = phantom(direction);
                assert_eq!(png_of(&scan, &labels, ElementType::Uint8, 40.0).unwrap(), expected, "{direction:?}");
                let wide: Vec<u8> = labels.iter().flat_map(|label| u16::from(*label).to_ne_bytes()).collect();
                assert_eq!(png_of(&scan, &wide, ElementType::Uint16, 40.0).unwrap(), expected);
            }
        }
    }

    #[test]
    fn what_is_flat_empty_or_no_number_is_drawn() {
        for extents in [[1, 1, 1], [1, 30, 20], [300, 1, 2]] {
            let scan = nifti::tests::scan_of_zeros(extents);
            let labels = vec![0; scan.voxels.len()];
            let (_, height, _) = decoded(&png_of(&scan, &labels, ElementType::Uint8, 40.0).unwrap());
            assert!(height <= 40 + 2 * MARGIN);
        }
        let mut scan = nifti::tests::scan_of_zeros([2, 2, 2]);
        scan.element_type = ElementType::Float32;
        scan.voxels = f32::NAN.to_ne_bytes().repeat(8);
        assert!(png(&scan, &[1; 8], ElementType::Uint8).is_ok());
        assert!(png(&scan, &[1; 7], ElementType::Uint8).is_err());
        assert!(png(&scan, &[1; 8], ElementType::Int8).is_err());
    }
}
