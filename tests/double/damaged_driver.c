/* The CPU road where the CUDA driver is of no use: damaged_driver TEXT. What needs the driver fails with an error that
 * holds the text, each time anew, and ONNX models load and run before and after. */

#include "small_model.h"

static void run_on_the_cpu(planrt_runtime *runtime) {
    static float image[IMAGE], prob[PROB];
    planrt_engine *engine = load(runtime, SMALL);
    planrt_context *context = new_context(engine);
    fill(image, IMAGE);
    const planrt_tensor input = small_image(image, 1), output = small_prob(prob, 1);
    OK(planrt_context_run(context, &input, 1, &output, 1));
    CHECK(sums_to_one(prob, 1));
    planrt_context_delete(context);
    planrt_engine_delete(engine);
}

int main(int argc, char **argv) {
    CHECK(argc == 2);
    planrt_runtime *runtime = new_runtime();
    planrt_stream *stream = NULL;
    planrt_buffer *buffer = NULL;
    for (int round = 0; round < 2; round++) {
        FAILS(PLANRT_ERROR_NO_CUDA, argv[1], planrt_stream_new(runtime, 0, &stream));
        run_on_the_cpu(runtime);
        FAILS(PLANRT_ERROR_NO_CUDA, argv[1], planrt_buffer_new(runtime, PLANRT_MEMORY_PINNED, 16, &buffer));
    }
    CHECK(!stream && !buffer);
    planrt_runtime_delete(runtime);
    return 0;
}
