//! Where the voxels of a volume lie, in the patient and in memory.

use super::recipe::Direction;
use crate::error::{Code, Error, Result};

/// How far a direction's columns may be from orthonormal: files keep cosines to four digits and more.
const ORTHONORMAL: f64 = 1e-3;

/// A direction of a smaller determinant is one of no volume.
const SINGULAR: f64 = 1e-6;

/// Extents and geometry of a volume whose memory has the axes `[z, y, x]`, x fastest.
#[derive(Clone, Debug, PartialEq)]
pub struct Grid {
    /// Voxels along z, y and x.
    pub extents: [usize; 3],
    /// Millimetres between the centres of neighbouring voxels along z, y and x.
    pub spacing_mm: [f64; 3],
    /// Where the centre of voxel (0, 0, 0) lies, in millimetres: toward the patient's right to left, anterior to posterior, inferior to
    /// superior (LPS, as in DICOM and ITK).
    pub origin_mm: [f64; 3],
    /// Column `j` is the direction in that space in which the index of axis x, y, z (`j` 0, 1, 2) grows, as ITK has it; row major.
    pub direction: [[f64; 3]; 3],
}

impl Grid {
    /// An error that names what cannot be a volume's. `any_direction`: a direction need not be orthonormal; left-handed ones never
    /// need leave.
    pub fn check(&self, any_direction: bool) -> Result<()> {
        let wrong = |what: String| Err(Error::new(Code::InvalidArgument, what));
        voxels(self.extents)?;
        if let Some(spacing) = self.spacing_mm.iter().find(|spacing| !(spacing.is_finite() && **spacing > 0.0)) {
            return wrong(format!("a spacing of {spacing} mm; it has to be above zero and finite"));
        }
        if self.origin_mm.iter().any(|place| !place.is_finite()) {
            return wrong(format!("the origin {:?} is not finite", self.origin_mm));
        }
        if self.direction.iter().flatten().any(|cosine| !cosine.is_finite()) {
            return wrong(format!("the direction {:?} is not finite", self.direction));
        }
        let d = &self.direction;
        let product = |a: usize, b: usize| (0..3).map(|row| d[row][a] * d[row][b]).sum::<f64>();
        let unit = |a: usize, b: usize| if a == b { 1.0 } else { 0.0 };
        let pairs = [(0, 0), (1, 1), (2, 2), (0, 1), (0, 2), (1, 2)];
        if !any_direction && pairs.iter().any(|&(a, b)| (product(a, b) - unit(a, b)).abs() > ORTHONORMAL) {
            return wrong(format!(
                "the columns of the direction {d:?} are not of length 1 and perpendicular to each other; allow it, or resample the \
                 volume to such a grid"
            ));
        }
        match determinant(d).abs() < SINGULAR {
            true => wrong(format!("the direction {d:?} has determinant 0: its axes do not span the space")),
            false => Ok(()),
        }
    }

    /// The anatomical directions in which x, y and z grow: the closest ones where axes are oblique. The axis that is
    /// closest to one chooses first, as nibabel (and so nnU-Net and MONAI) has it.
    pub fn directions(&self) -> [Direction; 3] {
        use Direction::{Anterior, Inferior, Left, Posterior, Right, Superior};
        const NAMES: [[Direction; 2]; 3] = [[Left, Right], [Posterior, Anterior], [Superior, Inferior]];
        let d = closest_rotation(self.direction);
        let most = |column: usize| d.iter().fold(0.0, |most: f64, row| most.max(row[column].abs()));
        let mut columns = [0, 1, 2];
        columns.sort_by(|a, b| most(*b).total_cmp(&most(*a)));
        let mut rows = vec![0, 1, 2];
        let mut directions = [Left; 3];
        for column in columns {
            let cosine = |row: usize| d[row][column].abs();
            let best = (1..rows.len()).fold(0, |best, i| if cosine(rows[i]) > cosine(rows[best]) { i } else { best });
            let row = rows.remove(best);
            directions[column] = NAMES[row][usize::from(d[row][column] < 0.0)];
        }
        directions
    }

    /// How this volume's axes have to be taken for x, y and z to grow in the `wanted` directions.
    pub fn axes_toward(&self, wanted: [Direction; 3]) -> Result<Axes> {
        let here = self.directions();
        let mut axes = Axes::SAME;
        for (place, wanted) in wanted.iter().enumerate() {
            let Some(found) = here.iter().position(|here| here.line() == wanted.line()) else { continue };
            // x, y, z are memory's axes 2, 1, 0.
            axes.source[2 - place] = 2 - found;
            axes.flipped[2 - place] = here[found] != *wanted;
        }
        axes.check().map_err(|_| {
            Error::new(
                Code::InvalidArgument,
                format!("{wanted:?} is no orientation: each line of the body has to come once"),
            )
        })?;
        Ok(axes)
    }

    /// Millilitres of one voxel.
    pub fn voxel_ml(&self) -> f64 {
        self.spacing_mm.iter().product::<f64>() * determinant(&self.direction).abs() / 1000.0
    }
}

impl Direction {
    /// Which of the body's three lines it lies on.
    fn line(self) -> usize {
        match self {
            Self::Right | Self::Left => 0,
            Self::Anterior | Self::Posterior => 1,
            Self::Superior | Self::Inferior => 2,
        }
    }
}

/// How many voxels a volume has, if as many float32 can be addressed.
pub fn voxels(extents: [usize; 3]) -> Result<usize> {
    let [z, y, x] = extents;
    let count =
        z.checked_mul(y).and_then(|count| count.checked_mul(x)).filter(|count| *count <= isize::MAX as usize / 4);
    match count {
        Some(0) => Err(Error::new(Code::Shape, format!("a volume of {z}x{y}x{x} voxels is empty"))),
        Some(count) => Ok(count),
        None => Err(Error::new(Code::Shape, format!("a volume of {z}x{y}x{x} voxels does not fit in memory"))),
    }
}

fn determinant(m: &[[f64; 3]; 3]) -> f64 {
    cofactors(m)[0].iter().zip(&m[0]).map(|(a, b)| a * b).sum()
}

fn cofactors(m: &[[f64; 3]; 3]) -> [[f64; 3]; 3] {
    let at = |row: usize, column: usize| m[row % 3][column % 3];
    std::array::from_fn(|r| {
        std::array::from_fn(|c| at(r + 1, c + 1) * at(r + 2, c + 2) - at(r + 1, c + 2) * at(r + 2, c + 1))
    })
}

/// The orthonormal matrix that is closest to this one's columns made of length 1 (its polar factor, by Newton's way).
fn closest_rotation(mut m: [[f64; 3]; 3]) -> [[f64; 3]; 3] {
    let lengths: [f64; 3] = std::array::from_fn(|column| m.iter().map(|row| row[column].powi(2)).sum::<f64>().sqrt());
    m.iter_mut().for_each(|row| row.iter_mut().zip(lengths).for_each(|(cosine, length)| *cosine /= length));
    for _ in 0..50 {
        let (inverse, det) = (cofactors(&m), determinant(&m));
        let next: [[f64; 3]; 3] =
            std::array::from_fn(|r| std::array::from_fn(|c| (m[r][c] + inverse[r][c] / det) / 2.0));
        let change = m.iter().flatten().zip(next.iter().flatten()).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
        // What is as orthonormal as it gets stays as it is: noise would decide where an axis is as close to two directions.
        if change < 1e-12 {
            break;
        }
        m = next;
    }
    m
}

/// A volume's axes in another order, some of them turned round.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Axes {
    /// Axis `i` is the other volume's axis `source[i]`.
    pub source: [usize; 3],
    /// Whether axis `i` runs from that one's end to its beginning.
    pub flipped: [bool; 3],
}

impl Axes {
    pub const SAME: Self = Self { source: [0, 1, 2], flipped: [false; 3] };

    /// Axis `i` of what comes out is axis `transpose[i]` of these.
    pub fn transposed(&self, transpose: [usize; 3]) -> Result<Self> {
        Self { source: transpose, flipped: [false; 3] }.check()?;
        Ok(Self { source: transpose.map(|i| self.source[i]), flipped: transpose.map(|i| self.flipped[i]) })
    }

    pub fn of<T: Copy>(&self, values: [T; 3]) -> [T; 3] {
        self.source.map(|i| values[i])
    }

    fn check(&self) -> Result<()> {
        let mut sorted = self.source;
        sorted.sort_unstable();
        match sorted == [0, 1, 2] {
            true => Ok(()),
            false => Err(Error::new(Code::InvalidArgument, format!("{:?} is no order of three axes", self.source))),
        }
    }
}

/// Where the elements of a volume are, counted in bytes or in elements: (z, y, x) at `first + z·strides[0] + y·strides[1] +
/// x·strides[2]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Layout {
    pub extents: [usize; 3],
    pub first: isize,
    pub strides: [isize; 3],
}

impl Layout {
    /// Of a volume without gaps, in elements.
    pub fn dense(extents: [usize; 3]) -> Self {
        let [_, y, x] = extents;
        Self { extents, first: 0, strides: [(y * x) as isize, x as isize, 1] }
    }

    /// The places between which all elements begin, if they can be counted.
    pub fn bounds(&self) -> Option<(isize, isize)> {
        let mut bounds = (self.first, self.first);
        for (extent, stride) in self.extents.iter().zip(self.strides) {
            let reach = stride.checked_mul(isize::try_from(extent.checked_sub(1)?).ok()?)?;
            let end = if reach < 0 { &mut bounds.0 } else { &mut bounds.1 };
            *end = end.checked_add(reach)?;
        }
        Some(bounds)
    }

    pub fn place(&self, [z, y, x]: [usize; 3]) -> isize {
        let [sz, sy, sx] = self.strides;
        self.first + z as isize * sz + y as isize * sy + x as isize * sx
    }

    /// The same memory with its axes taken otherwise.
    pub fn turned(&self, axes: &Axes) -> Self {
        let mut turned = Self { extents: axes.of(self.extents), strides: axes.of(self.strides), ..*self };
        for axis in (0..3).filter(|axis| axes.flipped[*axis]) {
            turned.first += turned.strides[axis] * (turned.extents[axis] as isize - 1);
            turned.strides[axis] = -turned.strides[axis];
        }
        turned
    }

    /// How many planes are best read together: where neighbours in memory are in different planes, those of one line of the
    /// processor's cache.
    pub fn planes_together(&self) -> usize {
        let [z, y, x] = self.strides.map(isize::unsigned_abs);
        if z < y && z < x { 16.min(self.extents[0]) } else { 1 }
    }

    /// A box of it.
    pub fn part(&self, part: &Box3) -> Self {
        Self { extents: part.extents, first: self.place(part.start), ..*self }
    }
}

/// Some of a volume's voxels: so many from there on along each axis.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Box3 {
    pub start: [usize; 3],
    pub extents: [usize; 3],
}

#[cfg(test)]
mod tests {
    use super::*;
    use Direction::{Anterior, Inferior, Left, Posterior, Right, Superior};

    pub fn grid(extents: [usize; 3], direction: [[f64; 3]; 3]) -> Grid {
        Grid { extents, spacing_mm: [3.0, 2.0, 1.0], origin_mm: [0.0; 3], direction }
    }

    const LPS: [[f64; 3]; 3] = [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]];

    fn orientations() -> Vec<[Direction; 3]> {
        let lines = [[Left, Right], [Posterior, Anterior], [Superior, Inferior]];
        let mut all = Vec::new();
        for order in [[0, 1, 2], [0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]] {
            for signs in 0..8 {
                all.push([0, 1, 2].map(|i| lines[order[i]][(signs >> i) & 1]));
            }
        }
        all
    }

    /// Column j points where `directions[j]` says, in LPS.
    fn direction_of(directions: [Direction; 3]) -> [[f64; 3]; 3] {
        let mut d = [[0.0; 3]; 3];
        for (column, direction) in directions.iter().enumerate() {
            d[direction.line()][column] = if matches!(direction, Left | Posterior | Superior) { 1.0 } else { -1.0 };
        }
        d
    }

    #[test]
    fn every_orientation_into_every_other() {
        assert_eq!(orientations().len(), 48);
        for from in orientations() {
            let grid = grid([2, 3, 4], direction_of(from));
            grid.check(false).unwrap();
            assert_eq!(grid.directions(), from);
            for to in orientations() {
                let axes = grid.axes_toward(to).unwrap();
                for (place, to) in to.iter().enumerate() {
                    let (axis, source) = (2 - place, 2 - axes.source[2 - place]);
                    assert_eq!(from[source].line(), to.line());
                    assert_eq!(axes.flipped[axis], from[source] != *to);
                }
            }
            assert_eq!(grid.axes_toward(from).unwrap(), Axes::SAME);
        }
    }

    #[test]
    fn voxels_lie_where_they_lay() {
        // The place in the patient of a voxel, by the grid and after turning it to RAS.
        let grid = grid([2, 3, 4], direction_of([Posterior, Inferior, Left]));
        let axes = grid.axes_toward([Right, Anterior, Superior]).unwrap();
        let layout = Layout::dense(grid.extents);
        let turned = layout.turned(&axes);
        // z grows to the left by 3 mm, x to the back by 1, y down by 2: so Right is -z, Anterior -x, Superior -y.
        assert_eq!(turned.extents, [3, 4, 2]);
        assert_eq!(axes.of(grid.spacing_mm), [2.0, 1.0, 3.0]);
        for s in 0..3 {
            for a in 0..4 {
                for r in 0..2 {
                    assert_eq!(turned.place([s, a, r]), layout.place([1 - r, 2 - s, 3 - a]));
                }
            }
        }
    }

    #[test]
    fn oblique_axes_are_the_closest() {
        for degrees in [15.0, 44.0f64] {
            let (s, c) = degrees.to_radians().sin_cos();
            for turn in [
                [[c, -s, 0.0], [s, c, 0.0], [0.0, 0.0, 1.0]],
                [[1.0, 0.0, 0.0], [0.0, c, -s], [0.0, s, c]],
                [[c, 0.0, s], [0.0, 1.0, 0.0], [-s, 0.0, c]],
            ] {
                for wanted in orientations() {
                    let d = direction_of(wanted);
                    let turned = std::array::from_fn(|r| {
                        std::array::from_fn(|column| (0..3).map(|k| turn[r][k] * d[k][column]).sum())
                    });
                    let grid = grid([1, 1, 1], turned);
                    grid.check(false).unwrap();
                    assert_eq!(grid.directions(), wanted, "{degrees} {turn:?}");
                }
            }
        }
    }

    #[test]
    fn what_is_no_geometry_is_named() {
        let good = grid([4, 5, 6], LPS);
        good.check(false).unwrap();
        grid([4, 5, 6], direction_of([Right, Posterior, Superior])).check(false).unwrap();
        let message = |grid: Grid, any| grid.check(any).unwrap_err().message().to_owned();
        assert!(message(Grid { spacing_mm: [1.0, 0.0, 1.0], ..good.clone() }, true).contains("a spacing of 0 mm"));
        assert!(message(Grid { spacing_mm: [1.0, -2.0, 1.0], ..good.clone() }, true).contains("a spacing of -2 mm"));
        assert!(message(Grid { spacing_mm: [1.0, 1.0, f64::NAN], ..good.clone() }, true).contains("a spacing of NaN"));
        assert!(message(Grid { origin_mm: [0.0, f64::INFINITY, 0.0], ..good.clone() }, true).contains("the origin"));
        assert!(message(grid([1, 1, 1], [[f64::NAN, 0.0, 0.0]; 3]), true).contains("not finite"));
        assert!(message(Grid { extents: [4, 0, 6], ..good.clone() }, true).contains("empty"));
        assert!(message(Grid { extents: [1 << 21, 1 << 21, 1 << 21], ..good.clone() }, true).contains("fit in memory"));
        let sheared = grid([1, 1, 1], [[1.0, 0.1, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]]);
        assert!(message(sheared.clone(), false).contains("perpendicular"));
        sheared.check(true).unwrap();
        assert_eq!(sheared.directions(), [Left, Posterior, Superior]);
        let flat = grid([1, 1, 1], [[1.0, 1.0, 0.0], [0.0, 0.0, 0.0], [0.0, 0.0, 1.0]]);
        assert!(message(flat, true).contains("determinant 0"));
        assert!(good.axes_toward([Right, Left, Superior]).is_err());
        assert!(Axes::SAME.transposed([0, 0, 1]).is_err());
        assert_eq!(good.voxel_ml(), 0.006);
    }

    #[test]
    fn bounds_of_a_layout() {
        let layout = Layout { extents: [2, 3, 4], first: 10, strides: [-10, 4, 1] };
        assert_eq!(layout.bounds(), Some((0, 10 + 8 + 3)));
        assert_eq!(Layout { strides: [isize::MAX, 0, 0], ..layout }.bounds(), None);
        assert_eq!(Layout { extents: [0, 1, 1], ..layout }.bounds(), None);
    }
}
