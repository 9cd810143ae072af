//! `planrt_scan`: scans in files.

use super::argument::{Out, Ref};
use super::error::planrt_error;
use super::handle::{Handle, opaque};
use super::structs::OutStruct;
use super::tensor::{element_type, planrt_element_type};
use super::volume::planrt_volume;
use super::{delete, export};
use crate::error::{Code, Error};
use crate::process::stack::with_room;
use crate::scan::{Scan, nifti, overlay};
use std::ffi::{CString, c_char, c_void};
use std::path::Path;

/// A scan that was read from a file: its voxels and where they lie. Any thread may use it, several at once.
#[allow(non_camel_case_types)]
pub struct planrt_scan(Handle<Read>);
opaque!(planrt_scan, Read);

pub(crate) struct Read {
    scan: Scan,
    note: CString,
}

fn handle(scan: Scan) -> Handle<Read> {
    let note = CString::new(scan.note.replace('\0', "\u{fffd}")).unwrap_or_default();
    Handle::new(Read { scan, note })
}

/// Reads a NIfTI-1 file, `.nii` or `.nii.gz`, which is told by its content. A fourth dimension is channels. Where the file has an
/// sform, that says how it lies, else its qform. Voxels of 64 bits, and uint32, become float32. `*scan_out` is the caller's, for
/// `planrt_scan_delete`. Any thread.
///
/// Errors: `PLANRT_ERROR_NOT_FOUND` and `_IO` for files that are not there or not readable; `_INVALID_ARGUMENT` for what is no
/// such file, damaged or truncated; `_UNSUPPORTED` for colours and complex numbers; `_OUT_OF_MEMORY`.
///
/// Requires: `path` is a string, `scan_out` writable.
#[must_use]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn planrt_scan_read_file(
    path: *const c_char,
    scan_out: *mut *mut planrt_scan,
) -> *mut planrt_error {
    export!(; path: &Path, scan_out: Out<_> => {
        scan_out.give(handle(with_room(|| nifti::read(path))?));
        Ok(())
    })
}

/// Makes one scan of the channels of several, in their order, as CT and PET in a file each; they have to lie on one grid. Of
/// different types they become float32. `*scan_out` is the caller's, for `planrt_scan_delete`. Any thread.
///
/// Errors: `PLANRT_ERROR_SHAPE` and `_INVALID_ARGUMENT` for scans of different grids, `_OUT_OF_MEMORY`.
///
/// Requires: `scans` is readable for `scan_count` handles that are alive, `scan_out` writable.
#[must_use]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn planrt_scan_join(
    scans: *const *const planrt_scan,
    scan_count: usize,
    scan_out: *mut *mut planrt_scan,
) -> *mut planrt_error {
    export!(; scans[scan_count]: Vec<Ref<'_, planrt_scan>>, scan_out: Out<_> => {
        let scans: Vec<_> = scans.iter().map(|scan| &scan.get().scan).collect();
        scan_out.give(handle(Scan::join(&scans)?));
        Ok(())
    })
}

/// The scan as a segmenter takes it; what it points to lives as long as the scan. Any thread.
///
/// Requires: `scan` is alive, `volume_out` writable, its `struct_size` set.
#[must_use]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn planrt_scan_get_volume(
    scan: *const planrt_scan,
    volume_out: *mut planrt_volume,
) -> *mut planrt_error {
    export!(scan; volume_out: OutStruct<'_, _> => {
        let Scan { grid, channels, element_type, voxels, slope, intercept, .. } = &scan.scan;
        let [a, b, c] = grid.direction;
        volume_out.set(planrt_volume {
            struct_size: size_of::<planrt_volume>(),
            data: voxels.as_ptr().cast::<c_void>(),
            size_bytes: voxels.len(),
            first_voxel_bytes: 0,
            element_type: *element_type as planrt_element_type,
            memory_kind: 0,
            channels: i32::try_from(*channels).map_err(|_| Error::new(Code::Shape, format!("{channels} channels")))?,
            // NIfTI's extents have 16 bits.
            extents: grid.extents.map(|extent| extent as i64),
            strides_bytes: [0; 4],
            spacing_mm: grid.spacing_mm,
            origin_mm: grid.origin_mm,
            direction: [a[0], a[1], a[2], b[0], b[1], b[2], c[0], c[1], c[2]],
            rescale_slope: *slope,
            rescale_intercept: *intercept,
        });
        Ok(())
    })
}

/// What a person should know of the file beside its content, as that its sform and its qform disagree; "" where there is nothing.
/// It lives as long as the scan. Any thread.
///
/// Requires: `scan` is null or alive.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn planrt_scan_get_note(scan: *const planrt_scan) -> *const c_char {
    export!(scan; else c"".as_ptr() => scan.note.as_ptr())
}

/// Writes labels as a NIfTI-1 file that lies where the scan lies: sform and qform are the scan's own. Compressed where the path
/// ends in `.gz`. The file is there whole, or not at all. `labels` are without gaps, x fastest, of the type `PLANRT_UINT8` or
/// `PLANRT_UINT16`. Any thread.
///
/// Errors: `PLANRT_ERROR_IO`; `_BUFFER_TOO_SMALL` for labels of another grid; `_INVALID_ARGUMENT` for another type.
///
/// Requires: `scan` is alive, `path` a string, `labels` readable for `labels_bytes`.
#[must_use]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn planrt_scan_write_labels(
    scan: *const planrt_scan,
    path: *const c_char,
    labels: *const c_void,
    labels_bytes: usize,
    label_type: planrt_element_type,
) -> *mut planrt_error {
    export!(scan; path: &Path, labels[labels_bytes]: &[u8] => {
        let is_compressed = path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("gz"));
        let element_type = element_type(label_type)?;
        let content = with_room(|| nifti::labels_file(&scan.scan, labels, element_type, is_compressed))?;
        crate::file::write(path, &content)
    })
}

/// Writes a PNG file with the scan in grey and labels over it in colour: three planes through the middle of what is labelled,
/// axial, coronal and sagittal, the patient's right at the left. Labels as for `planrt_scan_write_labels`. Any thread.
///
/// Errors: as for `planrt_scan_write_labels`.
///
/// Requires: `scan` is alive, `path` a string, `labels` readable for `labels_bytes`.
#[must_use]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn planrt_scan_write_overlay(
    scan: *const planrt_scan,
    path: *const c_char,
    labels: *const c_void,
    labels_bytes: usize,
    label_type: planrt_element_type,
) -> *mut planrt_error {
    export!(scan; path: &Path, labels[labels_bytes]: &[u8] => {
        let element_type = element_type(label_type)?;
        let picture = with_room(|| overlay::png(&scan.scan, labels, element_type))?;
        crate::file::write(path, &picture)
    })
}

/// Frees a scan. Null is accepted.
///
/// Requires: `scan` is null, or alive, deleted once and in no use.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn planrt_scan_delete(scan: *mut planrt_scan) {
    delete!(scan);
}
