// The double of TensorRT's ONNX parser, a library of its own: fills a network through the official headers.
//
// A "model" is lines of text after the word "double-onnx", up to a NUL; bytes before that word are ignored:
//     input x 0 -1,4          name, DataType, shape
//     node conv_1             a layer of that name, on the last tensor
//     conv conv_1 1.5,3       a convolution with these weights
//     output y                the last tensor is an output of that name
//     reads weights.bin       a file beside the model
//     fails 1 bad Bad         an error at the node of that index, name and operator

#include "NvInfer.h"
#include "NvOnnxParser.h"

#include "record.hpp"

#include <cstring>
#include <deque>
#include <fstream>
#include <memory>
#include <vector>

// What only some headers declare.
namespace nvonnxparser
{
class IRefitterObserver;
enum class OnnxParserFlag : int32_t;
using OnnxParserFlags = uint32_t;
} // namespace nvonnxparser

using namespace nvonnxparser;

namespace
{

class ParserError final : public IParserError
{
public:
    static constexpr char const* kSELF = "IParserError";

    ParserError(int node, std::string name, std::string op, std::string desc)
        : mNode(node)
        , mName(std::move(name))
        , mOperator(std::move(op))
        , mDesc(std::move(desc))
    {
    }
    // Not overridden everywhere: the base class has no virtual destructor in every version.
    ~ParserError() = default;

    char const* desc() const noexcept
    {
        RECORD();
        return mDesc.c_str();
    }
    int node() const noexcept
    {
        RECORD();
        return mNode;
    }
    char const* nodeName() const noexcept
    {
        RECORD();
        return mName.c_str();
    }
    char const* nodeOperator() const noexcept
    {
        RECORD();
        return mOperator.c_str();
    }
    nvonnxparser::ErrorCode code() const noexcept
    {
        return nvonnxparser::ErrorCode::kUNSUPPORTED_NODE;
    }
    NEVER(char const*, file, () const)
    NEVER(int, line, () const)
    NEVER(char const*, func, () const)
    NEVER(char const* const*, localFunctionStack, () const)
    NEVER(int32_t, localFunctionStackSize, () const)

private:
    int mNode;
    std::string mName;
    std::string mOperator;
    std::string mDesc;
};

// "1.5,3", as the last of a line's words.
std::vector<float> numbers(std::istringstream& words)
{
    std::string list, number;
    words >> list;
    std::vector<float> all;
    std::istringstream each(list);
    while (std::getline(each, number, ','))
    {
        all.push_back(std::stof(number));
    }
    return all;
}

class Parser final : public IParser
{
public:
    static constexpr char const* kSELF = "IParser";

    explicit Parser(INetworkDefinition* network)
        : mNetwork(network)
    {
    }
    ~Parser()
    {
        Call{kSELF, "~"}();
    }

    bool parse(void const* model, size_t size, char const* path) noexcept
    {
        RECORD(size, path);
        std::string const bytes(static_cast<char const*>(model), size);
        size_t const start = bytes.find("double-onnx");
        if (start == std::string::npos)
        {
            return fail(-1, "", "", "Failed to parse the ONNX model.");
        }
        std::istringstream lines(bytes.substr(start, bytes.find('\0', start) - start));
        std::string line;
        std::getline(lines, line);
        ITensor* last = nullptr;
        bool done = true;
        while (std::getline(lines, line))
        {
            std::istringstream words(line);
            std::string word, name;
            words >> word >> name;
            if (word == "input")
            {
                int32_t type = 0;
                std::string extents, extent;
                words >> type >> extents;
                Dims dims{};
                std::istringstream parts(extents);
                while (std::getline(parts, extent, ','))
                {
                    dims.d[dims.nbDims++] = std::stol(extent);
                }
                ITensor* input = mNetwork->addInput(name.c_str(), static_cast<DataType>(type), dims);
                last = last ? last : input;
            }
            else if (word == "node")
            {
                auto* layer = mNetwork->addIdentity(*last);
                layer->setName(name.c_str());
#if NV_TENSORRT_MAJOR != 8 || NV_TENSORRT_MINOR >= 6
                layer->setMetadata(("[ONNX Layer: " + name + "]").c_str());
#endif
                last = layer->getOutput(0);
            }
            else if (word == "conv")
            {
                std::vector<float> const& values = keep(words);
                Weights const kernel{DataType::kFLOAT, values.data(), static_cast<int64_t>(values.size())};
                auto* layer = mNetwork->addConvolutionNd(*last, 1, Dims{1, {1}}, kernel, Weights{DataType::kFLOAT, nullptr, 0});
                layer->setName(name.c_str());
                last = layer->getOutput(0);
            }
            else if (word == "output")
            {
                last->setName(name.c_str());
                mNetwork->markOutput(*last);
            }
            else if (word == "reads")
            {
                std::string const folder = path ? std::string(path).substr(0, std::string(path).rfind('/') + 1) : "";
                done = std::ifstream(folder + name).good() || fail(-1, "", "", "Failed to open file: " + name);
            }
            else if (word == "fails")
            {
                std::string op;
                words >> line >> op;
                done = fail(std::stoi(name), line, op, "No importer registered for op: " + op);
            }
        }
        return done;
    }
    // One that it lacks in every version.
    bool supportsOperator(char const* name) const noexcept
    {
        RECORD(name);
        return std::string(name) != "Mish";
    }
    int getNbErrors() const noexcept
    {
        RECORD();
        return static_cast<int>(mErrors.size());
    }
    IParserError const* getError(int index) const noexcept
    {
        RECORD(index);
        return mErrors.at(index).get();
    }
#if NV_TENSORRT_MAJOR != 8 || NV_TENSORRT_MINOR >= 6
    void setFlag(OnnxParserFlag flag) noexcept
    {
        RECORD(flag == OnnxParserFlag::kNATIVE_INSTANCENORM);
    }
    void clearFlag(OnnxParserFlag flag) noexcept
    {
        RECORD(flag == OnnxParserFlag::kNATIVE_INSTANCENORM);
    }
#endif
#if NV_TENSORRT_MAJOR == 8
    void destroy() noexcept
    {
        delete this;
    }
#endif
#if NV_TENSORRT_MAJOR == 8 || NV_TENSORRT_MAJOR == 10
    NEVER(bool, supportsModel, (void const*, size_t, SubGraphCollection_t&, char const*))
#endif
    NEVER(void, setRefitObserver, (IRefitterObserver*))
    NEVER(bool, parseFromFile, (const char *, int))
    NEVER(bool, parseWithWeightDescriptors, (const void *, size_t))
    NEVER(void, clearErrors, ())
    NEVER(const char *const *, getUsedVCPluginLibraries, (int64_t &) const)
    NEVER(void, setFlags, (OnnxParserFlags))
    NEVER(OnnxParserFlags, getFlags, () const)
    NEVER(bool, getFlag, (OnnxParserFlag) const)
    NEVER(const ITensor *, getLayerOutputTensor, (const char *, int64_t))
    NEVER(bool, supportsModelV2, (const void *, size_t, const char *))
    NEVER(int64_t, getNbSubgraphs, ())
    NEVER(bool, isSubgraphSupported, (const int64_t))
    NEVER(int64_t *, getSubgraphNodes, (const int64_t, int64_t &))
    NEVER(bool, loadModelProto, (const void *, size_t, const char *))
    NEVER(bool, loadInitializer, (const char *, const void *, size_t))
    NEVER(bool, parseModelProto, ())
    NEVER(bool, setBuilderConfig, (const IBuilderConfig *const))

private:
    bool fail(int node, std::string name, std::string op, std::string desc)
    {
        mErrors.push_back(std::make_unique<ParserError>(node, std::move(name), std::move(op), std::move(desc)));
        return false;
    }

    // As TensorRT's parser does, it holds the weights.
    std::vector<float> const& keep(std::istringstream& words)
    {
        return mWeights.emplace_back(numbers(words));
    }

    INetworkDefinition* mNetwork;
    std::deque<std::vector<float>> mWeights;
    std::vector<std::unique_ptr<ParserError>> mErrors;
};

#if NV_TENSORRT_MAJOR != 8
class ParserRefitter final : public IParserRefitter
{
public:
    static constexpr char const* kSELF = "IParserRefitter";

    explicit ParserRefitter(IRefitter* refitter)
        : mRefitter(refitter)
    {
    }
    ~ParserRefitter()
    {
        Call{kSELF, "~"}();
    }

    bool refitFromBytes(void const* model, size_t size, char const* path) noexcept
    {
        RECORD(size, path);
        std::string const bytes(static_cast<char const*>(model), size);
        size_t const start = bytes.find("double-onnx");
        std::istringstream lines(start == std::string::npos ? "" : bytes.substr(start, bytes.find('\0', start) - start));
        bool done = start != std::string::npos;
        std::string line;
        while (std::getline(lines, line))
        {
            std::istringstream words(line);
            std::string word, name;
            words >> word >> name;
            if (word == "conv")
            {
                std::vector<float> const& values = mWeights.emplace_back(numbers(words));
                Weights const kernel{DataType::kFLOAT, values.data(), static_cast<int64_t>(values.size())};
                if (!mRefitter->setNamedWeights(name.c_str(), kernel))
                {
                    mErrors.push_back(std::make_unique<ParserError>(0, name, "Conv", "Failed to set weights: " + name));
                    done = false;
                }
            }
        }
        return done;
    }
    int32_t getNbErrors() const noexcept
    {
        RECORD();
        return static_cast<int32_t>(mErrors.size());
    }
    IParserError const* getError(int32_t index) const noexcept
    {
        RECORD(index);
        return mErrors.at(index).get();
    }
    // Not declared so everywhere.
    void clearErrors() {}
    NEVER(bool, refitFromFile, (char const*))
    NEVER(bool, loadModelProto, (void const*, size_t, char const*))
    NEVER(bool, loadInitializer, (char const*, void const*, size_t))
    NEVER(bool, refitModelProto, ())
    NEVER(void, setRefitObserver, (IRefitterObserver*))

private:
    IRefitter* mRefitter;
    std::deque<std::vector<float>> mWeights;
    std::vector<std::unique_ptr<ParserError>> mErrors;
};
#endif
} // namespace

#pragma GCC visibility push(default)
extern "C"
{
int getNvOnnxParserVersion() noexcept
{
    return NV_ONNX_PARSER_VERSION;
}

void* createNvOnnxParser_INTERNAL(void* network, void*, int version) noexcept
{
    Call{"", "createNvOnnxParser_INTERNAL"}(version);
    return version == NV_ONNX_PARSER_VERSION ? new Parser(static_cast<INetworkDefinition*>(network)) : nullptr;
}

#if NV_TENSORRT_MAJOR != 8
void* createNvOnnxParserRefitter_INTERNAL(void* refitter, void*, int32_t version) noexcept
{
    Call{"", "createNvOnnxParserRefitter_INTERNAL"}(version);
    return version == NV_ONNX_PARSER_VERSION ? new ParserRefitter(static_cast<IRefitter*>(refitter)) : nullptr;
}
#endif

// As in double.cpp.
void parserRecord(bool on)
{
    gRecording = on;
}

char const* parserTake()
{
    static std::string taken;
    std::lock_guard<std::mutex> lock(gMutex);
    taken.swap(gRecord);
    gRecord.clear();
    return taken.c_str();
}
} // extern "C"
#pragma GCC visibility pop
