/* Running a model on the CPU, both ways, and every way to call it wrongly. What fails leaves the outputs as they were. */

#include "small_model.h"

static float image[3 * IMAGE], prob[3 * PROB];

static void from_host_to_host(planrt_context *context) {
    for (int64_t batch = 3; batch >= 1; batch -= 2) {
        planrt_tensor in = small_image(image, batch), out = small_prob(prob, batch);
        memset(prob, 0, sizeof prob);
        OK(planrt_context_run(context, &in, 1, &out, 1));
        CHECK(sums_to_one(prob, batch));
    }
}

/* A batch is its items: each comes out as it does alone. */
static void batch_and_items(planrt_context *context) {
    static float alone[PROB];
    planrt_tensor in = small_image(image, 3), out = small_prob(prob, 3);
    OK(planrt_context_run(context, &in, 1, &out, 1));
    for (int item = 0; item < 3; item++) {
        in = small_image(image + item * IMAGE, 1), out = small_prob(alone, 1);
        OK(planrt_context_run(context, &in, 1, &out, 1));
        CHECK(memcmp(alone, prob + item * PROB, sizeof alone) == 0);
    }
    CHECK(memcmp(prob, prob + PROB, sizeof alone) != 0);
}

static void bound_memory(planrt_runtime *runtime, planrt_engine *engine) {
    static float expected[2 * PROB];
    planrt_context *context = new_context(engine);
    planrt_tensor in = small_image(image, 2), out = small_prob(expected, 2);
    OK(planrt_context_run(context, &in, 1, &out, 1));

    planrt_buffer *input = NULL, *output = NULL;
    OK(planrt_buffer_new(runtime, PLANRT_MEMORY_HOST, 2 * IMAGE * sizeof(float), &input));
    OK(planrt_buffer_wrap(runtime, PLANRT_MEMORY_HOST, prob, 2 * PROB * sizeof(float), &output));
    CHECK(planrt_buffer_get_size(input) == 2 * IMAGE * sizeof(float));
    CHECK(planrt_buffer_get_kind(input) == PLANRT_MEMORY_HOST);
    CHECK((uintptr_t)planrt_buffer_get_data(input) % 64 == 0);
    CHECK(planrt_buffer_get_data(output) == prob);
    memcpy(planrt_buffer_get_data(input), image, 2 * IMAGE * sizeof(float));

    const int64_t shape[] = {2, 1, 8, 8, 8};
    OK(planrt_context_set_shape(context, "image", shape, 5));
    int64_t out_shape[PLANRT_MAX_RANK] = {0};
    int32_t rank = 0;
    size_t bytes = 0;
    OK(planrt_context_get_shape(context, "prob", out_shape, &rank));
    CHECK(rank == 5 && out_shape[0] == 2 && out_shape[1] == 2 && out_shape[2] == 8 && out_shape[4] == 8);
    OK(planrt_context_get_size(context, "prob", &bytes));
    CHECK(bytes == 2 * PROB * sizeof(float));

    OK(planrt_context_bind(context, "image", planrt_buffer_get_data(input), planrt_buffer_get_size(input)));
    FAILS(PLANRT_ERROR_INVALID_ARGUMENT, "prob", planrt_context_enqueue(context, NULL)); /* not bound yet */
    memset(prob, UNTOUCHED, sizeof prob);
    OK(planrt_context_bind(context, "prob", prob, bytes - 1));
    FAILS(PLANRT_ERROR_BUFFER_TOO_SMALL, "prob", planrt_context_enqueue(context, NULL));
    CHECK(untouched(prob, sizeof prob));
    OK(planrt_context_bind(context, "prob", prob, bytes));
    OK(planrt_context_enqueue(context, NULL));
    CHECK(memcmp(prob, expected, sizeof expected) == 0);
    CHECK(untouched(prob + 2 * PROB, sizeof prob - sizeof expected));

    planrt_buffer_delete(input);
    planrt_buffer_delete(output);
    planrt_context_delete(context);
}

static void shapes(planrt_engine *engine) {
    planrt_context *context = new_context(engine);
    int64_t shape[PLANRT_MAX_RANK + 1] = {1, 1, 8, 8, 8, 1, 1, 1, 1}, got[PLANRT_MAX_RANK];
    int32_t rank = 77;
    size_t bytes = 77;
    memset(got, UNTOUCHED, sizeof got);
    FAILS(PLANRT_ERROR_SHAPE, "image", planrt_context_get_shape(context, "prob", got, &rank)); /* not set yet */
    FAILS(PLANRT_ERROR_SHAPE, "image", planrt_context_get_size(context, "prob", &bytes));
    FAILS(PLANRT_ERROR_NOT_FOUND, "\"image\"", planrt_context_set_shape(context, "volume", shape, 5));
    FAILS(PLANRT_ERROR_NOT_FOUND, "\"image\"", planrt_context_get_shape(context, "volume", got, &rank));
    FAILS(PLANRT_ERROR_NOT_FOUND, "\"image\"", planrt_context_get_size(context, "volume", &bytes));
    FAILS(PLANRT_ERROR_NOT_FOUND, "\"image\"", planrt_context_bind(context, "volume", image, sizeof image));
    FAILS(PLANRT_ERROR_INVALID_ARGUMENT, "output", planrt_context_set_shape(context, "prob", shape, 5));
    FAILS(PLANRT_ERROR_SHAPE, "image", planrt_context_set_shape(context, "image", shape, 4));
    FAILS(PLANRT_ERROR_SHAPE, "image", planrt_context_set_shape(context, "image", shape, 0));
    FAILS(PLANRT_ERROR_INVALID_ARGUMENT, "9", planrt_context_set_shape(context, "image", shape, PLANRT_MAX_RANK + 1));
    FAILS(PLANRT_ERROR_INVALID_ARGUMENT, "-1", planrt_context_set_shape(context, "image", shape, -1));
    const int64_t wrong[] = {-1, INT64_MIN};
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        shape[0] = wrong[i];
        FAILS(PLANRT_ERROR_SHAPE, "image", planrt_context_set_shape(context, "image", shape, 5));
    }
    shape[0] = 1, shape[3] = 9;
    FAILS(PLANRT_ERROR_SHAPE, "9", planrt_context_set_shape(context, "image", shape, 5));
    shape[0] = INT64_MAX, shape[3] = 8; /* no such tensor fits in memory, nor its size in a size_t */
    planrt_error *error = planrt_context_set_shape(context, "image", shape, 5);
    if (error) FAILS(PLANRT_ERROR_SHAPE, "", error);
    else FAILS(PLANRT_ERROR_SHAPE, "", planrt_context_get_size(context, "prob", &bytes));
    CHECK(rank == 77 && bytes == 77 && untouched(got, sizeof got));

    int32_t profile = 77;
    FAILS(PLANRT_ERROR_INVALID_ARGUMENT, "profile", planrt_context_set_profile(context, 0));
    OK(planrt_context_set_profile(context, -1));
    OK(planrt_context_get_profile(context, &profile));
    CHECK(profile == -1);
    planrt_context_delete(context);
}

/* One thing wrong at a time with an otherwise good call. */
static void wrong_calls(planrt_context *context) {
    const planrt_tensor good_in = small_image(image, 1), good_out = small_prob(prob, 1);
    planrt_tensor in[2] = {good_in, good_in}, out[2] = {good_out, good_out};
    memset(prob, UNTOUCHED, sizeof prob);
#define WRONG(code, text, ...)                                                    \
    do {                                                                          \
        in[0] = in[1] = good_in, out[0] = out[1] = good_out;                      \
        __VA_ARGS__;                                                              \
        FAILS(code, text, planrt_context_run(context, in, 1, out, 1));            \
        CHECK(untouched(prob, sizeof prob));                                      \
    } while (0)
    WRONG(PLANRT_ERROR_NOT_FOUND, "\"image\"", in[0].name = "volume");
    WRONG(PLANRT_ERROR_NOT_FOUND, "\"prob\"", out[0].name = "mask");
    WRONG(PLANRT_ERROR_INVALID_ARGUMENT, "prob", in[0].name = "prob");
    WRONG(PLANRT_ERROR_INVALID_ARGUMENT, "image", out[0].name = "image");
    WRONG(PLANRT_ERROR_INVALID_ARGUMENT, "null", in[0].name = NULL);
    WRONG(PLANRT_ERROR_INVALID_ARGUMENT, "null", out[0].name = NULL);
    WRONG(PLANRT_ERROR_INVALID_ARGUMENT, "UTF-8", in[0].name = "\xff");
    WRONG(PLANRT_ERROR_INVALID_ARGUMENT, "null", in[0].input_data = NULL);
    WRONG(PLANRT_ERROR_INVALID_ARGUMENT, "null", out[0].output_data = NULL);
    WRONG(PLANRT_ERROR_INVALID_ARGUMENT, "inputs[0]: output_data", in[0].output_data = image);
    WRONG(PLANRT_ERROR_INVALID_ARGUMENT, "outputs[0]: input_data", out[0].input_data = image);
    WRONG(PLANRT_ERROR_INVALID_ARGUMENT, "device memory", in[0].memory_kind = PLANRT_MEMORY_DEVICE);
    WRONG(PLANRT_ERROR_INVALID_ARGUMENT, "99", out[0].memory_kind = 99);
    WRONG(PLANRT_ERROR_INVALID_ARGUMENT, "struct_size", in[0].struct_size = 0);
    WRONG(PLANRT_ERROR_INVALID_ARGUMENT, "struct_size", out[0].struct_size = sizeof out[0] - 1);
    WRONG(PLANRT_ERROR_SHAPE, "image", in[0].rank = 4);
    WRONG(PLANRT_ERROR_INVALID_ARGUMENT, "9", in[0].rank = 9);
    WRONG(PLANRT_ERROR_INVALID_ARGUMENT, "-1", in[0].rank = -1);
    WRONG(PLANRT_ERROR_SHAPE, "image", in[0].shape[2] = 9);
    WRONG(PLANRT_ERROR_BUFFER_TOO_SMALL, "image", in[0].size_bytes -= 1);
    WRONG(PLANRT_ERROR_BUFFER_TOO_SMALL, "image", in[0].shape[0] = 2);
    WRONG(PLANRT_ERROR_BUFFER_TOO_SMALL, "prob", out[0].size_bytes -= 1);
    WRONG(PLANRT_ERROR_INVALID_ARGUMENT, "99", in[0].element_type = 99);
    WRONG(PLANRT_ERROR_INVALID_ARGUMENT, "int64", in[0].element_type = PLANRT_INT64, in[0].size_bytes *= 2);
    WRONG(PLANRT_ERROR_INVALID_ARGUMENT, "int32", out[0].element_type = PLANRT_INT32);
#undef WRONG
    in[0] = in[1] = good_in, out[0] = out[1] = good_out;
    FAILS(PLANRT_ERROR_INVALID_ARGUMENT, "image", planrt_context_run(context, in, 0, out, 1));
    FAILS(PLANRT_ERROR_INVALID_ARGUMENT, "image", planrt_context_run(context, in, 2, out, 1));
    FAILS(PLANRT_ERROR_INVALID_ARGUMENT, "prob", planrt_context_run(context, in, 1, out, 2));
    CHECK(untouched(prob, sizeof prob));

    /* After all that the context is as good as before. */
    OK(planrt_context_run(context, in, 1, out, 1));
    CHECK(sums_to_one(prob, 1));
}

/* A struct of a later version of the header: its unknown tail must be zero. */
static void later_struct(planrt_context *context) {
    struct {
        planrt_tensor known;
        int64_t unknown;
    } in = {small_image(image, 1), 0}, out = {small_prob(prob, 1), 0};
    in.known.struct_size = out.known.struct_size = sizeof in;
    OK(planrt_context_run(context, &in.known, 1, &out.known, 1));
    in.unknown = 1;
    FAILS(PLANRT_ERROR_UNSUPPORTED, "planrt_tensor", planrt_context_run(context, &in.known, 1, &out.known, 1));
}

static void float16(planrt_runtime *runtime) {
    planrt_engine *engine = load(runtime, MODELS "/half.onnx");
    planrt_context *context = new_context(engine);
    size_t bytes = 0;
    planrt_tensor in = small_image(image, 1), out = small_prob(prob, 1);
    OK(planrt_context_run(context, &in, 1, &out, 1)); /* converted on the way in and out */
    for (int voxel = 0; voxel < IMAGE; voxel++) {
        float sum = prob[voxel] + prob[IMAGE + voxel];
        CHECK(sum > 0.998f && sum < 1.002f);
    }
    OK(planrt_context_get_size(context, "prob", &bytes)); /* the model's own type, not the caller's */
    CHECK(bytes == PROB * 2);

    static uint16_t halves[PROB];
    out.output_data = halves, out.size_bytes = sizeof halves, out.element_type = PLANRT_FLOAT16;
    OK(planrt_context_run(context, &in, 1, &out, 1));
    CHECK(halves[0] > 0 && halves[0] <= 0x3C00); /* between 0 and 1 */
    planrt_context_delete(context);
    planrt_engine_delete(engine);
}

/* Voxels as CT has them, and results as an application wants them. */
static void types_of_host_memory(planrt_context *context) {
    static int16_t voxels[IMAGE];
    static uint16_t unsigned_voxels[IMAGE];
    static double doubles[IMAGE], double_prob[PROB];
    static float expected[PROB];
    static int16_t int16_prob[PROB];
    static uint16_t uint16_prob[PROB];
    for (int i = 0; i < IMAGE; i++) image[i] = (float)(voxels[i] = (int16_t)(unsigned_voxels[i] = (uint16_t)(i % 7)));
    for (int i = 0; i < IMAGE; i++) doubles[i] = image[i];
    planrt_tensor in = small_image(image, 1), out = small_prob(expected, 1);
    OK(planrt_context_run(context, &in, 1, &out, 1));
    out.output_data = prob;

    const struct {
        const void *data;
        size_t size_bytes;
        planrt_element_type type;
    } inputs[] = {{voxels, sizeof voxels, PLANRT_INT16},
                  {unsigned_voxels, sizeof unsigned_voxels, PLANRT_UINT16},
                  {doubles, sizeof doubles, PLANRT_FLOAT64}};
    for (size_t i = 0; i < sizeof inputs / sizeof *inputs; i++) {
        in.input_data = inputs[i].data, in.size_bytes = inputs[i].size_bytes, in.element_type = inputs[i].type;
        memset(prob, 0, sizeof prob);
        OK(planrt_context_run(context, &in, 1, &out, 1));
        CHECK(memcmp(prob, expected, sizeof expected) == 0);
        in.size_bytes--;
        FAILS(PLANRT_ERROR_BUFFER_TOO_SMALL, planrt_element_type_get_name(in.element_type),
              planrt_context_run(context, &in, 1, &out, 1));
    }
    in = small_image(image, 1);

    out.output_data = double_prob, out.size_bytes = sizeof double_prob, out.element_type = PLANRT_FLOAT64;
    OK(planrt_context_run(context, &in, 1, &out, 1));
    out.output_data = int16_prob, out.size_bytes = sizeof int16_prob, out.element_type = PLANRT_INT16;
    OK(planrt_context_run(context, &in, 1, &out, 1));
    out.output_data = uint16_prob, out.size_bytes = sizeof uint16_prob, out.element_type = PLANRT_UINT16;
    OK(planrt_context_run(context, &in, 1, &out, 1));
    for (int i = 0; i < PROB; i++) {
        CHECK(double_prob[i] == (double)expected[i]);
        CHECK(int16_prob[i] == (expected[i] > 0.5f) && uint16_prob[i] == int16_prob[i]);
    }
    fill(image, sizeof image / sizeof *image);
}

/* The caller gives memory for the most that can come, and is told how much did. */
static void shape_after_the_run(planrt_runtime *runtime, planrt_context *known) {
    planrt_tensor in = small_image(image, 2), out = small_prob(prob, 2);
    int64_t shape[PLANRT_MAX_RANK];
    int32_t rank = -7;
    OK(planrt_context_run(known, &in, 1, &out, 1));
    OK(planrt_context_get_output_shape(known, "prob", shape, &rank));
    CHECK(rank == 5 && shape[0] == 2 && shape[1] == 2 && shape[4] == 8);
    FAILS(PLANRT_ERROR_INVALID_ARGUMENT, "image", planrt_context_get_output_shape(known, "image", shape, &rank));
    OK(planrt_context_set_shape(known, "image", in.shape, in.rank));
    FAILS(PLANRT_ERROR_SHAPE, "prob", planrt_context_get_output_shape(known, "prob", shape, &rank));

    planrt_engine *engine = load(runtime, MODELS "/places.onnx");
    planrt_context *context = new_context(engine);
    float pixels[2 * 8] = {0};
    int64_t found[2 * 2 * 8];
    in = (planrt_tensor){.struct_size = sizeof in, .name = "image", .input_data = pixels, .size_bytes = sizeof pixels,
                         .element_type = PLANRT_FLOAT32, .rank = 2, .shape = {2, 8}};
    out = (planrt_tensor){.struct_size = sizeof out, .name = "found", .output_data = found, .size_bytes = sizeof found,
                          .element_type = PLANRT_INT64};
    FAILS(PLANRT_ERROR_SHAPE, "found", planrt_context_get_output_shape(context, "found", shape, &rank));
    for (int count = 0; count < 4; count++) {
        if (count > 0) pixels[5 * count] = 1;
        OK(planrt_context_run(context, &in, 1, &out, 1));
        OK(planrt_context_get_output_shape(context, "found", shape, &rank));
        CHECK(rank == 2 && shape[0] == 2 && shape[1] == count);
        for (int i = 0; i < count; i++) CHECK(8 * found[i] + found[count + i] == 5 * (i + 1));
    }
    FAILS(PLANRT_ERROR_UNSUPPORTED, "found", planrt_context_get_shape(context, "found", shape, &rank));
    out.size_bytes = 5 * sizeof *found; /* six are found */
    FAILS(PLANRT_ERROR_BUFFER_TOO_SMALL, "found", planrt_context_run(context, &in, 1, &out, 1));
    FAILS(PLANRT_ERROR_SHAPE, "found", planrt_context_get_output_shape(context, "found", shape, &rank));
    planrt_context_delete(context);
    planrt_engine_delete(engine);
}

static void no_gpu_no_stream(planrt_runtime *runtime) {
    planrt_stream *stream = NULL;
    planrt_error *error = planrt_stream_new(runtime, 0, &stream);
    if (error) FAILS(PLANRT_ERROR_NO_CUDA, "", error);
    planrt_stream_delete(stream);

    planrt_buffer *buffer = NULL;
    error = planrt_buffer_new(runtime, PLANRT_MEMORY_DEVICE, 64, &buffer);
    if (error) FAILS(PLANRT_ERROR_NO_CUDA, "", error);
    planrt_buffer_delete(buffer);
    buffer = NULL;
    FAILS(PLANRT_ERROR_INVALID_ARGUMENT, "99", planrt_buffer_new(runtime, 99, 64, &buffer));
    FAILS(PLANRT_ERROR_OUT_OF_MEMORY, "", planrt_buffer_new(runtime, PLANRT_MEMORY_HOST, SIZE_MAX / 2, &buffer));
    CHECK(!buffer);
}

int main(void) {
    fill(image, sizeof image / sizeof *image);
    planrt_runtime *runtime = new_runtime();
    planrt_engine *engine = load(runtime, SMALL);
    planrt_context *context = new_context(engine);
    from_host_to_host(context);
    batch_and_items(context);
    bound_memory(runtime, engine);
    shapes(engine);
    wrong_calls(context);
    later_struct(context);
    float16(runtime);
    types_of_host_memory(context);
    shape_after_the_run(runtime, context);
    no_gpu_no_stream(runtime);
    planrt_context_delete(context);
    planrt_engine_delete(engine);
    planrt_runtime_delete(runtime);
    return 0;
}
