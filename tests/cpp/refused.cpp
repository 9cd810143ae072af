// What the compiler has to refuse, or to warn of: one case at a time. The test looks for the words that it should do so with.

#include <planrt.hpp>

void compiles(const planrt::Session& session, planrt::Context& context, const planrt::Runtime& runtime);
void compiles(const planrt::Session& session, planrt::Context& context, const planrt::Runtime& runtime) {
    static_cast<void>(runtime);
    static_cast<void>(context);
    std::vector<float> image(8), prob(8);
    const auto input = planrt::Tensor::input("image", image, {8});
    const auto output = planrt::Tensor::output("prob", prob);
    planrt::Request request = session.submit({input}, {output});
#if CASE == 1  // deleted: the elements are gone before the request reads them
    request = session.submit({planrt::Tensor::input("image", std::vector<float>(8), {8})}, {output});
#elif CASE == 2  // deleted: nobody would ever see what is written
    request = session.submit({input}, {planrt::Tensor::output("prob", std::vector<float>(8))});
#elif CASE == 3  // deleted: as the first
    const auto make = []() -> const std::vector<float> { return std::vector<float>(8); };
    request = session.submit({planrt::Tensor::input("image", make(), {8})}, {output});
#elif CASE == 4  // deleted: the buffer's memory goes with it
    const auto buffer = [&] { return planrt::Buffer(runtime, planrt::MemoryKind::host, 32); };
    request = session.submit({planrt::Tensor::input("image", buffer(), planrt::ElementType::float32, {8})}, {output});
#elif CASE == 5  // deleted: as before
    context.bind("prob", planrt::Buffer(runtime, planrt::MemoryKind::host, 32));
#elif CASE == 6  // deleted: it is the only owner
    const planrt::Session copy(session);
#elif CASE == 7  // nodiscard: it would be cancelled at once
    session.submit({input}, {output});
#elif CASE == 8  // nodiscard
    request.poll();
#elif CASE == 9  // nodiscard
    request.wait(std::chrono::seconds(1));
#elif CASE == 10  // nodiscard
    planrt::Engine::from_file(runtime, "model.onnx");
#elif CASE == 11  // deleted: the voxels are gone before the segmenter reads them
    static_cast<void>(planrt::Volume::of(std::vector<float>(8), {2, 2, 2}, {1, 1, 1}));
#elif CASE == 12  // deleted: nobody would ever see the labels
    static_cast<void>(planrt::LabelMap::of(std::vector<uint8_t>(8)));
#elif CASE == 13  // deleted: the scan's voxels go with it
    static_cast<void>(planrt::Scan("scan.nii").volume());
#elif CASE == 14  // nodiscard: it would be cancelled at once
    std::vector<uint8_t> labels(8);
    planrt::Segmenter(runtime, "folder").submit(planrt::Volume::of(image, {2, 2, 2}, {1, 1, 1}), planrt::LabelMap::of(labels));
#endif
    request.wait();
}
