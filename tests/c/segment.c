/* Segmenters: labels are those of a plain loop over the same tiles, whatever the volume's extents, and nothing that is wrong with
 * a volume does harm. */

#include "small_session.h"

#include <math.h>
#include <stdint.h>

enum { PATCH = 8, STEPS = 64 };

#define TILING(more) "{\"planrt_recipe\": 1, \"tiling\": {\"patch\": [8, 8, 8]" more "}, \"decision\": {\"labels\": [0, 3]}}"
static const char plain[] = TILING("");

static planrt_segmenter *new_segmenter(const planrt_engine *const *folds, size_t count, const char *recipe) {
    planrt_segmenter *segmenter = NULL;
    OK(planrt_segmenter_new(folds, count, recipe, NULL, &segmenter));
    CHECK(segmenter);
    return segmenter;
}

static planrt_volume volume_of(const float *data, const int64_t extents[3]) {
    planrt_volume volume = {.struct_size = sizeof volume, .data = data,
                            .size_bytes = (size_t)(extents[0] * extents[1] * extents[2]) * sizeof *data,
                            .element_type = PLANRT_FLOAT32, .extents = {extents[0], extents[1], extents[2]},
                            .spacing_mm = {1, 1, 1}};
    return volume;
}

static planrt_label_map labels_of(uint8_t *data, const int64_t extents[3]) {
    planrt_label_map map = {.struct_size = sizeof map, .data = data,
                            .size_bytes = (size_t)(extents[0] * extents[1] * extents[2]), .element_type = PLANRT_UINT8};
    return map;
}

/* Where tiles start along an axis, spread evenly with half of a tile in common; how many there are. */
static int starts(int64_t extent, int64_t out[STEPS]) {
    if (extent <= PATCH) {
        out[0] = -((PATCH - extent) / 2);
        return 1;
    }
    int count = (int)((extent - PATCH + PATCH / 2 - 1) / (PATCH / 2)) + 1;
    CHECK(count <= STEPS);
    for (int i = 0; i < count; i++) out[i] = (int64_t)nearbyint((double)(extent - PATCH) / (count - 1) * i);
    return count;
}

/* What one tile of the network gives, averaged over the mirrorings that the bits of `mirrored` (z, y, x) allow, and over folds. */
static void run_tile(planrt_session *const *folds, int fold_count, const float *tile, int mirrored, float *mean) {
    static const int order[8] = {0, 4, 2, 1, 6, 5, 3, 7};
    int passes = 0;
    for (int fold = 0; fold < fold_count; fold++)
        for (int i = 0; i < 8; i++) {
            int flip = order[i];
            if (flip & ~mirrored) continue;
            static float image[IMAGE], prob[PROB];
            for (int voxel = 0; voxel < IMAGE; voxel++) {
                int z = voxel / 64, y = voxel / 8 % 8, x = voxel % 8;
                int from = (flip & 4 ? 7 - z : z) * 64 + (flip & 2 ? 7 - y : y) * 8 + (flip & 1 ? 7 - x : x);
                image[voxel] = tile[from];
            }
            planrt_tensor in = small_image(image, 1), out = small_prob(prob, 1);
            OK(planrt_session_run(folds[fold], &in, 1, &out, 1, NULL));
            for (int value = 0; value < PROB; value++) {
                int z = value / 64 % 8, y = value / 8 % 8, x = value % 8, channel = value / IMAGE * IMAGE;
                int from = channel + (flip & 4 ? 7 - z : z) * 64 + (flip & 2 ? 7 - y : y) * 8 + (flip & 1 ? 7 - x : x);
                mean[value] = passes == 0 ? prob[from] : mean[value] + prob[from];
            }
            passes++;
        }
    for (int value = 0; value < PROB && passes > 1; value++) mean[value] /= (float)passes;
}

/* The labels by sums over the whole volume. */
static void expected(planrt_session *const *folds, int fold_count, const float *volume, const int64_t extents[3], int mirrored,
                     uint8_t *labels) {
    int64_t at[3][STEPS], size = extents[0] * extents[1] * extents[2];
    int count[3];
    for (int axis = 0; axis < 3; axis++) count[axis] = starts(extents[axis], at[axis]);
    float *sums = calloc((size_t)size * 3, sizeof *sums);
    CHECK(sums);
    for (int i = 0; i < count[0] * count[1] * count[2]; i++) {
        int64_t start[3] = {at[0][i / (count[1] * count[2])], at[1][i / count[2] % count[1]], at[2][i % count[2]]};
        static float tile[IMAGE], prob[PROB];
        static int64_t where[IMAGE];
        for (int voxel = 0; voxel < IMAGE; voxel++) {
            int64_t z = start[0] + voxel / 64, y = start[1] + voxel / 8 % 8, x = start[2] + voxel % 8;
            int inside = z >= 0 && y >= 0 && x >= 0 && z < extents[0] && y < extents[1] && x < extents[2];
            where[voxel] = inside ? (z * extents[1] + y) * extents[2] + x : -1;
            tile[voxel] = inside ? volume[where[voxel]] : 0;
        }
        run_tile(folds, fold_count, tile, mirrored, prob);
        for (int voxel = 0; voxel < IMAGE; voxel++) {
            if (where[voxel] < 0) continue;
            double weight = 1;
            int of[3] = {voxel / 64, voxel / 8 % 8, voxel % 8};
            for (int axis = 0; axis < 3; axis++) weight *= exp(-(double)((of[axis] - 4) * (of[axis] - 4)) / 2);
            float w = (float)(10 * weight);
            for (int channel = 0; channel < 2; channel++) {
                volatile float product = prob[channel * IMAGE + voxel] * w;
                sums[channel * size + where[voxel]] += product;
            }
            sums[2 * size + where[voxel]] += w;
        }
    }
    for (int64_t i = 0; i < size; i++) labels[i] = sums[size + i] / sums[2 * size + i] > sums[i] / sums[2 * size + i] ? 3 : 0;
    free(sums);
}

static float *noise(int64_t count) {
    float *volume = malloc((size_t)count * sizeof *volume);
    CHECK(volume);
    uint32_t state = 1;
    for (int64_t i = 0; i < count; i++) {
        state = state * 1664525 + 1013904223;
        volume[i] = (float)(state >> 8) / (1 << 23) - 1;
    }
    return volume;
}

static void compare(const planrt_engine *const *engines, int folds, const char *recipe, const int64_t extents[3], int mirrored) {
    int64_t size = extents[0] * extents[1] * extents[2];
    planrt_session *sessions[2] = {NULL, NULL};
    for (int fold = 0; fold < folds; fold++) sessions[fold] = new_session(engines[fold], NULL);
    planrt_segmenter *segmenter = new_segmenter(engines, (size_t)folds, recipe);
    float *data = noise(size);
    for (int64_t i = size / 2; i < size * 3 / 4; i++) data[i] = 0; /* air: some tiles have one value */
    uint8_t *labels = malloc((size_t)size), *wanted = malloc((size_t)size);
    CHECK(labels && wanted);
    memset(labels, UNTOUCHED, (size_t)size);
    planrt_volume volume = volume_of(data, extents);
    planrt_label_map map = labels_of(labels, extents);
    OK(planrt_segmenter_run(segmenter, &volume, &map, NULL));
    expected(sessions, folds, data, extents, mirrored, wanted);
    for (int64_t i = 0; i < size; i++)
        if (labels[i] != wanted[i]) {
            fprintf(stderr, "%d x %d x %d, voxel %d: %d, not %d\n", (int)extents[0], (int)extents[1], (int)extents[2], (int)i,
                    labels[i], wanted[i]);
            exit(1);
        }
    free(labels);
    free(wanted);
    free(data);
    planrt_segmenter_delete(segmenter);
    for (int fold = 0; fold < folds; fold++) planrt_session_delete(sessions[fold]);
}

static void all_extents(const planrt_engine *small, const planrt_engine *tiny) {
    const planrt_engine *folds[2] = {small, tiny};
    static const int64_t each[] = {1, 5, 7, 8, 9, 15, 21};
    for (size_t i = 0; i < sizeof each / sizeof *each; i++) {
        int64_t extents[3] = {each[i], each[(i + 3) % 7], each[(i + 5) % 7]};
        compare(folds, 1, plain, extents, 0);
    }
    int64_t extents[3] = {17, 8, 11};
    compare(folds, 2, plain, extents, 0);
    compare(folds, 1, TILING(", \"mirrored\": [true, true, true]"), extents, 7);
    compare(folds, 2, TILING(", \"mirrored\": [true, false, true]"), extents, 5);
    /* Many rows, of which whole ones are air. */
    int64_t tall[3] = {60, 9, 9};
    compare(folds, 2, TILING(", \"mirrored\": [false, true, false]"), tall, 2);
}

static void bad_volumes(const planrt_engine *small) {
    planrt_segmenter *segmenter = new_segmenter(&small, 1, plain);
    int64_t extents[3] = {9, 9, 9};
    float *data = noise(9 * 9 * 9);
    static uint8_t labels[2 * 9 * 9 * 9];
    memset(labels, UNTOUCHED, sizeof labels);
    planrt_volume volume = volume_of(data, extents), bad = volume;
    planrt_label_map map = labels_of(labels, extents), bad_map = map;
    planrt_segmentation_options options = {.struct_size = sizeof options};
#define REFUSED(code, text) FAILS(code, text, planrt_segmenter_run(segmenter, &bad, &bad_map, &options)), bad = volume, bad_map = map
    bad.extents[1] = 0, REFUSED(PLANRT_ERROR_INVALID_ARGUMENT, "[9, 0, 9]");
    bad.extents[0] = -1, REFUSED(PLANRT_ERROR_INVALID_ARGUMENT, "-1");
    bad.size_bytes -= 1, REFUSED(PLANRT_ERROR_BUFFER_TOO_SMALL, "bytes");
    bad.extents[2] = INT64_MAX, REFUSED(PLANRT_ERROR_SHAPE, "does not fit in memory");
    bad.extents[2] = 10, REFUSED(PLANRT_ERROR_BUFFER_TOO_SMALL, "9x9x10 labels");
    bad.strides_bytes[3] = 400, REFUSED(PLANRT_ERROR_BUFFER_TOO_SMALL, "strides");
    bad.strides_bytes[3] = INT64_MIN, REFUSED(PLANRT_ERROR_BUFFER_TOO_SMALL, "strides");
    bad.first_voxel_bytes = 4, REFUSED(PLANRT_ERROR_BUFFER_TOO_SMALL, "byte 4");
    bad.first_voxel_bytes = SIZE_MAX, REFUSED(PLANRT_ERROR_BUFFER_TOO_SMALL, "strides");
    bad.element_type = PLANRT_INT64, REFUSED(PLANRT_ERROR_UNSUPPORTED, "int64");
    bad.spacing_mm[0] = 0, REFUSED(PLANRT_ERROR_INVALID_ARGUMENT, "spacing");
    bad.spacing_mm[2] = -1, REFUSED(PLANRT_ERROR_INVALID_ARGUMENT, "spacing");
    bad.spacing_mm[1] = NAN, REFUSED(PLANRT_ERROR_INVALID_ARGUMENT, "spacing");
    bad.origin_mm[1] = NAN, REFUSED(PLANRT_ERROR_INVALID_ARGUMENT, "origin");
    bad.direction[0] = 1, REFUSED(PLANRT_ERROR_INVALID_ARGUMENT, "direction");
    bad.rescale_slope = NAN, REFUSED(PLANRT_ERROR_INVALID_ARGUMENT, "slope");
    bad.rescale_intercept = INFINITY, REFUSED(PLANRT_ERROR_INVALID_ARGUMENT, "intercept");
    bad.channels = 2, bad.size_bytes *= 2, REFUSED(PLANRT_ERROR_INVALID_ARGUMENT, "2 channels");
    bad.channels = -1, REFUSED(PLANRT_ERROR_INVALID_ARGUMENT, "-1 channels");
    bad.data = NULL, REFUSED(PLANRT_ERROR_INVALID_ARGUMENT, "null");
    bad.memory_kind = PLANRT_MEMORY_DEVICE, REFUSED(PLANRT_ERROR_UNSUPPORTED, "device memory");
    bad.element_type = 99, REFUSED(PLANRT_ERROR_INVALID_ARGUMENT, "99");
    bad.struct_size = 0, REFUSED(PLANRT_ERROR_INVALID_ARGUMENT, "struct_size");
    bad_map.size_bytes -= 1, REFUSED(PLANRT_ERROR_BUFFER_TOO_SMALL, "label map");
    bad_map.element_type = PLANRT_UINT16, REFUSED(PLANRT_ERROR_BUFFER_TOO_SMALL, "label map");
    bad_map.element_type = PLANRT_FLOAT32, REFUSED(PLANRT_ERROR_INVALID_ARGUMENT, "uint8 or uint16");
    bad_map.strides_bytes[0] = 1, REFUSED(PLANRT_ERROR_INVALID_ARGUMENT, "overlap");
    bad_map.data = NULL, REFUSED(PLANRT_ERROR_INVALID_ARGUMENT, "null");
    options.timeout_us = -5, REFUSED(PLANRT_ERROR_DEADLINE, "time-out"), options.timeout_us = 0;
    bad_map.first_voxel_bytes = SIZE_MAX, REFUSED(PLANRT_ERROR_INVALID_ARGUMENT, "first_voxel_bytes");
    options.any_direction_allowed = -1, REFUSED(PLANRT_ERROR_INVALID_ARGUMENT, "any_direction"), options.any_direction_allowed = 0;
    options.reserved = 1, REFUSED(PLANRT_ERROR_UNSUPPORTED, "reserved"), options.reserved = 0;
    options.nan_allowed = 2, REFUSED(PLANRT_ERROR_INVALID_ARGUMENT, "nan_allowed"), options.nan_allowed = 0;
    CHECK(untouched(labels, sizeof labels));

    /* The budget is kept to the byte. */
    size_t bytes = 0, least = 0, device = 1, least_device = 1;
    bad.data = NULL;
    OK(planrt_segmenter_estimate(segmenter, &bad, NULL, &bytes, &least, &device, &least_device));
    CHECK(device == 0 && least_device == 0);
    bad = volume;
    CHECK(least > 9 * 9 * 9 * 4 && bytes >= least && bytes < 1 << 20);
    /* Tiles without number along one axis: what they would take is told, and refused. */
    bad.extents[0] = bad.extents[1] = 1, bad.extents[2] = (int64_t)1 << 45;
    OK(planrt_segmenter_estimate(segmenter, &bad, NULL, &bytes, NULL, NULL, NULL));
    CHECK(bytes > (size_t)1 << 45);
    bad = volume;
    options.memory_budget_bytes = least - 1;
    REFUSED(PLANRT_ERROR_OUT_OF_MEMORY, "budget");
    CHECK(untouched(labels, sizeof labels));
    options.memory_budget_bytes = least;
    size_t planned = 0;
    OK(planrt_segmenter_estimate(segmenter, &volume, &options, &planned, NULL, NULL, NULL));
    CHECK(planned == least);
    OK(planrt_segmenter_run(segmenter, &volume, &map, &options));
    static uint8_t again[9 * 9 * 9];
    map.data = again;
    OK(planrt_segmenter_run(segmenter, &volume, &map, NULL));
    CHECK(memcmp(labels, again, sizeof again) == 0);

    /* As 16 bits, from the last voxel to the first. */
    map.data = labels, map.size_bytes = sizeof labels, map.element_type = PLANRT_UINT16;
    map.first_voxel_bytes = sizeof labels - 2;
    map.strides_bytes[0] = -162, map.strides_bytes[1] = -18, map.strides_bytes[2] = -2;
    OK(planrt_segmenter_run(segmenter, &volume, &map, NULL));
    for (int i = 0; i < 9 * 9 * 9; i++) {
        uint16_t label = 0;
        memcpy(&label, labels + sizeof labels - 2 - 2 * i, 2);
        CHECK(label == again[i]);
    }
    free(data);
    planrt_segmenter_delete(segmenter);
}

static void bad_recipes(const planrt_engine *small, const planrt_engine *slow) {
    const planrt_engine *folds[2] = {small, slow};
    planrt_segmenter *segmenter = NULL;
#define NO_SEGMENTER(code, text, count, recipe) FAILS(code, text, planrt_segmenter_new(folds, count, recipe, NULL, &segmenter))
    NO_SEGMENTER(PLANRT_ERROR_INVALID_MODEL, "recipe_json", 1, "{");
    NO_SEGMENTER(PLANRT_ERROR_INVALID_MODEL, "surprise", 1, TILING(", \"surprise\": 1"));
    NO_SEGMENTER(PLANRT_ERROR_INVALID_ARGUMENT, "at least one", 0, plain);
    NO_SEGMENTER(PLANRT_ERROR_SHAPE, "64", 2, plain);
    NO_SEGMENTER(PLANRT_ERROR_SHAPE, "16", 1,
                 "{\"planrt_recipe\": 1, \"tiling\": {\"patch\": [16, 8, 8]}, \"decision\": {\"labels\": [0, 1]}}");
    NO_SEGMENTER(PLANRT_ERROR_INVALID_ARGUMENT, "3 channels", 1,
                 "{\"planrt_recipe\": 1, \"tiling\": {\"patch\": [8, 8, 8]}, \"decision\": {\"labels\": [0, 1, 2]}}");
    CHECK(segmenter == NULL);
    planrt_segmenter_options *options = NULL;
    OK(planrt_segmenter_options_new(&options));
    FAILS(PLANRT_ERROR_INVALID_ARGUMENT, "overlap", planrt_segmenter_options_set_overlap(options, 1));
    FAILS(PLANRT_ERROR_INVALID_ARGUMENT, "overlap", planrt_segmenter_options_set_overlap(options, NAN));
    OK(planrt_segmenter_options_set_overlap(options, 0));
    OK(planrt_segmenter_options_set_mirrored(options, true, false, false));
    OK(planrt_segmenter_new(folds, 1, plain, options, &segmenter));
    planrt_segmenter_options_delete(options);
    planrt_segmenter_delete(segmenter);
}

/* A segmenter on `many`, by which a voxel's label is its value, as a number without a fraction. */
static planrt_segmenter *new_copier(const planrt_engine *many, const char *more, const char *decision) {
    static char recipe[4096];
    size_t used = (size_t)snprintf(recipe, sizeof recipe, "{\"planrt_recipe\": 1, \"tiling\": {\"patch\": [4, 4, 4]}%s,"
                                   "\"decision\": {%s \"labels\": [0", more, decision);
    for (int label = 1; label < 300; label++) used += (size_t)snprintf(recipe + used, sizeof recipe - used, ",%d", label);
    snprintf(recipe + used, sizeof recipe - used, "]}}");
    return new_segmenter(&many, 1, recipe);
}

/* Scans of 16 bits that lie in memory in each of the ways there are, cropped, turned and transposed, and back. */
static void orientations(const planrt_engine *many) {
    planrt_segmenter *segmenter =
        new_copier(many, ", \"orientation\": \"RAS\", \"transpose\": [1, 2, 0], \"crop_to_nonzero\": true", "");
    static const int orders[6][3] = {{0, 1, 2}, {0, 2, 1}, {1, 0, 2}, {1, 2, 0}, {2, 0, 1}, {2, 1, 0}};
    enum { Z = 7, Y = 6, X = 9 };
    static int16_t data[Z][Y][X + 2]; /* rows lie apart */
    static uint16_t labels[Z][Y][X];
    for (int turn = 0; turn < 48; turn++) {
        for (int z = 0; z < Z; z++)
            for (int y = 0; y < Y; y++)
                for (int x = 0; x < X + 2; x++) {
                    int inside = z > 0 && z < 6 && y > 1 && x > 2 && x < 8;
                    data[z][y][x] = x >= X ? 30000 : (int16_t)(5 + (inside ? (z * 7 + y * 5 + x * 3) % 100 : 0));
                }
        planrt_volume volume = {.struct_size = sizeof volume, .data = data, .size_bytes = sizeof data,
                                .element_type = PLANRT_INT16, .extents = {Z, Y, X}, .spacing_mm = {3, 2, 1},
                                .strides_bytes = {0, sizeof data[0], sizeof data[0][0], 2}, .rescale_slope = 2,
                                .rescale_intercept = -10};
        for (int axis = 0; axis < 3; axis++) volume.direction[3 * orders[turn / 8][axis] + axis] = turn >> axis & 1 ? -1 : 1;
        planrt_label_map map = {.struct_size = sizeof map, .data = labels, .size_bytes = sizeof labels,
                                .element_type = PLANRT_UINT16};
        memset(labels, UNTOUCHED, sizeof labels);
        OK(planrt_segmenter_run(segmenter, &volume, &map, NULL));
        for (int i = 0; i < Z * Y * X; i++) {
            int z = i / (X * Y), y = i / X % Y, x = i % X;
            CHECK(labels[z][y][x] == 2 * data[z][y][x] - 10);
        }
        /* Nothing but zeros is kept whole. */
        volume.rescale_slope = 0, volume.rescale_intercept = 0;
        memset(data, 0, sizeof data);
        OK(planrt_segmenter_run(segmenter, &volume, &map, NULL));
        for (int i = 0; i < Z * Y * X; i++) CHECK(labels[i / (X * Y)][i / X % Y][i % X] == 0);
    }
    planrt_segmenter_delete(segmenter);
}

/* To half of the spacing and back. */
static void resampled(const planrt_engine *many) {
#define HALVED(data, result) \
    ", \"resampling\": {\"spacing_mm\": [1, 1, 1], \"geometry\": \"edges\", \"data\": \"" data "\", \"result\": \"" result "\"}"
    enum { X = 12, SIZE = 3 * 2 * X };
    static const struct {
        const char *recipe, *decision;
        int change; /* of the labels inside */
    } all[] = {
        {HALVED("nearest", "nearest"), "", 0},
        {HALVED("linear", "linear"), "", 0},
        {HALVED("linear", "nearest"), "", 2}, /* the nearest voxel of the model's is a quarter of one of the scan's further on */
        {HALVED("linear", "linear"), "\"before_resampling\": true, ", 2},
    };
    static uint8_t data[SIZE];
    static uint16_t labels[SIZE];
    for (int i = 0; i < SIZE; i++) data[i] = (uint8_t)(8 * (i % X) + 5);
    planrt_volume volume = {.struct_size = sizeof volume, .data = data, .size_bytes = sizeof data, .element_type = PLANRT_UINT8,
                            .extents = {3, 2, X}, .spacing_mm = {2, 2, 2}};
    planrt_label_map map = {.struct_size = sizeof map, .data = labels, .size_bytes = sizeof labels, .element_type = PLANRT_UINT16};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
        planrt_segmenter *segmenter = new_copier(many, all[i].recipe, all[i].decision);
        OK(planrt_segmenter_run(segmenter, &volume, &map, NULL));
        for (int voxel = 0; voxel < SIZE; voxel++) {
            int x = voxel % X;
            if (x > 0 && x < X - 1) CHECK(labels[voxel] == data[voxel] + all[i].change);
            else CHECK(labels[voxel] >= data[voxel] - 2 && labels[voxel] <= data[voxel] + 2);
        }
        planrt_segmenter_delete(segmenter);
    }
}

static void large_labels(const planrt_engine *many) {
    planrt_segmenter *segmenter = new_copier(many, "", "");
    /* Class c is the largest where the voxel is c. */
    static float data[5 * 5 * 12];
    static uint16_t labels[5 * 5 * 12];
    int64_t extents[3] = {5, 5, 12};
    for (int i = 0; i < 300; i++) data[i] = (float)(299 - i);
    planrt_volume volume = volume_of(data, extents);
    planrt_label_map map = {.struct_size = sizeof map, .data = labels, .size_bytes = sizeof labels, .element_type = PLANRT_UINT8};
    FAILS(PLANRT_ERROR_INVALID_ARGUMENT, "299", planrt_segmenter_run(segmenter, &volume, &map, NULL));
    map.element_type = PLANRT_UINT16;
    OK(planrt_segmenter_run(segmenter, &volume, &map, NULL));
    for (int i = 0; i < 300; i++) CHECK(labels[i] == 299 - i);
    planrt_segmenter_delete(segmenter);
}

static void no_numbers(const planrt_engine *logarithm) {
    planrt_segmenter *segmenter = new_segmenter(
        &logarithm, 1, "{\"planrt_recipe\": 1, \"tiling\": {\"patch\": [8, 8, 8], \"overlap\": 0}, \"decision\": {\"labels\": [0, 1]}}");
    int64_t extents[3] = {8, 16, 24};
    enum { SIZE = 8 * 16 * 24 };
    static float data[SIZE];
    static uint8_t labels[SIZE];
    for (int i = 0; i < SIZE; i++) data[i] = (float)(1 + i % 7);
    data[9 * 24 + 20] = -1; /* z 0, y 9, x 20: in the tile from y 8, x 16 on */
    planrt_volume volume = volume_of(data, extents);
    planrt_label_map map = labels_of(labels, extents);
    FAILS(PLANRT_ERROR_INVALID_MODEL, "tile 6 of 6, from z 0, y 8, x 16", planrt_segmenter_run(segmenter, &volume, &map, NULL));
    planrt_segmentation_options options = {.struct_size = sizeof options, .nan_allowed = 1};
    OK(planrt_segmenter_run(segmenter, &volume, &map, &options));
    planrt_segmenter_delete(segmenter);
}

/* A patch that no memory holds, of a model that takes any: an error, whatever is asked first. */
static void endless_patch(const planrt_engine *any_size) {
    planrt_segmenter *segmenter = NULL;
    planrt_error *error = planrt_segmenter_new(
        &any_size, 1, "{\"planrt_recipe\": 1, \"tiling\": {\"patch\": [1048576, 1048576, 1048576]}, \"decision\": {\"labels\": [0, 1]}}",
        NULL, &segmenter);
    CHECK(error && !segmenter);
    printf("%s\n", planrt_error_get_message(error));
    planrt_error_delete(error);
}

static bool until_all_is_done(void *called, int64_t done, int64_t count) {
    ++*(int *)called;
    return done < count;
}

/* The progress callback's word counts, also when no tile is left. */
static void given_up_last(const planrt_engine *small) {
    planrt_segmenter *segmenter = new_segmenter(&small, 1, plain);
    int64_t extents[3] = {8, 8, 12};
    float *data = noise(8 * 8 * 12);
    static uint8_t labels[8 * 8 * 12];
    int called = 0;
    planrt_volume volume = volume_of(data, extents);
    planrt_label_map map = labels_of(labels, extents);
    planrt_segmentation_options options = {.struct_size = sizeof options, .progress = until_all_is_done, .user_data = &called};
    FAILS(PLANRT_ERROR_CANCELLED, "2 of 2 tiles", planrt_segmenter_run(segmenter, &volume, &map, &options));
    CHECK(called == 3);
    free(data);
    planrt_segmenter_delete(segmenter);
}

int main(void) {
    planrt_runtime *runtime = new_runtime();
    planrt_engine *small = load(runtime, SMALL), *tiny = load(runtime, MODELS "/tiny.onnx"), *slow = load(runtime, MODELS "/slow.onnx");
    planrt_engine *many = load(runtime, MODELS "/many.onnx"), *logarithm = load(runtime, MODELS "/logarithm.onnx");
    all_extents(small, tiny);
    bad_volumes(small);
    bad_recipes(small, slow);
    large_labels(many);
    orientations(many);
    resampled(many);
    no_numbers(logarithm);
    given_up_last(small);
    planrt_engine *any_size = load(runtime, MODELS "/any_size.onnx");
    endless_patch(any_size);
    planrt_engine_delete(any_size);
    planrt_engine_delete(logarithm);
    planrt_engine_delete(many);
    planrt_engine_delete(slow);
    planrt_engine_delete(tiny);
    planrt_engine_delete(small);
    planrt_runtime_delete(runtime);
    return 0;
}
