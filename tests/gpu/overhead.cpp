// What planrt costs over plain TensorRT: loading, enqueueing, and a run from host memory to host memory, on the same plan,
// in one process, turn by turn so that clocks and neighbours touch both alike. Prints medians and their ratio.
//
// usage: overhead PLAN BATCH ROUNDS      (a plan with one input (b,1,...) and one output; 20 rounds at the least)

#include "plain.hpp"
#include "timing.hpp"

#include <planrt.hpp>

#include <algorithm>
#include <cstring>
#include <functional>

namespace {

double microseconds(const std::function<void()>& work) {
    const auto start = Clock::now();
    work();
    return 1e6 * since(start);
}

// Times both, turn by turn; every other round the other one goes first.
void compare(const char* what, int rounds, const std::function<double()>& plain, const std::function<double()>& ours) {
    std::vector<double> plain_times, our_times;
    for (int round = -rounds / 10; round < rounds; ++round) {
        const bool plain_first = round % 2 == 0;
        const double first = plain_first ? plain() : ours();
        const double second = plain_first ? ours() : plain();
        if (round < 0) continue;  // to warm up
        plain_times.push_back(plain_first ? first : second);
        our_times.push_back(plain_first ? second : first);
    }
    const double plain_median = median(plain_times), our_median = median(our_times);
    std::printf("%-34s plain %10.2f us   planrt %10.2f us   ratio %.4f   (medians of %d)\n", what, plain_median, our_median,
                our_median / plain_median, rounds);
    std::fflush(stdout);
}

}  // namespace

int main(int argc, char** argv) try {
    if (argc != 4) {
        std::fprintf(stderr, "usage: overhead PLAN BATCH ROUNDS\n");
        return 2;
    }
    const std::string path = argv[1];
    const int64_t batch = std::atoll(argv[2]);
    const int rounds = std::max(std::atoi(argv[3]), 20);

    plain::Cuda cuda;
    cuda.start();
    plain::TensorRt tensorrt;
    planrt::Runtime runtime;
    runtime.load_tensorrt();

    compare("load a mapped plan", std::max(rounds / 50, 20),
            [&] {
                plain::Handle* engine = nullptr;
                const double time = microseconds([&] {
                    const plain::Mapped plan(path);
                    engine = tensorrt.deserialize(plan.data, plan.size);
                });
                engine->destroy();
                return time;
            },
            [&] {
                std::optional<planrt::Engine> engine;
                return microseconds([&] { engine = planrt::Engine::from_file(runtime, path); });
            });

    planrt::Engine engine = planrt::Engine::from_file(runtime, path);
    const auto tensors = engine.tensors();
    const std::string input = tensors.at(0).name, output = tensors.at(1).name;
    planrt::Shape shape = tensors[0].shape;
    shape[0] = batch;

    // Each has a context of its own on an engine of its own: under 8.5 a profile serves one.
    const plain::Mapped plan(path);
    plain::Handle* plain_engine = tensorrt.deserialize(plan.data, plan.size);
    plain::Handle* plain_context = plain::create_context(plain_engine);
    plain::Handle* other_engine = tensorrt.deserialize(plan.data, plan.size);
    plain::Handle* other_context = plain::create_context(other_engine);
    planrt::Context context(engine);
    context.set_shape(input, shape);
    const size_t input_bytes = context.size(input), output_bytes = context.size(output);
    plain::Dims dims{static_cast<int32_t>(shape.size()), {}};
    std::copy(shape.begin(), shape.end(), dims.extents);
    for (plain::Handle* each : {plain_context, other_context}) {
        if (!plain::set_input_shape(each, input.c_str(), dims)) plain::fail("the shape is not taken");
    }

    const plain::Stream stream = cuda.stream();
    planrt::Stream our_stream = planrt::Stream::wrap(runtime, stream);
    const auto device_input = cuda.device_memory(input_bytes), device_output = cuda.device_memory(output_bytes);
    for (plain::Handle* each : {plain_context, other_context}) {
        plain::set_tensor_address(each, input.c_str(), device_input);
        plain::set_tensor_address(each, output.c_str(), device_output);
    }
    context.bind(input, reinterpret_cast<void*>(device_input), input_bytes);
    context.bind(output, reinterpret_cast<void*>(device_output), output_bytes);

    std::printf("%s, batch %lld: %zu bytes in, %zu bytes out\n", path.c_str(), static_cast<long long>(batch), input_bytes,
                output_bytes);
    const auto plain_enqueue = [&](plain::Handle* each) {
        const double time = microseconds([&] { plain::enqueue(each, stream); });
        cuda.synchronize(stream);
        return time;
    };
    compare("enqueue (host time)", rounds, [&] { return plain_enqueue(plain_context); },
            [&] {
                const double time = microseconds([&] { context.enqueue(our_stream); });
                cuda.synchronize(stream);
                return time;
            });
    // How far two contexts of the same plan are apart without planrt: what a ratio here can say at best.
    compare("  control: plain against plain", rounds, [&] { return plain_enqueue(plain_context); },
            [&] { return plain_enqueue(other_context); });

    // Host to host, from ordinary memory: a plain program copies into page-locked memory and out of it again.
    std::vector<float> from(input_bytes / sizeof(float), 0.25f), to(output_bytes / sizeof(float));
    void* pinned_input = cuda.pinned_memory(input_bytes);
    void* pinned_output = cuda.pinned_memory(output_bytes);
    const auto transfer = [&] {
        cuda.copy(device_input, reinterpret_cast<plain::DeviceAddress>(pinned_input), input_bytes, stream);
        plain::enqueue(plain_context, stream);
        cuda.copy(reinterpret_cast<plain::DeviceAddress>(pinned_output), device_output, output_bytes, stream);
        cuda.synchronize(stream);
    };
    const std::vector<planrt::Tensor> inputs = {planrt::Tensor::input(input, from, shape)};
    const std::vector<planrt::Tensor> outputs = {planrt::Tensor::output(output, to)};
    compare("host to host, ordinary memory", rounds / 4,
            [&] {
                return microseconds([&] {
                    std::memcpy(pinned_input, from.data(), input_bytes);
                    transfer();
                    std::memcpy(to.data(), pinned_output, output_bytes);
                });
            },
            [&] { return microseconds([&] { context.run(inputs, outputs); }); });

    // The same from memory that is page-locked already.
    const auto element = planrt::ElementType::float32;
    const std::vector<planrt::Tensor> pinned_inputs = {planrt::Tensor::input(input, pinned_input, input_bytes, element, shape)};
    const std::vector<planrt::Tensor> pinned_outputs = {planrt::Tensor::output(output, pinned_output, output_bytes, element)};
    compare("host to host, page-locked memory", rounds / 4, [&] { return microseconds(transfer); },
            [&] { return microseconds([&] { context.run(pinned_inputs, pinned_outputs); }); });
    for (plain::Handle* each : {plain_context, other_context, plain_engine, other_engine}) each->destroy();
    return 0;
} catch (const planrt::Error& error) {
    std::fprintf(stderr, "overhead: %s\n%s\n", error.what(), error.detail().c_str());
    return 1;
}
