//! inventory 0.3.25 by David Tolnay as it is on Linux, without its documentation, and with one change: of what tract would
//! register, its transformations of models (`ModelTransformFactory`) are left out.
//!
//! A static constructor registers each item before `main`, and the linker keeps whatever a constructor names. Transformations are
//! there to be found by their names, which planrt never does; one of them reads tract's own model format, which with all that is
//! only used for it makes 3 MB of a library. Should tract register them in other words, they would merely be there again.

use std::cell::UnsafeCell;
use std::marker::PhantomData;
use std::ops::Deref;
use std::ptr;
use std::sync::atomic::{AtomicPtr, Ordering};

#[doc(hidden)]
pub struct Registry {
    head: AtomicPtr<Node>,
}

#[doc(hidden)]
pub struct Node {
    pub value: &'static dyn ErasedNode,
    pub next: UnsafeCell<Option<&'static Node>>,
}

// SAFETY: `value` is Sync, and `next` is written once, before the node is reachable.
unsafe impl Sync for Node {}

#[doc(hidden)]
pub trait ErasedNode: Sync {
    /// # Safety
    /// It is the value of this node, which has not been submitted before.
    unsafe fn submit(&self, node: &'static Node);
}

impl<T: Collect> ErasedNode for T {
    unsafe fn submit(&self, node: &'static Node) {
        // SAFETY: as the caller says.
        unsafe { T::registry().submit(node) }
    }
}

/// A type whose values are registered.
pub trait Collect: Sync + Sized + 'static {
    #[doc(hidden)]
    fn registry() -> &'static Registry;
}

impl Registry {
    #[allow(clippy::new_without_default)]
    pub const fn new() -> Self {
        Self { head: AtomicPtr::new(ptr::null_mut()) }
    }

    /// # Safety
    /// The node's value is of the registry's type, and it has not been submitted before.
    unsafe fn submit(&'static self, new: &'static Node) {
        let mut head = self.head.load(Ordering::Relaxed);
        loop {
            // SAFETY: nobody else knows of the node yet; the head is null or a node that lives for ever.
            unsafe { *new.next.get() = head.as_ref() };
            let pointer = ptr::from_ref(new).cast_mut();
            match self.head.compare_exchange(head, pointer, Ordering::Release, Ordering::Relaxed) {
                Ok(_) => return,
                Err(other) => head = other,
            }
        }
    }
}

/// All values of a type that were registered, in no particular order, as `iter::<T>` and as `iter::<T>()`.
#[allow(non_camel_case_types)]
pub type iter<T> = private::iter<T>;

mod void {
    enum Void {}

    #[repr(C, packed)]
    pub struct Iter<T>([*const T; 0], Void);

    // SAFETY: there are no values of it.
    unsafe impl<T> Send for Iter<T> {}
    // SAFETY: there are no values of it.
    unsafe impl<T> Sync for Iter<T> {}
}

mod value {
    #[doc(hidden)]
    pub use crate::private::iter::iter;
}

mod private {
    /// A type and a value of one name.
    #[allow(non_camel_case_types)]
    pub enum iter<T> {
        __Phantom(crate::void::Iter<T>),
        iter,
    }

    #[doc(hidden)]
    pub use crate::value::*;
}

#[doc(hidden)]
pub use crate::private::*;

const _: () = {
    fn into_iter<T: Collect>() -> Iter<T> {
        let head = T::registry().head.load(Ordering::Acquire);
        // SAFETY: the head is null or a node that lives for ever.
        Iter { node: unsafe { head.as_ref() }, marker: PhantomData }
    }

    impl<T: Collect> IntoIterator for iter<T> {
        type Item = &'static T;
        type IntoIter = Iter<T>;

        fn into_iter(self) -> Self::IntoIter {
            into_iter()
        }
    }

    impl<T: Collect> Deref for iter<T> {
        type Target = fn() -> Iter<T>;

        fn deref(&self) -> &Self::Target {
            &(into_iter as fn() -> Iter<T>)
        }
    }

    pub struct Iter<T: 'static> {
        node: Option<&'static Node>,
        marker: PhantomData<T>,
    }

    impl<T: 'static> Iterator for Iter<T> {
        type Item = &'static T;

        fn next(&mut self) -> Option<Self::Item> {
            let node = self.node?;
            // SAFETY: all values of a type's registry are of that type; a node that is reachable is not written to any more.
            unsafe {
                self.node = *node.next.get();
                Some(&*ptr::from_ref(node.value).cast::<T>())
            }
        }
    }

    impl<T> Clone for Iter<T> {
        fn clone(&self) -> Self {
            Self { node: self.node, marker: PhantomData }
        }
    }
};

/// Makes a type one whose values are registered, in the crate that defines it.
#[macro_export]
macro_rules! collect {
    ($ty:ty) => {
        impl $crate::Collect for $ty {
            #[inline]
            fn registry() -> &'static $crate::Registry {
                static REGISTRY: $crate::Registry = $crate::Registry::new();
                &REGISTRY
            }
        }
    };
}

/// Registers a value before `main`, or when the library is loaded.
#[macro_export]
macro_rules! submit {
    (ModelTransformFactory $($left_out:tt)*) => {};
    ($tract:tt::transform::ModelTransformFactory $($left_out:tt)*) => {};
    ($($value:tt)*) => {
        #[allow(non_upper_case_globals)]
        const _: () = {
            static __INVENTORY: $crate::Node = $crate::Node {
                value: &{ $($value)* },
                next: $crate::__private::UnsafeCell::new($crate::__private::Option::None),
            };

            #[unsafe(link_section = ".text.startup")]
            unsafe extern "C" fn __ctor() {
                // SAFETY: the node is this value's, and constructors run once.
                unsafe { $crate::ErasedNode::submit(__INVENTORY.value, &__INVENTORY) }
            }

            #[used]
            #[unsafe(link_section = ".init_array")]
            static __CTOR: unsafe extern "C" fn() = __ctor;
        };
    };
}

#[doc(hidden)]
pub mod __private {
    pub use core::option::Option;
    pub type UnsafeCell<T> = core::cell::UnsafeCell<T>;
}
