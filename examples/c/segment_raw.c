/* Segments voxels in a plain file: segment_raw MODEL RAW int16 300x512x512 1.0x0.8x0.8 LABELS
 *
 * MODEL is a folder with a model and its description. RAW holds one volume without gaps, x fastest; extents and spacing in
 * millimetres are along z, y and x. Its axes are taken to run to the patient's left, posterior and superior. LABELS receives a byte a
 * voxel. Ctrl-C cancels. */

#include <planrt.h>

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static volatile sig_atomic_t interrupted;

static void interrupt(int number) {
    (void)number;
    interrupted = 1;
}

static int failed(planrt_error *error) {
    if (error == NULL) return 0;
    fprintf(stderr, "%s\n%s\n", planrt_error_get_message(error), planrt_error_get_detail(error));
    planrt_error_delete(error);
    return 1;
}

static bool progress(void *user_data, int64_t done, int64_t count) {
    (void)user_data;
    fprintf(stderr, "\r%lld of %lld tiles%s", (long long)done, (long long)count, done == count ? "\n" : "");
    return !interrupted;
}

static const struct {
    const char *name;
    planrt_element_type type;
    size_t size;
} types[] = {{"int8", PLANRT_INT8, 1}, {"uint8", PLANRT_UINT8, 1}, {"int16", PLANRT_INT16, 2},     {"uint16", PLANRT_UINT16, 2},
             {"int32", PLANRT_INT32, 4}, {"float16", PLANRT_FLOAT16, 2}, {"float32", PLANRT_FLOAT32, 4}};

/* A whole file of that size, which is the caller's. */
static void *read_file(const char *path, size_t size) {
    FILE *file = fopen(path, "rb");
    void *bytes = file ? malloc(size) : NULL;
    if (bytes && (fread(bytes, 1, size, file) != size || fgetc(file) != EOF)) {
        free(bytes);
        bytes = NULL;
    }
    if (file) fclose(file);
    if (!bytes) fprintf(stderr, "%s cannot be read, or does not have %zu bytes\n", path, size);
    return bytes;
}

int main(int argc, char **argv) {
    planrt_volume volume = {.struct_size = sizeof volume};
    size_t size = 0;
    if (argc == 7) {
        for (size_t i = 0; i < sizeof types / sizeof *types; i++)
            if (strcmp(argv[3], types[i].name) == 0) volume.element_type = types[i].type, size = types[i].size;
        long long z, y, x;
        if (sscanf(argv[4], "%lldx%lldx%lld", &z, &y, &x) != 3 || z < 1 || y < 1 || x < 1 || z > 32767 || y > 32767 || x > 32767 ||
            sscanf(argv[5], "%lfx%lfx%lf", &volume.spacing_mm[0], &volume.spacing_mm[1], &volume.spacing_mm[2]) != 3)
            size = 0;
        else
            volume.extents[0] = z, volume.extents[1] = y, volume.extents[2] = x;
    }
    if (size == 0) {
        fputs("usage: segment_raw MODEL RAW int16 300x512x512 1.0x0.8x0.8 LABELS\n", stderr);
        return 2;
    }
    const size_t count = (size_t)(volume.extents[0] * volume.extents[1] * volume.extents[2]);
    volume.size_bytes = count * size;
    void *voxels = read_file(argv[2], volume.size_bytes);
    unsigned char *labels = malloc(count);
    volume.data = voxels;
    planrt_label_map map = {.struct_size = sizeof map, .data = labels, .size_bytes = count, .element_type = PLANRT_UINT8};
    planrt_segmentation_options options = {.struct_size = sizeof options, .progress = progress};
    signal(SIGINT, interrupt);

    planrt_runtime *runtime = NULL;
    planrt_segmenter *segmenter = NULL;
    int bad = !voxels || !labels || failed(planrt_runtime_new(NULL, &runtime)) ||
              failed(planrt_segmenter_load(runtime, argv[1], NULL, &segmenter)) ||
              failed(planrt_segmenter_run(segmenter, &volume, &map, &options));
    if (!bad) {
        size_t labelled = 0;
        for (size_t i = 0; i < count; i++) labelled += labels[i] != 0;
        FILE *file = fopen(argv[6], "wb");
        bad = !file || fwrite(labels, 1, count, file) != count;
        if (file && fclose(file) != 0) bad = 1;
        if (bad) fprintf(stderr, "%s cannot be written\n", argv[6]);
        else printf("%zu of %zu voxels have a label\n", labelled, count);
    }
    planrt_segmenter_delete(segmenter);
    planrt_runtime_delete(runtime);
    free(labels);
    free(voxels);
    return interrupted ? 130 : bad;
}
