//! The functions of `libopenvino_c`, by name.

use std::ffi::{CStr, c_char, c_int, c_void};

/// An object of OpenVINO's.
pub(crate) type Raw = *mut c_void;

/// `ov_version_t`.
#[repr(C)]
pub(crate) struct RawVersion {
    pub build: *const c_char,
    pub description: *const c_char,
}

/// `ov_core_version_t` and its list.
#[repr(C)]
pub(crate) struct RawDeviceVersion {
    pub device: *const c_char,
    pub version: RawVersion,
}

#[repr(C)]
pub(crate) struct RawDeviceVersions {
    pub versions: *mut RawDeviceVersion,
    pub size: usize,
}

/// `ov_shape_t`.
#[repr(C)]
#[derive(Clone, Copy)]
pub(crate) struct RawShape {
    pub rank: i64,
    pub dims: *mut i64,
}

/// `ov_dimension_t`, and `ov_rank_t`, which is the same: from `min` to `max`, -1 for no end.
#[repr(C)]
#[derive(Clone, Copy)]
pub(crate) struct RawDimension {
    pub min: i64,
    pub max: i64,
}

/// `ov_partial_shape_t`.
#[repr(C)]
#[derive(Clone, Copy)]
pub(crate) struct RawPartialShape {
    pub rank: RawDimension,
    pub dims: *mut RawDimension,
}

/// `ov_property_t`.
#[repr(C)]
pub(crate) struct RawProperty {
    pub key: *const c_char,
    pub value: *const c_void,
}

/// `ov_profiling_info_t`.
#[repr(C)]
pub(crate) struct RawProfilingInfo {
    /// 2 for a node that ran.
    pub status: c_int,
    pub real_time: i64,
    pub cpu_time: i64,
    pub node_name: *const c_char,
    pub exec_type: *const c_char,
    pub node_type: *const c_char,
}

/// `ov_profiling_info_list_t`.
#[repr(C)]
pub(crate) struct RawProfilingInfos {
    pub infos: *mut RawProfilingInfo,
    pub size: usize,
}

/// The message callback of `ov_util_set_log_callback`.
pub(crate) type LogCallback = unsafe extern "C" fn(*const c_char);

macro_rules! functions {
    ($($(#[$doc:meta])* fn $name:ident($($type:ty),*) $(-> $result:ty)?;)* optional $($(#[$other:meta])* fn $may:ident($($may_type:ty),*) $(-> $may_result:ty)?;)*) => {
        /// Each as it was found.
        pub(crate) struct Functions {
            $($(#[$doc])* pub $name: unsafe extern "C" fn($($type),*) $(-> $result)?,)*
            $($(#[$other])* pub $may: Option<unsafe extern "C" fn($($may_type),*) $(-> $may_result)?>,)*
            /// Takes properties as further arguments, key and value in turn. Kept for versions that lack `…_props`.
            pub ov_core_compile_model: unsafe extern "C" fn(Raw, Raw, *const c_char, usize, *mut Raw, ...) -> c_int,
        }

        impl Functions {
            /// Looks every one up; the name of the first that is missing, if one is.
            ///
            /// # Safety
            /// Functions of these names are OpenVINO's. They are not called after the library is closed.
            pub unsafe fn load(library: &libloading::os::unix::Library) -> Result<Self, &'static CStr> {
                const fn c_name(name: &'static str) -> &'static CStr {
                    match CStr::from_bytes_with_nul(name.as_bytes()) {
                        Ok(name) => name,
                        Err(_) => c"",
                    }
                }
                // SAFETY: the types are those of `openvino/c/*.h`, which have not changed since 2025.1.
                unsafe {
                    Ok(Self {
                        $($name: {
                            const NAME: &CStr = c_name(concat!(stringify!($name), "\0"));
                            shared_object::symbol(library, NAME).ok_or(NAME)?
                        },)*
                        $($may: shared_object::symbol(library, const { c_name(concat!(stringify!($may), "\0")) }),)*
                        ov_core_compile_model: shared_object::symbol(library, c"ov_core_compile_model")
                            .ok_or(c"ov_core_compile_model")?,
                    })
                }
            }
        }
    };
}

functions! {
    fn ov_get_openvino_version(*mut RawVersion) -> c_int;
    fn ov_version_free(*mut RawVersion);
    fn ov_get_last_err_msg() -> *const c_char;
    fn ov_free(*const c_char);
    fn ov_core_create(*mut Raw) -> c_int;
    fn ov_core_free(Raw);
    fn ov_core_get_versions_by_device_name(Raw, *const c_char, *mut RawDeviceVersions) -> c_int;
    fn ov_core_versions_free(*mut RawDeviceVersions);
    fn ov_core_read_model_from_memory_buffer(Raw, *const c_char, usize, Raw, *mut Raw) -> c_int;
    fn ov_core_get_property(Raw, *const c_char, *const c_char, *mut *mut c_char) -> c_int;
    fn ov_model_free(Raw);
    fn ov_model_inputs_size(Raw, *mut usize) -> c_int;
    fn ov_model_outputs_size(Raw, *mut usize) -> c_int;
    fn ov_model_const_input_by_index(Raw, usize, *mut Raw) -> c_int;
    fn ov_model_const_output_by_index(Raw, usize, *mut Raw) -> c_int;
    fn ov_model_reshape_by_port_indexes(Raw, *const usize, *const RawPartialShape, usize) -> c_int;
    fn ov_port_get_any_name(Raw, *mut *mut c_char) -> c_int;
    fn ov_port_get_partial_shape(Raw, *mut RawPartialShape) -> c_int;
    fn ov_port_get_element_type(Raw, *mut u32) -> c_int;
    fn ov_output_const_port_free(Raw);
    fn ov_partial_shape_free(*mut RawPartialShape);
    fn ov_compiled_model_free(Raw);
    fn ov_compiled_model_outputs_size(Raw, *mut usize) -> c_int;
    fn ov_compiled_model_output_by_index(Raw, usize, *mut Raw) -> c_int;
    fn ov_compiled_model_get_property(Raw, *const c_char, *mut *mut c_char) -> c_int;
    fn ov_compiled_model_create_infer_request(Raw, *mut Raw) -> c_int;
    fn ov_infer_request_free(Raw);
    fn ov_infer_request_set_input_tensor_by_index(Raw, usize, Raw) -> c_int;
    fn ov_infer_request_set_output_tensor_by_index(Raw, usize, Raw) -> c_int;
    fn ov_infer_request_get_input_tensor_by_index(Raw, usize, *mut Raw) -> c_int;
    fn ov_infer_request_get_output_tensor_by_index(Raw, usize, *mut Raw) -> c_int;
    fn ov_infer_request_start_async(Raw) -> c_int;
    fn ov_infer_request_wait(Raw) -> c_int;
    fn ov_infer_request_wait_for(Raw, i64) -> c_int;
    fn ov_infer_request_cancel(Raw) -> c_int;
    fn ov_infer_request_get_profiling_info(Raw, *mut RawProfilingInfos) -> c_int;
    fn ov_profiling_info_list_free(*mut RawProfilingInfos);
    fn ov_tensor_create_from_host_ptr(u32, RawShape, *mut c_void, *mut Raw) -> c_int;
    fn ov_tensor_get_shape(Raw, *mut RawShape) -> c_int;
    fn ov_shape_free(*mut RawShape) -> c_int;
    fn ov_tensor_get_element_type(Raw, *mut u32) -> c_int;
    fn ov_tensor_get_size(Raw, *mut usize) -> c_int;
    fn ov_tensor_get_byte_size(Raw, *mut usize) -> c_int;
    fn ov_tensor_data(Raw, *mut *mut c_void) -> c_int;
    fn ov_tensor_free(Raw);
    optional
    /// 2026 and later; before there is only the one with further arguments.
    fn ov_core_compile_model_props(Raw, Raw, *const c_char, usize, *const RawProperty, *mut Raw) -> c_int;
    /// Later than 2025.1.
    fn ov_util_set_log_callback(Option<LogCallback>);
}
