// What the driver or the device lacks: every call of the driver that may fail does so, and memory runs out at each size.
// An error comes of it and nothing else: nothing leaks, and once the trouble is over the same objects work.

#include "doubles.hpp"

namespace {

const char COPY[] = "profiles 2\nmemory 4096\ninput x 1 -1,4 1,4 2,4 1024,4\noutput y 1 -1,4\ncopies\n";

// Everything that planrt does on a GPU.
void everything(const Double& tensorrt) {
    planrt::Runtime runtime(tensorrt.options());
    runtime.load_tensorrt();
    const planrt::Engine engine = tensorrt.load(runtime, COPY);
    planrt::Context context(engine);
    const std::vector<float> x(1024 * 4, 0.5f);
    std::vector<float> y(x.size());
    context.run({planrt::Tensor::input("x", x, {1024, 4})}, {planrt::Tensor::output("y", y)});
    CHECK(x == y);
    planrt::Stream stream(runtime), other(runtime);
    const planrt::Buffer in(runtime, planrt::MemoryKind::device, 8192), out(runtime, planrt::MemoryKind::device, 8192);
    const planrt::Buffer pinned(runtime, planrt::MemoryKind::pinned, 8192);
    context.bind("x", in);
    context.bind("y", out);
    other.copy(in.data(), pinned.data(), 8192);
    stream.wait_for(other);
    context.enqueue(stream);
    static_cast<void>(stream.query());
    stream.synchronize();
    planrt::Context second(engine);
}

void driver_calls(const Double& tensorrt) {
    for (const std::string call :
         {"cuInit", "cuDriverGetVersion", "cuDeviceGetCount", "cuDeviceGet", "cuDeviceGetName", "cuDeviceTotalMem_v2",
          "cuDeviceGetAttribute", "cuDevicePrimaryCtxRetain", "cuCtxGetCurrent", "cuCtxSynchronize", "cuMemGetInfo_v2",
          "cuMemAlloc_v2", "cuMemHostAlloc", "cuPointerGetAttributes", "cuMemcpyAsync", "cuStreamCreateWithPriority",
          "cuStreamSynchronize", "cuStreamQuery", "cuStreamWaitEvent", "cuEventCreate", "cuEventRecord"}) {
        for (const int code : {2, 400, 719, 12345}) {  // out of memory, a bad handle, a lost device, and one without a name
            std::string said = "does without";
            const Setting fails("CUDA_DOUBLE_FAILS", call + "=" + std::to_string(code));
            try {
                everything(tensorrt);
            } catch (const planrt::Error& error) {
                said = error.what();
                CHECK(error.cuda_code() == code);
                CHECK(error.code() == (call == "cuInit" ? planrt::ErrorCode::no_cuda
                                       : code == 2      ? planrt::ErrorCode::out_of_memory
                                       : code == 719    ? planrt::ErrorCode::device_lost
                                                        : planrt::ErrorCode::cuda));
            }
            std::cout << "  " << call << ": " << said << "\n";
            CHECK(tensorrt.alive() == 0 && cuda_alive() == 0);
        }
    }
    // A device that shall not be left behind: none of these may be missing.
    for (const std::string call : {"cuInit", "cuMemAlloc_v2", "cuStreamCreateWithPriority", "cuMemcpyAsync"}) {
        const Setting fails("CUDA_DOUBLE_FAILS", call + "=719");
        bool failed = false;
        try {
            everything(tensorrt);
        } catch (const planrt::Error&) {
            failed = true;
        }
        CHECK(failed);
    }
}

void out_of_memory(const Double& tensorrt) {
    const planrt::Runtime runtime(tensorrt.options());
    const planrt::Engine engine = tensorrt.load(runtime, COPY);
    planrt::Context context(engine);
    const std::vector<float> x(1024 * 4, 0.5f);
    std::vector<float> y(x.size());
    const auto run = [&] {
        context.run({planrt::Tensor::input("x", x, {1024, 4})}, {planrt::Tensor::output("y", y)});
    };
    for (const int kib : {0, 4, 8, 12}) {
        const Setting memory("CUDA_DOUBLE_MEMORY", std::to_string(kib * 1024));
        const auto error = expect(planrt::ErrorCode::out_of_memory, "bytes free there: ", run);
        CHECK(error.cuda_code() == 2 && y[0] == 0);
    }
    run();
    CHECK(x == y);
    expect(planrt::ErrorCode::out_of_memory, "1099511627776 bytes",
           [&] { planrt::Buffer(runtime, planrt::MemoryKind::device, size_t{1} << 40); });
}

void devices(const Double& tensorrt) {
    planrt::RuntimeOptions options = tensorrt.options();
    options.device = 1;
    const planrt::Runtime second(options);
    {
        const Setting none("CUDA_DOUBLE_DEVICES", "0");
        expect(planrt::ErrorCode::no_cuda, "sees 0", [&] { second.load_tensorrt(); });
    }
    expect(planrt::ErrorCode::no_cuda, "sees 1", [&] { second.load_tensorrt(); });
    const Setting two("CUDA_DOUBLE_DEVICES", "2");
    // A failure is not remembered, and each device has its own context.
    const planrt::Engine there = tensorrt.load(second, COPY);
    const planrt::Runtime first(tensorrt.options());
    const planrt::Engine here = tensorrt.load(first, COPY);
    CHECK(there.device_name() == "CUDA double 1" && here.device_name() == "CUDA double 0");
    planrt::Context context(here);
    context.set_shape("x", {1, 4});
    const planrt::Buffer memory(first, planrt::MemoryKind::device, 8);
    context.bind("x", memory);
    context.bind("y", memory);
    planrt::Stream wrong(second);
    expect(planrt::ErrorCode::invalid_argument, "on device 1", [&] { context.enqueue(wrong); });
}

// A plan whose header names another GPU or TensorRT is refused before TensorRT sees it.
void headers(const Double& tensorrt) {
    const Setting capability("CUDA_DOUBLE_COMPUTE_CAPABILITY", "8.6");
    const planrt::Runtime runtime(tensorrt.options());
    const auto header = [](char patch) {
        std::string plan = "ptrt";
        plan += std::string(12, '\0');
        plan += std::string("\x2c\0\0\0\0\0\0\0", 8);
        for (const char part : {char(8), char(5), patch, char(1)}) plan += std::string("\x02\x80\x01\0", 4) + part;
        plan += std::string("\x12\x80\x01\0\x10\x80\x01\0", 8);
        for (const char part : {9, 0}) plan += std::string("\x07\x80\x01\0", 4) + part + std::string(3, '\0');
        return plan;
    };
    const std::string calls = tensorrt.calls([&] {
        const std::string plan = header(3);
        const auto error = expect(planrt::ErrorCode::incompatible_model, "8.6",
                                  [&] { return planrt::Engine::from_memory(runtime, plan.data(), plan.size()); });
        CHECK(holds(error.what(), "TensorRT 8.5.3 for compute capability 9.0") && holds(error.what(), tensorrt.name()));
    });
    CHECK(!holds(calls, "deserializeCudaEngine"));
}

}  // namespace

int main(int argc, char** argv) {
    on_each(doubles(argc, argv), {
        {"driver calls that fail", driver_calls},
        {"out of memory", out_of_memory},
        {"devices", devices},
        {"headers", headers},
    });
}
