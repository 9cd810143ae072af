/* A program may return from main while everything is at work. */

#include "small_session.h"

enum { REQUESTS = 64 };

static float image[IMAGE], prob[REQUESTS][PROB];

static void callback(void *user_data, const planrt_error *error) {
    (void)user_data, (void)error;
}

int main(void) {
    planrt_engine *engine = load(new_runtime(), SMALL);
    planrt_session *session = new_session(engine, NULL);
    planrt_request_options options = {.struct_size = sizeof options, .callback = callback};
    for (int i = 0; i < REQUESTS; i++) {
        planrt_tensor in = small_image(image, 1), out = small_prob(prob[i], 1);
        OK(planrt_session_submit(session, &in, 1, &out, 1, &options, NULL));
    }
    return 0;
}
