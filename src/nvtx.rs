//! Ranges for NVIDIA's tools (Nsight Systems shows them on the threads' time lines), where the process has the library for
//! them loaded: libnvToolsExt.

use libloading::os::unix::{Library, RTLD_NOW};
use once_cell::sync::OnceCell;
use std::ffi::{CString, c_char, c_int};
use std::marker::PhantomData;

/// The flag of the GNU loader: only what is loaded already.
const RTLD_NOLOAD: c_int = 4;

struct Tools {
    push: unsafe extern "C" fn(*const c_char) -> c_int,
    pop: unsafe extern "C" fn() -> c_int,
    /// Keeps the functions where they are.
    _library: Library,
}

static TOOLS: OnceCell<Tools> = OnceCell::new();

/// Looks for the library. What is not there now may be later.
pub fn look() {
    // No text of ours is worth an error here: without the tools there is nobody to show anything to.
    _ = TOOLS.get_or_try_init(|| -> Result<_, libloading::Error> {
        // SAFETY: nothing is loaded that is not there already; the functions have these types in every version of NVTX.
        unsafe {
            let library = Library::open(Some("libnvToolsExt.so.1"), RTLD_NOW | RTLD_NOLOAD)?;
            let push = *library.get(c"nvtxRangePushA".to_bytes_with_nul())?;
            let pop = *library.get(c"nvtxRangePop".to_bytes_with_nul())?;
            Ok(Tools { push, pop, _library: library })
        }
    });
}

/// A range on the calling thread, until it is dropped.
pub struct Range {
    tools: Option<&'static Tools>,
    /// Not to leave the thread.
    thread: PhantomData<*const ()>,
}

impl Range {
    pub fn new(name: impl FnOnce() -> String) -> Self {
        let tools = TOOLS.get();
        if let Some(tools) = tools {
            let name = CString::new(name()).unwrap_or_default();
            // SAFETY: the text lives during the call, which copies it.
            unsafe { (tools.push)(name.as_ptr()) };
        }
        Self { tools, thread: PhantomData }
    }
}

impl Drop for Range {
    fn drop(&mut self) {
        if let Some(tools) = self.tools {
            // SAFETY: ends what new began on this thread.
            unsafe { (tools.pop)() };
        }
    }
}
