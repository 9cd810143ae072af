//! The operators that the CPU engine is known to compute as ONNX says, with their attributes.
//!
//! tract knows more, but leaves attributes out of account without a word. What is not here is refused.

use super::checks;
use crate::backend::cpu::node::Node;

/// What an attribute may be.
pub enum Allowed {
    /// Any value; it is understood, or has no bearing on what an inference computes.
    Any,
    /// Whole numbers.
    Int(&'static [i64]),
    Float(f32),
    Text(&'static [&'static str]),
}

/// What keeps a node from being run: the attribute or what else it is about, and what to do where there is something.
pub struct Refusal {
    pub why: String,
    pub hint: &'static str,
}

/// What decides about a node beyond its attributes one by one.
pub type Check = fn(&Node) -> Result<(), Refusal>;

pub struct Operator {
    pub name: &'static str,
    pub attributes: &'static [(&'static str, Allowed)],
    /// The most outputs that may be used.
    pub outputs: usize,
    pub check: Option<Check>,
}

/// The newest operator set that this table was held against.
pub(in crate::backend) const NEWEST: i64 = 28;

use Allowed::{Any, Float, Int, Text};

const fn plain(name: &'static str) -> Operator {
    Operator { name, attributes: &[], outputs: 1, check: None }
}

const fn with(name: &'static str, attributes: &'static [(&'static str, Allowed)]) -> Operator {
    Operator { name, attributes, outputs: 1, check: None }
}

const fn checked(name: &'static str, attributes: &'static [(&'static str, Allowed)], check: Check) -> Operator {
    Operator { name, attributes, outputs: 1, check: Some(check) }
}

const fn several(
    name: &'static str,
    attributes: &'static [(&'static str, Allowed)],
    outputs: usize,
    check: Option<Check>,
) -> Operator {
    Operator { name, attributes, outputs, check }
}

/// Before operator set 7 a flag let one side be broadcast along an axis.
const BROADCAST: &[(&str, Allowed)] = &[("broadcast", Int(&[0]))];

const REDUCE: &[(&str, Allowed)] = &[("axes", Any), ("keepdims", Any), ("noop_with_empty_axes", Any)];

const ARG: &[(&str, Allowed)] = &[("axis", Any), ("keepdims", Any), ("select_last_index", Any)];

const CONVOLUTION: &[(&str, Allowed)] =
    &[("auto_pad", Any), ("dilations", Any), ("group", Any), ("kernel_shape", Any), ("pads", Any), ("strides", Any)];

const RECURRENT: &[(&str, Allowed)] = &[
    ("activations", Any),
    ("clip", Any),
    ("direction", Text(&["forward", "reverse", "bidirectional"])),
    ("hidden_size", Any),
    ("input_forget", Int(&[0])),
    ("layout", Any),
    ("linear_before_reset", Any),
    ("output_sequence", Any),
];

const WINDOW: &[(&str, Allowed)] = &[("output_datatype", Any), ("periodic", Any)];

/// An unlimited number of outputs.
const ALL: usize = usize::MAX;

/// In the order of their names.
pub(super) const OPERATORS: &[Operator] = &[
    plain("Abs"),
    plain("Acos"),
    plain("Acosh"),
    with("Add", BROADCAST),
    with("AffineGrid", &[("align_corners", Any)]),
    with("And", BROADCAST),
    with("ArgMax", ARG),
    with("ArgMin", ARG),
    plain("Asin"),
    plain("Asinh"),
    plain("Atan"),
    plain("Atanh"),
    several(
        "Attention",
        &[
            ("is_causal", Any),
            ("kv_num_heads", Any),
            ("left_window_size", Int(&[-1])),
            ("q_num_heads", Any),
            ("qk_matmul_output_mode", Int(&[0])),
            ("right_window_size", Int(&[-1])),
            ("scale", Any),
            ("softcap", Float(0.0)),
            ("softmax_precision", Any),
        ],
        3,
        Some(checks::attention),
    ),
    checked(
        "AveragePool",
        &[
            ("auto_pad", Any),
            ("ceil_mode", Any),
            ("count_include_pad", Any),
            ("dilations", Any),
            ("kernel_shape", Any),
            ("pads", Any),
            ("strides", Any),
        ],
        checks::window,
    ),
    several(
        "BatchNormalization",
        &[("epsilon", Any), ("is_test", Any), ("momentum", Any), ("spatial", Int(&[1])), ("training_mode", Any)],
        3,
        Some(checks::batch_normalization),
    ),
    with("BitShift", &[("direction", Any)]),
    plain("BitwiseAnd"),
    plain("BitwiseNot"),
    plain("BitwiseOr"),
    plain("BitwiseXor"),
    with("BlackmanWindow", WINDOW),
    checked("Cast", &[("round_mode", Any), ("saturate", Any), ("to", Any)], checks::cast),
    with("CastLike", &[("round_mode", Any), ("saturate", Any)]),
    plain("Ceil"),
    checked("Celu", &[("alpha", Any)], checks::celu),
    with("CenterCropPad", &[("axes", Any)]),
    with("Clip", &[("max", Any), ("min", Any)]),
    with("Col2Im", &[("dilations", Any), ("pads", Any), ("strides", Any)]),
    with("Compress", &[("axis", Any)]),
    with("Concat", &[("axis", Any)]),
    with(
        "Constant",
        &[("value", Any), ("value_float", Any), ("value_floats", Any), ("value_int", Any), ("value_ints", Any)],
    ),
    with("ConstantOfShape", &[("value", Any)]),
    checked("Conv", CONVOLUTION, checks::window),
    checked("ConvInteger", CONVOLUTION, checks::conv_integer),
    checked(
        "ConvTranspose",
        &[
            ("auto_pad", Any),
            ("dilations", Any),
            ("group", Any),
            ("kernel_shape", Any),
            ("output_padding", Any),
            ("output_shape", Any),
            ("pads", Any),
            ("strides", Any),
        ],
        checks::conv_transpose,
    ),
    plain("Cos"),
    plain("Cosh"),
    with("CumProd", &[("exclusive", Any), ("reverse", Any)]),
    with("CumSum", &[("exclusive", Any), ("reverse", Any)]),
    with("DFT", &[("axis", Any), ("inverse", Any), ("onesided", Any)]),
    with("DepthToSpace", &[("blocksize", Any), ("mode", Text(&["DCR", "CRD"]))]),
    with("DequantizeLinear", &[("axis", Any), ("block_size", Any), ("output_dtype", Int(&[0, 1]))]),
    plain("Det"),
    with("Div", BROADCAST),
    several("Dropout", &[("is_test", Any), ("ratio", Any), ("seed", Any)], 2, Some(checks::dropout)),
    several("DynamicQuantizeLinear", &[], 3, None),
    checked("Einsum", &[("equation", Any)], checks::einsum),
    with("Elu", &[("alpha", Any)]),
    with("Equal", BROADCAST),
    plain("Erf"),
    plain("Exp"),
    plain("Expand"),
    with("EyeLike", &[("dtype", Any), ("k", Any)]),
    with("Flatten", &[("axis", Any)]),
    plain("Floor"),
    several("GRU", RECURRENT, 2, Some(checks::recurrent)),
    with("Gather", &[("axis", Any)]),
    with("GatherElements", &[("axis", Any)]),
    with("GatherND", &[("batch_dims", Any)]),
    with("Gelu", &[("approximate", Text(&["none", "tanh"]))]),
    with("Gemm", &[("alpha", Any), ("beta", Any), ("broadcast", Any), ("transA", Any), ("transB", Any)]),
    plain("GlobalAveragePool"),
    with("GlobalLpPool", &[("p", Any)]),
    plain("GlobalMaxPool"),
    with("Greater", BROADCAST),
    plain("GreaterOrEqual"),
    checked("GridSample", &[("align_corners", Any), ("mode", Any), ("padding_mode", Any)], checks::grid_sample),
    with("GroupNormalization", &[("epsilon", Any), ("num_groups", Any), ("stash_type", Int(&[1]))]),
    with("HammingWindow", WINDOW),
    with("HannWindow", WINDOW),
    with("HardSigmoid", &[("alpha", Any), ("beta", Any)]),
    plain("HardSwish"),
    with("Hardmax", &[("axis", Any)]),
    plain("Identity"),
    several("If", &[("else_branch", Any), ("then_branch", Any)], ALL, None),
    with("InstanceNormalization", &[("epsilon", Any)]),
    with("IsInf", &[("detect_negative", Any), ("detect_positive", Any)]),
    plain("IsNaN"),
    checked("LRN", &[("alpha", Any), ("beta", Any), ("bias", Any), ("size", Any)], checks::lrn),
    several("LSTM", RECURRENT, 3, Some(checks::recurrent)),
    several("LayerNormalization", &[("axis", Any), ("epsilon", Any), ("stash_type", Int(&[1]))], 3, None),
    with("LeakyRelu", &[("alpha", Any)]),
    with("Less", BROADCAST),
    plain("LessOrEqual"),
    plain("Log"),
    with("LogSoftmax", &[("axis", Any)]),
    with("LpNormalization", &[("axis", Any), ("p", Int(&[1, 2]))]),
    checked(
        "LpPool",
        &[
            ("auto_pad", Any),
            ("ceil_mode", Any),
            ("dilations", Any),
            ("kernel_shape", Any),
            ("p", Any),
            ("pads", Any),
            ("strides", Any),
        ],
        checks::window,
    ),
    plain("MatMul"),
    plain("MatMulInteger"),
    plain("Max"),
    several(
        "MaxPool",
        &[
            ("auto_pad", Any),
            ("ceil_mode", Any),
            ("dilations", Any),
            ("kernel_shape", Any),
            ("pads", Any),
            ("storage_order", Any),
            ("strides", Any),
        ],
        2,
        Some(checks::window),
    ),
    checked("MaxUnpool", &[("kernel_shape", Any), ("pads", Any), ("strides", Any)], checks::max_unpool),
    plain("Mean"),
    with("MeanVarianceNormalization", &[("axes", Any)]),
    plain("Min"),
    plain("Mish"),
    with("Mod", &[("fmod", Any)]),
    with("Mul", BROADCAST),
    plain("Neg"),
    with("NegativeLogLikelihoodLoss", &[("ignore_index", Any), ("reduction", Any)]),
    with("NonMaxSuppression", &[("center_point_box", Any)]),
    plain("NonZero"),
    plain("Not"),
    with("OneHot", &[("axis", Any)]),
    with("Or", BROADCAST),
    checked("PRelu", &[], checks::prelu),
    with("Pad", &[("mode", Text(&["constant", "reflect", "edge", "wrap"])), ("pads", Any), ("value", Any)]),
    with("Pow", BROADCAST),
    checked("QLinearConv", CONVOLUTION, checks::window),
    plain("QLinearMatMul"),
    with(
        "QuantizeLinear",
        &[("axis", Any), ("block_size", Any), ("output_dtype", Any), ("precision", Int(&[0, 1])), ("saturate", Any)],
    ),
    with("RMSNormalization", &[("axis", Any), ("epsilon", Any), ("stash_type", Int(&[1]))]),
    several("RNN", RECURRENT, 2, Some(checks::recurrent)),
    plain("Range"),
    plain("Reciprocal"),
    checked("ReduceL1", REDUCE, checks::reduce_changing),
    checked("ReduceL2", REDUCE, checks::reduce_changing),
    checked("ReduceLogSum", REDUCE, checks::reduce_changing),
    checked("ReduceLogSumExp", REDUCE, checks::reduce_changing),
    with("ReduceMax", REDUCE),
    with("ReduceMean", REDUCE),
    with("ReduceMin", REDUCE),
    with("ReduceProd", REDUCE),
    with("ReduceSum", REDUCE),
    checked("ReduceSumSquare", REDUCE, checks::reduce_changing),
    plain("Relu"),
    with("Reshape", &[("allowzero", Any)]),
    with(
        "Resize",
        &[
            ("antialias", Any),
            ("axes", Any),
            ("coordinate_transformation_mode", Any),
            ("cubic_coeff_a", Any),
            ("exclude_outside", Any),
            ("extrapolation_value", Any),
            ("keep_aspect_ratio_policy", Any),
            ("mode", Any),
            ("nearest_mode", Any),
        ],
    ),
    with("ReverseSequence", &[("batch_axis", Any), ("time_axis", Any)]),
    with("RotaryEmbedding", &[("interleaved", Any), ("num_heads", Any), ("rotary_embedding_dim", Any)]),
    plain("Round"),
    several(
        "Scan",
        &[
            ("body", Any),
            ("num_scan_inputs", Any),
            ("scan_input_axes", Any),
            ("scan_input_directions", Any),
            ("scan_output_axes", Any),
            ("scan_output_directions", Any),
        ],
        ALL,
        Some(checks::scan),
    ),
    with("Scatter", &[("axis", Any)]),
    with("ScatterElements", &[("axis", Any), ("reduction", Any)]),
    with("ScatterND", &[("reduction", Any)]),
    with("Selu", &[("alpha", Any), ("gamma", Any)]),
    with("Shape", &[("end", Any), ("start", Any)]),
    with("Shrink", &[("bias", Any), ("lambd", Any)]),
    plain("Sigmoid"),
    plain("Sign"),
    plain("Sin"),
    plain("Sinh"),
    plain("Size"),
    with("Slice", &[("axes", Any), ("ends", Any), ("starts", Any)]),
    with("Softmax", &[("axis", Any)]),
    several("SoftmaxCrossEntropyLoss", &[("ignore_index", Any), ("reduction", Any)], 2, None),
    plain("Softplus"),
    plain("Softsign"),
    with("SpaceToDepth", &[("blocksize", Any), ("mode", Text(&["DCR"]))]),
    several("Split", &[("axis", Any), ("num_outputs", Any), ("split", Any)], ALL, None),
    plain("Sqrt"),
    with("Squeeze", &[("axes", Any)]),
    with("Sub", BROADCAST),
    plain("Sum"),
    with("Swish", &[("alpha", Any)]),
    plain("Tan"),
    plain("Tanh"),
    with("TensorScatter", &[("axis", Any), ("mode", Any)]),
    with("ThresholdedRelu", &[("alpha", Any)]),
    checked("Tile", &[], checks::tile),
    several("TopK", &[("axis", Any), ("largest", Any), ("sorted", Any)], 2, None),
    with("Transpose", &[("perm", Any)]),
    with("Trilu", &[("upper", Any)]),
    with("Unsqueeze", &[("axes", Any)]),
    checked("Upsample", &[("mode", Any), ("scales", Any)], checks::upsample),
    plain("Where"),
    with("Xor", BROADCAST),
];
