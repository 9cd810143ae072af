// What src/volume computes, on the device. Each kernel is the twin of a function there, named above it, and gives the same
// bits, but for the exponential function in probabilities.
//
// `make kernels` compiles it into kernels.ptx. Nothing of CUDA's SDK is used. Products are rounded before they are added
// (-ffp-contract=off), as in a program that does one after the other.
//
// Threads of a grid's first axis go over voxels, side by side; the second and third axis are channels, planes or tiles.

#define KERNEL extern "C" __attribute__((global)) void
#define DEVICE static inline __attribute__((device))
#define DEVICE_MEMBER __attribute__((device))
// Written out, so that what a loop indexes stays in registers. Other compilers, which make this for the host, need no such thing.
#ifdef __clang__
#define UNROLLED _Pragma("unroll")
#else
#define UNROLLED
#endif

typedef unsigned char uint8;
typedef unsigned short uint16;
typedef unsigned int uint32;
typedef unsigned long long uint64;
typedef long long int64;

// Four values side by side, read and written at once where they lie at a multiple of their size.
typedef float Four __attribute__((vector_size(16)));
typedef uint32 Words __attribute__((vector_size(16)));

DEVICE bool is_of_four(uint64 address) { return address % sizeof(Four) == 0; }

struct Extents {
    uint32 z, y, x;
};

DEVICE uint32 first_voxel() { return __nvvm_read_ptx_sreg_ctaid_x() * __nvvm_read_ptx_sreg_ntid_x() + __nvvm_read_ptx_sreg_tid_x(); }
DEVICE uint32 voxel_step() { return __nvvm_read_ptx_sreg_nctaid_x() * __nvvm_read_ptx_sreg_ntid_x(); }
DEVICE uint32 row() { return __nvvm_read_ptx_sreg_ctaid_y(); }
DEVICE uint32 rows() { return __nvvm_read_ptx_sreg_nctaid_y(); }
DEVICE uint32 layer() { return __nvvm_read_ptx_sreg_ctaid_z(); }
DEVICE uint32 layers() { return __nvvm_read_ptx_sreg_nctaid_z(); }

// Counts stay below 2^31, so that the step beyond them is a number, too.
#define EACH_VOXEL(i, count) for (uint32 i = first_voxel(); i < (count); i += voxel_step())

DEVICE uint32 voxels(Extents e) { return e.z * e.y * e.x; }
DEVICE uint32 bits(float value) { return __builtin_bit_cast(uint32, value); }
DEVICE bool is_nan(float value) { return value != value; }

// ---- A scan as it comes ----

enum Element : uint32 { INT8, UINT8, INT16, UINT16, INT32, FLOAT16, FLOAT32 };

// Of a channel: in bytes, voxel (0, 0, 0) and from one z, y and x to the next. All are multiples of the element's size.
struct Layout {
    int64 first, z, y, x;
    double slope, intercept;
    uint32 element, is_rescaled;
};

enum Kind : uint32 { NOTHING, CT, SHIFTED, RANGE };
enum Which : uint32 { ALL, MASKED, NONZERO };

// intensity::Change.
struct Change {
    uint32 kind, which, divides, clips;
    float low, high, minus, divisor, factor, plus;
};

DEVICE float from_half(uint16 half) {
    const uint32 sign = (uint32)(half & 0x8000) << 16, exponent = half >> 10 & 31, rest = half & 1023;
    if (exponent == 31) return __builtin_bit_cast(float, sign | 0x7f800000 | rest << 13);
    if (exponent == 0) return __builtin_bit_cast(float, sign | bits((float)rest * 5.9604644775390625e-8f));
    return __builtin_bit_cast(float, sign | (exponent + 112) << 23 | rest << 13);
}

// The nearest, ties to even.
DEVICE uint16 to_half(float value) {
    const uint32 sign = bits(value) >> 16 & 0x8000, magnitude = bits(value) & 0x7fffffff;
    if (magnitude > 0x7f800000) return sign | 0x7e00;
    if (magnitude >= 0x477ff000) return sign | 0x7c00;
    // The smallest are whole numbers of what is a half's last place.
    if (magnitude < 0x38800000) return sign | (bits(__builtin_bit_cast(float, magnitude) + 0.5f) - bits(0.5f));
    return sign | (magnitude - 0x38000000 + 0xfff + (magnitude >> 13 & 1)) >> 13;
}

template <typename Number>
DEVICE float rescaled(Number number, const Layout &l) {
    return l.is_rescaled ? (float)((double)number * l.slope + l.intercept) : (float)number;
}

// View::read.
DEVICE float read(const uint8 *at, const Layout &l) {
    switch (l.element) {
    case INT8: return rescaled(*(const signed char *)at, l);
    case UINT8: return rescaled(*at, l);
    case INT16: return rescaled(*(const short *)at, l);
    case UINT16: return rescaled(*(const uint16 *)at, l);
    case INT32: return rescaled(*(const int *)at, l);
    case FLOAT16: return rescaled(from_half(*(const uint16 *)at), l);
    default: return rescaled(*(const float *)at, l);
    }
}

DEVICE float clipped(float value, float low, float high) {
    value = value < low ? low : value;
    return value > high ? high : value;
}

// Change::apply.
DEVICE float changed(float value, const Change &c, bool inside) {
    if (c.kind == CT) return (clipped(value, c.low, c.high) - c.minus) / c.divisor;
    if (c.kind == SHIFTED) {
        const bool counts = c.which == ALL || (c.which == MASKED ? inside : value != 0.0f);
        return counts ? (value - c.minus) / c.divisor : value;
    }
    if (c.kind == RANGE) {
        value = value - c.minus;
        if (c.divides) value = value / c.divisor * c.factor;
        value = value + c.plus;
        return c.clips ? clipped(value, c.low, c.high) : value;
    }
    return value;
}

// Both, of one channel. Rows are planes; where there is no mask it is null.
KERNEL planrt_read(const uint8 *memory, Layout l, Extents e, Change c, const uint8 *mask, float *volume) {
    for (uint32 z = row(); z < e.z; z += rows()) {
        EACH_VOXEL(i, e.y * e.x) {
            const uint64 place = (uint64)z * e.y * e.x + i;
            const uint8 *at = memory + (l.first + (int64)z * l.z + (int64)(i / e.x) * l.y + (int64)(i % e.x) * l.x);
            volume[place] = changed(read(at, l), c, mask && mask[place]);
        }
    }
}

// Change::apply, of one channel without a mask.
KERNEL planrt_change(float *values, uint32 count, Change c) {
    values += (uint64)row() * count;
    EACH_VOXEL(i, count) values[i] = changed(values[i], c, true);
}

// ---- A scan on another grid: one axis after the other ----

// [outer, from, inner], and what becomes of it: [outer, to, inner].
struct Lines {
    uint32 outer, from, to, inner;
};

// kernel::Between: sample `at`, and by `part` the next one.
struct Between {
    uint32 at;
    float part;
};

// Kernel::rows and Kernel::along, of the nearest samples or between two. Rows are of the outer axes.
KERNEL planrt_resample_axis(const float *source, float *target, Lines l, const Between *samples, uint32 is_linear) {
    for (uint32 outer = row(); outer < l.outer; outer += rows()) {
        const float *from = source + (uint64)outer * l.from * l.inner;
        float *to = target + (uint64)outer * l.to * l.inner;
        EACH_VOXEL(i, l.to * l.inner) {
            const uint32 inner = i % l.inner;
            const Between sample = samples[i / l.inner];
            const float a = from[(uint64)sample.at * l.inner + inner];
            const float b = from[(uint64)(sample.part > 0.0f ? sample.at + 1 : sample.at) * l.inner + inner];
            to[i] = is_linear ? a + (b - a) * sample.part : a;
        }
    }
}

// spline::Taps.
struct Taps {
    uint32 first;
    double weights[4];
};

// Samples of a spline's line that are worked on together: they are read at once, and stay in registers.
enum : uint32 { PIECE = 16 };

// Samples of a line with its padding from `start` on, which repeats its ends.
DEVICE void samples_of(const float *line, const Lines &l, uint32 start, float (&samples)[PIECE]) {
    const uint32 padding = 12;
    UNROLLED for (uint32 k = 0; k < PIECE; ++k) {
        const uint32 j = start + k, at = j < padding ? 0 : j - padding;
        samples[k] = line[(uint64)(at < l.from ? at : l.from - 1) * l.inner];
    }
}

// Spline, of `count` lines from line `first` on. The recursion there is done twice, so that nearly nothing of it need be kept: where
// each piece begins, in `begins`, that of a piece `count` from the next; and piece by piece on the way back.
KERNEL planrt_resample_spline(const float *source, float *target, Lines l, const Taps *taps, uint64 first, uint32 count, double *begins) {
    const double pole = -0.2679491924311227;
    const uint32 length = l.from + 2 * 12, pieces = (length + PIECE - 1) / PIECE;
    EACH_VOXEL(i, count) {
        const uint64 line = first + i, outer = line / l.inner, inner = line % l.inner;
        const float *from = source + outer * l.from * l.inner + inner;
        float *to = target + outer * l.to * l.inner + inner;
        double *begin = begins + i;
        float samples[PIECE];
        double power = pole, here = 0.0, before = 0.0;
        // As if the line came out of its mirror image.
        for (uint32 start = 0; start < length && start <= 32; start += PIECE) {
            samples_of(from, l, start, samples);
            UNROLLED for (uint32 k = 0; k < PIECE; ++k) {
                const uint32 j = start + k;
                if (j == 0) {
                    here = samples[0];
                } else if (j < length && j <= 32) {
                    here = here + power * samples[k];
                    power = power * pole;
                }
            }
        }
        for (uint32 piece = 0; piece < pieces; ++piece) {
            samples_of(from, l, piece * PIECE, samples);
            UNROLLED for (uint32 k = 0; k < PIECE; ++k) {
                const uint32 j = piece * PIECE + k;
                if (j > 0 && j < length) {
                    before = here;
                    here = samples[k] + pole * before;
                }
                if (k == 0) begin[(uint64)piece * count] = here;
            }
        }
        // Coefficients that are known: that of the sample at hand, and of those behind it.
        double a = pole / (pole * pole - 1.0) * (pole * before + here), b = 0.0, c = 0.0, d = 0.0;
        uint32 next = l.to;
        uint32 wanted = taps[next - 1].first;
        for (uint32 piece = pieces; piece-- > 0;) {
            double there[PIECE];
            samples_of(from, l, piece * PIECE, samples);
            there[0] = begin[(uint64)piece * count];
            UNROLLED for (uint32 k = 1; k < PIECE; ++k) there[k] = samples[k] + pole * there[k - 1];
            UNROLLED for (uint32 back = 0; back < PIECE; ++back) {
                const uint32 k = PIECE - 1 - back, j = piece * PIECE + k;
                if (j >= length) continue;
                if (j + 1 < length) {
                    d = c;
                    c = b;
                    b = a;
                    a = pole * (b - there[k]);
                }
                while (wanted == j) {
                    const Taps t = taps[--next];
                    to[(uint64)next * l.inner] = (float)(t.weights[0] * a + t.weights[1] * b + t.weights[2] * c + t.weights[3] * d);
                    wanted = next > 0 ? taps[next - 1].first : length;
                }
            }
        }
    }
}

// Numbers in the order of their values.
DEVICE uint32 ordered(float value) { return bits(value) >> 31 ? ~bits(value) : bits(value) | 0x80000000; }

// image::ends_of, of planes, which are rows: the least and the most of each or, where there is one place, of all of them, as `ordered`.
KERNEL planrt_ends(const float *values, uint32 planes, uint32 plane, uint32 is_one, uint32 *least, uint32 *most) {
    for (uint32 z = row(); z < planes; z += rows()) {
        const float *of_plane = values + (uint64)z * plane;
        uint32 low = 0xffffffff, high = 0;
        EACH_VOXEL(i, plane) {
            if (is_nan(of_plane[i])) continue;
            const uint32 value = ordered(of_plane[i]);
            low = value < low ? value : low;
            high = value > high ? value : high;
        }
        __nvvm_atom_min_gen_ui(least + (is_one ? 0 : z), low);
        __nvvm_atom_max_gen_ui(most + (is_one ? 0 : z), high);
    }
}

struct Ends {
    float low, high;
};

// image::clip, of planes.
KERNEL planrt_clip(float *values, uint32 planes, uint32 plane, uint32 is_one, const Ends *ends) {
    for (uint32 z = row(); z < planes; z += rows()) {
        const Ends of_plane = ends[is_one ? 0 : z];
        float *own = values + (uint64)z * plane;
        EACH_VOXEL(i, plane) own[i] = clipped(own[i], of_plane.low, of_plane.high);
    }
}

// copy_elements, from float32 to float16 or bfloat16.
KERNEL planrt_narrow(const float *from, uint16 *to, uint32 count, uint32 is_brain) {
    EACH_VOXEL(i, count) {
        const uint32 value = bits(from[i]);
        const uint32 brain = is_nan(from[i]) ? value >> 16 | 0x40 : (value + 0x7fff + (value >> 16 & 1)) >> 16;
        to[i] = is_brain ? (uint16)brain : to_half(from[i]);
    }
}

// And back.
KERNEL planrt_widen(const uint16 *from, float *to, uint32 count, uint32 is_brain) {
    EACH_VOXEL(i, count) to[i] = is_brain ? __builtin_bit_cast(float, (uint32)from[i] << 16) : from_half(from[i]);
}

// ---- Tiles of a volume ----

enum Padding : uint32 { CONSTANT, EDGE, REFLECT };

struct Tiling {
    Extents volume, patch;
    uint32 padding;
    float constant;
};

struct Start {
    int z, y, x;
};

// tiles::source: the voxel that is taken for the one at `at`, or -1.
DEVICE int source(int at, int extent, uint32 padding) {
    if (at >= 0 && at < extent) return at;
    if (padding == CONSTANT) return -1;
    if (padding == EDGE) return at < 0 ? 0 : extent - 1;
    const int period = extent > 1 ? 2 * (extent - 1) : 1;
    at %= period;
    if (at < 0) at += period;
    const int other = period - at;
    at = at < other ? at : other;
    return at < extent - 1 ? at : extent - 1;
}

// The value of voxel (z, y, x) of the tile that begins at `start`.
DEVICE float value_at(const float *channel, const Tiling &t, Start start, uint32 z, uint32 y, uint32 x) {
    const int from_z = source(start.z + (int)z, t.volume.z, t.padding);
    const int from_y = source(start.y + (int)y, t.volume.y, t.padding);
    const int from_x = source(start.x + (int)x, t.volume.x, t.padding);
    if (from_z < 0 || from_y < 0 || from_x < 0) return t.constant;
    return channel[((uint64)from_z * t.volume.y + from_y) * t.volume.x + from_x];
}

DEVICE const float *channel_of(const float *volume, const Tiling &t, uint32 channel) {
    return volume + (uint64)channel * t.volume.z * t.volume.y * t.volume.x;
}

DEVICE void write(float *to, const float (&values)[1]) { *to = values[0]; }
DEVICE void write(float *to, const float (&values)[4]) { *(Four *)to = Four{values[0], values[1], values[2], values[3]}; }

// Of so many voxels side by side.
template <uint32 together>
DEVICE void gather(const float *volume, float *tile, const Tiling &t, Start start, bool mirror_z, bool mirror_y, bool mirror_x) {
    const float *channel = channel_of(volume, t, row());
    const uint32 width = t.patch.x / together;
    const bool is_within = !mirror_x && start.x >= 0 && (uint32)start.x + t.patch.x <= t.volume.x;
    const bool is_of_fours = is_within && is_of_four((uint64)volume) && start.x % 4 == 0 && t.volume.x % 4 == 0;
    for (uint32 to_z = layer(); to_z < t.patch.z; to_z += layers()) {
        const uint32 z = mirror_z ? t.patch.z - 1 - to_z : to_z;
        const int from_z = source(start.z + (int)z, t.volume.z, t.padding);
        float *to = tile + ((uint64)row() * t.patch.z + to_z) * t.patch.y * t.patch.x;
        EACH_VOXEL(i, t.patch.y * width) {
            const uint32 to_x = i % width * together, to_y = i / width, y = mirror_y ? t.patch.y - 1 - to_y : to_y;
            const int from_y = source(start.y + (int)y, t.volume.y, t.padding);
            const float *line = channel + ((uint64)from_z * t.volume.y + from_y) * t.volume.x;
            float values[together];
            UNROLLED for (uint32 k = 0; k < together; ++k) values[k] = t.constant;
            if (from_z >= 0 && from_y >= 0) {
                if (together == 4 && is_of_fours) {
                    const Four four = *(const Four *)(line + start.x + to_x);
                    UNROLLED for (uint32 k = 0; k < together; ++k) values[k] = four[k];
                } else {
                    UNROLLED for (uint32 k = 0; k < together; ++k) {
                        const uint32 x = mirror_x ? t.patch.x - 1 - (to_x + k) : to_x + k;
                        const int from_x = is_within ? start.x + (int)x : source(start.x + (int)x, t.volume.x, t.padding);
                        if (from_x >= 0) values[k] = line[from_x];
                    }
                }
            }
            write(to + (uint64)to_y * t.patch.x + to_x, values);
        }
    }
}

// Tiles::gather. Rows are channels, layers planes.
KERNEL planrt_gather(const float *volume, float *tile, Tiling t, Start start, uint32 mirror_z, uint32 mirror_y, uint32 mirror_x) {
    if (t.patch.x % 4 == 0 && is_of_four((uint64)tile)) {
        gather<4>(volume, tile, t, start, mirror_z, mirror_y, mirror_x);
    } else {
        gather<1>(volume, tile, t, start, mirror_z, mirror_y, mirror_x);
    }
}

// tiles::constants, of all tiles at once. Rows are channels, layers tiles: of each tile's channel the first value's bits, and
// whether any other differs, which is 0 before.
KERNEL planrt_constants(const float *volume, Tiling t, const Start *starts, uint32 tiles, uint32 channels, uint32 *values,
                        uint32 *differs) {
    const float *channel = channel_of(volume, t, row());
    for (uint32 tile = layer(); tile < tiles; tile += layers()) {
        const Start start = starts[tile];
        const uint32 first = bits(value_at(channel, t, start, 0, 0, 0));
        const uint64 place = (uint64)tile * channels + row();
        volatile uint32 *differ = differs + place;
        if (first_voxel() == 0) values[place] = first;
        EACH_VOXEL(i, voxels(t.patch)) {
            if (*differ) break;
            const uint32 x = i % t.patch.x, y = i / t.patch.x % t.patch.y, z = i / t.patch.x / t.patch.y;
            if (bits(value_at(channel, t, start, z, y, x)) != first) *differ = 1;
        }
    }
}

// sweep::add_mirrored. Rows are channels.
KERNEL planrt_add_mirrored(const float *tile, float *sum, Extents patch, uint32 mirror_z, uint32 mirror_y, uint32 mirror_x,
                           uint32 is_first) {
    const uint32 count = voxels(patch);
    const uint64 channel = (uint64)row() * count;
    EACH_VOXEL(i, count) {
        uint32 x = i % patch.x, y = i / patch.x % patch.y, z = i / patch.x / patch.y;
        if (mirror_x) x = patch.x - 1 - x;
        if (mirror_y) y = patch.y - 1 - y;
        if (mirror_z) z = patch.z - 1 - z;
        const float value = tile[channel + (z * patch.y + y) * patch.x + x];
        sum[channel + i] = is_first ? value : sum[channel + i] + value;
    }
}

// A mean of a sum. Rows are channels, each of `count` values.
KERNEL planrt_divide(float *values, uint32 count, float divisor) {
    values += (uint64)row() * count;
    EACH_VOXEL(i, count) values[i] = values[i] / divisor;
}

// Whether any value is no number. Rows are channels; the place is 0 before.
KERNEL planrt_find_nan(const float *values, uint32 count, uint32 *found) {
    values += (uint64)row() * count;
    EACH_VOXEL(i, count) {
        if (is_nan(values[i])) *found = 1;
    }
}

// ---- The ring of planes: for each plane the sums of all channels, and then the sum of the weights ----

struct Blending {
    Extents patch;
    // Planes of the ring, and their extents.
    Extents ring;
    // What of the tile lies in the volume, where that begins in the tile, and in the volume.
    Extents covered, in_tile, in_volume;
};

DEVICE bool has_nan(float value) { return is_nan(value); }
DEVICE bool has_nan(Four values) { return is_nan(values[0]) || is_nan(values[1]) || is_nan(values[2]) || is_nan(values[3]); }

// Of voxels side by side, as many as `Values` are.
template <typename Values>
DEVICE void blend(const float *__restrict__ tile, const float *__restrict__ window, float *__restrict__ ring, const Blending &b,
                  uint32 channels, uint32 *found) {
    const uint32 together = sizeof(Values) / sizeof(float), width = b.covered.x / together;
    const uint64 plane = (uint64)b.ring.y * b.ring.x, patch = voxels(b.patch);
    for (uint32 z = row(); z < b.covered.z; z += rows()) {
        float *slot = ring + ((b.in_volume.z + z) % b.ring.z) * (channels + 1) * plane;
        const uint64 of_tile = (uint64)(b.in_tile.z + z) * b.patch.y * b.patch.x;
        EACH_VOXEL(i, b.covered.y * width) {
            const uint32 x = i % width * together, y = i / width;
            const uint64 from = of_tile + (uint64)(b.in_tile.y + y) * b.patch.x + b.in_tile.x + x;
            float *sum = slot + (uint64)(b.in_volume.y + y) * b.ring.x + b.in_volume.x + x;
            const Values weight = *(const Values *)(window + from);
            bool is_odd = false;
            for (uint32 channel = 0; channel < channels; ++channel) {
                const Values value = *(const Values *)(tile + channel * patch + from);
                is_odd |= has_nan(value);
                Values *of_channel = (Values *)(sum + channel * plane);
                *of_channel = *of_channel + value * weight;
            }
            if (found && is_odd) *found = 1;
            Values *weights = (Values *)(sum + channels * plane);
            *weights = *weights + weight;
        }
    }
}

// Sweep::add. Rows are planes. Where a value of the tile is no number the place becomes 1, if there is one.
KERNEL planrt_blend(const float *tile, const float *window, float *ring, Blending b, uint32 channels, uint32 *found) {
    const uint32 all = b.patch.x | b.ring.x | b.covered.x | b.in_tile.x | b.in_volume.x;
    if (all % 4 == 0 && is_of_four((uint64)tile | (uint64)window | (uint64)ring)) {
        blend<Four>(tile, window, ring, b, channels, found);
    } else {
        blend<float>(tile, window, ring, b, channels, found);
    }
}

// What Sweep::blend does before it gives planes out, to `count` voxels of each. Rows are planes of the ring; each has a place for
// whether a value of it is no number, which is 0 before.
KERNEL planrt_weigh(float *ring, uint32 plane, uint32 count, uint32 channels, uint32 *found) {
    float *sums = ring + (uint64)row() * (channels + 1) * plane;
    EACH_VOXEL(i, count) {
        const float weight = sums[(uint64)channels * plane + i];
        for (uint32 channel = 0; channel < channels; ++channel) {
            float *sum = sums + (uint64)channel * plane + i;
            *sum = *sum / weight;
            if (is_nan(*sum)) found[row()] = 1;
        }
    }
}

// ---- Decisions. Rows are planes (or there is one), `stride` values apart; channels are `count` values apart ----

// e to the power of x, within two units in the last place.
DEVICE float exponential(float x) {
    if (!(x < 89.0f)) return is_nan(x) ? x : __builtin_inff();
    if (x < -104.0f) return 0.0f;
    // x = k ln 2 + r. What is added and taken away leaves a whole number.
    const float k = (x * 1.44269504f + 12582912.0f) - 12582912.0f;
    const float r = __builtin_fmaf(k, -1.42860677e-6f, __builtin_fmaf(k, -0.693145752f, x));
    float e = 1.98412698e-4f;
    e = __builtin_fmaf(e, r, 1.38888889e-3f);
    e = __builtin_fmaf(e, r, 8.33333333e-3f);
    e = __builtin_fmaf(e, r, 4.16666667e-2f);
    e = __builtin_fmaf(e, r, 1.66666667e-1f);
    e = __builtin_fmaf(e, r, 0.5f);
    e = __builtin_fmaf(e, r, 1.0f);
    e = __builtin_fmaf(e, r, 1.0f);
    // 2 to the power of k, in two halves: it may be no number of its own.
    const int half = (int)k / 2, rest = (int)k - half;
    return e * __builtin_bit_cast(float, (half + 127) << 23) * __builtin_bit_cast(float, (rest + 127) << 23);
}

// decide::activate.
KERNEL planrt_sigmoid(float *values, uint64 stride, uint32 count, uint32 channels) {
    values += row() * stride;
    EACH_VOXEL(i, count) {
        for (uint32 channel = 0; channel < channels; ++channel) {
            float *value = values + (uint64)channel * count + i;
            *value = 1.0f / (1.0f + exponential(-*value));
        }
    }
}

KERNEL planrt_softmax(float *values, uint64 stride, uint32 count, uint32 channels) {
    values += row() * stride;
    EACH_VOXEL(i, count) {
        float *const of_voxel = values + i;
        float largest = -__builtin_inff(), sum = 0.0f;
        for (uint32 channel = 0; channel < channels; ++channel) {
            const float value = of_voxel[(uint64)channel * count];
            // What is no number is passed over here, and found in the sum.
            largest = value > largest ? value : largest;
        }
        for (uint32 channel = 0; channel < channels; ++channel) {
            float *value = of_voxel + (uint64)channel * count;
            *value = exponential(*value - largest);
            sum = sum + *value;
        }
        for (uint32 channel = 0; channel < channels; ++channel) {
            float *value = of_voxel + (uint64)channel * count;
            *value = *value / sum;
        }
    }
}

// The channel of the largest of a voxel's values, which come channel by channel.
struct Largest {
    float value = -__builtin_inff();
    uint32 channel = 0;

    DEVICE_MEMBER void take(uint32 of_channel, float other) {
        // As everywhere, the first channel that is no number counts as the largest.
        if (other > value || (is_nan(other) && !is_nan(value))) {
            value = other;
            channel = of_channel;
        }
    }
};

// decide::decide, by the largest value, of `count` voxels of each plane, whose channels are `plane` values apart. `of_channels` are the
// channels' labels.
template <typename Label>
DEVICE void argmax(const float *values, uint64 stride, uint32 plane, uint32 count, uint32 channels, const uint16 *of_channels,
                   Label *labels) {
    values += row() * stride;
    labels += (uint64)row() * count;
    EACH_VOXEL(i, count) {
        Largest largest;
        for (uint32 channel = 0; channel < channels; ++channel) largest.take(channel, values[(uint64)channel * plane + i]);
        labels[i] = (Label)of_channels[largest.channel];
    }
}

KERNEL planrt_argmax_uint8(const float *values, uint64 stride, uint32 plane, uint32 count, uint32 channels, const uint16 *of_channels,
                          uint8 *labels) {
    argmax(values, stride, plane, count, channels, of_channels, labels);
}

KERNEL planrt_argmax_uint16(const float *values, uint64 stride, uint32 plane, uint32 count, uint32 channels, const uint16 *of_channels,
                          uint16 *labels) {
    argmax(values, stride, plane, count, channels, of_channels, labels);
}

struct Region {
    uint32 channel, label;
};

// decide::decide, by regions that are painted one over the other.
template <typename Label>
DEVICE void paint(const float *values, uint64 stride, uint32 count, const Region *order, uint32 regions, float threshold, Label *labels) {
    values += row() * stride;
    labels += (uint64)row() * count;
    EACH_VOXEL(i, count) {
        uint32 chosen = 0;
        for (uint32 region = 0; region < regions; ++region) {
            if (values[(uint64)order[region].channel * count + i] > threshold) chosen = order[region].label;
        }
        labels[i] = (Label)chosen;
    }
}

KERNEL planrt_regions_uint8(const float *values, uint64 stride, uint32 count, const Region *order, uint32 regions, float threshold,
                            uint8 *labels) {
    paint(values, stride, count, order, regions, threshold, labels);
}

KERNEL planrt_regions_uint16(const float *values, uint64 stride, uint32 count, const Region *order, uint32 regions, float threshold,
                             uint16 *labels) {
    paint(values, stride, count, order, regions, threshold, labels);
}

// ---- Decisions by channels that are made of features here: Head::apply, and then as above ----

// Channels that are made together, so that a feature is fetched once for all of them.
constexpr uint32 TOGETHER = 8;

// Of a group of channels the weights are [feature, channel]; the last group is filled up. The biases are [channel].
struct Head {
    const float *weights, *biases;
    uint32 features, channels;
};

// The channels of a group for a voxel whose features are `count` apart.
DEVICE void channels_of(const float *of_voxel, uint32 count, const Head &head, uint32 first, float *sums) {
    const float *weights = head.weights + (uint64)first * head.features;
    for (uint32 i = 0; i < TOGETHER; ++i) sums[i] = head.biases[first + i];
    for (uint32 feature = 0; feature < head.features; ++feature, weights += TOGETHER) {
        const float value = of_voxel[(uint64)feature * count];
        for (uint32 i = 0; i < TOGETHER; ++i) sums[i] = sums[i] + value * weights[i];
    }
}

// Where a channel is no number the place becomes 1, if there is one.
template <typename Label>
DEVICE void head_argmax(const float *values, uint64 stride, uint32 count, const Head &head, const uint16 *of_channels, uint32 *found,
                        Label *labels) {
    values += row() * stride;
    labels += (uint64)row() * count;
    EACH_VOXEL(i, count) {
        float best = 0.0f;
        uint32 chosen = 0;
        for (uint32 first = 0; first < head.channels; first += TOGETHER) {
            float sums[TOGETHER];
            channels_of(values + i, count, head, first, sums);
            for (uint32 k = 0; k < TOGETHER; ++k) {
                const float value = sums[k];
                const uint32 channel = first + k;
                const bool is_better = channel == 0 || (channel < head.channels && (value > best || (is_nan(value) && !is_nan(best))));
                best = is_better ? value : best;
                chosen = is_better ? channel : chosen;
            }
        }
        // The first that is no number stays the largest.
        if (found && is_nan(best)) *found = 1;
        labels[i] = (Label)of_channels[chosen];
    }
}

KERNEL planrt_head_argmax_uint8(const float *values, uint64 stride, uint32 count, Head head, const uint16 *of_channels, uint32 *found,
                                uint8 *labels) {
    head_argmax(values, stride, count, head, of_channels, found, labels);
}

KERNEL planrt_head_argmax_uint16(const float *values, uint64 stride, uint32 count, Head head, const uint16 *of_channels, uint32 *found,
                                 uint16 *labels) {
    head_argmax(values, stride, count, head, of_channels, found, labels);
}

template <typename Label>
DEVICE void head_paint(const float *values, uint64 stride, uint32 count, const Head &head, uint32 is_sigmoid, const Region *order,
                       uint32 regions, float threshold, uint32 *found, Label *labels) {
    values += row() * stride;
    labels += (uint64)row() * count;
    EACH_VOXEL(i, count) {
        uint32 chosen = 0;
        for (uint32 region = 0; region < regions; ++region) {
            const uint32 channel = order[region].channel, first = channel - channel % TOGETHER;
            const float *weights = head.weights + (uint64)first * head.features + channel % TOGETHER;
            float value = head.biases[channel];
            for (uint32 feature = 0; feature < head.features; ++feature) {
                value = value + values[(uint64)feature * count + i] * weights[feature * TOGETHER];
            }
            if (found && is_nan(value)) *found = 1;
            if (is_sigmoid) value = 1.0f / (1.0f + exponential(-value));
            if (value > threshold) chosen = order[region].label;
        }
        labels[i] = (Label)chosen;
    }
}

KERNEL planrt_head_regions_uint8(const float *values, uint64 stride, uint32 count, Head head, uint32 is_sigmoid, const Region *order,
                                 uint32 regions, float threshold, uint32 *found, uint8 *labels) {
    head_paint(values, stride, count, head, is_sigmoid, order, regions, threshold, found, labels);
}

KERNEL planrt_head_regions_uint16(const float *values, uint64 stride, uint32 count, Head head, uint32 is_sigmoid, const Region *order,
                                  uint32 regions, float threshold, uint32 *found, uint16 *labels) {
    head_paint(values, stride, count, head, is_sigmoid, order, regions, threshold, found, labels);
}

// LabelMap::count, of `count` labels: numbers of voxels are added to `counts`, which has one for each label. Those of one label
// that a thread comes upon are added together.
struct Run {
    uint64 *counts;
    uint32 label = 0;
    uint64 length = 0;

    DEVICE_MEMBER void end() {
        if (length > 0) __atomic_fetch_add(counts + label, length, __ATOMIC_RELAXED);
    }

    DEVICE_MEMBER void take(uint32 other) {
        if (other != label) {
            end();
            label = other;
            length = 0;
        }
        ++length;
    }
};

template <typename Label>
DEVICE void count_labels(const Label *labels, uint32 count, uint64 *counts) {
    const uint32 bits_of_one = 8 * sizeof(Label), in_word = 32 / bits_of_one, together = 4 * in_word;
    const uint32 groups = is_of_four((uint64)labels) ? count / together : 0;
    Run run{counts};
    EACH_VOXEL(i, groups) {
        const Words words = ((const Words *)labels)[i];
        const uint32 all = sizeof(Label) == 1 ? run.label * 0x01010101 : run.label * 0x00010001;
        if (words[0] == all && words[1] == all && words[2] == all && words[3] == all) {
            run.length += together;
            continue;
        }
        UNROLLED for (uint32 word = 0; word < 4; ++word) {
            UNROLLED for (uint32 k = 0; k < in_word; ++k) run.take((Label)(words[word] >> k * bits_of_one));
        }
    }
    for (uint32 i = groups * together + first_voxel(); i < count; i += voxel_step()) run.take(labels[i]);
    run.end();
}

KERNEL planrt_count_uint8(const uint8 *labels, uint32 count, uint64 *counts) { count_labels(labels, count, counts); }

KERNEL planrt_count_uint16(const uint16 *labels, uint32 count, uint64 *counts) { count_labels(labels, count, counts); }

// ---- The result on another grid ----

struct Plane {
    uint32 y, x;
};

// Of a row, as Kernel::along does it: always between two samples where it is linear.
DEVICE float along(const float *line, Between x, uint32 is_linear) {
    const float a = line[x.at];
    if (!is_linear) return a;
    const float b = line[x.part > 0.0f ? x.at + 1 : x.at];
    return a + (b - a) * x.part;
}

// PlaneResampler::row, of one voxel: of two planes of the model's, by `part` of the second.
DEVICE float between(const float *first, const float *second, float part, uint32 width, Between y, Between x, uint32 is_linear) {
    const uint64 above = (uint64)y.at * width, below = above + width;
    float value = along(first + above, x, is_linear);
    if (y.part > 0.0f) value = value + (along(first + below, x, is_linear) - value) * y.part;
    if (part > 0.0f) {
        float far = along(second + above, x, is_linear);
        if (y.part > 0.0f) far = far + (along(second + below, x, is_linear) - far) * y.part;
        value = value + (far - value) * part;
    }
    return value;
}

// All rows of a plane of the scan's. Rows are channels.
KERNEL planrt_resample(const float *first, const float *second, float part, Plane from, Plane to, const Between *rows,
                       const Between *columns, uint32 is_linear, float *target) {
    const uint64 size = (uint64)from.y * from.x;
    first += row() * size;
    second += row() * size;
    const uint32 count = to.y * to.x;
    EACH_VOXEL(i, count) {
        target[(uint64)row() * count + i] = between(first, second, part, from.x, rows[i / to.x], columns[i % to.x], is_linear);
    }
}

// Of the model's planes: plane `first` and those behind it, in a ring of so many places, `stride` values apart; and the one before them.
struct Slab {
    const float *ring, *before;
    uint64 stride;
    uint32 places, first;
};

DEVICE const float *plane_of(const Slab &slab, uint32 z) { return z < slab.first ? slab.before : slab.ring + z % slab.places * slab.stride; }

// Of a plane of the scan's: two of the model's, and by what part the second.
struct Slice {
    uint32 first, second;
    float part;
};

// The same of many planes, of which nothing is kept but the labels of the largest values. Rows are planes.
template <typename Label>
DEVICE void resampled_argmax(Slab slab, const Slice *slices, Plane from, Plane to, const Between *rows, const Between *columns,
                             uint32 is_linear, uint32 channels, const uint16 *of_channels, Label *labels) {
    const uint64 size = (uint64)from.y * from.x;
    const uint32 count = to.y * to.x;
    const Slice slice = slices[row()];
    const float *first = plane_of(slab, slice.first), *second = plane_of(slab, slice.second);
    labels += (uint64)row() * count;
    EACH_VOXEL(i, count) {
        const Between y = rows[i / to.x], x = columns[i % to.x];
        Largest largest;
        for (uint32 channel = 0; channel < channels; ++channel) {
            largest.take(channel, between(first + channel * size, second + channel * size, slice.part, from.x, y, x, is_linear));
        }
        labels[i] = (Label)of_channels[largest.channel];
    }
}

KERNEL planrt_resampled_argmax_uint8(Slab slab, const Slice *slices, Plane from, Plane to, const Between *rows, const Between *columns,
                                     uint32 is_linear, uint32 channels, const uint16 *of_channels, uint8 *labels) {
    resampled_argmax(slab, slices, from, to, rows, columns, is_linear, channels, of_channels, labels);
}

KERNEL planrt_resampled_argmax_uint16(Slab slab, const Slice *slices, Plane from, Plane to, const Between *rows, const Between *columns,
                                      uint32 is_linear, uint32 channels, const uint16 *of_channels, uint16 *labels) {
    resampled_argmax(slab, slices, from, to, rows, columns, is_linear, channels, of_channels, labels);
}
