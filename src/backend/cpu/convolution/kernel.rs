//! The innermost loop: a tile of some output channels by some neighbouring voxels, summed over input channels and taps.
//!
//! In assembly, loops included: from intrinsics the compiler keeps sums in memory, at half the speed. Each way has tiles of
//! three vectors of voxels, and narrower ones for what is left over at the end. A sum is the same in each of them.

/// What one tile is computed from.
pub struct Tile<'a> {
    /// The first voxel's place in the first input channel.
    pub input: *const f32,
    /// From one input channel to the next, in elements.
    pub channel_stride: usize,
    pub channels: usize,
    /// Where each tap reads, from `input` on, in bytes.
    pub taps: &'a [usize],
    /// For each input channel and tap one weight for each of the tile's output channels.
    pub weights: *const f32,
    /// Whether it is added to the sums that are there: these are other channels of the same tile.
    pub goes_on: bool,
}

/// A way to compute tiles, of which the processor has the instructions.
#[derive(Clone, Copy, Debug)]
pub struct Kernel {
    /// Output channels of a tile.
    pub channels: usize,
    /// Voxels of the widest tile.
    pub voxels: usize,
    /// So many taps times input channels are summed, of all blocks together, before it pays to store.
    pub stored: usize,
    /// Writes the sums of a third of a tile, of two, and of all of it: channel by channel, each as far from the next as in
    /// the widest.
    run: [unsafe fn(&Tile<'_>, *mut f32); 3],
}

/// The most elements of a tile.
pub(super) const LARGEST: usize = 8 * 48;

impl Kernel {
    /// Those that this processor has, the fastest first.
    pub fn all() -> impl Iterator<Item = Self> {
        #[cfg(target_arch = "x86_64")]
        let kernels = {
            use x86_64::{avx2_1, avx2_2, avx2_3, avx512_1, avx512_2, avx512_3};
            [
                is_x86_feature_detected!("avx512f").then_some(Self {
                    channels: 8,
                    voxels: 48,
                    stored: 64,
                    run: [avx512_1, avx512_2, avx512_3],
                }),
                (is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma")).then_some(Self {
                    channels: 4,
                    voxels: 24,
                    stored: 512,
                    run: [avx2_1, avx2_2, avx2_3],
                }),
            ]
        };
        // Each such processor has NEON.
        #[cfg(target_arch = "aarch64")]
        let kernels = {
            use aarch64::{neon_1, neon_2, neon_3};
            [Some(Self { channels: 8, voxels: 12, stored: 512, run: [neon_1, neon_2, neon_3] })]
        };
        #[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
        let kernels: [Option<Self>; 0] = [];
        kernels.into_iter().flatten()
    }

    /// Voxels of the narrowest tile.
    pub fn vector(&self) -> usize {
        self.voxels / 3
    }

    /// Writes the sums of a tile's first voxels, at least as many as are asked for.
    ///
    /// # Safety
    /// From `input`, at each tap of each channel, as many voxels are readable as the widest tile has; there is a weight for
    /// each channel, tap and output channel.
    pub unsafe fn run(&self, tile: &Tile<'_>, voxels: usize, sums: &mut [f32; LARGEST]) {
        if tile.channels == 0 || tile.taps.is_empty() {
            if !tile.goes_on {
                sums.fill(0.0);
            }
            return;
        }
        let run = self.run[voxels.div_ceil(self.vector()).clamp(1, 3) - 1];
        // SAFETY: the processor has the instructions, as `all` saw; the rest as the caller says.
        unsafe { run(tile, sums.as_mut_ptr()) }
    }
}

#[cfg(target_arch = "x86_64")]
mod x86_64 {
    use super::Tile;
    use std::arch::asm;

    /// Code that goes through a tile's channels and taps, whose operands have these names, and the registers that it uses.
    macro_rules! with_tile {
        ($tile:ident, $sums:ident, [$($code:expr,)*], $($register:tt)*) => {
            asm!(
                $($code,)*
                input = inout(reg) $tile.input => _,
                weights = inout(reg) $tile.weights => _,
                channels = inout(reg) $tile.channels => _,
                taps = in(reg) $tile.taps.as_ptr(),
                end = in(reg) $tile.taps.as_ptr_range().end,
                stride = in(reg) $tile.channel_stride * size_of::<f32>(),
                sums = in(reg) $sums,
                tap = inout(reg) usize::from($tile.goes_on) => _,
                from = out(reg) _,
                $(out($register) _,)*
                options(nostack),
            )
        };
    }

    /// Eight channels by vectors of sixteen voxels: a register of sums each, and one for each vector; a weight is broadcast
    /// by the instruction that multiplies with it. Of each sum its register, its vector, its weight's place and its own.
    macro_rules! avx512 {
        ($name:ident, $([$vector:literal $from:literal])*, $([$sum:literal $of:literal $weight:literal $to:literal])*) => {
            /// # Safety
            /// As for [`super::Kernel::run`]; the processor has AVX-512F, and `sums` room for 8 × 48.
            pub unsafe fn $name(tile: &Tile<'_>, sums: *mut f32) {
                // SAFETY: reads and writes what the caller vouches for; no other register is changed.
                unsafe {
                    with_tile!(tile, sums, [
                        "test {tap}, {tap}",
                        "jnz 4f",
                        $(concat!("vpxord zmm", $sum, ", zmm", $sum, ", zmm", $sum),)*
                        "jmp 2f",
                        "4:",
                        $(concat!("vmovups zmm", $sum, ", [{sums} + ", $to, "]"),)*
                        "2:",
                        "mov {tap}, {taps}",
                        "3:",
                        "mov {from}, [{tap}]",
                        "add {from}, {input}",
                        $(concat!("vmovups zmm", $vector, ", [{from} + ", $from, "]"),)*
                        $(concat!("vfmadd231ps zmm", $sum, ", zmm", $of, ", dword ptr [{weights} + ", $weight, "]{{1to16}}"),)*
                        "add {weights}, 32",
                        "add {tap}, 8",
                        "cmp {tap}, {end}",
                        "jne 3b",
                        "add {input}, {stride}",
                        "dec {channels}",
                        "jnz 2b",
                        $(concat!("vmovups [{sums} + ", $to, "], zmm", $sum),)*
                        // Code that does not know of the wide registers is slow while their upper halves are in use.
                        "vzeroupper",
                    ],
                        "zmm0" "zmm1" "zmm2" "zmm3" "zmm4" "zmm5" "zmm6" "zmm7" "zmm8" "zmm9" "zmm10" "zmm11" "zmm12"
                        "zmm13" "zmm14" "zmm15" "zmm16" "zmm17" "zmm18" "zmm19" "zmm20" "zmm21" "zmm22" "zmm23" "zmm24"
                        "zmm25" "zmm26"
                    );
                }
            }
        };
    }

    avx512!(
        avx512_3,
        [24 0] [25 64] [26 128],
        [0 24 0 0] [1 25 0 64] [2 26 0 128] [3 24 4 192] [4 25 4 256] [5 26 4 320]
        [6 24 8 384] [7 25 8 448] [8 26 8 512] [9 24 12 576] [10 25 12 640] [11 26 12 704]
        [12 24 16 768] [13 25 16 832] [14 26 16 896] [15 24 20 960] [16 25 20 1024] [17 26 20 1088]
        [18 24 24 1152] [19 25 24 1216] [20 26 24 1280] [21 24 28 1344] [22 25 28 1408] [23 26 28 1472]
    );

    avx512!(
        avx512_2,
        [24 0] [25 64],
        [0 24 0 0] [1 25 0 64] [3 24 4 192] [4 25 4 256]
        [6 24 8 384] [7 25 8 448] [9 24 12 576] [10 25 12 640]
        [12 24 16 768] [13 25 16 832] [15 24 20 960] [16 25 20 1024]
        [18 24 24 1152] [19 25 24 1216] [21 24 28 1344] [22 25 28 1408]
    );

    avx512!(
        avx512_1,
        [24 0],
        [0 24 0 0] [3 24 4 192] [6 24 8 384] [9 24 12 576]
        [12 24 16 768] [15 24 20 960] [18 24 24 1152] [21 24 28 1344]
    );

    /// Four channels by vectors of eight voxels: a register of sums each, one for each vector, and one of a weight. Of each
    /// channel its weight's place, and of each sum its register, its vector and its place.
    macro_rules! avx2 {
        ($name:ident, $([$vector:literal $from:literal])*, $([$weight:literal: $([$sum:literal $of:literal $to:literal])*])*) => {
            /// # Safety
            /// As for [`super::Kernel::run`]; the processor has AVX2 and FMA, and `sums` room for 4 × 24.
            pub unsafe fn $name(tile: &Tile<'_>, sums: *mut f32) {
                // SAFETY: reads and writes what the caller vouches for; no other register is changed.
                unsafe {
                    with_tile!(tile, sums, [
                        "test {tap}, {tap}",
                        "jnz 4f",
                        $($(concat!("vxorps ymm", $sum, ", ymm", $sum, ", ymm", $sum),)*)*
                        "jmp 2f",
                        "4:",
                        $($(concat!("vmovups ymm", $sum, ", [{sums} + ", $to, "]"),)*)*
                        "2:",
                        "mov {tap}, {taps}",
                        "3:",
                        "mov {from}, [{tap}]",
                        "add {from}, {input}",
                        $(concat!("vmovups ymm", $vector, ", [{from} + ", $from, "]"),)*
                        $(
                            concat!("vbroadcastss ymm15, [{weights} + ", $weight, "]"),
                            $(concat!("vfmadd231ps ymm", $sum, ", ymm", $of, ", ymm15"),)*
                        )*
                        "add {weights}, 16",
                        "add {tap}, 8",
                        "cmp {tap}, {end}",
                        "jne 3b",
                        "add {input}, {stride}",
                        "dec {channels}",
                        "jnz 2b",
                        $($(concat!("vmovups [{sums} + ", $to, "], ymm", $sum),)*)*
                        "vzeroupper",
                    ],
                        "ymm0" "ymm1" "ymm2" "ymm3" "ymm4" "ymm5" "ymm6" "ymm7" "ymm8" "ymm9" "ymm10" "ymm11" "ymm12"
                        "ymm13" "ymm14" "ymm15"
                    );
                }
            }
        };
    }

    avx2!(
        avx2_3,
        [12 0] [13 32] [14 64],
        [0: [0 12 0] [1 13 32] [2 14 64]] [4: [3 12 96] [4 13 128] [5 14 160]]
        [8: [6 12 192] [7 13 224] [8 14 256]] [12: [9 12 288] [10 13 320] [11 14 352]]
    );

    avx2!(
        avx2_2,
        [12 0] [13 32],
        [0: [0 12 0] [1 13 32]] [4: [3 12 96] [4 13 128]]
        [8: [6 12 192] [7 13 224]] [12: [9 12 288] [10 13 320]]
    );

    avx2!(
        avx2_1,
        [12 0],
        [0: [0 12 0]] [4: [3 12 96]]
        [8: [6 12 192]] [12: [9 12 288]]
    );
}

#[cfg(target_arch = "aarch64")]
mod aarch64 {
    use super::Tile;
    use std::arch::asm;

    /// Eight channels by vectors of four voxels: a register of sums each, one for each vector, two of weights. Of each sum its
    /// register, its vector, its weight and its place.
    macro_rules! neon {
        ($name:ident, $([$vector:literal $from:literal])*, $([$sum:literal $of:literal $weight:literal $to:literal])*) => {
            /// # Safety
            /// As for [`super::Kernel::run`]; `sums` has room for 8 × 12.
            pub unsafe fn $name(tile: &Tile<'_>, sums: *mut f32) {
                // SAFETY: reads and writes what the caller vouches for; no other register is changed.
                unsafe {
                    asm!(
                        "cbnz {tap}, 4f",
                        $(concat!("movi v", $sum, ".2d, #0"),)*
                        "b 2f",
                        "4:",
                        $(concat!("ldr q", $sum, ", [{sums}, #", $to, "]"),)*
                        "2:",
                        "mov {tap}, {taps}",
                        "3:",
                        "ldr {from}, [{tap}], #8",
                        "add {from}, {from}, {input}",
                        $(concat!("ldr q", $vector, ", [{from}, #", $from, "]"),)*
                        "ldp q27, q28, [{weights}], #32",
                        $(concat!("fmla v", $sum, ".4s, v", $of, ".4s, ", $weight),)*
                        "cmp {tap}, {end}",
                        "b.ne 3b",
                        "add {input}, {input}, {stride}",
                        "subs {channels}, {channels}, #1",
                        "b.ne 2b",
                        $(concat!("str q", $sum, ", [{sums}, #", $to, "]"),)*
                        input = inout(reg) tile.input => _,
                        weights = inout(reg) tile.weights => _,
                        channels = inout(reg) tile.channels => _,
                        taps = in(reg) tile.taps.as_ptr(),
                        end = in(reg) tile.taps.as_ptr_range().end,
                        stride = in(reg) tile.channel_stride * size_of::<f32>(),
                        sums = in(reg) sums,
                        tap = inout(reg) usize::from(tile.goes_on) => _,
                        from = out(reg) _,
                        out("v0") _, out("v1") _, out("v2") _, out("v3") _, out("v4") _, out("v5") _, out("v6") _,
                        out("v7") _, out("v8") _, out("v9") _, out("v10") _, out("v11") _, out("v12") _, out("v13") _,
                        out("v14") _, out("v15") _, out("v16") _, out("v17") _, out("v18") _, out("v19") _, out("v20") _,
                        out("v21") _, out("v22") _, out("v23") _, out("v24") _, out("v25") _, out("v26") _, out("v27") _,
                        out("v28") _,
                        options(nostack),
                    );
                }
            }
        };
    }

    neon!(
        neon_3,
        [24 0] [25 16] [26 32],
        [0 24 "v27.s[0]" 0] [1 25 "v27.s[0]" 16] [2 26 "v27.s[0]" 32]
        [3 24 "v27.s[1]" 48] [4 25 "v27.s[1]" 64] [5 26 "v27.s[1]" 80]
        [6 24 "v27.s[2]" 96] [7 25 "v27.s[2]" 112] [8 26 "v27.s[2]" 128]
        [9 24 "v27.s[3]" 144] [10 25 "v27.s[3]" 160] [11 26 "v27.s[3]" 176]
        [12 24 "v28.s[0]" 192] [13 25 "v28.s[0]" 208] [14 26 "v28.s[0]" 224]
        [15 24 "v28.s[1]" 240] [16 25 "v28.s[1]" 256] [17 26 "v28.s[1]" 272]
        [18 24 "v28.s[2]" 288] [19 25 "v28.s[2]" 304] [20 26 "v28.s[2]" 320]
        [21 24 "v28.s[3]" 336] [22 25 "v28.s[3]" 352] [23 26 "v28.s[3]" 368]
    );

    neon!(
        neon_2,
        [24 0] [25 16],
        [0 24 "v27.s[0]" 0] [1 25 "v27.s[0]" 16] [3 24 "v27.s[1]" 48] [4 25 "v27.s[1]" 64]
        [6 24 "v27.s[2]" 96] [7 25 "v27.s[2]" 112] [9 24 "v27.s[3]" 144] [10 25 "v27.s[3]" 160]
        [12 24 "v28.s[0]" 192] [13 25 "v28.s[0]" 208] [15 24 "v28.s[1]" 240] [16 25 "v28.s[1]" 256]
        [18 24 "v28.s[2]" 288] [19 25 "v28.s[2]" 304] [21 24 "v28.s[3]" 336] [22 25 "v28.s[3]" 352]
    );

    neon!(
        neon_1,
        [24 0],
        [0 24 "v27.s[0]" 0] [3 24 "v27.s[1]" 48] [6 24 "v27.s[2]" 96] [9 24 "v27.s[3]" 144]
        [12 24 "v28.s[0]" 192] [15 24 "v28.s[1]" 240] [18 24 "v28.s[2]" 288] [21 24 "v28.s[3]" 336]
    );
}
