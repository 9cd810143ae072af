// A test double of TensorRT: not TensorRT, but classes derived from the abstract classes of its
// official headers, compiled by tests into a library that loads like libnvinfer.
//
// Each method records its name and arguments, so a call through a wrong index of the virtual table
// shows. Beyond that the double does what host code can see of TensorRT: it "deserializes" a plan
// of text, keeps shapes, addresses and profiles, and refuses what TensorRT refuses. Methods that
// the binding never calls record their name and return zero.
//
// One source for every header from 8.5 to 11 and RTX: a method that a version lacks is compiled as
// an ordinary one, and one that is missing here leaves a class abstract, which does not compile.
//
// A plan is lines of text after the word "double-plan"; bytes before that word are ignored:
//     name toy                        the engine's name
//     layers 7                        how many layers it has
//     profiles 2                      how many optimization profiles
//     memory 1024                     bytes of device memory that a context needs
//     input x 0 -1,4 1,4 2,4 8,4      name, DataType, shape; smallest, usual, largest shape
//     output y 0 -1,4                 an open extent is that of the first input; "/2" for half of it,
//                                     rounded up, "9-" for 9 less it, "9!" for ten of it where it is 9,
//                                     "@0" for that of axis 0
//     streamable 1000                 bytes of weights that can be streamed
//     weights conv_1 2 1.5,3          a layer's name, how many weights it has, and these; "-" where a stripped
//                                     plan lacks them
//     rigid                           cannot be refitted
//     brings-host-code                loads only where that is allowed
//     wants-lean-runtime              loads only in a runtime of loadRuntime
//     needs-plugin Foo_TRT            does not load, for the lack of it
//     plugin Foo_TRT                  has that plugin: its runs, and those of other plans with one, have the device to
//                                     themselves, which the driver's double looks after
//     copies                          enqueueV3 copies the first input to the outputs, row by row where they have
//                                     as many, over and over where they are larger, on the host; in a
//                                     stream of the driver's double that captures, when the graph is
//                                     launched, and nonsense if the context has run other shapes since
//     built flags=kFP16 …             how the double's builder made it (builder.hpp)
//     refuses enqueueV3               that method logs an error and fails (also setInputShape and
//                                     createExecutionContext)
//     talks                           logs a line when a context is made, is given a shape, runs and
//                                     goes, and when the engine goes; no two lines are alike
//     chatters                        logs such lines from a thread of its own as long as the engine lives

#include "NvInfer.h"

#include "record.hpp"

#include <dlfcn.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <map>
#include <memory>
#include <mutex>
#include <set>
#include <sstream>
#include <string>
#include <thread>
#include <vector>

// What only some headers declare. Declaring it again is allowed; its values are not named here.
namespace nvinfer1
{
class IPluginFactory;
class IRefitter;
class IRuntimeConfig;
class ISerializationConfig;
class IWeightsManager;
enum class DLAWorkspaceAllocationStrategy : int32_t;
enum class EngineStat : int32_t;
enum class EngineValidity : int32_t;
enum class ExecutionContextAllocationStrategy : int32_t;
enum class HardwareCompatibilityLevel : int32_t;
using TempfileControlFlags = uint32_t;
} // namespace nvinfer1

#if NV_TENSORRT_MAJOR == 8
#define VERSION (NV_TENSORRT_MAJOR * 1000 + NV_TENSORRT_MINOR * 100 + NV_TENSORRT_PATCH)
#else
#define VERSION (NV_TENSORRT_MAJOR * 10000 + NV_TENSORRT_MINOR * 100 + NV_TENSORRT_PATCH)
#define HAS_VERSIONED_INTERFACES 1
#endif
#if NV_TENSORRT_MAJOR == 1 || NV_TENSORRT_MAJOR >= 11
#define HAS_VERSIONED_LOGGER 1
#endif
#if HAS_VERSIONED_LOGGER || (NV_TENSORRT_MAJOR == 10 && NV_TENSORRT_MINOR >= 7)
#define HAS_STREAM_READER_V2 1
#endif

namespace
{
int64_t gAlive = 0;
ILogger* gFirstLogger = nullptr;

// ---- Handles: two words, as the headers' classes have them, and counted

template <typename Interface, typename Implementation>
class Handle final : public Interface
{
public:
    template <typename... Arguments>
    explicit Handle(Arguments&&... arguments)
        : mOwned(this, std::forward<Arguments>(arguments)...)
    {
        this->mImpl = &mOwned;
        std::lock_guard<std::mutex> lock(gMutex);
        ++gAlive;
    }

    ~Handle() noexcept override
    {
        Call{Implementation::kSELF, "~"}();
        std::lock_guard<std::mutex> lock(gMutex);
        --gAlive;
    }

private:
    Implementation mOwned;
};

// ---- The plan

struct Tensor
{
    std::string name;
    bool input;
    DataType type;
    Dims shape;
    std::vector<std::string> extents;
    Dims bounds[3];
};

struct PlanWeights
{
    std::string name;
    int64_t count;
    std::vector<float> values;
};

struct Plan
{
    std::string text;
    std::string name;
    int32_t layers = 1;
    int32_t profiles = 1;
    int64_t memory = 0;
    std::vector<Tensor> tensors;
    int64_t streamable = 1LL << 40;
    std::vector<PlanWeights> weights;
    bool isStripped = false;
    bool isRigid = false;
    bool bringsHostCode = false;
    bool wantsLeanRuntime = false;
    std::string needsPlugin;
    bool hasPlugin = false;
    bool copies = false;
    bool talks = false;
    bool chatters = false;
    std::set<std::string> refuses;

    bool parse(void const* blob, size_t size)
    {
        text.assign(static_cast<char const*>(blob), size);
        size_t const start = text.find("double-plan");
        if (start == std::string::npos)
        {
            return false;
        }
        std::istringstream lines(text.substr(start));
        std::string line;
        std::getline(lines, line);
        while (std::getline(lines, line))
        {
            std::istringstream words(line);
            std::string word;
            words >> word;
            if (word == "name")
            {
                words >> name;
            }
            else if (word == "layers")
            {
                words >> layers;
            }
            else if (word == "profiles")
            {
                words >> profiles;
            }
            else if (word == "memory")
            {
                words >> memory;
            }
            else if (word == "streamable")
            {
                words >> streamable;
            }
            else if (word == "brings-host-code")
            {
                bringsHostCode = true;
            }
            else if (word == "wants-lean-runtime")
            {
                wantsLeanRuntime = true;
            }
            else if (word == "needs-plugin")
            {
                words >> needsPlugin;
            }
            else if (word == "plugin")
            {
                hasPlugin = true;
            }
            else if (word == "copies")
            {
                copies = true;
            }
            else if (word == "built")
            {
            }
            else if (word == "rigid")
            {
                isRigid = true;
            }
            else if (word == "weights")
            {
                PlanWeights of;
                std::string values, value;
                words >> of.name >> of.count >> values;
                std::istringstream each(values);
                while (values != "-" && std::getline(each, value, ','))
                {
                    of.values.push_back(std::stof(value));
                }
                isStripped = isStripped || values == "-";
                weights.push_back(of);
            }
            else if (word == "talks")
            {
                talks = true;
            }
            else if (word == "chatters")
            {
                chatters = true;
            }
            else if (word == "refuses")
            {
                words >> word;
                refuses.insert(word);
            }
            else if (word == "input" || word == "output")
            {
                Tensor tensor{};
                int32_t type = 0;
                words >> tensor.name >> type;
                tensor.input = word == "input";
                tensor.type = static_cast<DataType>(type);
                tensor.shape = parseDims(words, &tensor.extents);
                for (auto& bound : tensor.bounds)
                {
                    bound = tensor.input ? parseDims(words) : Dims{};
                }
                tensors.push_back(tensor);
            }
            else if (!word.empty())
            {
                return false;
            }
        }
        return true;
    }

    Tensor const* find(char const* tensor) const
    {
        for (auto const& candidate : tensors)
        {
            if (tensor && candidate.name == tensor)
            {
                return &candidate;
            }
        }
        return nullptr;
    }

    Tensor const* firstInput() const
    {
        for (auto const& candidate : tensors)
        {
            if (candidate.input)
            {
                return &candidate;
            }
        }
        return nullptr;
    }

private:
    static Dims parseDims(std::istream& words, std::vector<std::string>* given = nullptr)
    {
        Dims dims{};
        std::string word;
        words >> word;
        std::istringstream extents(word);
        std::string extent;
        while (std::getline(extents, extent, ',') && dims.nbDims < Dims::MAX_DIMS)
        {
            bool const follows = extent.find_first_of("/@!") != std::string::npos || extent.back() == '-';
            dims.d[dims.nbDims++] = follows ? -1 : std::stol(extent);
            if (given)
            {
                given->push_back(extent);
            }
        }
        return dims;
    }
};

Dims noDims()
{
    Dims dims{};
    dims.nbDims = -1;
    return dims;
}

bool isOpen(Dims const& dims)
{
    for (int32_t i = 0; i < dims.nbDims; ++i)
    {
        if (dims.d[i] < 0)
        {
            return true;
        }
    }
    return false;
}

// A tensor's shape, its open extents as they follow from those of the first input.
Dims close(Tensor const& tensor, Dims const& input)
{
    Dims dims = tensor.shape;
    for (int32_t i = 0; i < dims.nbDims; ++i)
    {
        std::string const& rule = tensor.extents[i];
        int32_t const axis = rule[0] == '@' ? std::stoi(rule.substr(1)) : i;
        if (dims.d[i] >= 0 || axis >= input.nbDims || input.d[axis] < 0)
        {
            continue;
        }
        int64_t const extent = input.d[axis];
        dims.d[i] = rule[0] == '/' ? (extent + std::stol(rule.substr(1)) - 1) / std::stol(rule.substr(1))
            : rule.back() == '!'   ? (extent == std::stol(rule) ? 10 : 1) * extent
            : rule.back() == '-'   ? std::max<int64_t>(std::stol(rule) - extent, 0)
                                   : extent;
    }
    return dims;
}

int64_t bytes(DataType type, Dims const& dims)
{
    static int32_t const kBITS[] = {32, 16, 8, 32, 8, 8, 8, 16, 64, 4, 4, 8};
    int64_t bits = kBITS[static_cast<int32_t>(type)];
    for (int32_t i = 0; i < dims.nbDims; ++i)
    {
        bits *= dims.d[i];
    }
    return (bits + 7) / 8;
}

// Logs a line that differs from all others in more than numbers.
void talk(ILogger* logger, char const* about)
{
    static std::atomic<uint32_t> lines{0};
    std::string line = std::string(about) + " talks: ";
    for (uint32_t rest = ++lines; rest > 0; rest /= 26)
    {
        line += static_cast<char>('a' + rest % 26);
    }
    logger->log(ILogger::Severity::kINFO, line.c_str());
}

// ---- IPluginRegistry: called on the object itself

class Registry final : public IPluginRegistry
{
public:
    static constexpr char const* kSELF = "IPluginRegistry";

    void* loadLibrary(AsciiChar const* path) noexcept
    {
        RECORD(path);
        return this;
    }
    void deregisterLibrary(void* handle) noexcept
    {
        RECORD(handle == this);
    }

    NEVER(bool, registerCreator, (IPluginCreator&, AsciiChar const*))
    NEVER(IPluginCreator* const*, getPluginCreatorList, (int32_t*) const)
    NEVER(IPluginCreator*, getPluginCreator, (AsciiChar const*, AsciiChar const*, AsciiChar const*))
    NEVER(void, setErrorRecorder, (IErrorRecorder*))
    NEVER(IErrorRecorder*, getErrorRecorder, () const)
    NEVER(bool, deregisterCreator, (IPluginCreator const&))
    NEVER(bool, isParentSearchEnabled, () const)
    NEVER(void, setParentSearchEnabled, (bool))
#if HAS_VERSIONED_INTERFACES
    using Creator = IPluginCreatorInterface;
    NEVER(bool, registerCreator, (Creator&, AsciiChar const*))
    NEVER(Creator* const*, getAllCreators, (int32_t*) const)
    NEVER(Creator*, getCreator, (AsciiChar const*, AsciiChar const*, AsciiChar const*))
    NEVER(bool, deregisterCreator, (Creator const&))
    NEVER(IPluginResource*, acquirePluginResource, (AsciiChar const*, IPluginResource*))
    NEVER(int32_t, releasePluginResource, (AsciiChar const*))
    NEVER(Creator* const*, getAllCreatorsRecursive, (int32_t*))
#endif
};

Registry gRegistry;

// ---- IHostMemory

class HostMemory final : public apiv::VHostMemory
{
public:
    static constexpr char const* kSELF = "IHostMemory";

    HostMemory(IHostMemory*, std::string bytes)
        : mBytes(std::move(bytes))
    {
    }

    void* data() const noexcept
    {
        RECORD();
        return const_cast<char*>(mBytes.data());
    }
    std::size_t size() const noexcept
    {
        RECORD();
        return mBytes.size();
    }

    NEVER(DataType, type, () const)

private:
    std::string mBytes;
};

// ---- IExecutionContext

class Context final : public apiv::VExecutionContext
{
public:
    static constexpr char const* kSELF = "IExecutionContext";

    Context(IExecutionContext*, ICudaEngine const& engine, Plan const& plan, ILogger* logger,
        bool ownsMemory)
        : mEngine(engine)
        , mPlan(plan)
        , mLogger(logger)
        , mHasMemory(ownsMemory || plan.memory == 0)
    {
    }

    ~Context() override
    {
        talk("~Context");
        if (auto const function = driver<void(void const*)>("cudaDoubleForget"))
        {
            function(this);
        }
    }
    ICudaEngine const& getEngine() const noexcept
    {
        RECORD();
        return mEngine;
    }
    void setName(char const* name) noexcept
    {
        RECORD(name);
        mName = name;
    }
    char const* getName() const noexcept
    {
        RECORD();
        return mName.c_str();
    }
    void setDeviceMemory(void* memory) noexcept
    {
        RECORD(memory);
        mHasMemory = memory != nullptr;
        mMemory = memory;
    }
    void setDeviceMemoryV2(void* memory, int64_t size) noexcept
    {
        RECORD(memory, size);
        mHasMemory = memory != nullptr && size >= mPlan.memory;
        mMemory = memory;
    }
    size_t updateDeviceMemorySizeForShapes() noexcept
    {
        RECORD();
        return mPlan.memory;
    }
    bool setOptimizationProfileAsync(int32_t profile, cudaStream_t stream) noexcept
    {
        RECORD(profile, stream);
        if (profile < 0 || profile >= mPlan.profiles)
        {
            return error("profile is not in the engine");
        }
        mProfile = profile;
        mShapes.clear();
        mReady = false;
        return true;
    }
    int32_t getOptimizationProfile() const noexcept
    {
        RECORD();
        return mProfile;
    }
    bool setInputShape(char const* name, Dims const& dims) noexcept
    {
        RECORD(name, dims);
        talk("setInputShape");
        Tensor const* tensor = mPlan.find(name);
        if (mPlan.refuses.count(__func__) || !tensor || !tensor->input
            || dims.nbDims != tensor->shape.nbDims)
        {
            return error("setInputShape is refused");
        }
        for (int32_t i = 0; i < dims.nbDims; ++i)
        {
            if (dims.d[i] < tensor->bounds[0].d[i] || dims.d[i] > tensor->bounds[2].d[i])
            {
                return error("the shape is not in the profile");
            }
        }
        mShapes[name] = dims;
        return true;
    }
    Dims getTensorShape(char const* name) const noexcept
    {
        RECORD(name);
        return shape(name);
    }
    Dims getTensorStrides(char const* name) const noexcept
    {
        RECORD(name);
        Dims strides = shape(name);
        int64_t stride = 1;
        for (int32_t i = strides.nbDims - 1; i >= 0; --i)
        {
            int64_t const extent = strides.d[i];
            strides.d[i] = stride;
            stride = extent < 0 ? -1 : stride * extent;
        }
        return strides;
    }
    bool allInputDimensionsSpecified() const noexcept
    {
        RECORD();
        return missing().empty();
    }
    bool allInputShapesSpecified() const noexcept
    {
        RECORD();
        return true;
    }
    int32_t inferShapes(int32_t nbMaxNames, char const** names) noexcept
    {
        RECORD(nbMaxNames, names != nullptr);
        auto const open = missing();
        for (size_t i = 0; i < open.size() && i < static_cast<size_t>(nbMaxNames); ++i)
        {
            names[i] = open[i];
        }
        return static_cast<int32_t>(open.size());
    }
    bool setTensorAddress(char const* name, void* data) noexcept
    {
        RECORD(name, data);
        return setAddress(name, data);
    }
    bool setInputTensorAddress(char const* name, void const* data) noexcept
    {
        RECORD(name, data);
        Tensor const* tensor = mPlan.find(name);
        return tensor && tensor->input && setAddress(name, data);
    }
    void const* getTensorAddress(char const* name) const noexcept
    {
        RECORD(name);
        auto const found = mAddresses.find(name);
        return found == mAddresses.end() ? nullptr : found->second;
    }
    bool setOutputAllocator(char const* name, IOutputAllocator* allocator) noexcept
    {
        RECORD(name, allocator);
        return mPlan.find(name) && !mPlan.find(name)->input;
    }
    int64_t getMaxOutputSize(char const* name) const noexcept
    {
        RECORD(name);
        Tensor const* tensor = mPlan.find(name);
        Tensor const* input = mPlan.firstInput();
        return tensor && input ? bytes(tensor->type, close(*tensor, input->bounds[2])) : -1;
    }
    bool setInputConsumedEvent(cudaEvent_t event) noexcept
    {
        RECORD(event);
        return true;
    }
    void setAuxStreams(cudaStream_t* streams, int32_t nbStreams) noexcept
    {
        cudaStream_t const none = nullptr;
        RECORD(nbStreams, nbStreams ? streams[0] : none, nbStreams ? streams[nbStreams - 1] : none);
    }
    bool enqueueV3(cudaStream_t stream) noexcept
    {
        RECORD(stream);
        if (!mReady && !checkReady())
        {
            return false;
        }
        checkMemory();
        for (int32_t i = 0; mProfiler && i < mPlan.layers; ++i)
        {
            mProfiler->reportLayerTime(("layer " + std::to_string(i)).c_str(), 0.25F * static_cast<float>(i + 1));
        }
        if (!mPlan.copies)
        {
            use(stream);
            return true;
        }
        auto const before = *mRunShapes;
        for (auto const& tensor : mPlan.tensors)
        {
            Dims const dims = shape(tensor.name.c_str());
            (*mRunShapes)[tensor.name].assign(dims.d, dims.d + dims.nbDims);
        }
        auto const copies = this->copies();
        if (capture(stream, new Captured{copies, mRunShapes, *mRunShapes, this}))
        {
            return before == *mRunShapes || error("shapes are new in a stream that captures");
        }
        use(stream);
        for (auto const& copy : copies)
        {
            copy.run();
        }
        return true;
    }
    void setProfiler(IProfiler* profiler) noexcept
    {
        RECORD(profiler != nullptr);
        mProfiler = profiler;
    }
    void setEnqueueEmitsProfile(bool emits) noexcept
    {
        RECORD(emits);
    }
    bool reportToProfiler() const noexcept
    {
        RECORD();
        return true;
    }

    NEVER(IExecutionContext*, getPImpl, ())
    NEVER(bool, execute, (int32_t, void* const*))
    NEVER(bool, enqueue, (int32_t, void* const*, cudaStream_t, cudaEvent_t*))
    NEVER(void, setDebugSync, (bool))
    NEVER(bool, getDebugSync, () const)
    NEVER(IProfiler*, getProfiler, () const)
    NEVER(Dims, getStrides, (int32_t) const)
    NEVER(bool, setOptimizationProfile, (int32_t))
    NEVER(bool, setBindingDimensions, (int32_t, Dims))
    NEVER(Dims, getBindingDimensions, (int32_t) const)
    NEVER(bool, setInputShapeBinding, (int32_t, int32_t const*))
    NEVER(bool, getShapeBinding, (int32_t, int32_t*) const)
    NEVER(void, setErrorRecorder, (IErrorRecorder*))
    NEVER(IErrorRecorder*, getErrorRecorder, () const)
    NEVER(bool, executeV2, (void* const*))
    NEVER(bool, enqueueV2, (void* const*, cudaStream_t, cudaEvent_t*))
    NEVER(bool, getEnqueueEmitsProfile, () const)
    NEVER(bool, setOutputTensorAddress, (char const*, void*))
    NEVER(cudaEvent_t, getInputConsumedEvent, () const)
    NEVER(void*, getOutputTensorAddress, (char const*) const)
    NEVER(IOutputAllocator*, getOutputAllocator, (char const*))
    NEVER(bool, setTemporaryStorageAllocator, (IGpuAllocator*))
    NEVER(IGpuAllocator*, getTemporaryStorageAllocator, () const)
    NEVER(void, setPersistentCacheLimit, (size_t))
    NEVER(size_t, getPersistentCacheLimit, () const)
    NEVER(bool, setNvtxVerbosity, (ProfilingVerbosity))
    NEVER(ProfilingVerbosity, getNvtxVerbosity, () const)
    NEVER(bool, setTensorDebugState, (char const*, bool))
    NEVER(bool, getDebugState, (char const*) const)
    NEVER(bool, setAllTensorsDebugState, (bool))
    NEVER(IRuntimeConfig*, getRuntimeConfig, () const)
    NEVER(bool, setUnfusedTensorsDebugState, (bool))
    NEVER(bool, getUnfusedTensorsDebugState, () const)
    NEVER(bool, setCommunicator, (void*))
    NEVER(bool, isStreamCapturable, (cudaStream_t) const)
#if HAS_VERSIONED_INTERFACES
    NEVER(bool, setDebugListener, (IDebugListener*))
    NEVER(IDebugListener*, getDebugListener, ())
#endif

private:
    void talk(char const* about) const
    {
        if (mPlan.talks)
        {
            ::talk(mLogger, about);
        }
    }
    bool error(char const* message) const noexcept
    {
        mLogger->log(ILogger::Severity::kERROR, message);
        return false;
    }
    bool setAddress(char const* name, void const* data)
    {
        if (!mPlan.find(name))
        {
            return error("there is no such tensor");
        }
        mAddresses[name] = data;
        mReady = false;
        return true;
    }
    Dims shape(char const* name) const
    {
        Tensor const* tensor = mPlan.find(name);
        if (!tensor)
        {
            return noDims();
        }
        auto const set = mShapes.find(name);
        if (set != mShapes.end())
        {
            return set->second;
        }
        Tensor const* input = mPlan.firstInput();
        return tensor->input || !input ? tensor->shape : close(*tensor, shape(input->name.c_str()));
    }
    std::vector<char const*> missing() const
    {
        std::vector<char const*> names;
        for (auto const& tensor : mPlan.tensors)
        {
            if (tensor.input && isOpen(shape(tensor.name.c_str())))
            {
                names.push_back(tensor.name.c_str());
            }
        }
        return names;
    }
    bool checkReady()
    {
        talk("enqueueV3");
        if (mPlan.refuses.count("enqueueV3"))
        {
            return error("enqueueV3 is refused");
        }
        if (!mHasMemory)
        {
            return error("the device memory is not set");
        }
        if (!missing().empty())
        {
            return error("an input's shape is not set");
        }
        for (auto const& tensor : mPlan.tensors)
        {
            if (!mAddresses.count(tensor.name))
            {
                return error("a tensor's address is not set");
            }
        }
        mReady = true;
        return true;
    }
    struct Copy
    {
        void* to;
        void const* from;
        size_t bytes;
        size_t input;
        int64_t rows;

        void run() const
        {
            size_t const own = bytes / rows, theirs = input / rows;
            for (int64_t row = 0; row < rows && theirs > 0; ++row)
            {
                for (size_t done = 0; done < own; done += theirs)
                {
                    std::memcpy(static_cast<char*>(to) + row * own + done,
                        static_cast<char const*>(from) + row * theirs, std::min(theirs, own - done));
                }
            }
        }
    };
    using Copies = std::vector<Copy>;
    using Shapes = std::map<std::string, std::vector<int64_t>>;

    // What a graph holds of a context: its work, and what tells whether that still holds good.
    struct Captured
    {
        Copies copies;
        std::shared_ptr<Shapes> lastRun;
        Shapes captured;
        Context const* context;

        static void run(void* self)
        {
            auto const& graph = *static_cast<Captured*>(self);
            graph.context->use(driver<cudaStream_t()>("cudaDoubleLaunchedOn")());
            for (auto const& copy : graph.copies)
            {
                copy.run();
                if (*graph.lastRun != graph.captured)
                {
                    std::memset(copy.to, 0xa5, copy.bytes);
                }
            }
        }
        static void release(void* self)
        {
            delete static_cast<Captured*>(self);
        }
    };

    // A function of the driver's double, if there is one.
    template <typename Function>
    static Function* driver(char const* name)
    {
        // Looked for once: a search for a library that is not there takes longer than all that is measured here.
        static void* const library = dlopen("libcuda.so.1", RTLD_LAZY | RTLD_NOLOAD);
        auto const function = library ? reinterpret_cast<Function*>(dlsym(library, name)) : nullptr;
        return function;
    }

    // Whether the driver's double takes the work for a graph.
    static bool capture(cudaStream_t stream, Captured* graph)
    {
        using Work = void (*)(void*);
        auto const function = driver<bool(void*, Work, Work, void*)>("cudaDoubleCapture");
        bool const taken = function && function(stream, Captured::run, Captured::release, graph);
        if (!taken)
        {
            delete graph;
        }
        return taken;
    }

    // A run has this context and the memory that it computes in to itself: the driver's double looks whether it comes
    // after the last one.
    void use(cudaStream_t stream) const
    {
        if (auto const function = driver<bool(void const*, void*)>("cudaDoubleUse"))
        {
            function(this, stream);
            mMemory && function(mMemory, stream);
            mPlan.hasPlugin && function(&gRegistry, stream);
        }
    }

    // TensorRT trusts that the memory is there. What it is given here has to hold each tensor.
    void checkMemory() const
    {
        auto const holds = driver<bool(void const*, size_t)>("cudaDoubleHolds");
        for (auto const& tensor : mPlan.tensors)
        {
            auto const size = bytes(tensor.type, shape(tensor.name.c_str()));
            if (holds && size > 0 && !holds(mAddresses.at(tensor.name), static_cast<size_t>(size)))
            {
                std::fprintf(stderr, "the memory bound to %s does not hold its %lld bytes\n", tensor.name.c_str(),
                    static_cast<long long>(size));
                std::abort();
            }
        }
    }
    Copies copies() const
    {
        Copies copies;
        Tensor const* input = mPlan.firstInput();
        for (auto const& tensor : mPlan.tensors)
        {
            if (input && !tensor.input)
            {
                Dims const to = shape(tensor.name.c_str()), from = shape(input->name.c_str());
                bool const by_row = to.nbDims > 0 && from.nbDims > 0 && to.d[0] == from.d[0] && to.d[0] > 0;
                copies.push_back({const_cast<void*>(mAddresses.at(tensor.name)), mAddresses.at(input->name),
                    static_cast<size_t>(bytes(tensor.type, to)), static_cast<size_t>(bytes(input->type, from)),
                    by_row ? to.d[0] : 1});
            }
        }
        return copies;
    }

    ICudaEngine const& mEngine;
    Plan const& mPlan;
    ILogger* mLogger;
    bool mHasMemory;
    void const* mMemory = nullptr;
    bool mReady = false;
    IProfiler* mProfiler = nullptr;
    int32_t mProfile = 0;
    std::string mName;
    std::map<std::string, Dims> mShapes;
    std::map<std::string, void const*> mAddresses;
    std::shared_ptr<Shapes> mRunShapes = std::make_shared<Shapes>();
};

// ---- IEngineInspector

class Inspector final : public apiv::VEngineInspector
{
public:
    static constexpr char const* kSELF = "IEngineInspector";

    explicit Inspector(IEngineInspector*) {}

    bool setExecutionContext(IExecutionContext const* context) noexcept
    {
        RECORD(context);
        return true;
    }
    char const* getLayerInformation(int32_t layer, LayerInformationFormat format) const noexcept
    {
        RECORD(layer, format);
        return "{\"Name\": \"a layer\"}";
    }
    char const* getEngineInformation(LayerInformationFormat format) const noexcept
    {
        RECORD(format);
        return "{\"Layers\": []}";
    }

    NEVER(IEngineInspector*, getPImpl, ())
    NEVER(IExecutionContext const*, getExecutionContext, () const)
    NEVER(void, setErrorRecorder, (IErrorRecorder*))
    NEVER(IErrorRecorder*, getErrorRecorder, () const)
};

#if NV_TENSORRT_MAJOR != 8
// ---- ISerializationConfig

class SerializationConfig final : public apiv::VSerializationConfig
{
public:
    static constexpr char const* kSELF = "ISerializationConfig";

    SerializationConfig(ISerializationConfig*, bool excludesWeights)
        : mExcludesWeights(excludesWeights)
    {
    }

    bool clearFlag(SerializationFlag flag) noexcept
    {
        RECORD(flag == SerializationFlag::kEXCLUDE_WEIGHTS);
        mExcludesWeights = mExcludesWeights && flag != SerializationFlag::kEXCLUDE_WEIGHTS;
        return true;
    }
    bool getFlag(SerializationFlag flag) const noexcept
    {
        return flag == SerializationFlag::kEXCLUDE_WEIGHTS && mExcludesWeights;
    }
    NEVER(bool, setFlags, (SerializationFlags))
    NEVER(SerializationFlags, getFlags, () const)
    NEVER(bool, setFlag, (SerializationFlag))

private:
    bool mExcludesWeights;
};
#endif

// ---- ICudaEngine

class Engine final : public apiv::VCudaEngine
{
public:
    static constexpr char const* kSELF = "ICudaEngine";

    Engine(ICudaEngine* self, Plan plan, ILogger* logger)
        : mSelf(self)
        , mPlan(std::move(plan))
        , mLogger(logger)
    {
        {
            std::lock_guard<std::mutex> lock(gMutex);
            engines()[self] = this;
        }
        if (mPlan.chatters)
        {
            mChatter = std::thread([this] {
                while (!mEnds)
                {
                    talk(mLogger, "a thread");
                    std::this_thread::sleep_for(std::chrono::microseconds(100));
                }
            });
        }
    }

    ~Engine() override
    {
        {
            std::lock_guard<std::mutex> lock(gMutex);
            engines().erase(mSelf);
        }
        mEnds = true;
        if (mChatter.joinable())
        {
            mChatter.join();
        }
        if (mPlan.talks)
        {
            talk(mLogger, "~Engine");
        }
    }

    char const* getName() const noexcept
    {
        RECORD();
        return mPlan.name.c_str();
    }
    int32_t getNbLayers() const noexcept
    {
        RECORD();
        return mPlan.layers;
    }
    IHostMemory* serialize() const noexcept
    {
        RECORD();
        return new Handle<IHostMemory, HostMemory>(text(mPlan.isStripped));
    }
#if NV_TENSORRT_MAJOR != 8
    ISerializationConfig* createSerializationConfig() noexcept
    {
        RECORD();
        return new Handle<ISerializationConfig, SerializationConfig>(mPlan.isStripped);
    }
    IHostMemory* serializeWithConfig(ISerializationConfig& config) const noexcept
    {
        RECORD();
        return new Handle<IHostMemory, HostMemory>(text(config.getFlag(SerializationFlag::kEXCLUDE_WEIGHTS)));
    }
#else
    NEVER(ISerializationConfig*, createSerializationConfig, ())
    NEVER(IHostMemory*, serializeWithConfig, (ISerializationConfig&) const)
#endif
    static std::map<ICudaEngine*, Engine*>& engines()
    {
        static std::map<ICudaEngine*, Engine*> all;
        return all;
    }
    // The plan with the weights that it has now.
    std::string text(bool excludesWeights) const
    {
        std::string whole = mPlan.text;
        for (PlanWeights const& of : mPlan.weights)
        {
            std::ostringstream line;
            line << "\nweights " << of.name << ' ' << of.count << ' ';
            size_t const start = whole.find(line.str());
            for (size_t i = 0; !excludesWeights && i < of.values.size(); ++i)
            {
                line << (i ? "," : "") << of.values[i];
            }
            line << (excludesWeights || of.values.empty() ? "-" : "");
            whole.replace(start, whole.find('\n', start + 1) - start, line.str());
        }
        return whole;
    }
    Plan& plan()
    {
        return mPlan;
    }
    int32_t getNbIOTensors() const noexcept
    {
        RECORD();
        return static_cast<int32_t>(mPlan.tensors.size());
    }
    char const* getIOTensorName(int32_t index) const noexcept
    {
        RECORD(index);
        bool const there = index >= 0 && static_cast<size_t>(index) < mPlan.tensors.size();
        return there ? mPlan.tensors[index].name.c_str() : nullptr;
    }
    Dims getTensorShape(char const* name) const noexcept
    {
        RECORD(name);
        Tensor const* tensor = mPlan.find(name);
        return tensor ? tensor->shape : noDims();
    }
    DataType getTensorDataType(char const* name) const noexcept
    {
        RECORD(name);
        Tensor const* tensor = mPlan.find(name);
        return tensor ? tensor->type : DataType::kFLOAT;
    }
    TensorIOMode getTensorIOMode(char const* name) const noexcept
    {
        RECORD(name);
        Tensor const* tensor = mPlan.find(name);
        return !tensor ? TensorIOMode::kNONE
            : tensor->input ? TensorIOMode::kINPUT
                            : TensorIOMode::kOUTPUT;
    }
    TensorLocation getTensorLocation(char const* name) const noexcept
    {
        RECORD(name);
        return TensorLocation::kDEVICE;
    }
    bool isShapeInferenceIO(char const* name) const noexcept
    {
        RECORD(name);
        return false;
    }
    int32_t getTensorBytesPerComponent(char const* name) const noexcept
    {
        RECORD(name);
        return -1;
    }
    int32_t getTensorBytesPerComponentV2(char const* name, int32_t profile) const noexcept
    {
        RECORD(name, profile);
        return 20 + profile;
    }
    int32_t getTensorComponentsPerElement(char const* name) const noexcept
    {
        RECORD(name);
        return -1;
    }
    int32_t getTensorComponentsPerElementV2(char const* name, int32_t profile) const noexcept
    {
        RECORD(name, profile);
        return 30 + profile;
    }
    TensorFormat getTensorFormat(char const* name) const noexcept
    {
        RECORD(name);
        return TensorFormat::kLINEAR;
    }
    TensorFormat getTensorFormatV2(char const* name, int32_t profile) const noexcept
    {
        RECORD(name, profile);
        return TensorFormat::kCHW32;
    }
    char const* getTensorFormatDesc(char const* name) const noexcept
    {
        RECORD(name);
        return "row-major linear";
    }
    char const* getTensorFormatDescV2(char const* name, int32_t profile) const noexcept
    {
        RECORD(name, profile);
        return "thirty-two wide";
    }
    int32_t getTensorVectorizedDim(char const* name) const noexcept
    {
        RECORD(name);
        return -1;
    }
    int32_t getTensorVectorizedDimV2(char const* name, int32_t profile) const noexcept
    {
        RECORD(name, profile);
        return 40 + profile;
    }
    int32_t getNbOptimizationProfiles() const noexcept
    {
        RECORD();
        return mPlan.profiles;
    }
    Dims getProfileShape(char const* name, int32_t profile, OptProfileSelector select) const noexcept
    {
        RECORD(name, profile, select);
        Tensor const* tensor = mPlan.find(name);
        bool const there = tensor && tensor->input && profile >= 0 && profile < mPlan.profiles;
        return there ? tensor->bounds[static_cast<int32_t>(select)] : noDims();
    }
    int32_t const* getProfileTensorValues(
        char const* name, int32_t profile, OptProfileSelector select) const noexcept
    {
        RECORD(name, profile, select);
        static int32_t const kVALUES[] = {3, 5};
        return kVALUES;
    }
    int64_t const* getProfileTensorValuesV2(
        char const* name, int32_t profile, OptProfileSelector select) const noexcept
    {
        RECORD(name, profile, select);
        static int64_t const kVALUES[] = {7, 9};
        return kVALUES;
    }
    size_t getDeviceMemorySize() const noexcept
    {
        RECORD();
        return mPlan.memory;
    }
    size_t getDeviceMemorySizeForProfile(int32_t profile) const noexcept
    {
        RECORD(profile);
        return mPlan.memory;
    }
    int64_t getDeviceMemorySizeV2() const noexcept
    {
        RECORD();
        return mPlan.memory;
    }
    int64_t getDeviceMemorySizeForProfileV2(int32_t profile) const noexcept
    {
        RECORD(profile);
        return mPlan.memory;
    }
    int64_t getStreamableWeightsSize() const noexcept
    {
        RECORD();
        return mPlan.streamable;
    }
    bool setWeightStreamingBudgetV2(int64_t budget) noexcept
    {
        RECORD(budget);
        if (budget > mPlan.streamable)
        {
            mLogger->log(ILogger::Severity::kERROR, "the budget is larger than the weights");
            return false;
        }
        mBudget = budget;
        return true;
    }
    int64_t getWeightStreamingBudgetV2() const noexcept
    {
        RECORD();
        return mBudget;
    }
    int64_t getWeightStreamingAutomaticBudget() const noexcept
    {
        RECORD();
        return 51;
    }
    int64_t getWeightStreamingScratchMemorySize() const noexcept
    {
        RECORD();
        return 52;
    }
    HardwareCompatibilityLevel getHardwareCompatibilityLevel() const noexcept
    {
        RECORD();
        return static_cast<HardwareCompatibilityLevel>(1);
    }
    int32_t getNbAuxStreams() const noexcept
    {
        RECORD();
        return 2;
    }
    EngineCapability getEngineCapability() const noexcept
    {
        RECORD();
        return static_cast<EngineCapability>(2);
    }
    bool isRefittable() const noexcept
    {
        RECORD();
        return !mPlan.isRigid;
    }
    ProfilingVerbosity getProfilingVerbosity() const noexcept
    {
        RECORD();
        return ProfilingVerbosity::kDETAILED;
    }
    bool hasImplicitBatchDimension() const noexcept
    {
        RECORD();
        return false;
    }
    int32_t getMaxBatchSize() const noexcept
    {
        RECORD();
        return 1;
    }
    int64_t getEngineStat(EngineStat stat) const noexcept
    {
        RECORD(stat);
        return 60 + static_cast<int32_t>(stat);
    }
    IExecutionContext* createExecutionContext() noexcept
    {
        RECORD();
        return context(true);
    }
    IExecutionContext* createExecutionContext(ExecutionContextAllocationStrategy strategy) noexcept
    {
        RECORD(strategy);
        return context(static_cast<int32_t>(strategy) != 2);
    }
    IExecutionContext* createExecutionContextWithoutDeviceMemory() noexcept
    {
        RECORD();
        return context(false);
    }
    IEngineInspector* createEngineInspector() const noexcept
    {
        RECORD();
        return new Handle<IEngineInspector, Inspector>();
    }

    NEVER(ICudaEngine*, getPImpl, ())
    NEVER(int32_t, getNbBindings, () const)
    NEVER(int32_t, getBindingIndex, (char const*) const)
    NEVER(char const*, getBindingName, (int32_t) const)
    NEVER(bool, bindingIsInput, (int32_t) const)
    NEVER(Dims, getBindingDimensions, (int32_t) const)
    NEVER(DataType, getBindingDataType, (int32_t) const)
    NEVER(TensorLocation, getLocation, (int32_t) const)
    NEVER(int32_t, getBindingBytesPerComponent, (int32_t) const)
    NEVER(int32_t, getBindingComponentsPerElement, (int32_t) const)
    NEVER(TensorFormat, getBindingFormat, (int32_t) const)
    NEVER(char const*, getBindingFormatDesc, (int32_t) const)
    NEVER(int32_t, getBindingVectorizedDim, (int32_t) const)
    NEVER(Dims, getProfileDimensions, (int32_t, int32_t, OptProfileSelector) const)
    NEVER(int32_t const*, getProfileShapeValues, (int32_t, int32_t, OptProfileSelector) const)
    NEVER(bool, isShapeBinding, (int32_t) const)
    NEVER(bool, isExecutionBinding, (int32_t) const)
    NEVER(void, setErrorRecorder, (IErrorRecorder*))
    NEVER(IErrorRecorder*, getErrorRecorder, () const)
    NEVER(TacticSources, getTacticSources, () const)
    NEVER(IRefitter*, createRefitter, (ILogger&))
    NEVER(bool, setWeightStreamingBudget, (int64_t))
    NEVER(int64_t, getWeightStreamingBudget, () const)
    NEVER(int64_t, getMinimumWeightStreamingBudget, () const)
    NEVER(bool, isDebugTensor, (char const*) const)
    NEVER(IExecutionContext*, createExecutionContextWithRuntimeConfig, (IRuntimeConfig*))
    NEVER(IRuntimeConfig*, createRuntimeConfig, ())
    NEVER(char const*, getAliasedInputTensor, (char const*) const)
    NEVER(bool, areWeightsLoaded, () const)
    NEVER(bool, loadWeights, (void const*, int64_t))
    NEVER(bool, unloadWeights, ())
    NEVER(IWeightsManager*, createWeightsManager, ())
#if HAS_STREAM_READER_V2
    NEVER(bool, loadWeightsAsync, (IStreamReaderV2&, cudaStream_t))
#endif

private:
    IExecutionContext* context(bool ownsMemory)
    {
        if (mPlan.refuses.count("createExecutionContext"))
        {
            mLogger->log(ILogger::Severity::kERROR, "createExecutionContext is refused");
            return nullptr;
        }
        if (mPlan.talks)
        {
            talk(mLogger, "createExecutionContext");
        }
        return new Handle<IExecutionContext, Context>(*mSelf, mPlan, mLogger, ownsMemory);
    }

    ICudaEngine* mSelf;
    Plan mPlan;
    ILogger* mLogger;
    int64_t mBudget = 0;
    std::atomic<bool> mEnds{false};
    std::thread mChatter;
};

// ---- IRuntime

class Runtime final : public apiv::VRuntime
{
public:
    static constexpr char const* kSELF = "IRuntime";

    Runtime(IRuntime*, ILogger* logger, bool lean = false)
        : mLogger(logger)
        , mLean(lean)
    {
    }

    ICudaEngine* deserializeCudaEngine(void const* blob, std::size_t size) noexcept
    {
        RECORD(blob != nullptr, size);
        return deserialize(blob, size);
    }
    ICudaEngine* deserializeCudaEngine(
        void const* blob, std::size_t size, IPluginFactory* factory) noexcept
    {
        RECORD(blob != nullptr, size, factory);
        return deserialize(blob, size);
    }
    void setGpuAllocator(IGpuAllocator* allocator) noexcept
    {
        RECORD(allocator);
    }
    void setErrorRecorder(IErrorRecorder* recorder) noexcept
    {
        RECORD(recorder);
        mRecorder = recorder;
    }
    IErrorRecorder* getErrorRecorder() const noexcept
    {
        RECORD();
        return mRecorder;
    }
    ILogger* getLogger() const noexcept
    {
        RECORD();
        return mLogger;
    }
    bool setMaxThreads(int32_t threads) noexcept
    {
        RECORD(threads);
        mThreads = threads;
        return threads > 0;
    }
    int32_t getMaxThreads() const noexcept
    {
        RECORD();
        return mThreads;
    }
    IPluginRegistry& getPluginRegistry() noexcept
    {
        RECORD();
        return gRegistry;
    }
    IRuntime* loadRuntime(char const* path) noexcept
    {
        RECORD(path);
        if (std::strstr(path, "missing"))
        {
            mLogger->log(ILogger::Severity::kERROR, "there is no lean runtime");
            return nullptr;
        }
        return new Handle<IRuntime, Runtime>(mLogger, true);
    }
    void setEngineHostCodeAllowed(bool allowed) noexcept
    {
        RECORD(allowed);
        mHostCode = allowed;
    }
    bool getEngineHostCodeAllowed() const noexcept
    {
        RECORD();
        return mHostCode;
    }
    int64_t getEngineHeaderSize() const noexcept
    {
        RECORD();
        return 64;
    }
    EngineValidity getEngineValidity(
        void const* blob, int64_t size, uint64_t* diagnostics) const noexcept
    {
        RECORD(blob != nullptr, size);
        *diagnostics = 5;
        return static_cast<EngineValidity>(2);
    }
#if HAS_STREAM_READER_V2
    ICudaEngine* deserializeCudaEngineV2(IStreamReaderV2& reader) noexcept
    {
        RECORD(&reader);
        return nullptr;
    }
#endif
#if NV_TENSORRT_MAJOR == 10
    NEVER(ICudaEngine*, deserializeCudaEngine, (IStreamReader&))
#endif

    NEVER(IRuntime*, getPImpl, ())
    NEVER(void, setDLACore, (int32_t))
    NEVER(int32_t, getDLACore, () const)
    NEVER(int32_t, getNbDLACores, () const)
    NEVER(void, setTemporaryDirectory, (char const*))
    NEVER(char const*, getTemporaryDirectory, () const)
    NEVER(void, setTempfileControlFlags, (TempfileControlFlags))
    NEVER(TempfileControlFlags, getTempfileControlFlags, () const)
    NEVER(void, setPluginRegistryParent, (IPluginRegistry*))
    NEVER(void, setDeferredWeightsLoading, (bool))
    NEVER(bool, getDeferredWeightsLoading, () const)
    NEVER(bool, setDLAWorkspaceAllocationStrategy, (DLAWorkspaceAllocationStrategy))
    NEVER(DLAWorkspaceAllocationStrategy, getDLAWorkspaceAllocationStrategy, () const)

private:
    ICudaEngine* deserialize(void const* blob, size_t size)
    {
        Plan plan;
        if (!plan.parse(blob, size))
        {
            mLogger->log(ILogger::Severity::kERROR, "this is no plan of the double's");
            return nullptr;
        }
        if (plan.bringsHostCode && !mHostCode)
        {
            mLogger->log(ILogger::Severity::kERROR, "IRuntime::getEngineHostCodeAllowed() is false.");
            return nullptr;
        }
        if (plan.wantsLeanRuntime && !mLean)
        {
            mLogger->log(ILogger::Severity::kERROR, "Version tag does not match.");
            return nullptr;
        }
        if (!plan.needsPlugin.empty())
        {
            std::string const line = "Cannot find plugin: " + plan.needsPlugin + ", version: 1, namespace:.";
            mLogger->log(ILogger::Severity::kERROR, line.c_str());
            return nullptr;
        }
        return new Handle<ICudaEngine, Engine>(std::move(plan), mLogger);
    }

    ILogger* mLogger;
    IErrorRecorder* mRecorder = nullptr;
    int32_t mThreads = 1;
    bool mLean;
    bool mHostCode = false;
};
} // namespace

#include "builder.hpp"
#include "refitter.hpp"

// ---- What libnvinfer exports

#pragma GCC visibility push(default)
extern "C"
{
int32_t getInferLibVersion() noexcept
{
    return VERSION;
}

void* createInferRuntime_INTERNAL(void* opaque, int32_t version) noexcept
{
    auto* logger = static_cast<ILogger*>(opaque);
    Call{"", "createInferRuntime_INTERNAL"}(version);
    if (!gFirstLogger)
    {
        gFirstLogger = logger;
    }
#if HAS_VERSIONED_LOGGER
    InterfaceInfo const info = logger->getInterfaceInfo();
    Call{"ILogger", "getInterfaceInfo"}(info.kind, info.major, info.minor);
    Call{"ILogger", "getAPILanguage"}(logger->getAPILanguage());
#endif
    if (version != VERSION)
    {
        logger->log(ILogger::Severity::kERROR, "the version is not the library's");
        return nullptr;
    }
    logger->log(ILogger::Severity::kINFO, "this is a test double");
    return new Handle<IRuntime, Runtime>(logger);
}

void* createInferBuilder_INTERNAL(void* logger, int32_t version) noexcept
{
    Call{"", "createInferBuilder_INTERNAL"}(version);
    return new Handle<IBuilder, Builder>(static_cast<ILogger*>(logger));
}

void* createInferRefitter_INTERNAL(void* engine, void* logger, int32_t version) noexcept
{
    Call{"", "createInferRefitter_INTERNAL"}(version);
    Engine& refitted = *Engine::engines().at(static_cast<ICudaEngine*>(engine));
    return new Handle<IRefitter, Refitter>(refitted, static_cast<ILogger*>(logger));
}

IPluginRegistry* getPluginRegistry() noexcept
{
    return &gRegistry;
}

ILogger* getLogger() noexcept
{
    return gFirstLogger;
}

bool initLibNvInferPlugins(void* logger, char const* libNamespace)
{
    Call{"", "initLibNvInferPlugins"}(libNamespace);
    static_cast<ILogger*>(logger)->log(ILogger::Severity::kVERBOSE, "plugins");
    return true;
}

// ---- What tests ask the double

// Starts or ends recording.
void doubleRecord(bool on)
{
    gRecording = on;
}

// What was recorded since the last time, a call a line. The string lives until the next call.
char const* doubleTake()
{
    static std::string taken;
    std::lock_guard<std::mutex> lock(gMutex);
    taken.swap(gRecord);
    gRecord.clear();
    return taken.c_str();
}

// How many runtimes, engines, contexts, … are not deleted.
int64_t doubleAlive()
{
    std::lock_guard<std::mutex> lock(gMutex);
    return gAlive;
}

// Nanoseconds that so many calls of enqueueV3 take as C++ calls it.
int64_t doubleCallsFromCpp(void* context, int64_t count, void* stream)
{
    auto* called = static_cast<IExecutionContext*>(context);
    auto const start = std::chrono::steady_clock::now();
    for (int64_t i = 0; i < count; ++i)
    {
        if (!called->enqueueV3(static_cast<cudaStream_t>(stream)))
        {
            return -1;
        }
    }
    auto const end = std::chrono::steady_clock::now();
    return std::chrono::duration_cast<std::chrono::nanoseconds>(end - start).count();
}
} // extern "C"
#pragma GCC visibility pop
