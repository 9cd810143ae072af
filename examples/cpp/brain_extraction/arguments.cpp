#include "arguments.hpp"

#include <charconv>
#include <string_view>

const char* const usage =
    R"(usage: brain_extraction (--model FILE.onnx | --plan FILE.plan) --volume FILE --out DIR [options]

Finds the brain in a T1-weighted MR volume of the head, with deepbrain's network.

  --model FILE       the network as ONNX: runs on the CPU
  --plan FILE        the network as a TensorRT plan: runs on an NVIDIA GPU
  --volume FILE      the head, NIfTI, in any orientation and of any voxel size
  --out DIR          where mask.nii.gz, axial.png, coronal.png and sagittal.png go
  --reference FILE   a mask to compare with: every voxel above 0 is brain
  --tensorrt PATH    TensorRT's library or its folder; otherwise it is looked for
  --device N         ordinal of the GPU (default 0)
  --threads N        threads of the CPU (default: all)
)";

namespace {

int parse_number(std::string_view option, std::string_view text) {
    int number = 0;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
    if (error != std::errc() || end != text.data() + text.size() || number < 0) {
        throw UsageError(std::string(option) + " takes a number, not '" + std::string(text) + "'");
    }
    return number;
}

}  // namespace

Arguments parse_arguments(int argc, char** argv) {
    Arguments arguments;
    for (int i = 1; i < argc; ++i) {
        const std::string_view option = argv[i];
        if (option == "--help" || option == "-h") {
            arguments.help = true;
            return arguments;
        }
        const auto value = [&]() -> const char* {
            if (i + 1 == argc) {
                throw UsageError(std::string(option) + " takes a value");
            }
            return argv[++i];
        };
        if (option == "--model" || option == "--plan") {
            if (!arguments.model.empty()) {
                throw UsageError("one --model or one --plan, not several");
            }
            arguments.model = value();
        } else if (option == "--volume") {
            arguments.volume = value();
        } else if (option == "--out") {
            arguments.out = value();
        } else if (option == "--reference") {
            arguments.reference = value();
        } else if (option == "--tensorrt") {
            arguments.tensorrt = value();
        } else if (option == "--threads") {
            arguments.threads = parse_number(option, value());
        } else if (option == "--device") {
            arguments.device = parse_number(option, value());
        } else {
            throw UsageError("unknown argument '" + std::string(option) + "'");
        }
    }
    if (arguments.model.empty()) {
        throw UsageError("--model or --plan is missing");
    }
    if (arguments.volume.empty()) {
        throw UsageError("--volume is missing");
    }
    if (arguments.out.empty()) {
        throw UsageError("--out is missing");
    }
    return arguments;
}
