//! `BuilderFlag` and `TacticSource`: what a builder may do. Their numbers differ between generations.

use crate::method::{Absent, Row};
use crate::tables::{NONE, at, since};
use crate::version::Version;

/// Defines flags with their numbers, in the form of the tables.
macro_rules! flags {
    ($(#[$about:meta])* $flags:ident: $($(#[$says:meta])* $flag:ident: $name:literal = $slots:expr;)*) => {
        $(#[$about])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum $flags { $($(#[$says])* $flag,)* }

        impl $flags {
            /// All of them.
            pub const ALL: &[Self] = &[$(Self::$flag,)*];

            /// The name in TensorRT's headers, and the number in each generation.
            pub fn row(self) -> Row {
                match self {
                    $(Self::$flag => Row { declaration: $name, slots: $slots },)*
                }
            }

            /// The number that this version knows it by.
            pub fn number(self, version: Version) -> Result<i32, Absent> {
                let row = self.row();
                row.slot(version).map(|slot| i32::from(slot.index)).ok_or(Absent { row, version })
            }
        }
    };
}

flags! {
    /// A permission or wish for a build.
    BuilderFlag:
    /// Layers may compute in 16-bit floating point.
    Fp16: "BuilderFlag::kFP16" = [at(0), at(0), NONE, NONE];
    /// Layers may compute in 8-bit integers.
    Int8: "BuilderFlag::kINT8" = [at(1), at(1), NONE, NONE];
    /// The plan's weights can be replaced.
    Refit: "BuilderFlag::kREFIT" = [at(5), at(4), at(4), at(4)];
    /// Layers may compute in TF32; set unless it is cleared.
    Tf32: "BuilderFlag::kTF32" = [at(7), at(6), at(6), at(6)];
    /// Weights may be taken for sparse where they are.
    SparseWeights: "BuilderFlag::kSPARSE_WEIGHTS" = [at(8), at(7), at(7), at(7)];
    /// A layer computes in the precision that was set for it, or the build fails.
    ObeyPrecisionConstraints: "BuilderFlag::kOBEY_PRECISION_CONSTRAINTS" = [at(10), at(9), NONE, NONE];
    /// The plan runs with later versions too.
    VersionCompatible: "BuilderFlag::kVERSION_COMPATIBLE" = [since(15, 6, 0), at(13), at(12), at(12)];
    /// A version-compatible plan does not bring its lean runtime.
    ExcludeLeanRuntime: "BuilderFlag::kEXCLUDE_LEAN_RUNTIME" = [since(16, 6, 0), at(14), at(13), at(13)];
    /// Layers may compute in bfloat16.
    Bf16: "BuilderFlag::kBF16" = [NONE, at(17), NONE, NONE];
    /// The plan lacks the weights that can be refitted.
    StripPlan: "BuilderFlag::kSTRIP_PLAN" = [NONE, at(19), at(18), at(18)];
    /// The plan's weights can be streamed from the host.
    WeightStreaming: "BuilderFlag::kWEIGHT_STREAMING" = [NONE, at(21), at(20), at(20)];
}

flags! {
    /// Where a builder may take kernels from, beside TensorRT's own.
    TacticSource:
    /// cuBLAS.
    Cublas: "TacticSource::kCUBLAS" = [at(0), at(0), NONE, NONE];
    /// cuBLASLt.
    CublasLt: "TacticSource::kCUBLAS_LT" = [at(1), at(1), NONE, NONE];
    /// cuDNN.
    Cudnn: "TacticSource::kCUDNN" = [at(2), at(2), NONE, NONE];
    /// Convolutions with tables of which inputs lie outside, which take memory.
    EdgeMaskConvolutions: "TacticSource::kEDGE_MASK_CONVOLUTIONS" = [at(3), at(3), at(0), at(0)];
    /// Convolutions that are compiled for the layer.
    JitConvolutions: "TacticSource::kJIT_CONVOLUTIONS" = [at(4), at(4), at(1), at(1)];
}
