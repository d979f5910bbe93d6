"""The operators that TensorRT takes: its published list, as data.

Source: ``docs/operators.md`` of the repository onnx/onnx-tensorrt, the parser of TensorRT, as
of release 10.15: which ONNX operators it supports, with which types. What the list says in
words about single operators (constant arguments, modes) is checked in
:mod:`.tensorrt_operators`. JetPack 6 carries release 10.3, whose list ends at opset 20 and
lacks the operators of :data:`SINCE`.
"""

from __future__ import annotations

__all__ = ["OPSETS", "RELEASE", "SINCE", "SUPPORTED", "UNSUPPORTED"]

RELEASE = "10.15"
OPSETS = (9, 24)

# Not in the list of release 10.3.
_LATER = (
    "Attention BlackmanWindow HammingWindow HannWindow RMSNormalization RotaryEmbedding STFT "
    "TensorScatter"
)
SINCE = frozenset(_LATER.split())

_BY_TYPES = (
    (
        "FP32 FP16 BF16",
        "Acos Acosh Asin Asinh Atan Atanh AveragePool BatchNormalization Ceil Celu Clip Conv "
        "ConvTranspose Cos Cosh CumSum Dropout Einsum Elu Erf Exp Floor GRU Gemm "
        "GlobalAveragePool GlobalLpPool GlobalMaxPool GroupNormalization HardSigmoid HardSwish "
        "Hardmax ImageScaler InstanceNormalization IsInf LRN LSTM LayerNormalization LeakyRelu "
        "Log LogSoftmax LpNormalization LpPool MatMul MaxPool MeanVarianceNormalization PRelu "
        "ParametricSoftplus QuantizeLinear RMSNormalization RNN RandomNormal RandomNormalLike "
        "RandomUniform RandomUniformLike Reciprocal Resize RotaryEmbedding Round ScaledTanh Scan "
        "Selu Sigmoid Sin Sinh Softmax Softplus Softsign Sqrt Tan Tanh ThresholdedRelu Upsample",
    ),
    (
        "FP32 FP16 BF16 INT32 INT64",
        "Abs Add ArgMax ArgMin DepthToSpace Div Equal Greater GreaterOrEqual IsNaN Less "
        "LessOrEqual Max Min Mod Mul Neg Pad Pow Range ReduceL1 ReduceL2 ReduceLogSum "
        "ReduceLogSumExp ReduceMax ReduceMean ReduceMin ReduceProd ReduceSum ReduceSumSquare Relu "
        "Scatter ScatterElements ScatterND Shrink Sign SpaceToDepth Sub Sum TopK",
    ),
    (
        "FP32 FP16 BF16 INT32 INT64 BOOL",
        "Concat Expand EyeLike Flatten Gather GatherElements GatherND Identity If Loop OneHot "
        "Reshape ReverseSequence Shape Size Slice Split Squeeze Tile Transpose Trilu Unsqueeze "
        "Where",
    ),
    (
        "FP32 FP16",
        "BlackmanWindow DeformConv GridSample HammingWindow HannWindow Mish NonMaxSuppression "
        "NonZero RoiAlign",
    ),
    ("BOOL", "And Not Or Xor"),
    ("FP32 FP16 BF16 INT32 INT64 UINT8 BOOL", "Cast CastLike"),
    ("FP32 FP16 BF16 FP8 FP4 INT4 INT32 INT64 BOOL", "Constant ConstantOfShape"),
    ("INT8 FP8 FP4 INT4", "DequantizeLinear"),
    ("FP32 FP16 BF16 INT8 INT32 INT64", "Gelu"),
    ("FP32 FP16 BF16 FP8 INT32 INT64", "Mean"),
    ("FP32", "STFT"),
    ("FP32 FP16 BF16 INT8 FP8", "Attention"),
    ("FP32 FP16 BF16 INT32", "TensorScatter"),
)

SUPPORTED = {
    operator: frozenset(types.split()) for types, names in _BY_TYPES for operator in names.split()
}
"""Operator -> the types the list gives for it."""

_REFUSED = (
    "AffineGrid Bernoulli BitShift BitwiseAnd BitwiseNot BitwiseOr BitwiseXor CenterCropPad "
    "Col2Im Compress ConcatFromSequence ConvInteger DFT Det DynamicQuantizeLinear "
    "ImageDecoder MatMulInteger MaxRoiPool MaxUnpool MelWeightMatrix Multinomial "
    "NegativeLogLikelihoodLoss Optional OptionalGetElement OptionalHasElement QLinearConv "
    "QLinearMatMul RegexFullMatch SequenceAt SequenceConstruct SequenceEmpty SequenceErase "
    "SequenceInsert SequenceLength SequenceMap SoftmaxCrossEntropyLoss SplitToSequence "
    "StringConcat StringNormalizer StringSplit TfIdfVectorizer Unique "
)
UNSUPPORTED = frozenset(_REFUSED.split())
"""Operators that the list names as not supported."""
