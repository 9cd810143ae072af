use super::*;
use std::path::PathBuf;

/// A file in memory, in either byte order, as a scanner's console would write it.
struct Builder {
    bytes: Vec<u8>,
    is_big: bool,
}

impl Builder {
    /// 2 by 3 by 4 voxels (x, y, z) of 0.5 by 0.75 by 2 mm.
    fn new(datatype: i16, is_big: bool) -> Self {
        let mut new = Self { bytes: vec![0; FIRST_VOXEL], is_big };
        new.int(field::SIZE, HEADER as i32);
        for (i, extent) in [3, 2, 3, 4, 1, 1, 1, 1].into_iter().enumerate() {
            new.short(field::DIM + 2 * i, extent);
        }
        new.short(field::DATATYPE, datatype);
        new.floats(field::PIXDIM, &[1.0, 0.5, 0.75, 2.0]);
        new.floats(field::VOX_OFFSET, &[352.0, 1.0, 0.0]);
        new.bytes[field::UNITS] = 2;
        new.short(field::QFORM_CODE, 1);
        new.floats(field::QOFFSET, &[10.0, 20.0, 30.0]);
        new.bytes[field::MAGIC..HEADER].copy_from_slice(b"n+1\0");
        new
    }

    fn put(&mut self, at: usize, native: &[u8]) {
        let mut bytes = native.to_vec();
        if self.is_big {
            bytes.reverse();
        }
        self.bytes[at..at + bytes.len()].copy_from_slice(&bytes);
    }

    fn int(&mut self, at: usize, value: i32) {
        self.put(at, &value.to_le_bytes());
    }

    fn short(&mut self, at: usize, value: i16) {
        self.put(at, &value.to_le_bytes());
    }

    fn floats(&mut self, at: usize, values: &[f32]) {
        values.iter().enumerate().for_each(|(i, value)| self.put(at + 4 * i, &value.to_le_bytes()));
    }

    fn sform(&mut self, rows: [[f32; 4]; 3]) {
        self.short(field::SFORM_CODE, 1);
        self.floats(field::SROW, rows.as_flattened());
    }

    /// Voxels, each as the bytes of its number, least first.
    fn voxels(mut self, voxels: impl IntoIterator<Item = Vec<u8>>) -> Vec<u8> {
        for mut voxel in voxels {
            if self.is_big {
                voxel.reverse();
            }
            self.bytes.extend(voxel);
        }
        self.bytes
    }

    fn shorts(self) -> Vec<u8> {
        self.voxels((0..24i16).map(|i| (i * 100 - 1000).to_le_bytes().to_vec()))
    }
}

/// A scan of uint8 with voxels of 1 mm.
pub fn scan_of_zeros(extents: [usize; 3]) -> Scan {
    let mut file = Builder::new(2, false);
    extents.iter().rev().enumerate().for_each(|(i, extent)| file.short(field::DIM + 2 * i + 2, *extent as i16));
    file.floats(field::PIXDIM, &[1.0; 4]);
    read_bytes(&file.voxels(vec![vec![0]; extents.iter().product()])).unwrap()
}

fn read_bytes(bytes: &[u8]) -> Result<Scan> {
    read_from(bytes, Some(bytes.len() as u64))
}

fn zipped(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn is_near(a: f64, b: f64) -> bool {
    (a - b).abs() < 1e-6
}

#[test]
fn voxels_and_geometry_in_both_byte_orders() {
    for is_big in [false, true] {
        let scan = read_bytes(&Builder::new(4, is_big).shorts()).unwrap();
        assert_eq!((scan.channels, scan.element_type), (1, ElementType::Int16));
        assert_eq!(scan.grid.extents, [4, 3, 2]);
        assert_eq!(scan.grid.spacing_mm, [2.0, 0.75, 0.5]);
        assert_eq!(scan.grid.origin_mm, [-10.0, -20.0, 30.0]);
        assert_eq!(scan.grid.direction, [[-1.0, 0.0, 0.0], [0.0, -1.0, 0.0], [0.0, 0.0, 1.0]]);
        let values: Vec<_> = scan.voxels.chunks(2).map(|two| i16::from_ne_bytes([two[0], two[1]])).collect();
        assert_eq!(values, (0..24).map(|i| i * 100 - 1000).collect::<Vec<i16>>());
        assert_eq!((scan.slope, scan.intercept, scan.note.as_str()), (1.0, 0.0, ""));
    }
}

#[test]
fn every_type_of_number() {
    type Bytes = fn(u8) -> Vec<u8>;
    let cases: [(i16, ElementType, Bytes); 10] = [
        (2, ElementType::Uint8, |i| vec![i]),
        (256, ElementType::Int8, |i| vec![i]),
        (4, ElementType::Int16, |i| i16::from(i).to_le_bytes().to_vec()),
        (512, ElementType::Uint16, |i| u16::from(i).to_le_bytes().to_vec()),
        (8, ElementType::Int32, |i| i32::from(i).to_le_bytes().to_vec()),
        (16, ElementType::Float32, |i| f32::from(i).to_le_bytes().to_vec()),
        (64, ElementType::Float32, |i| f64::from(i).to_le_bytes().to_vec()),
        (768, ElementType::Float32, |i| u32::from(i).to_le_bytes().to_vec()),
        (1024, ElementType::Float32, |i| i64::from(i).to_le_bytes().to_vec()),
        (1280, ElementType::Float32, |i| u64::from(i).to_le_bytes().to_vec()),
    ];
    for (datatype, element_type, bytes) in cases {
        for is_big in [false, true] {
            let mut file = Builder::new(datatype, is_big);
            file.floats(field::SCL_SLOPE, &[2.0, -3.0]);
            let scan = read_bytes(&file.voxels((0..24).map(bytes))).unwrap();
            assert_eq!(scan.element_type, element_type, "{datatype}");
            let is_wide = [64, 768, 1024, 1280].contains(&datatype);
            assert_eq!((scan.slope, scan.intercept), if is_wide { (1.0, 0.0) } else { (2.0, -3.0) });
            let size = element_type.size();
            assert_eq!(scan.voxels.len(), 24 * size);
            if element_type == ElementType::Float32 {
                let at = |i: usize| f32::from_ne_bytes(scan.voxels[4 * i..4 * i + 4].try_into().unwrap());
                assert_eq!(at(23), if is_wide { 43.0 } else { 23.0 }, "{datatype}");
            } else {
                let least = if cfg!(target_endian = "big") { size - 1 } else { 0 };
                assert_eq!(scan.voxels[23 * size + least], 23, "{datatype}");
            }
        }
    }
}

#[test]
fn a_time_axis_or_components_are_channels() {
    for axis in [4, 5] {
        let mut file = Builder::new(2, false);
        file.short(field::DIM, axis);
        file.short(field::DIM + 2 * axis as usize, 2);
        let scan = read_bytes(&file.voxels((0..48u8).map(|i| vec![i]))).unwrap();
        assert_eq!((scan.channels, scan.grid.extents, scan.voxels[24]), (2, [4, 3, 2], 24));
    }
    let mut file = Builder::new(2, false);
    file.short(field::DIM, 2);
    assert_eq!(read_bytes(&file.voxels((0..6u8).map(|i| vec![i]))).unwrap().grid.extents, [1, 3, 2]);
}

#[test]
fn qform_turns_and_mirrors() {
    // A quarter turn about z: x grows to anterior, y to the left; z to inferior by the sign.
    let half = std::f32::consts::FRAC_1_SQRT_2;
    let mut file = Builder::new(4, true);
    file.floats(field::PIXDIM, &[-1.0, 0.5, 0.75, 2.0]);
    file.floats(field::QUATERN, &[0.0, 0.0, half]);
    let direction = read_bytes(&file.shorts()).unwrap().grid.direction;
    let expected = [[0.0, 1.0, 0.0], [-1.0, 0.0, 0.0], [0.0, 0.0, -1.0]];
    assert!(
        direction.as_flattened().iter().zip(expected.as_flattened()).all(|(a, b)| is_near(*a, *b)),
        "{direction:?}"
    );
    // Half a turn about x, written a little longer than 1.
    let mut file = Builder::new(4, false);
    file.floats(field::QUATERN, &[1.0000001, 0.0, 0.0]);
    let direction = read_bytes(&file.shorts()).unwrap().grid.direction;
    assert_eq!(direction, [[-1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, -1.0]]);
}

#[test]
fn sform_goes_before_qform() {
    let rows = [[0.0, 0.0, 2.0, 1.0], [-0.5, 0.0, 0.0, 2.0], [0.0, 0.75, 0.0, 3.0]];
    let mut file = Builder::new(4, false);
    file.sform(rows);
    let scan = read_bytes(&file.shorts()).unwrap();
    assert_eq!(scan.grid.spacing_mm, [2.0, 0.75, 0.5]);
    assert_eq!(scan.grid.direction, [[0.0, 0.0, -1.0], [1.0, 0.0, 0.0], [0.0, 1.0, 0.0]]);
    assert!(scan.note.contains("sform is taken"), "{}", scan.note);
    // The same place in both.
    let mut file = Builder::new(4, false);
    file.sform([[0.5, 0.0, 0.0, 10.0], [0.0, 0.75, 0.0, 20.0], [0.0, 0.0, 2.0, 30.0]]);
    assert_eq!(read_bytes(&file.shorts()).unwrap().note, "");
    // Neither: as nibabel has it.
    let mut file = Builder::new(4, false);
    file.short(field::QFORM_CODE, 0);
    let scan = read_bytes(&file.shorts()).unwrap();
    assert!(scan.note.contains("neither") && scan.grid.spacing_mm == [2.0, 0.75, 0.5]);
    assert_eq!(scan.grid.direction, [[1.0, 0.0, 0.0], [0.0, -1.0, 0.0], [0.0, 0.0, 1.0]]);
}

#[test]
fn units_are_converted() {
    for (unit, factor) in [(0, 1.0), (1, 1000.0), (2, 1.0), (3, 0.001), (2 | 8, 1.0)] {
        let mut file = Builder::new(4, false);
        file.bytes[field::UNITS] = unit;
        let grid = read_bytes(&file.shorts()).unwrap().grid;
        assert!(is_near(grid.spacing_mm[0], 2.0 * factor) && is_near(grid.origin_mm[2], 30.0 * factor));
    }
}

#[test]
fn a_slope_of_zero_is_none() {
    for slope in [0.0, f32::NAN] {
        let mut file = Builder::new(4, false);
        file.floats(field::SCL_SLOPE, &[slope, 7.0]);
        let scan = read_bytes(&file.shorts()).unwrap();
        assert_eq!((scan.slope, scan.intercept), (1.0, 0.0));
    }
}

/// What is written lies where the scan lies, and is read again as it was.
#[test]
fn labels_are_written_on_the_scans_grid() {
    for is_big in [false, true] {
        let mut file = Builder::new(64, is_big);
        file.short(field::DIM, 4);
        file.short(field::DIM + 8, 2);
        file.sform([[0.1, 0.2, 2.0, 1.0], [-0.5, 0.0, 0.3, 2.0], [0.0, 0.75, 0.0, 3.0]]);
        file.floats(field::SCL_SLOPE, &[2.0, -3.0]);
        let scan = read_bytes(&file.voxels((0..48).map(|i| f64::from(i).to_le_bytes().to_vec()))).unwrap();
        let wide: Vec<u8> = (0..24u16).flat_map(|i| (i * 300).to_ne_bytes()).collect();
        let narrow: Vec<u8> = (0..24).collect();
        for (labels, element_type) in [(&narrow, ElementType::Uint8), (&wide, ElementType::Uint16)] {
            let plain = labels_file(&scan, labels, element_type, false).unwrap();
            let packed = labels_file(&scan, labels, element_type, true).unwrap();
            for read in [read_bytes(&plain), read_from(Members::new(packed.as_slice()), None)] {
                let read = read.unwrap();
                assert_eq!((&read.voxels, read.element_type, read.channels), (labels, element_type, 1));
                assert_eq!((read.slope, read.intercept), (1.0, 0.0));
                assert_eq!(read.grid, scan.grid);
                for place in [field::QUATERN..field::INTENT_NAME, field::QFORM_CODE..field::QUATERN] {
                    assert_eq!(read.header.0[place.clone()], scan.header.0[place]);
                }
            }
        }
        assert_eq!(
            labels_file(&scan, &narrow[1..], ElementType::Uint8, true).unwrap_err().code(),
            Code::BufferTooSmall
        );
        assert!(labels_file(&scan, &narrow, ElementType::Float32, true).is_err());
    }
}

#[test]
fn damaged_headers_are_errors() {
    type Damage = fn(&mut Builder);
    let cases: [(&str, Damage); 19] = [
        ("size of a header", |file| file.int(field::SIZE, 347)),
        ("NIfTI-2", |file| file.int(field::SIZE, 540)),
        (".img", |file| file.bytes[field::MAGIC + 1] = b'i'),
        ("Analyze", |file| file.bytes[field::MAGIC] = 0),
        ("dimensions", |file| file.short(field::DIM, 0)),
        ("dimensions", |file| file.short(field::DIM, 8)),
        ("dimension 2", |file| file.short(field::DIM + 4, 0)),
        ("dimension 3", |file| file.short(field::DIM + 6, -4)),
        ("beside those of space", |file| {
            file.short(field::DIM, 5);
            file.short(field::DIM + 8, 2);
            file.short(field::DIM + 10, 2);
        }),
        ("NIfTI's type 128", |file| file.short(field::DATATYPE, 128)),
        ("NIfTI's type 0", |file| file.short(field::DATATYPE, 0)),
        ("begin at byte", |file| file.floats(field::VOX_OFFSET, &[100.0])),
        ("begin at byte", |file| file.floats(field::VOX_OFFSET, &[f32::NAN])),
        ("begin at byte", |file| file.floats(field::VOX_OFFSET, &[352.5])),
        ("slope", |file| file.floats(field::SCL_SLOPE, &[f32::INFINITY])),
        ("spacing", |file| file.floats(field::PIXDIM + 4, &[0.0])),
        ("no rotation", |file| file.floats(field::QUATERN, &[2.0])),
        ("no rotation", |file| file.floats(field::QOFFSET, &[f32::NAN])),
        ("do not move", |file| file.sform([[0.0; 4]; 3])),
    ];
    for is_big in [false, true] {
        for (text, damage) in &cases {
            let mut file = Builder::new(4, is_big);
            damage(&mut file);
            let error = read_bytes(&file.shorts()).expect_err(text);
            assert!(error.message().contains(text), "{text}: {error}");
        }
    }
    let mut file = Builder::new(4, false);
    file.sform([[f32::NAN, 0.0, 0.0, 0.0], [0.0, 1.0, 0.0, 0.0], [0.0, 0.0, 1.0, 0.0]]);
    assert!(read_bytes(&file.shorts()).unwrap_err().message().contains("no numbers"));
}

#[test]
fn truncated_files_are_errors() {
    let whole = Builder::new(4, false).shorts();
    let packed = zipped(&whole);
    for length in 0..whole.len() {
        assert_eq!(read_bytes(&whole[..length]).unwrap_err().code(), Code::InvalidArgument, "{length}");
    }
    for length in 0..packed.len() {
        let error = read_from(Members::new(&packed[..length]), None).unwrap_err();
        assert_eq!(error.code(), Code::InvalidArgument, "{length} of {}", packed.len());
    }
    assert!(read_from(Members::new(packed.as_slice()), None).is_ok());
}

/// A flipped bit in a packed file is an error, but where another way to pack the same came about.
#[test]
fn flipped_bits_are_found() {
    let packed = zipped(&Builder::new(4, false).shorts());
    let read = |packed: &[u8]| read_from(Members::new(packed), None);
    let whole = read(&packed).unwrap();
    let mut errors = 0;
    for byte in 10..packed.len() {
        let mut damaged = packed.clone();
        damaged[byte] ^= 0x10;
        match read(&damaged) {
            Ok(same) => assert!(same.voxels == whole.voxels && same.header.0 == whole.header.0, "byte {byte}"),
            Err(_) => errors += 1,
        }
    }
    assert!(errors > (packed.len() - 10) / 2);
}

/// A header that speaks of exabytes takes no memory for them.
#[test]
fn what_the_header_says_is_not_believed() {
    let mut file = Builder::new(64, false);
    file.short(field::DIM, 4);
    (1..5).for_each(|axis| file.short(field::DIM + 2 * axis, i16::MAX));
    let lies = file.shorts();
    for read in [read_bytes(&lies), read_from(Members::new(zipped(&lies).as_slice()), None)] {
        let error = read.unwrap_err();
        assert!(error.message().contains("ends within its voxels"), "{error}");
    }
}

#[test]
fn files_are_told_by_their_content() {
    let folder = crate::segment::test_folder::TestFolder::new("scans");
    let plain = Builder::new(4, false).shorts();
    folder.write("packed.nii", &zipped(&plain));
    folder.write("plain.nii.gz", &plain);
    for name in ["packed.nii", "plain.nii.gz"] {
        assert_eq!(read(&folder.path().join(name)).unwrap().grid.extents, [4, 3, 2]);
    }
    let error = |path: PathBuf| read(&path).unwrap_err();
    assert_eq!(error(folder.path().join("none.nii")).code(), Code::NotFound);
    assert_eq!(error(folder.path().to_owned()).code(), Code::Io);
    assert_eq!(error(PathBuf::from("/dev/zero")).code(), Code::Io);
    // A pipe that nobody writes to is not waited for.
    let pipe = folder.path().join("pipe.nii");
    assert!(std::process::Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    assert_eq!(error(pipe).code(), Code::Io);
    folder.write("empty.nii", b"");
    assert!(error(folder.path().join("empty.nii")).message().contains("empty.nii: it ends within its header"));
}

/// Whatever bytes a header has, it is read or refused: nothing panics, and nothing takes more than it holds.
#[test]
fn any_header_is_read_or_refused() {
    let mut seed = 1u64;
    let mut random = || {
        seed = seed.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (seed >> 33) as usize
    };
    let mut read = 0;
    for turn in 0..20000 {
        let mut file = Builder::new([2, 4, 16, 64][turn % 4], turn % 3 == 0);
        file.short(field::SFORM_CODE, (turn % 2) as i16);
        let mut bytes = file.shorts();
        for _ in 0..1 + turn % 5 {
            let place = 4 + random() % (field::MAGIC - 4);
            bytes[place] = [0, 1, 0x7f, 0x80, 0xff, random() as u8][random() % 6];
        }
        if let Ok(scan) = read_bytes(&bytes) {
            let voxels = scan.grid.extents.iter().product::<usize>() * scan.channels;
            assert_eq!(scan.voxels.len(), voxels * scan.element_type.size());
            assert!(
                scan.grid.spacing_mm.iter().all(|spacing| spacing.is_finite() && *spacing > 0.0),
                "{:?}",
                scan.grid
            );
            read += 1;
        }
    }
    assert!(read > 1000, "{read}");
}
