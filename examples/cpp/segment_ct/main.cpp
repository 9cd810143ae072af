// A scan in, labels on its own grid out: ITK reads and writes, planrt's segmenter does all that is between.
//
// The model is a folder: an ONNX file or a TensorRT plan, and a recipe.json, nnU-Net's plans.json or a MONAI bundle beside it. The
// same program runs on a GPU and without one.

#include <planrt.hpp>

#include <itkImage.h>
#include <itkImageFileReader.h>
#include <itkImageFileWriter.h>
#include <itkMacro.h>

#include <unistd.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <csignal>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <map>
#include <optional>
#include <stdexcept>
#include <string>

namespace {

using Image = itk::Image<float, 3>;
using Labels = itk::Image<std::uint16_t, 3>;

constexpr int exit_failure = 1;
constexpr int exit_usage = 2;
constexpr int exit_interrupted = 130;  // what a shell says of a program that Ctrl-C ended

const char* const usage =
    R"(usage: segment_ct MODEL SCAN --out MASK [--overlay PICTURE] [--reference MASK]

  MODEL              the folder with the model and its description
  SCAN               a volume that ITK reads: NIfTI, NRRD, MetaImage
  --out MASK         where the labels go
  --overlay PICTURE  a PNG with the labels over the scan, which is a NIfTI file then
  --reference MASK   one on the scan's grid to compare with: every voxel above 0 is part of it
)";

struct Arguments {
    std::string model;
    std::string scan;
    std::string out;
    std::string overlay;
    std::string reference;
};

std::optional<Arguments> parse(int argc, char** argv) {
    Arguments arguments;
    const std::map<std::string, std::string*> options = {
        {"--out", &arguments.out}, {"--overlay", &arguments.overlay}, {"--reference", &arguments.reference}};
    for (int i = 1; i < argc; ++i) {
        const auto option = options.find(argv[i]);
        if (option != options.end() && i + 1 < argc) {
            *option->second = argv[++i];
        } else if (argv[i][0] != '-' && arguments.scan.empty()) {
            (arguments.model.empty() ? arguments.model : arguments.scan) = argv[i];
        } else {
            return std::nullopt;
        }
    }
    return arguments.scan.empty() || arguments.out.empty() ? std::nullopt : std::optional(arguments);
}

template <class Any>
typename Any::Pointer read(const std::string& path) {
    const auto reader = itk::ImageFileReader<Any>::New();
    reader->SetFileName(path);
    reader->Update();
    return reader->GetOutput();
}

/// ITK's image as planrt takes it. ITK counts axes from the fastest, planrt from the slowest; both are in LPS.
planrt::Volume volume_of(const Image* image) {
    planrt::Volume volume;
    volume.data = image->GetBufferPointer();
    volume.size_bytes = image->GetPixelContainer()->Size() * sizeof(Image::PixelType);
    volume.element_type = planrt::element_type_of<Image::PixelType>;
    const auto size = image->GetLargestPossibleRegion().GetSize();
    for (unsigned axis = 0; axis < 3; ++axis) {
        volume.extents[2 - axis] = static_cast<std::int64_t>(size[axis]);
        volume.spacing_mm[2 - axis] = image->GetSpacing()[axis];
        volume.origin_mm[axis] = image->GetOrigin()[axis];
        for (unsigned row = 0; row < 3; ++row) {
            volume.direction[3 * row + axis] = image->GetDirection()[row][axis];
        }
    }
    return volume;
}

volatile std::sig_atomic_t interrupted = 0;

/// Waits for the labels; Ctrl-C cancels. A line tells how far it is where stderr is a terminal.
void wait(const planrt::Segmentation& segmentation) {
    const bool is_terminal = isatty(STDERR_FILENO) != 0;
    const auto start = std::chrono::steady_clock::now();
    while (!segmentation.wait(std::chrono::milliseconds(200))) {
        if (interrupted) {
            segmentation.cancel();
        }
        const auto [done, count] = segmentation.progress();
        const std::chrono::duration<double> elapsed = std::chrono::steady_clock::now() - start;
        if (is_terminal && count > 0) {
            std::fprintf(stderr, "\r%lld of %lld tiles", static_cast<long long>(done), static_cast<long long>(count));
            if (done > 0) {
                std::fprintf(stderr, ", %.0f s left ", elapsed.count() / static_cast<double>(done) * static_cast<double>(count - done));
            }
        }
    }
    if (is_terminal) {
        std::fputs("\r\33[K", stderr);
    }
}

/// The overlap of what is labelled with a reference: 1 if they are the same, 0 if they are apart.
double dice(const Labels* labels, const Image* reference) {
    const std::size_t count = labels->GetPixelContainer()->Size();
    if (reference->GetLargestPossibleRegion() != labels->GetLargestPossibleRegion()) {
        throw std::runtime_error("the reference is not on the scan's grid");
    }
    std::size_t in_both = 0;
    std::size_t in_each = 0;
    for (std::size_t i = 0; i < count; ++i) {
        const bool is_a = labels->GetBufferPointer()[i] != 0;
        const bool is_b = reference->GetBufferPointer()[i] > 0;
        in_both += is_a && is_b;
        in_each += std::size_t(is_a) + std::size_t(is_b);
    }
    return in_each == 0 ? 1 : 2.0 * static_cast<double>(in_both) / static_cast<double>(in_each);
}

void run(const Arguments& arguments) {
    planrt::RuntimeOptions options;
    options.log = [](planrt::LogLevel, const char* message) { std::fprintf(stderr, "planrt: %s\n", message); };
    const planrt::Runtime runtime(options);
    const planrt::Segmenter segmenter(runtime, arguments.model);

    const auto image = read<Image>(arguments.scan);
    const auto labels = Labels::New();
    labels->CopyInformation(image);
    labels->SetRegions(image->GetLargestPossibleRegion());
    labels->Allocate();
    planrt::LabelMap map;
    map.data = labels->GetBufferPointer();
    map.size_bytes = labels->GetPixelContainer()->Size() * sizeof(Labels::PixelType);
    map.element_type = planrt::element_type_of<Labels::PixelType>;

    const auto start = std::chrono::steady_clock::now();
    const planrt::Segmentation segmentation = segmenter.submit(volume_of(image), map);
    wait(segmentation);
    const std::chrono::duration<double> elapsed = std::chrono::steady_clock::now() - start;
    std::printf("segmented in %.1f s\n", elapsed.count());

    const auto writer = itk::ImageFileWriter<Labels>::New();
    writer->SetInput(labels);
    writer->SetFileName(arguments.out);
    writer->UseCompressionOn();
    writer->Update();
    std::printf("written  %s\n", arguments.out.c_str());
    if (!arguments.overlay.empty()) {
        // ITK keeps the order of a NIfTI file's voxels, so the labels are those of the file, too.
        planrt::Scan(arguments.scan).write_overlay(arguments.overlay, map);
        std::printf("written  %s\n", arguments.overlay.c_str());
    }

    std::map<unsigned, std::size_t> counts;
    std::for_each(labels->GetBufferPointer(), labels->GetBufferPointer() + labels->GetPixelContainer()->Size(),
                  [&](unsigned label) { counts[label] += label != 0; });
    const auto spacing = image->GetSpacing();
    for (const auto& [label, count] : counts) {
        if (label != 0) {
            std::printf("label %u  %.1f ml\n", label, static_cast<double>(count) * spacing[0] * spacing[1] * spacing[2] / 1000);
        }
    }
    if (!arguments.reference.empty()) {
        std::printf("Dice     %.4f against %s\n", dice(labels, read<Image>(arguments.reference)), arguments.reference.c_str());
    }
}

}  // namespace

int main(int argc, char** argv) {
    if (argc == 2 && std::strcmp(argv[1], "--help") == 0) {
        std::fputs(usage, stdout);
        return 0;
    }
    const auto arguments = parse(argc, argv);
    if (!arguments) {
        std::fputs(usage, stderr);
        return exit_usage;
    }
    std::signal(SIGINT, [](int) { interrupted = 1; });
    try {
        run(*arguments);
        return 0;
    } catch (const planrt::Error& error) {
        std::fprintf(stderr, "segment_ct: %s\n%s", error.what(), error.detail().c_str());
        return error.code() == planrt::ErrorCode::cancelled ? exit_interrupted : exit_failure;
    } catch (const itk::ExceptionObject& error) {
        std::fprintf(stderr, "segment_ct: %s\n", error.GetDescription());
    } catch (const std::exception& error) {
        std::fprintf(stderr, "segment_ct: %s\n", error.what());
    }
    return exit_failure;
}
