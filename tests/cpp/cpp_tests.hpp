// What the tests of planrt.hpp share.

#ifndef CPP_TESTS_HPP
#define CPP_TESTS_HPP

#include <planrt.hpp>

#include "../check.h"

#include <string>
#include <vector>

inline const std::string small = MODELS "/small.onnx";

// What the call throws; the program ends if it throws nothing.
template <class Call>
planrt::Error thrown(Call call) {
    try {
        static_cast<void>(call());
    } catch (const planrt::Error& error) {
        std::printf("%d: %s\n", static_cast<int>(error.code()), error.what());
        return error;
    }
    CHECK(!"an error");
    std::abort();
}

template <class Call>
bool fails(planrt::ErrorCode code, Call call) {
    return thrown(call).code() == code;
}

// An image for a model and room for its answer.
struct Work {
    explicit Work(const planrt::Shape& image_shape, size_t channels = 1)
        : shape(image_shape),
          image(planrt::element_count(image_shape), 0.5f),
          prob(channels * image.size(), -1.0f) {}

    std::vector<planrt::Tensor> inputs() const { return {planrt::Tensor::input("image", image, shape)}; }
    std::vector<planrt::Tensor> outputs() { return {planrt::Tensor::output("prob", prob)}; }
    bool is_written() const { return prob.front() >= 0; }

    planrt::Shape shape;
    std::vector<float> image;
    std::vector<float> prob;
};

// For the model `small`, which answers at once.
struct SmallWork : Work {
    SmallWork() : Work({1, 1, 8, 8, 8}, 2) {}
};

// For the model `slow`, which runs long enough for something to be done meanwhile.
struct SlowWork : Work {
    SlowWork() : Work({1, 1, 64, 64, 64}) {}
};

#endif
