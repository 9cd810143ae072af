// Builds a small plan with TensorRT-RTX, whose builder needs neither a GPU nor a driver, and writes it to a file.
//
// usage: build_plan LIBTENSORRT_RTX PLAN        (compiled against the official headers of that library's release)

#include <NvInfer.h>

#include <dlfcn.h>

#include <cstdio>
#include <fstream>
#include <memory>

using namespace nvinfer1;

namespace {

class Logger : public ILogger {
    void log(Severity severity, const char* message) noexcept override {
        if (severity <= Severity::kWARNING) std::fprintf(stderr, "TensorRT-RTX: %s\n", message);
    }
};

// A convolution and a ReLU: x (b,1,8,8) gives y (b,4,6,6), for a batch of 1 to 4.
std::unique_ptr<IHostMemory> build(IBuilder& builder) {
    const std::unique_ptr<INetworkDefinition> network(builder.createNetworkV2(0));
    ITensor* input = network->addInput("x", DataType::kFLOAT, Dims4{-1, 1, 8, 8});
    static float weights[4 * 3 * 3] = {1, 2, 3};
    const Weights kernel{DataType::kFLOAT, weights, 4 * 3 * 3}, bias{DataType::kFLOAT, nullptr, 0};
    auto* convolution = network->addConvolutionNd(*input, 4, DimsHW{3, 3}, kernel, bias);
    auto* relu = network->addActivation(*convolution->getOutput(0), ActivationType::kRELU);
    relu->getOutput(0)->setName("y");
    network->markOutput(*relu->getOutput(0));

    const std::unique_ptr<IBuilderConfig> config(builder.createBuilderConfig());
    IOptimizationProfile* profile = builder.createOptimizationProfile();
    profile->setDimensions("x", OptProfileSelector::kMIN, Dims4{1, 1, 8, 8});
    profile->setDimensions("x", OptProfileSelector::kOPT, Dims4{2, 1, 8, 8});
    profile->setDimensions("x", OptProfileSelector::kMAX, Dims4{4, 1, 8, 8});
    config->addOptimizationProfile(profile);
    return std::unique_ptr<IHostMemory>(builder.buildSerializedNetwork(*network, *config));
}

}  // namespace

int main(int argc, char** argv) {
    if (argc != 3) return 2;
    void* library = dlopen(argv[1], RTLD_NOW | RTLD_LOCAL);
    void* create = library ? dlsym(library, "createInferBuilder_INTERNAL") : nullptr;
    if (create == nullptr) {
        std::fprintf(stderr, "build_plan: %s\n", dlerror());
        return 1;
    }
    Logger logger;
    const std::unique_ptr<IBuilder> builder(
        static_cast<IBuilder*>(reinterpret_cast<void* (*)(void*, int)>(create)(&logger, NV_TENSORRT_VERSION)));
    const std::unique_ptr<IHostMemory> plan = builder ? build(*builder) : nullptr;
    if (plan == nullptr) return 1;
    std::ofstream file(argv[2], std::ios::binary);
    file.write(static_cast<const char*>(plan->data()), static_cast<std::streamsize>(plan->size()));
    return file ? 0 : 1;
}
