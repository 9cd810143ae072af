/* Deleting in any order is harmless: a context keeps its engine, an engine its runtime. */

#include "small_model.h"

static void run(planrt_context *context) {
    static float image[IMAGE], prob[PROB];
    planrt_tensor in = small_image(image, 1), out = small_prob(prob, 1);
    OK(planrt_context_run(context, &in, 1, &out, 1));
    CHECK(sums_to_one(prob, 1));
}

int main(void) {
    static const char orders[][4] = {"rec", "rce", "erc", "ecr", "cre", "cer"};
    for (size_t i = 0; i < sizeof orders / sizeof *orders; i++) {
        planrt_runtime *runtime = new_runtime();
        planrt_engine *engine = load(runtime, SMALL);
        planrt_context *context = new_context(engine), *sibling = new_context(engine);
        planrt_buffer *buffer = NULL;
        OK(planrt_buffer_new(runtime, PLANRT_MEMORY_HOST, 64, &buffer));
        planrt_engine *no_engine = NULL;
        planrt_error *error = planrt_engine_load_file(runtime, MODELS, NULL, &no_engine);
        CHECK(error);
        for (const char *next = orders[i]; *next; next++) {
            if (*next == 'r') planrt_runtime_delete(runtime);
            if (*next == 'e') planrt_engine_delete(engine);
            if (*next == 'c') planrt_context_delete(context);
            else if (!strchr(orders[i], 'c') || strchr(orders[i], 'c') > next) run(context);
            run(sibling);
        }
        memset(planrt_buffer_get_data(buffer), 0, 64);
        planrt_buffer_delete(buffer);
        CHECK(*planrt_error_get_message(error));
        planrt_error_delete(error);
        planrt_context_delete(sibling);
    }
    planrt_error_delete(NULL);
    return 0;
}
