/* Threads with little stack: a call may go deep, and does so where there is room. */

#define _XOPEN_SOURCE 700 /* mkdtemp */
#include "small_session.h"

#include <limits.h>
#include <pthread.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* Files of this test's. */
static char folder[] = "/tmp/planrt-small-stacks-XXXXXX";
static char scan_file[64], mask_file[64], picture_file[64];
/* A description as deep as JSON is read. */
static char deep[400];

static void write_file(const char *name, const void *data, size_t size) {
    char path[64];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    FILE *file = fopen(path, "wb");
    CHECK(file && fwrite(data, 1, size, file) == size && fclose(file) == 0);
}

/* A NIfTI file, and model folders' descriptions. */
static void write_files(void) {
    CHECK(mkdtemp(folder));
    snprintf(scan_file, sizeof scan_file, "%s/scan.nii", folder);
    snprintf(mask_file, sizeof mask_file, "%s/mask.nii.gz", folder);
    snprintf(picture_file, sizeof picture_file, "%s/picture.png", folder);
    static struct {
        int32_t size;
        char unused[36];
        int16_t dim[8], intent[7], datatype, bitpix, slice;
        float pixdim[8], vox_offset, slope, intercept;
        char more[132];
        int16_t qform, sform;
        float quaternion[6], rows[12];
        char name[16], magic[8];
        uint8_t voxels[512];
    } nifti = {.size = 348, .dim = {3, 8, 8, 8, 1, 1, 1, 1}, .datatype = 2, .bitpix = 8, .pixdim = {1, 1, 1, 1}, .sform = 1,
               .rows = {1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1, 0}, .magic = "n+1", .vox_offset = 352};
    write_file("scan.nii", &nifti, 352 + 512);
    char *end = deep + sprintf(deep, "{\"colour\": ");
    for (int i = 0; i < 120; i++) *end++ = '[';
    for (int i = 0; i < 120; i++) *end++ = ']';
    strcpy(end, "}");
    write_file("recipe.json", deep, strlen(deep));
    write_file("planrt.json", deep, strlen(deep));
}

static void volumes(planrt_runtime *runtime, planrt_engine *engine) {
    planrt_scan *scan = NULL;
    planrt_segmenter *segmenter = NULL;
    planrt_engine *none = NULL;
    planrt_volume volume = {.struct_size = sizeof volume};
    static uint8_t labels[512];
    char *text = NULL;
    bool is_usable = true;
    OK(planrt_scan_read_file(scan_file, &scan));
    OK(planrt_scan_get_volume(scan, &volume));
    const char *recipe = "{\"planrt_recipe\": 1, \"tiling\": {\"patch\": [8, 8, 8]}, \"decision\": {\"labels\": [0, 1]}}";
    OK(planrt_segmenter_new((const planrt_engine *const *)&engine, 1, recipe, NULL, &segmenter));
    planrt_label_map map = {.struct_size = sizeof map, .data = labels, .size_bytes = sizeof labels, .element_type = PLANRT_UINT8};
    OK(planrt_segmenter_run(segmenter, &volume, &map, NULL));
    OK(planrt_scan_write_labels(scan, mask_file, labels, sizeof labels, PLANRT_UINT8));
    OK(planrt_scan_write_overlay(scan, picture_file, labels, sizeof labels, PLANRT_UINT8));
    planrt_segmenter_delete(segmenter);
    segmenter = NULL;
    FAILS(PLANRT_ERROR_INVALID_MODEL, "colour",
          planrt_segmenter_new((const planrt_engine *const *)&engine, 1, deep, NULL, &segmenter));
    FAILS(PLANRT_ERROR_INVALID_MODEL, "colour", planrt_segmenter_load(runtime, folder, NULL, &segmenter));
    FAILS(PLANRT_ERROR_INVALID_MODEL, "planrt_folder", planrt_engine_load_folder(runtime, folder, NULL, &none));
    FAILS(PLANRT_ERROR_INVALID_MODEL, "planrt_folder", planrt_engine_self_test(engine, folder, &text));
    OK(planrt_doctor(NULL, folder, &text, &is_usable));
    CHECK(!is_usable);
    planrt_string_delete(text);
    planrt_scan_delete(scan);
}

static float image[3 * IMAGE], prob[3 * PROB];

static void *everything(void *unused) {
    (void)unused;
    planrt_runtime *runtime = new_runtime();
    planrt_engine *engine = load(runtime, SMALL), *none = NULL;
    planrt_context *context = new_context(engine);
    planrt_tensor in = small_image(image, 3), out = small_prob(prob, 3);
    planrt_request *request = NULL;
    char *text = NULL;
    OK(planrt_context_run(context, &in, 1, &out, 1));
    CHECK(sums_to_one(prob, 3));
    planrt_session *session = new_session(engine, NULL);
    OK(planrt_session_run(session, &in, 1, &out, 1, NULL));
    OK(planrt_session_submit(session, &in, 1, &out, 1, NULL, &request));
    OK(planrt_request_wait(request, -1, NULL));
    CHECK(sums_to_one(prob, 3));
    planrt_error *error = planrt_engine_load_file(runtime, MODELS "/nothing.onnx", NULL, &none);
    CHECK(planrt_error_get_code(error) == PLANRT_ERROR_NOT_FOUND);
    planrt_error_delete(error);
    OK(planrt_runtime_describe(runtime, &text));
    planrt_string_delete(text);
    OK(planrt_doctor(NULL, SMALL, &text, NULL));
    planrt_string_delete(text);
    volumes(runtime, engine);
    planrt_request_delete(request);
    planrt_session_delete(session);
    planrt_context_delete(context);
    planrt_engine_delete(engine);
    planrt_runtime_delete(runtime);
    return NULL;
}

int main(void) {
    write_files();
    /* The least that a thread can have; what sanitizers put on the stack does not fit there. */
#if defined __SANITIZE_ADDRESS__
    const size_t kib[] = {64, 128, 512};
#else
    const size_t kib[] = {16, 32, 64, 128, 512};
#endif
    for (size_t i = 0; i < sizeof kib / sizeof *kib; i++) {
        pthread_attr_t attributes;
        pthread_t thread;
        CHECK(pthread_attr_init(&attributes) == 0);
        CHECK(pthread_attr_setstacksize(&attributes, kib[i] * 1024) == 0);
        CHECK(pthread_create(&thread, &attributes, everything, NULL) == 0);
        CHECK(pthread_join(thread, NULL) == 0);
        pthread_attr_destroy(&attributes);
        printf("%zu KiB\n", kib[i]);
    }
    const char *files[] = {"scan.nii", "mask.nii.gz", "picture.png", "recipe.json", "planrt.json"};
    CHECK(chdir(folder) == 0);
    for (size_t i = 0; i < sizeof files / sizeof *files; i++) CHECK(remove(files[i]) == 0);
    CHECK(rmdir(folder) == 0);
    return 0;
}
