// Brain extraction: a T1 head in, a mask of the brain and three pictures out, with the network run by planrt.
//
// The same program runs an ONNX model on the CPU and a TensorRT plan on the GPU: planrt tells them apart by content.

#include "arguments.hpp"
#include "interruptible.hpp"
#include "overlay.hpp"
#include "volume.hpp"

#include <planrt.hpp>

#include <itkMacro.h>

#include <chrono>
#include <cstdio>
#include <filesystem>
#include <stdexcept>
#include <string>
#include <type_traits>

namespace {

constexpr int exit_failure = 1;
constexpr int exit_usage = 2;
constexpr int exit_interrupted = 130;  // what a shell says of a program that Ctrl-C ended

/// Runs a stage, prints what it took and hands on what it gives, if anything.
template <class Work>
auto timed(const char* stage, const Work& work) {
    const auto start = std::chrono::steady_clock::now();
    const auto print = [&] {
        const std::chrono::duration<double, std::milli> elapsed = std::chrono::steady_clock::now() - start;
        std::printf("  %-20s %8.1f ms\n", stage, elapsed.count());
    };
    if constexpr (std::is_void_v<decltype(work())>) {
        work();
        print();
    } else {
        auto result = work();
        print();
        return result;
    }
}

void require_file(const std::filesystem::path& path) {
    if (!std::filesystem::exists(path)) {
        throw std::runtime_error(path.string() + " does not exist");
    }
    if (!std::filesystem::is_regular_file(path)) {
        throw std::runtime_error(path.string() + " is not a file");
    }
}

/// The network's probability of brain, on the grid of `image`.
Volume::Pointer infer(planrt::Context& context, const Volume* image) {
    const auto probability = Volume::New();
    probability->CopyInformation(image);
    probability->SetRegions(image->GetLargestPossibleRegion());
    probability->Allocate();

    const std::size_t bytes = image->GetPixelContainer()->Size() * sizeof(float);
    const auto type = planrt::element_type_of<float>;
    const planrt::Shape shape = {1, 1, network_side, network_side, network_side};
    const auto input = planrt::Tensor::input("image", image->GetBufferPointer(), bytes, type, shape);
    const auto output = planrt::Tensor::output("prob", probability->GetBufferPointer(), bytes, type);
    run_interruptibly([&] { context.run({input}, {output}); }, [&] { context.cancel(); });
    return probability;
}

void run(const Arguments& arguments) {
    require_file(arguments.model);
    require_file(arguments.volume);
    if (arguments.reference) {
        require_file(*arguments.reference);
    }
    std::filesystem::create_directories(arguments.out);

    planrt::RuntimeOptions runtime_options;
    runtime_options.device = arguments.device;
    runtime_options.tensorrt_path = arguments.tensorrt;
    runtime_options.log = [](planrt::LogLevel, const char* message) { std::fprintf(stderr, "planrt: %s\n", message); };
    planrt::EngineOptions engine_options;
    engine_options.cpu_threads = arguments.threads;

    const planrt::Runtime runtime(runtime_options);
    std::printf("planrt %s\n", planrt::version().c_str());
    const auto engine = timed("load the network", [&] {
        return planrt::Engine::from_file(runtime, arguments.model.string(), engine_options);
    });
    auto context = timed("make a context", [&] { return planrt::Context(engine); });
    const auto volume = timed("read the volume", [&] { return read_volume(arguments.volume); });
    const auto image = timed("prepare the image", [&] { return to_network(volume); });
    const auto probability = timed("run the network", [&] { return infer(context, image); });
    const auto mask = timed("resample the mask", [&] { return to_mask(probability, volume); });
    timed("write the mask", [&] { write_mask(mask, arguments.out / "mask.nii.gz"); });
    timed("draw the overlays", [&] { write_overlays(volume, mask, arguments.out); });

    std::printf("backend  %s\n", engine.backend() == planrt::Backend::tensorrt ? "TensorRT" : "CPU");
    std::printf("device   %s\n", engine.device_name().c_str());
    std::printf("brain    %.1f ml\n", millilitres(mask));
    if (arguments.reference) {
        const auto reference = to_reference_mask(read_volume(*arguments.reference), volume);
        std::printf("Dice     %.4f against %s\n", dice(mask, reference), arguments.reference->filename().c_str());
    }
    std::printf("written  %s\n", (arguments.out / "{mask.nii.gz,axial.png,coronal.png,sagittal.png}").c_str());
}

}  // namespace

int main(int argc, char** argv) {
    try {
        const Arguments arguments = parse_arguments(argc, argv);
        if (arguments.help) {
            std::fputs(usage, stdout);
            return 0;
        }
        run(arguments);
        return 0;
    } catch (const UsageError& error) {
        std::fprintf(stderr, "brain_extraction: %s\n\n%s", error.what(), usage);
        return exit_usage;
    } catch (const planrt::Error& error) {
        if (error.code() == planrt::ErrorCode::cancelled) {
            std::fputs("brain_extraction: cancelled\n", stderr);
            return exit_interrupted;
        }
        std::fprintf(stderr, "brain_extraction: %s\n", error.what());
        if (!error.detail().empty()) {
            std::fprintf(stderr, "%s\n", error.detail().c_str());
        }
    } catch (const itk::ExceptionObject& error) {
        std::fprintf(stderr, "brain_extraction: %s\n", error.GetDescription());
    } catch (const std::exception& error) {
        std::fprintf(stderr, "brain_extraction: %s\n", error.what());
    }
    return exit_failure;
}
