//! Where the voxels of a volume lie.

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
