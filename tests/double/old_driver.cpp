// A driver that lacks CUDA graphs, or that cannot leave a kernel of one out: old_driver DOUBLES 4|6, the minor version of the
// CUDA 11 that has what is missing. Sessions run all the same, and the doctor says what is done without.

#include "doubles.hpp"

int main(int argc, char** argv) {
    CHECK(argc == 3);
    const bool has_graphs = std::string(argv[2]) != "4";
    const auto launches = symbol<int64_t()>("libcuda.so.1", "cudaDoubleLaunches");
    for (const Double& tensorrt : doubles(2, argv)) {
        const int64_t before = launches();
        std::string log;
        planrt::RuntimeOptions options = tensorrt.options();
        options.log = [&](planrt::LogLevel level, const char* message) {
            if (level != planrt::LogLevel::info) log += std::string(message) + "\n";
        };
        const planrt::Runtime runtime(options);
        const planrt::Engine engine =
            tensorrt.load(runtime, "profiles 2\nmemory 4096\ninput x 0 -1,4 1,4 2,4 8,4\noutput y 0 -1,4\ncopies\n");
        planrt::Session session(engine);
        const planrt::Buffer x(runtime, planrt::MemoryKind::device, 32), y(runtime, planrt::MemoryKind::device, 32);
        planrt::Stream stream(runtime);
        for (int round = 0; round < 10; ++round) {
            const std::vector<float> values(8, static_cast<float>(round));
            std::vector<float> back(8);
            stream.copy(x.data(), values.data(), 32);
            stream.synchronize();
            session.run({planrt::Tensor::input("x", x, planrt::ElementType::float32, {2, 4})},
                        {planrt::Tensor::output("y", y, planrt::ElementType::float32)});
            stream.copy(back.data(), y.data(), 32);
            stream.synchronize();
            CHECK(back == values);
        }
        CHECK((launches() > before) == has_graphs);
        CHECK(log.empty());  // nothing is wrong
        const std::string report = planrt::doctor(tensorrt.options()).text;
        CHECK(holds(report, has_graphs ? "copies are no part of CUDA graphs" : "without CUDA graphs"));
    }
    return 0;
}
