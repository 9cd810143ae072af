// The part of the double of libnvinfer that builds and refits: a network, which the double of the ONNX parser (parser.cpp) fills
// through the official headers, becomes a plan of the double's that copies its first input to its outputs. The plan's
// line "built" says how it was built. A layer of the name "unbuildable" makes a build fail, and a progress monitor is told
// of two phases of three steps. A timing cache is text: "double-cache", the version, and a line for each build.

// What only some headers declare.
namespace nvinfer1
{
#if NV_TENSORRT_MAJOR != 10
class IAlgorithmSelector;
#endif
class IAttention;
class ICastLayer;
class ICumulativeLayer;
class IDistCollectiveLayer;
class IDynamicQuantizeLayer;
class IFullyConnectedLayer;
class IInt8Calibrator;
class IKVCacheUpdateLayer;
class IMoELayer;
class INormalizationLayer;
class IPluginV2;
class IPluginV2Layer;
class IPluginV3Layer;
class IReverseSequenceLayer;
class IRNNv2Layer;
class IRotaryEmbeddingLayer;
class ISqueezeLayer;
class IUnsqueezeLayer;
class IGridSampleLayer;
class INMSLayer;
class INonZeroLayer;
class IOneHotLayer;
enum class AttentionNormalizationOp : int32_t;
enum class CausalMaskKind : int32_t;
enum class CollectiveOperation : int32_t;
enum class ComputeCapability : int32_t;
enum class CumulativeOperation : int32_t;
enum class KVCacheMode : int32_t;
enum class PreviewFeature : int32_t;
enum class RNNOperation : int32_t;
enum class RuntimePlatform : int32_t;
enum class TilingOptimizationLevel : int32_t;
using QuantizationFlags = uint32_t;
enum class QuantizationFlag : int32_t;
} // namespace nvinfer1

namespace
{
// A number by the name that the version's own header gives it.
#define NAMED(enumerator) {BuilderFlag::enumerator, #enumerator},
std::map<BuilderFlag, char const*> const gFlags{
    NAMED(kREFIT) NAMED(kTF32) NAMED(kSPARSE_WEIGHTS)
#if NV_TENSORRT_MAJOR == 8 || NV_TENSORRT_MAJOR == 10
    NAMED(kFP16) NAMED(kINT8) NAMED(kOBEY_PRECISION_CONSTRAINTS)
#endif
#if NV_TENSORRT_MAJOR != 8 || NV_TENSORRT_MINOR >= 6
    NAMED(kVERSION_COMPATIBLE) NAMED(kEXCLUDE_LEAN_RUNTIME)
#endif
#if NV_TENSORRT_MAJOR == 10
    NAMED(kBF16)
#endif
#if NV_TENSORRT_MAJOR != 8
    NAMED(kSTRIP_PLAN) NAMED(kWEIGHT_STREAMING)
#endif
};
#undef NAMED

std::string flagName(BuilderFlag flag)
{
    auto const found = gFlags.find(flag);
    return found == gFlags.end() ? std::to_string(static_cast<int32_t>(flag)) : found->second;
}

#define NAMED(enumerator) {TacticSource::enumerator, #enumerator},
std::map<TacticSource, char const*> const gTacticSources{
    NAMED(kEDGE_MASK_CONVOLUTIONS) NAMED(kJIT_CONVOLUTIONS)
#if NV_TENSORRT_MAJOR == 8 || NV_TENSORRT_MAJOR == 10
    NAMED(kCUBLAS) NAMED(kCUBLAS_LT) NAMED(kCUDNN)
#endif
};
#undef NAMED

std::string text(Dims const& dims)
{
    std::ostringstream out;
    for (int32_t i = 0; i < dims.nbDims; ++i)
    {
        out << (i ? "," : "") << dims.d[i];
    }
    return out.str();
}

std::string text(std::vector<float> const& weights)
{
    std::ostringstream out;
    for (size_t i = 0; i < weights.size(); ++i)
    {
        out << (i ? "," : "") << weights[i];
    }
    return out.str();
}

// ---- ITensor

class NetworkTensor final : public apiv::VTensor
{
public:
    static constexpr char const* kSELF = "ITensor";

    NetworkTensor(ITensor*, std::string name, DataType type, Dims const& dims)
        : mName(std::move(name))
        , mType(type)
        , mDims(dims)
    {
    }

    void setName(char const* name) noexcept
    {
        mName = name;
    }
    char const* getName() const noexcept
    {
        RECORD();
        return mName.c_str();
    }
    Dims getDimensions() const noexcept
    {
        RECORD();
        return mDims;
    }
    DataType getType() const noexcept
    {
        RECORD();
        return mType;
    }
    bool isShapeTensor() const noexcept
    {
        RECORD();
        return mName == "shape";
    }

    NEVER(void, setDimensions, (Dims))
    NEVER(void, setType, (DataType))
    NEVER(bool, setDynamicRange, (float, float))
    NEVER(bool, isNetworkInput, () const)
    NEVER(bool, isNetworkOutput, () const)
    NEVER(void, setBroadcastAcrossBatch, (bool))
    NEVER(bool, getBroadcastAcrossBatch, () const)
    NEVER(TensorLocation, getLocation, () const)
    NEVER(void, setLocation, (TensorLocation))
    NEVER(bool, dynamicRangeIsSet, () const)
    NEVER(void, resetDynamicRange, ())
    NEVER(float, getDynamicRangeMin, () const)
    NEVER(float, getDynamicRangeMax, () const)
    NEVER(void, setAllowedFormats, (TensorFormats))
    NEVER(TensorFormats, getAllowedFormats, () const)
    NEVER(bool, isExecutionTensor, () const)
    NEVER(void, setDimensionName, (int32_t, const char *))
    NEVER(const char *, getDimensionName, (int32_t) const)
    NEVER(void, setDimensions, (const Dims &))

private:
    std::string mName;
    DataType mType;
    Dims mDims;
};

using TensorHandle = Handle<ITensor, NetworkTensor>;

// ---- ILayer

class NetworkLayer final : public apiv::VLayer
{
public:
    static constexpr char const* kSELF = "ILayer";

    explicit NetworkLayer(ITensor* output)
        : mOutput(output)
    {
    }

    void setName(char const* name) noexcept
    {
        mName = name;
    }
    char const* getName() const noexcept
    {
        RECORD();
        return mName.c_str();
    }
    void setMetadata(char const* metadata) noexcept
    {
        mMetadata = metadata;
    }
    char const* getMetadata() const noexcept
    {
        RECORD();
        return mMetadata.c_str();
    }
    int32_t getNbOutputs() const noexcept
    {
        RECORD();
        return 1;
    }
    ITensor* getOutput(int32_t index) const noexcept
    {
        RECORD(index);
        return mOutput;
    }
    void setPrecision(DataType type) noexcept
    {
        RECORD(type);
        mPrecision = static_cast<int32_t>(type);
    }
    void setOutputType(int32_t index, DataType type) noexcept
    {
        RECORD(index, type);
        mOutputType = static_cast<int32_t>(type);
    }

    LayerType getType() const noexcept
    {
        RECORD();
        return mWeights.empty() ? LayerType::kIDENTITY : LayerType::kCONVOLUTION;
    }
    NEVER(int32_t, getNbInputs, () const)
    NEVER(ITensor *, getInput, (int32_t) const)
    NEVER(void, setInput, (int32_t, ITensor &))
    NEVER(DataType, getPrecision, () const)
    NEVER(bool, precisionIsSet, () const)
    NEVER(void, resetPrecision, ())
    NEVER(DataType, getOutputType, (int32_t) const)
    NEVER(bool, outputTypeIsSet, (int32_t) const)
    NEVER(void, resetOutputType, (int32_t))
    NEVER(bool, setNbRanks, (int32_t))
    NEVER(int32_t, getNbRanks, () const)

    std::string mName;
    std::string mMetadata;
    ITensor* mOutput;
    int32_t mPrecision = -1;
    int32_t mOutputType = -1;
    std::vector<float> mWeights;
};

class Identity final : public apiv::VIdentityLayer
{
public:
    explicit Identity(NetworkLayer const&) {}
};

// ---- IConvolutionLayer: a layer with weights

class Convolution final : public apiv::VConvolutionLayer
{
public:
    static constexpr char const* kSELF = "IConvolutionLayer";

    explicit Convolution(NetworkLayer const& layer)
        : mLayer(layer)
    {
    }

    Weights getKernelWeights() const noexcept
    {
        RECORD();
        return {DataType::kFLOAT, mLayer.mWeights.data(), static_cast<int64_t>(mLayer.mWeights.size())};
    }
    Weights getBiasWeights() const noexcept
    {
        RECORD();
        return {DataType::kFLOAT, nullptr, 0};
    }

    NEVER(void, setKernelWeights, (Weights))
    NEVER(void, setBiasWeights, (Weights))
    NEVER(Dims, getPrePadding, () const)
    NEVER(Dims, getPostPadding, () const)
    NEVER(void, setPaddingMode, (PaddingMode))
    NEVER(PaddingMode, getPaddingMode, () const)
    NEVER(Dims, getKernelSizeNd, () const)
    NEVER(Dims, getStrideNd, () const)
    NEVER(Dims, getPaddingNd, () const)
    NEVER(Dims, getDilationNd, () const)
#if NV_TENSORRT_MAJOR == 8
    NEVER(void, setKernelSize, (DimsHW))
    NEVER(DimsHW, getKernelSize, () const)
    NEVER(void, setNbOutputMaps, (int32_t))
    NEVER(int32_t, getNbOutputMaps, () const)
    NEVER(void, setStride, (DimsHW))
    NEVER(DimsHW, getStride, () const)
    NEVER(void, setPadding, (DimsHW))
    NEVER(DimsHW, getPadding, () const)
    NEVER(void, setNbGroups, (int32_t))
    NEVER(int32_t, getNbGroups, () const)
    NEVER(void, setDilation, (DimsHW))
    NEVER(DimsHW, getDilation, () const)
    NEVER(void, setPrePadding, (Dims))
    NEVER(void, setPostPadding, (Dims))
    NEVER(void, setKernelSizeNd, (Dims))
    NEVER(void, setStrideNd, (Dims))
    NEVER(void, setPaddingNd, (Dims))
    NEVER(void, setDilationNd, (Dims))
#else
    NEVER(void, setNbOutputMaps, (int64_t))
    NEVER(int64_t, getNbOutputMaps, () const)
    NEVER(void, setNbGroups, (int64_t))
    NEVER(int64_t, getNbGroups, () const)
    NEVER(void, setPrePadding, (Dims const&))
    NEVER(void, setPostPadding, (Dims const&))
    NEVER(void, setKernelSizeNd, (Dims const&))
    NEVER(void, setStrideNd, (Dims const&))
    NEVER(void, setPaddingNd, (Dims const&))
    NEVER(void, setDilationNd, (Dims const&))
#endif

private:
    NetworkLayer const& mLayer;
};

// ---- What an ILayer* points at

struct AnyLayer
{
    explicit AnyLayer(ITensor* output)
        : mOwned(output)
    {
    }
    virtual ~AnyLayer() = default;
    virtual ILayer* get() = 0;

    NetworkLayer mOwned;
};

template <typename Interface, typename Kind>
struct LayerOf final : AnyLayer
{
    class Pointed final : public Interface
    {
    public:
        explicit Pointed(NetworkLayer& layer)
            : mKind(layer)
        {
            this->mLayer = &layer;
            this->mImpl = &mKind;
        }

    private:
        Kind mKind;
    };

    explicit LayerOf(ITensor* output)
        : AnyLayer(output)
        , mPointed(mOwned)
    {
    }
    ILayer* get() override
    {
        return &mPointed;
    }

    Pointed mPointed;
};

// ---- INetworkDefinition

class NetworkDefinition final : public apiv::VNetworkDefinition
{
public:
    static constexpr char const* kSELF = "INetworkDefinition";

    NetworkDefinition(INetworkDefinition* self, IBuilder* builder, NetworkDefinitionCreationFlags flags)
        : mFlags(flags)
        , mBuilder(builder)
    {
        std::lock_guard<std::mutex> lock(gMutex);
        networks()[self] = this;
    }

    ITensor* addInput(char const* name, DataType type, Dims const& dims) noexcept
    {
        mInputs.push_back(add(name, type, dims));
        return mInputs.back();
    }
#if NV_TENSORRT_MAJOR == 8
    ITensor* addInput(char const* name, DataType type, Dims dims) noexcept
    {
        mInputs.push_back(add(name, type, dims));
        return mInputs.back();
    }
#endif
    void markOutput(ITensor& tensor) noexcept
    {
        mOutputs.push_back(&tensor);
    }
    IIdentityLayer* addIdentity(ITensor& input) noexcept
    {
        return layer<IIdentityLayer, Identity>(input, {});
    }
#if NV_TENSORRT_MAJOR == 8
    IConvolutionLayer* addConvolutionNd(ITensor& input, int32_t, Dims, Weights kernel, Weights) noexcept
#else
    IConvolutionLayer* addConvolutionNd(ITensor& input, int64_t, Dims const&, Weights kernel, Weights) noexcept
#endif
    {
        auto const* first = static_cast<float const*>(kernel.values);
        return layer<IConvolutionLayer, Convolution>(input, {first, first + kernel.count});
    }
    int32_t getNbLayers() const noexcept
    {
        RECORD();
        return static_cast<int32_t>(mLayers.size());
    }
    ILayer* getLayer(int32_t index) const noexcept
    {
        RECORD(index);
        return mLayers.at(index)->get();
    }
    int32_t getNbInputs() const noexcept
    {
        RECORD();
        return static_cast<int32_t>(mInputs.size());
    }
    ITensor* getInput(int32_t index) const noexcept
    {
        RECORD(index);
        return mInputs.at(index);
    }
    int32_t getNbOutputs() const noexcept
    {
        RECORD();
        return static_cast<int32_t>(mOutputs.size());
    }
    ITensor* getOutput(int32_t index) const noexcept
    {
        RECORD(index);
        return mOutputs.at(index);
    }
    IBuilder& getBuilder() const noexcept
    {
        return *mBuilder;
    }
#if NV_TENSORRT_MAJOR >= 10
    NEVER(IPluginV3Layer*, addPluginV3, (ITensor* const*, int32_t, ITensor* const*, int32_t, IPluginV3&))
#endif

    NEVER(IConvolutionLayer *, addConvolution, (ITensor &, int32_t, DimsHW, Weights, Weights))
    NEVER(IFullyConnectedLayer *, addFullyConnected, (ITensor &, int32_t, Weights, Weights))
    NEVER(IActivationLayer *, addActivation, (ITensor &, ActivationType))
    NEVER(IPoolingLayer *, addPooling, (ITensor &, PoolingType, DimsHW))
    NEVER(ILRNLayer *, addLRN, (ITensor &, int32_t, float, float, float))
    NEVER(IScaleLayer *, addScale, (ITensor &, ScaleMode, Weights, Weights, Weights))
    NEVER(ISoftMaxLayer *, addSoftMax, (ITensor &))
    NEVER(IConcatenationLayer *, addConcatenation, (ITensor *const *, int32_t))
    NEVER(IDeconvolutionLayer *, addDeconvolution, (ITensor &, int32_t, DimsHW, Weights, Weights))
    NEVER(IElementWiseLayer *, addElementWise, (ITensor &, ITensor &, ElementWiseOperation))
    NEVER(IUnaryLayer *, addUnary, (ITensor &, UnaryOperation))
    NEVER(IPaddingLayer *, addPadding, (ITensor &, DimsHW, DimsHW))
    NEVER(IShuffleLayer *, addShuffle, (ITensor &))
    NEVER(IReduceLayer *, addReduce, (ITensor &, ReduceOperation, uint32_t, bool))
    NEVER(ITopKLayer *, addTopK, (ITensor &, TopKOperation, int32_t, uint32_t))
    NEVER(IGatherLayer *, addGather, (ITensor &, ITensor &, int32_t))
    NEVER(IRaggedSoftMaxLayer *, addRaggedSoftMax, (ITensor &, ITensor &))
    NEVER(IMatrixMultiplyLayer *, addMatrixMultiply, (ITensor &, MatrixOperation, ITensor &, MatrixOperation))
    NEVER(IConstantLayer *, addConstant, (Dims, Weights))
    NEVER(IRNNv2Layer *, addRNNv2, (ITensor &, int32_t, int32_t, int32_t, RNNOperation))
    NEVER(void, removeTensor, (ITensor &))
    NEVER(void, unmarkOutput, (ITensor &))
    NEVER(IPluginV2Layer *, addPluginV2, (ITensor *const *, int32_t, IPluginV2 &))
    NEVER(ISliceLayer *, addSlice, (ITensor &, Dims, Dims, Dims))
    NEVER(void, setName, (const char *))
    NEVER(const char *, getName, () const)
    NEVER(IShapeLayer *, addShape, (ITensor &))
    NEVER(bool, hasImplicitBatchDimension, () const)
    NEVER(bool, markOutputForShapes, (ITensor &))
    NEVER(bool, unmarkOutputForShapes, (ITensor &))
    NEVER(IParametricReLULayer *, addParametricReLU, (ITensor &, ITensor &))
    NEVER(IPoolingLayer *, addPoolingNd, (ITensor &, PoolingType, Dims))
    NEVER(IDeconvolutionLayer *, addDeconvolutionNd, (ITensor &, int32_t, Dims, Weights, Weights))
    NEVER(IScaleLayer *, addScaleNd, (ITensor &, ScaleMode, Weights, Weights, Weights, int32_t))
    NEVER(IResizeLayer *, addResize, (ITensor &))
    NEVER(bool, hasExplicitPrecision, () const)
    NEVER(ILoop *, addLoop, ())
    NEVER(ISelectLayer *, addSelect, (ITensor &, ITensor &, ITensor &))
    NEVER(IFillLayer *, addFill, (Dims, FillOperation))
    NEVER(IPaddingLayer *, addPaddingNd, (ITensor &, Dims, Dims))
    NEVER(bool, setWeightsName, (Weights, const char *))
    NEVER(void, setErrorRecorder, (IErrorRecorder *))
    NEVER(IErrorRecorder *, getErrorRecorder, () const)
    NEVER(IDequantizeLayer *, addDequantize, (ITensor &, ITensor &))
    NEVER(IQuantizeLayer *, addQuantize, (ITensor &, ITensor &))
    NEVER(IGatherLayer *, addGatherV2, (ITensor &, ITensor &, GatherMode))
    NEVER(IIfConditional *, addIfConditional, ())
    NEVER(IScatterLayer *, addScatter, (ITensor &, ITensor &, ITensor &, ScatterMode))
    NEVER(IEinsumLayer *, addEinsum, (ITensor *const *, int32_t, const char *))
    NEVER(IAssertionLayer *, addAssertion, (ITensor &, const char *))
    NEVER(IOneHotLayer *, addOneHot, (ITensor &, ITensor &, ITensor &, int32_t))
    NEVER(INonZeroLayer *, addNonZero, (ITensor &))
    NEVER(IGridSampleLayer *, addGridSample, (ITensor &, ITensor &))
    NEVER(INMSLayer *, addNMS, (ITensor &, ITensor &, ITensor &))
    NEVER(IReverseSequenceLayer *, addReverseSequence, (ITensor &, ITensor &))
    NEVER(INormalizationLayer *, addNormalization, (ITensor &, ITensor &, ITensor &, uint32_t))
    NEVER(ICastLayer *, addCast, (ITensor &, DataType))
    NEVER(ILRNLayer *, addLRN, (ITensor &, int64_t, float, float, float))
    NEVER(IConstantLayer *, addConstant, (const Dims &, Weights))
    NEVER(ISliceLayer *, addSlice, (ITensor &, const Dims &, const Dims &, const Dims &))
    NEVER(IPoolingLayer *, addPoolingNd, (ITensor &, PoolingType, const Dims &))
    NEVER(IDeconvolutionLayer *, addDeconvolutionNd, (ITensor &, int64_t, const Dims &, Weights, Weights))
    NEVER(IFillLayer *, addFill, (const Dims &, FillOperation))
    NEVER(IPaddingLayer *, addPaddingNd, (ITensor &, const Dims &, const Dims &))
    NEVER(NetworkDefinitionCreationFlags, getFlags, () const)
    NEVER(bool, getFlag, (NetworkDefinitionCreationFlag) const)
    NEVER(IQuantizeLayer *, addQuantizeV2, (ITensor &, ITensor &, DataType))
    NEVER(IDequantizeLayer *, addDequantizeV2, (ITensor &, ITensor &, DataType))
    NEVER(IFillLayer *, addFillV2, (const Dims &, FillOperation, DataType))
    NEVER(bool, markDebug, (ITensor &))
    NEVER(bool, unmarkDebug, (ITensor &))
    NEVER(bool, isDebugTensor, (const ITensor &) const)
    NEVER(bool, markWeightsRefittable, (const char *))
    NEVER(bool, unmarkWeightsRefittable, (const char *))
    NEVER(bool, areWeightsMarkedRefittable, (const char *) const)
    NEVER(ISqueezeLayer *, addSqueeze, (ITensor &, ITensor &))
    NEVER(IUnsqueezeLayer *, addUnsqueeze, (ITensor &, ITensor &))
    NEVER(IDynamicQuantizeLayer *, addDynamicQuantize, (ITensor &, int32_t, int32_t, DataType, DataType))
    NEVER(ICumulativeLayer *, addCumulative, (ITensor &, ITensor &, CumulativeOperation, bool, bool))
    NEVER(bool, markUnfusedTensorsAsDebugTensors, ())
    NEVER(bool, unmarkUnfusedTensorsAsDebugTensors, ())
    NEVER(ITopKLayer *, addTopKV2, (ITensor &, TopKOperation, int32_t, uint32_t, DataType))
    NEVER(INonZeroLayer *, addNonZeroV2, (ITensor &, DataType))
    NEVER(INMSLayer *, addNMSV2, (ITensor &, ITensor &, ITensor &, DataType))
    NEVER(IAttention *, addAttention, (ITensor &, ITensor &, ITensor &, AttentionNormalizationOp, bool))
    NEVER(IRotaryEmbeddingLayer *, addRotaryEmbedding, (ITensor &, ITensor &, ITensor &, bool, int32_t))
    NEVER(IDynamicQuantizeLayer *, addDynamicQuantizeV2, (ITensor &, const Dims &, DataType, DataType))
    NEVER(IKVCacheUpdateLayer *, addKVCacheUpdate, (ITensor &, ITensor &, ITensor &, KVCacheMode))
    NEVER(INormalizationLayer *, addNormalizationV2, (ITensor &, ITensor &, ITensor &, uint32_t))
    NEVER(IMoELayer *, addMoE, (ITensor &, ITensor &, ITensor &))
    NEVER(IDistCollectiveLayer *, addDistCollective, (ITensor &, CollectiveOperation, ReduceOperation, int64_t, int64_t *, int64_t))
    NEVER(IAttention *, addAttentionV2, (ITensor &, ITensor &, ITensor &, AttentionNormalizationOp, CausalMaskKind))
    NEVER(ISqueezeLayer *, addSqueezeV2, (ITensor &, ITensor *))

    // The implementation behind each handle: what a builder is given.
    static std::map<INetworkDefinition*, NetworkDefinition*>& networks()
    {
        static std::map<INetworkDefinition*, NetworkDefinition*> all;
        return all;
    }

    NetworkDefinitionCreationFlags mFlags;
    std::vector<std::unique_ptr<AnyLayer>> mLayers;
    std::vector<ITensor*> mInputs;
    std::vector<ITensor*> mOutputs;

private:
    template <typename Interface, typename Kind>
    Interface* layer(ITensor& input, std::vector<float> weights)
    {
        ITensor* output = add("of " + std::to_string(mLayers.size()), input.getType(), input.getDimensions());
        auto made = std::make_unique<LayerOf<Interface, Kind>>(output);
        made->mOwned.mWeights = std::move(weights);
        Interface* pointed = &made->mPointed;
        mLayers.push_back(std::move(made));
        return pointed;
    }
    ITensor* add(std::string const& name, DataType type, Dims const& dims)
    {
        mTensors.push_back(std::make_unique<TensorHandle>(name, type, dims));
        return mTensors.back().get();
    }

    IBuilder* mBuilder;
    std::vector<std::unique_ptr<TensorHandle>> mTensors;
};

// ---- IOptimizationProfile

class Profile final : public apiv::VOptimizationProfile
{
public:
    static constexpr char const* kSELF = "IOptimizationProfile";

    explicit Profile(IOptimizationProfile*) {}

    bool setDimensions(char const* name, OptProfileSelector select, Dims const& dims) noexcept
    {
        RECORD(name, select, dims);
        mBounds[name][static_cast<int32_t>(select)] = dims;
        return true;
    }
#if NV_TENSORRT_MAJOR == 8
    bool setDimensions(char const* name, OptProfileSelector select, Dims dims) noexcept
    {
        RECORD(name, select, dims);
        mBounds[name][static_cast<int32_t>(select)] = dims;
        return true;
    }
#endif
    bool setShapeValues(char const* name, OptProfileSelector select, int32_t const* values, int32_t count) noexcept
    {
        RECORD(name, select, values[count - 1], count);
        return true;
    }
    bool setShapeValuesV2(char const* name, OptProfileSelector select, int64_t const* values, int32_t count) noexcept
    {
        RECORD(name, select, values[count - 1], count);
        return true;
    }
    bool isValid() const noexcept
    {
        RECORD();
        for (auto const& [name, bounds] : mBounds)
        {
            for (int32_t i = 0; i < bounds[0].nbDims; ++i)
            {
                if (bounds[0].d[i] > bounds[1].d[i] || bounds[1].d[i] > bounds[2].d[i])
                {
                    return false;
                }
            }
        }
        return true;
    }

    Dims getDimensions(char const* name, OptProfileSelector select) const noexcept
    {
        auto const found = mBounds.find(name);
        return found == mBounds.end() ? noDims() : found->second[static_cast<int32_t>(select)];
    }
    NEVER(int32_t, getNbShapeValues, (const char *) const)
    NEVER(const int32_t *, getShapeValues, (const char *, OptProfileSelector) const)
    NEVER(bool, setExtraMemoryTarget, (float))
    NEVER(float, getExtraMemoryTarget, () const)
    NEVER(const int64_t *, getShapeValuesV2, (const char *, OptProfileSelector) const)
    NEVER(void, setProfileStream, (cudaStream_t))
    NEVER(cudaStream_t, getProfileStream, () const)

    std::map<std::string, Dims[3]> mBounds;
};

// ---- ITimingCache

class TimingCache final : public apiv::VTimingCache
{
public:
    static constexpr char const* kSELF = "ITimingCache";

    TimingCache(ITimingCache* self, std::string bytes)
        : mBytes(std::move(bytes))
    {
        std::lock_guard<std::mutex> lock(gMutex);
        caches()[self] = this;
    }

    IHostMemory* serialize() const noexcept
    {
        RECORD();
        return new Handle<IHostMemory, HostMemory>(mBytes);
    }
#if NV_TENSORRT_MAJOR == 1 || NV_TENSORRT_MAJOR >= 11 || (NV_TENSORRT_MAJOR == 10 && NV_TENSORRT_MINOR >= 9)
    NEVER(int64_t, queryKeys, (TimingCacheKey*, int64_t) const)
    NEVER(TimingCacheValue, query, (TimingCacheKey const&) const)
    NEVER(bool, update, (TimingCacheKey const&, TimingCacheValue const&))
#endif

    NEVER(bool, combine, (const ITimingCache &, bool))
    NEVER(bool, reset, ())

    static std::map<ITimingCache const*, TimingCache*>& caches()
    {
        static std::map<ITimingCache const*, TimingCache*> all;
        return all;
    }

    std::string mBytes;
};

// ---- IBuilderConfig

class Config final : public apiv::VBuilderConfig
{
public:
    static constexpr char const* kSELF = "IBuilderConfig";

    explicit Config(IBuilderConfig* self)
    {
        std::lock_guard<std::mutex> lock(gMutex);
        configs()[self] = this;
    }

    void setFlag(BuilderFlag flag) noexcept
    {
        Call{kSELF, __func__}(flagName(flag).c_str());
        mFlags.insert(flag);
    }
    void clearFlag(BuilderFlag flag) noexcept
    {
        Call{kSELF, __func__}(flagName(flag).c_str());
        mFlags.erase(flag);
    }
    bool getFlag(BuilderFlag flag) const noexcept
    {
        return mFlags.count(flag) != 0;
    }
    int32_t addOptimizationProfile(IOptimizationProfile const* profile) noexcept
    {
        RECORD(profile != nullptr);
        mProfiles.push_back(profile);
        return static_cast<int32_t>(mProfiles.size()) - 1;
    }
    void setProfilingVerbosity(ProfilingVerbosity verbosity) noexcept
    {
        RECORD(verbosity);
    }
    ITimingCache* createTimingCache(void const* bytes, std::size_t size) const noexcept
    {
        RECORD(size);
        std::string const begin = "double-cache " + std::to_string(VERSION);
        std::string const given(static_cast<char const*>(bytes), size);
        if (!given.empty() && given.rfind(begin, 0) != 0)
        {
            return nullptr;
        }
        return new Handle<ITimingCache, TimingCache>(given.empty() ? begin : given);
    }
    bool setTimingCache(ITimingCache const& cache, bool ignoreMismatch) noexcept
    {
        RECORD(true, ignoreMismatch);
        mCache = &cache;
        return true;
    }
    ITimingCache const* getTimingCache() const noexcept
    {
        RECORD();
        return mCache;
    }
    void setMemoryPoolLimit(MemoryPoolType pool, std::size_t bytes) noexcept
    {
        RECORD(pool, bytes);
        mWorkspace = bytes;
    }
    bool setTacticSources(TacticSources sources) noexcept
    {
        RECORD(sources);
        mTacticSources = sources;
        return true;
    }
    TacticSources getTacticSources() const noexcept
    {
        RECORD();
        return mTacticSources;
    }
    void setBuilderOptimizationLevel(int32_t level) noexcept
    {
        RECORD(level);
        mLevel = level;
    }
    void setHardwareCompatibilityLevel(HardwareCompatibilityLevel level) noexcept
    {
        RECORD(level);
        mHardware = static_cast<int32_t>(level);
    }
#if HAS_VERSIONED_INTERFACES || NV_TENSORRT_MAJOR == 1
    void setProgressMonitor(IProgressMonitor* monitor) noexcept
    {
        InterfaceInfo const info = monitor->getInterfaceInfo();
        RECORD(info.kind, info.major, info.minor);
        mMonitor = monitor;
    }
    IProgressMonitor* getProgressMonitor() const noexcept
    {
        return mMonitor;
    }
    IProgressMonitor* mMonitor = nullptr;
#endif

    NEVER(void, setMinTimingIterations, (int32_t))
    NEVER(int32_t, getMinTimingIterations, () const)
    NEVER(void, setAvgTimingIterations, (int32_t))
    NEVER(int32_t, getAvgTimingIterations, () const)
    NEVER(void, setEngineCapability, (EngineCapability))
    NEVER(EngineCapability, getEngineCapability, () const)
    NEVER(void, setInt8Calibrator, (IInt8Calibrator *))
    NEVER(IInt8Calibrator *, getInt8Calibrator, () const)
    NEVER(void, setMaxWorkspaceSize, (size_t))
    NEVER(std::size_t, getMaxWorkspaceSize, () const)
    NEVER(void, setFlags, (BuilderFlags))
    NEVER(BuilderFlags, getFlags, () const)
    NEVER(void, setDeviceType, (const ILayer *, DeviceType))
    NEVER(DeviceType, getDeviceType, (const ILayer *) const)
    NEVER(bool, isDeviceTypeSet, (const ILayer *) const)
    NEVER(void, resetDeviceType, (const ILayer *))
    NEVER(bool, canRunOnDLA, (const ILayer *) const)
    NEVER(void, setDLACore, (int32_t))
    NEVER(int32_t, getDLACore, () const)
    NEVER(void, setDefaultDeviceType, (DeviceType))
    NEVER(DeviceType, getDefaultDeviceType, () const)
    NEVER(void, reset, ())
    NEVER(void, setProfileStream, (const cudaStream_t))
    NEVER(cudaStream_t, getProfileStream, () const)
    NEVER(int32_t, getNbOptimizationProfiles, () const)
    NEVER(ProfilingVerbosity, getProfilingVerbosity, () const)
    NEVER(void, setAlgorithmSelector, (IAlgorithmSelector *))
    NEVER(IAlgorithmSelector *, getAlgorithmSelector, () const)
    NEVER(bool, setCalibrationProfile, (const IOptimizationProfile *))
    NEVER(const IOptimizationProfile *, getCalibrationProfile, ())
    NEVER(void, setQuantizationFlags, (QuantizationFlags))
    NEVER(QuantizationFlags, getQuantizationFlags, () const)
    NEVER(void, clearQuantizationFlag, (QuantizationFlag))
    NEVER(void, setQuantizationFlag, (QuantizationFlag))
    NEVER(bool, getQuantizationFlag, (QuantizationFlag) const)
    NEVER(std::size_t, getMemoryPoolLimit, (MemoryPoolType) const)
    NEVER(void, setPreviewFeature, (PreviewFeature, bool))
    NEVER(bool, getPreviewFeature, (PreviewFeature) const)
    NEVER(int32_t, getBuilderOptimizationLevel, () const)
    NEVER(HardwareCompatibilityLevel, getHardwareCompatibilityLevel, () const)
    NEVER(void, setPluginsToSerialize, (const char *const *, int32_t))
    NEVER(const char *, getPluginToSerialize, (int32_t) const)
    NEVER(int32_t, getNbPluginsToSerialize, () const)
#if NV_TENSORRT_MAJOR == 8 || NV_TENSORRT_MAJOR == 10
    NEVER(void, setMaxAuxStreams, (int32_t))
#else
    NEVER(bool, setMaxAuxStreams, (int32_t))
#endif
    NEVER(int32_t, getMaxAuxStreams, () const)
    NEVER(void, setRuntimePlatform, (RuntimePlatform))
    NEVER(RuntimePlatform, getRuntimePlatform, () const)
    NEVER(void, setMaxNbTactics, (int32_t))
    NEVER(int32_t, getMaxNbTactics, () const)
    NEVER(bool, setTilingOptimizationLevel, (TilingOptimizationLevel))
    NEVER(TilingOptimizationLevel, getTilingOptimizationLevel, () const)
    NEVER(bool, setL2LimitForTiling, (int64_t))
    NEVER(int64_t, getL2LimitForTiling, () const)
    NEVER(bool, setRemoteAutoTuningConfig, (const char *))
    NEVER(const char *, getRemoteAutoTuningConfig, () const)
    NEVER(bool, setBuildRoute, (const char *))
    NEVER(const char *, getBuildRoute, () const)
    NEVER(const char *, getAllBuildRoutes, () const)
    NEVER(bool, setNbComputeCapabilities, (int32_t))
    NEVER(int32_t, getNbComputeCapabilities, () const)
    NEVER(bool, setComputeCapability, (ComputeCapability, int32_t))
    NEVER(ComputeCapability, getComputeCapability, (int32_t) const)

    static std::map<IBuilderConfig*, Config*>& configs()
    {
        static std::map<IBuilderConfig*, Config*> all;
        return all;
    }

    // kTF32 is on by default.
    std::set<BuilderFlag> mFlags{BuilderFlag::kTF32};
    // All sources that there are.
    TacticSources mTacticSources = (1U << gTacticSources.size()) - 1;
    std::vector<IOptimizationProfile const*> mProfiles;
    ITimingCache const* mCache = nullptr;
    std::size_t mWorkspace = 0;
    int32_t mLevel = -1;
    int32_t mHardware = 0;
};

// ---- IBuilder

class Builder final : public apiv::VBuilder
{
public:
    static constexpr char const* kSELF = "IBuilder";

    Builder(IBuilder* self, ILogger* logger)
        : mSelf(self)
        , mLogger(logger)
    {
    }

    IBuilderConfig* createBuilderConfig() noexcept
    {
        RECORD();
        return new Handle<IBuilderConfig, Config>();
    }
    INetworkDefinition* createNetworkV2(NetworkDefinitionCreationFlags flags) noexcept
    {
        RECORD(flags);
        return new Handle<INetworkDefinition, NetworkDefinition>(mSelf, flags);
    }
    IOptimizationProfile* createOptimizationProfile() noexcept
    {
        RECORD();
        mProfiles.push_back(std::make_unique<Handle<IOptimizationProfile, Profile>>());
        return mProfiles.back().get();
    }
    IHostMemory* buildSerializedNetwork(INetworkDefinition& network, IBuilderConfig& config) noexcept
    {
        RECORD(true, true);
        auto& built = *NetworkDefinition::networks().at(&network);
        auto& how = *Config::configs().at(&config);
        for (auto const& layer : built.mLayers)
        {
            if (layer->mOwned.mName == "unbuildable")
            {
                mLogger->log(ILogger::Severity::kERROR, "Could not find any implementation for node unbuildable.");
                return nullptr;
            }
        }
#if HAS_VERSIONED_INTERFACES || NV_TENSORRT_MAJOR == 1
        if (how.mMonitor && !report(*how.mMonitor))
        {
            mLogger->log(ILogger::Severity::kERROR, "the build was ended by the progress monitor");
            return nullptr;
        }
#endif
        if (how.mCache)
        {
            TimingCache::caches().at(how.mCache)->mBytes += "\nbuild";
        }
        return new Handle<IHostMemory, HostMemory>(plan(built, how));
    }
    IPluginRegistry& getPluginRegistry() noexcept
    {
        return gRegistry;
    }
#if NV_TENSORRT_MAJOR == 1 || NV_TENSORRT_MAJOR >= 11 || (NV_TENSORRT_MAJOR == 10 && NV_TENSORRT_MINOR >= 12)
    NEVER(bool, buildSerializedNetworkToStream, (INetworkDefinition&, IBuilderConfig&, IStreamWriter&))
#endif

    NEVER(void, setMaxBatchSize, (int32_t))
    NEVER(int32_t, getMaxBatchSize, () const)
    NEVER(bool, platformHasFastFp16, () const)
    NEVER(bool, platformHasFastInt8, () const)
    NEVER(int32_t, getMaxDLABatchSize, () const)
    NEVER(int32_t, getNbDLACores, () const)
    NEVER(void, setGpuAllocator, (IGpuAllocator *))
    NEVER(ICudaEngine *, buildEngineWithConfig, (INetworkDefinition &, IBuilderConfig &))
    NEVER(void, setErrorRecorder, (IErrorRecorder *))
    NEVER(IErrorRecorder *, getErrorRecorder, () const)
    NEVER(void, reset, ())
    NEVER(bool, platformHasTf32, () const)
    NEVER(bool, isNetworkSupported, (const INetworkDefinition &, const IBuilderConfig &) const)
    NEVER(ILogger *, getLogger, () const)
    NEVER(bool, setMaxThreads, (int32_t))
    NEVER(int32_t, getMaxThreads, () const)
    NEVER(IHostMemory *, buildSerializedNetworkWithKernelText, (INetworkDefinition &, IBuilderConfig &, IHostMemory *&))

private:
#if HAS_VERSIONED_INTERFACES || NV_TENSORRT_MAJOR == 1
    static bool report(IProgressMonitor& monitor)
    {
        bool goesOn = true;
        monitor.phaseStart("Building", nullptr, 3);
        for (int32_t step = 0; goesOn && step < 3; ++step)
        {
            if (step == 1)
            {
                monitor.phaseStart("Tactics", "Building", 3);
                for (int32_t inner = 0; goesOn && inner < 3; ++inner)
                {
                    goesOn = monitor.stepComplete("Tactics", inner);
                }
                monitor.phaseFinish("Tactics");
            }
            goesOn = goesOn && monitor.stepComplete("Building", step);
        }
        monitor.phaseFinish("Building");
        return goesOn;
    }
#endif

    // As planrt knows the plans of this version by their first bytes.
    static std::string header()
    {
        bool const isOld = NV_TENSORRT_MAJOR == 8 && NV_TENSORRT_MINOR < 6;
        std::string const tag = isOld ? "ptrt" : NV_TENSORRT_MAJOR == 1 ? "vtrt" : "ftrt";
        std::string const version{NV_TENSORRT_MAJOR, NV_TENSORRT_MINOR, NV_TENSORRT_PATCH, 1};
        return tag + std::string(20, '\0') + (isOld ? "" : version);
    }

    static std::string plan(NetworkDefinition const& network, Config const& config)
    {
        std::ostringstream out;
        out << header() << "double-plan\nname built\nlayers " << network.mLayers.size() << "\nprofiles "
            << std::max<size_t>(config.mProfiles.size(), 1) << "\ncopies\n";
        out << "built network=" << network.mFlags << " workspace=" << config.mWorkspace << " level=" << config.mLevel
            << " hardware=" << config.mHardware << " flags=";
        for (auto const& flag : config.mFlags)
        {
            out << flagName(flag) << ',';
        }
        out << "\nbuilt sources=";
        for (auto const& [source, name] : gTacticSources)
        {
            out << (config.mTacticSources >> static_cast<int32_t>(source) & 1 ? name : "") << ',';
        }
        out << '\n';
        for (auto const& layer : network.mLayers)
        {
            if (layer->mOwned.mPrecision >= 0)
            {
                out << "built layer=" << layer->mOwned.mName << " precision=" << layer->mOwned.mPrecision
                    << " output=" << layer->mOwned.mOutputType << '\n';
            }
        }
        bool const strips = hasFlag(config, "kSTRIP_PLAN");
        if (!strips && !hasFlag(config, "kREFIT"))
        {
            out << "rigid\n";
        }
        for (auto const& layer : network.mLayers)
        {
            if (!layer->mOwned.mWeights.empty())
            {
                out << "weights " << layer->mOwned.mName << ' ' << layer->mOwned.mWeights.size() << ' '
                    << (strips ? "-" : text(layer->mOwned.mWeights)) << '\n';
            }
        }
        for (ITensor* input : network.mInputs)
        {
            Dims const dims = input->getDimensions();
            out << "input " << input->getName() << ' ' << static_cast<int32_t>(input->getType()) << ' ' << text(dims);
            for (auto const select : {OptProfileSelector::kMIN, OptProfileSelector::kOPT, OptProfileSelector::kMAX})
            {
                auto const* profile = config.mProfiles.empty() ? nullptr : config.mProfiles.front();
                Dims const bound = profile ? profile->getDimensions(input->getName(), select) : dims;
                out << ' ' << text(bound.nbDims == dims.nbDims ? bound : dims);
            }
            out << '\n';
        }
        for (ITensor* output : network.mOutputs)
        {
            out << "output " << output->getName() << ' ' << static_cast<int32_t>(output->getType()) << ' '
                << text(output->getDimensions()) << '\n';
        }
        return out.str();
    }

    static bool hasFlag(Config const& config, std::string const& name)
    {
        return std::any_of(config.mFlags.begin(), config.mFlags.end(),
            [&](BuilderFlag flag) { return flagName(flag) == name; });
    }

    IBuilder* mSelf;
    ILogger* mLogger;
    std::vector<std::unique_ptr<Handle<IOptimizationProfile, Profile>>> mProfiles;
};
} // namespace
