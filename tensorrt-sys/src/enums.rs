//! TensorRT's enumerations.
//!
//! They cross the interface as `int32_t` and a later TensorRT may add values, so a number is
//! checked before it becomes a Rust value.

use std::fmt;

/// TensorRT returned a value that this crate has no name for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unknown {
    /// The enumeration's name, such as `DataType`.
    pub enumeration: &'static str,
    /// The value.
    pub value: i32,
}

impl fmt::Display for Unknown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TensorRT's {} has the unknown value {}", self.enumeration, self.value)
    }
}

impl std::error::Error for Unknown {}

/// Defines enumerations with TensorRT's numbers and the checked way from a number.
macro_rules! enumerations {
    ($(
        $(#[$about:meta])*
        $name:ident { $($(#[$says:meta])* $variant:ident = $value:literal,)* }
    )*) => { $(
        $(#[$about])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        #[repr(i32)]
        pub enum $name { $($(#[$says])* $variant = $value,)* }

        impl TryFrom<i32> for $name {
            type Error = Unknown;

            fn try_from(value: i32) -> Result<Self, Unknown> {
                match value {
                    $($value => Ok(Self::$variant),)*
                    _ => Err(Unknown { enumeration: stringify!($name), value }),
                }
            }
        }
    )* };
}

enumerations! {
    /// The type of a tensor's elements.
    DataType {
        /// 32-bit floating point.
        Float = 0,
        /// IEEE 16-bit floating point.
        Half = 1,
        /// Signed 8-bit integer, quantized.
        Int8 = 2,
        /// Signed 32-bit integer.
        Int32 = 3,
        /// One byte: 0 false, 1 true.
        Bool = 4,
        /// Unsigned 8-bit integer.
        Uint8 = 5,
        /// 8-bit floating point, E4M3.
        Fp8 = 6,
        /// Brain floating point, 16 bits.
        Bf16 = 7,
        /// Signed 64-bit integer.
        Int64 = 8,
        /// Signed 4-bit integer.
        Int4 = 9,
        /// 4-bit floating point, E2M1.
        Fp4 = 10,
        /// 8-bit exponent, a scale.
        E8m0 = 11,
    }

    /// Whether a tensor is an input or an output.
    TensorIoMode {
        /// Neither: the engine has no such tensor.
        None = 0,
        /// An input.
        Input = 1,
        /// An output.
        Output = 2,
    }

    /// Where a tensor's memory must be.
    TensorLocation {
        /// On the device.
        Device = 0,
        /// On the host: a shape tensor.
        Host = 1,
    }

    /// How a tensor's elements lie in memory.
    TensorFormat {
        /// Row-major.
        Linear = 0,
        /// Channels in pairs.
        Chw2 = 1,
        /// Channels last, padded to 8.
        Hwc8 = 2,
        /// Channels in fours.
        Chw4 = 3,
        /// Channels in sixteens.
        Chw16 = 4,
        /// Channels in thirty-twos.
        Chw32 = 5,
        /// 3D, channels last, padded to 8.
        Dhwc8 = 6,
        /// 3D, channels in thirty-twos.
        Cdhw32 = 7,
        /// Channels last.
        Hwc = 8,
        /// DLA's planar format.
        DlaLinear = 9,
        /// DLA's image format.
        DlaHwc4 = 10,
        /// Channels last, padded to 16.
        Hwc16 = 11,
        /// 3D, channels last.
        Dhwc = 12,
    }

    /// How grave a line of TensorRT's log is.
    Severity {
        /// TensorRT is broken and cannot go on.
        InternalError = 0,
        /// The application did something wrong.
        Error = 1,
        /// TensorRT goes on after something unexpected.
        Warning = 2,
        /// Information.
        Info = 3,
        /// Information for TensorRT's developers.
        Verbose = 4,
    }

    /// How an execution context comes by its device memory.
    ExecutionContextAllocationStrategy {
        /// The context allocates what its largest profile needs.
        Static = 0,
        /// The context allocates anew for each profile.
        OnProfileChange = 1,
        /// The application provides it.
        UserManaged = 2,
    }

    /// How an engine inspector writes.
    LayerInformationFormat {
        /// A line a layer.
        Oneline = 0,
        /// JSON.
        Json = 1,
    }

    /// On which GPUs, besides the kind it was built on, an engine runs.
    HardwareCompatibilityLevel {
        /// On none.
        None = 0,
        /// On Ampere and everything newer.
        AmperePlus = 1,
        /// On every GPU of the same compute capability.
        SameComputeCapability = 2,
    }

    /// For which runtime an engine was built.
    EngineCapability {
        /// TensorRT's own.
        Standard = 0,
        /// The safety runtime.
        Safety = 1,
        /// DLA without TensorRT.
        DlaStandalone = 2,
    }

    /// What an engine can tell about its layers.
    ProfilingVerbosity {
        /// Their names.
        LayerNamesOnly = 0,
        /// Nothing.
        None = 1,
        /// Their names and parameters.
        Detailed = 2,
    }

    /// A bound of an optimization profile.
    OptProfileSelector {
        /// The smallest shape.
        Min = 0,
        /// The shape that was optimized for.
        Opt = 1,
        /// The largest shape.
        Max = 2,
    }

    /// What a limit of memory is for.
    MemoryPoolType {
        /// What layers need while they run.
        Workspace = 0,
    }

    /// How the ONNX parser reads a model.
    OnnxParserFlag {
        /// InstanceNormalization becomes TensorRT's own layers, not a plugin. On by default from 10.
        NativeInstanceNorm = 0,
    }

    /// What a layer's weights are for.
    WeightsRole {
        /// The kernel of a convolution, or the matrix of a fully connected layer.
        Kernel = 0,
        /// What is added behind it.
        Bias = 1,
        /// What a scale layer adds.
        Shift = 2,
        /// What a scale layer multiplies with.
        Scale = 3,
        /// A constant.
        Constant = 4,
        /// Anything else.
        Any = 5,
    }

    /// A number that an engine knows about itself.
    EngineStat {
        /// Bytes of all weights.
        TotalWeightsSize = 0,
        /// Bytes of the weights that a weight-stripped plan lacks.
        StrippedWeightsSize = 1,
    }

    /// What TensorRT-RTX says of a plan by its header.
    EngineValidity {
        /// It should run.
        Valid = 0,
        /// It should run, more slowly than one built for this machine.
        Suboptimal = 1,
        /// It will not run.
        Invalid = 2,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_checked() {
        assert_eq!(DataType::try_from(7), Ok(DataType::Bf16));
        let error = DataType::try_from(12).unwrap_err();
        assert_eq!(error.to_string(), "TensorRT's DataType has the unknown value 12");
        assert!(TensorIoMode::try_from(-1).is_err());
    }
}
