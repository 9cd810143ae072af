//! A method: its declaration, its index in each generation's virtual table, and the way from both
//! to a function that can be called.

use crate::{Generation, Version};
use std::ffi::c_void;
use std::fmt;
use std::marker::PhantomData;

/// A C++ object with virtual methods: its first word points to them.
#[repr(C)]
pub struct Instance {
    vtable: *const *const c_void,
}

/// The `this` that a method is called on.
pub type This = *mut Instance;

/// Where a method stands in a generation's virtual table, and since when.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Slot {
    /// The index. Both destructors count.
    pub index: u16,
    /// The first minor and patch release of the generation that has it; zeroes for all of them.
    pub since: (u16, u16),
}

/// A method over all generations: a line of `vtables.tsv`.
#[derive(Clone, Copy, Debug)]
pub struct Row {
    /// The method as `vtables.tsv` writes it.
    pub declaration: &'static str,
    /// Its place in each generation, in the order of [`Generation::ALL`]; `None` where it is not.
    pub slots: [Option<Slot>; 4],
}

impl Row {
    /// The place in this version's virtual table; `None` if the version has no such method.
    pub fn slot(&self, version: Version) -> Option<Slot> {
        self.slots[version.generation as usize].filter(|slot| version.reaches(slot.since.0, slot.since.1))
    }

    /// `ICudaEngine::getNbAuxStreams`, the name by which the documentation knows the method.
    fn name(&self) -> String {
        let head = self.declaration.split('(').next().unwrap_or_default().trim_end();
        let name = head.rsplit([' ', '*', '&']).next().unwrap_or_default();
        match name.strip_prefix('V') {
            Some(rest) => format!("I{rest}"),
            None => name.to_owned(),
        }
    }
}

/// A method that every supported version has.
pub(crate) struct Method<F> {
    declaration: &'static str,
    indexes: [u16; 4],
    function: PhantomData<F>,
}

/// A method that some versions lack.
pub(crate) struct Optional<F> {
    row: Row,
    function: PhantomData<F>,
}

impl<F: Copy> Method<F> {
    pub(crate) const fn new(declaration: &'static str, indexes: [u16; 4]) -> Self {
        Self { declaration, indexes, function: PhantomData }
    }

    pub(crate) const fn row(&self) -> Row {
        let mut slots = [None; 4];
        let mut i = 0;
        while i < slots.len() {
            slots[i] = Some(Slot { index: self.indexes[i], since: (0, 0) });
            i += 1;
        }
        Row { declaration: self.declaration, slots }
    }

    /// The function to call on `this`.
    ///
    /// # Safety
    /// `this` is an object of the interface that declares this method, made by a library of
    /// `version`.
    #[inline]
    pub(crate) unsafe fn of(&self, this: This, version: Version) -> F {
        // SAFETY: by contract.
        unsafe { function(this, self.indexes[version.generation as usize]) }
    }
}

impl<F: Copy> Optional<F> {
    pub(crate) const fn new(declaration: &'static str, slots: [Option<Slot>; 4]) -> Self {
        Self { row: Row { declaration, slots }, function: PhantomData }
    }

    pub(crate) const fn row(&self) -> Row {
        self.row
    }

    /// The function to call on `this`, or that this version has none.
    ///
    /// # Safety
    /// As for [`Method::of`].
    #[inline]
    pub(crate) unsafe fn of(&self, this: This, version: Version) -> Result<F, Absent> {
        match self.row.slot(version) {
            // SAFETY: by contract.
            Some(slot) => Ok(unsafe { function(this, slot.index) }),
            None => Err(Absent { row: self.row, version }),
        }
    }
}

/// The function at an index of an object's virtual table.
///
/// # Safety
/// `this` points to a C++ object whose virtual table has a function of type `F` at `index`.
#[inline]
unsafe fn function<F: Copy>(this: This, index: u16) -> F {
    const { assert!(size_of::<F>() == size_of::<*const c_void>()) };
    // SAFETY: by contract the entry is there and is a function of type F; sizes were compared.
    unsafe { std::mem::transmute_copy(&*(*this).vtable.add(usize::from(index))) }
}

/// The loaded TensorRT has no such method.
#[derive(Clone, Copy, Debug)]
pub struct Absent {
    /// The method.
    pub row: Row,
    /// The version that lacks it.
    pub version: Version,
}

impl fmt::Display for Absent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} has no {}; it is in", self.version, self.row.name())?;
        let present = Generation::ALL.into_iter().zip(self.row.slots);
        let mut separator = " ";
        for (generation, slot) in present.filter_map(|(g, slot)| Some((g, slot?))) {
            write!(f, "{separator}{generation}")?;
            if slot.since != (0, 0) {
                let (major, (minor, patch)) = (generation.first().major, slot.since);
                write!(f, " from {major}.{minor}.{patch}")?;
            }
            separator = ", ";
        }
        Ok(())
    }
}

impl std::error::Error for Absent {}

#[cfg(test)]
mod tests {
    use crate::{Version, tables};

    #[test]
    fn absence_names_who_has_it() {
        let row = tables::HARDWARE_COMPATIBILITY_LEVEL.row();
        let version = Version::decode(8503).unwrap();
        assert_eq!(row.slot(version), None);
        assert_eq!(
            super::Absent { row, version }.to_string(),
            "TensorRT 8.5.3 has no ICudaEngine::getHardwareCompatibilityLevel; it is in \
             TensorRT 8 from 8.6.0, TensorRT 10, TensorRT 11, TensorRT-RTX 1"
        );
        let row = tables::HAS_IMPLICIT_BATCH_DIMENSION.row();
        let version = Version::decode(10_701).unwrap();
        assert_eq!(
            super::Absent { row, version }.to_string(),
            "TensorRT-RTX 1.7.1 has no ICudaEngine::hasImplicitBatchDimension; it is in \
             TensorRT 8, TensorRT 10"
        );
    }

    #[test]
    fn a_patch_release_counts() {
        let row = tables::TENSOR_BYTES_PER_COMPONENT_V2.row();
        assert_eq!(row.slot(Version::decode(8600).unwrap()), None);
        assert_eq!(row.slot(Version::decode(8601).unwrap()).unwrap().index, 50);
    }
}
