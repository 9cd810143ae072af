//! The innermost loop: a tile of some output channels by some neighbouring voxels, summed over input channels and taps.
//!
//! In assembly, loops included: from intrinsics the compiler keeps sums in memory, at half the speed.

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
}

/// A way to compute tiles, of which the processor has the instructions.
#[derive(Clone, Copy, Debug)]
pub struct Kernel {
    /// Output channels of a tile.
    pub channels: usize,
    /// Voxels of a tile.
    pub voxels: usize,
    /// Writes the tile's sums, channel by channel.
    run: unsafe fn(&Tile<'_>, *mut f32),
}

/// The most elements of a tile.
pub(super) const LARGEST: usize = 8 * 48;

impl Kernel {
    /// Those that this processor has, the fastest first.
    pub fn all() -> impl Iterator<Item = Self> {
        #[cfg(target_arch = "x86_64")]
        let kernels = [
            is_x86_feature_detected!("avx512f").then_some(Self { channels: 8, voxels: 48, run: x86_64::avx512 }),
            (is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma")).then_some(Self {
                channels: 4,
                voxels: 24,
                run: x86_64::avx2,
            }),
        ];
        // Each such processor has NEON.
        #[cfg(target_arch = "aarch64")]
        let kernels = [Some(Self { channels: 8, voxels: 12, run: aarch64::neon })];
        #[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
        let kernels: [Option<Self>; 0] = [];
        kernels.into_iter().flatten()
    }

    /// Writes the tile's sums, channel by channel.
    ///
    /// # Safety
    /// From `input`, at each tap of each channel, as many voxels are readable as a tile has; there is a weight for each
    /// channel, tap and output channel.
    pub unsafe fn run(&self, tile: &Tile<'_>, sums: &mut [f32; LARGEST]) {
        if tile.channels == 0 || tile.taps.is_empty() {
            return sums.fill(0.0);
        }
        // SAFETY: the processor has the instructions, as `all` saw; the rest as the caller says.
        unsafe { (self.run)(tile, sums.as_mut_ptr()) }
    }
}

#[cfg(target_arch = "x86_64")]
mod x86_64 {
    use super::Tile;
    use std::arch::asm;

    /// Eight channels by three vectors of sixteen voxels: 24 registers of sums, three of voxels; a weight is broadcast
    /// by the instruction that multiplies with it.
    ///
    /// # Safety
    /// As for [`super::Kernel::run`]; the processor has AVX-512F, and `sums` room for 8 × 48.
    pub unsafe fn avx512(tile: &Tile<'_>, sums: *mut f32) {
        macro_rules! channel {
            ($at:literal, $a:literal, $b:literal, $c:literal) => {
                concat!(
                    "vfmadd231ps zmm",
                    $a,
                    ", zmm24, dword ptr [{weights} + ",
                    $at,
                    "]{{1to16}}\n",
                    "vfmadd231ps zmm",
                    $b,
                    ", zmm25, dword ptr [{weights} + ",
                    $at,
                    "]{{1to16}}\n",
                    "vfmadd231ps zmm",
                    $c,
                    ", zmm26, dword ptr [{weights} + ",
                    $at,
                    "]{{1to16}}",
                )
            };
        }
        macro_rules! zero {
            ($($n:literal)*) => { concat!($("vpxord zmm", $n, ", zmm", $n, ", zmm", $n, "\n"),*) };
        }
        macro_rules! store {
            ($($n:literal $at:literal)*) => { concat!($("vmovups [{sums} + ", $at, "], zmm", $n, "\n"),*) };
        }
        // SAFETY: reads and writes what the caller vouches for; no other register is changed.
        unsafe {
            asm!(
                zero!(0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20 21 22 23),
                "2:",
                "mov {tap}, {taps}",
                "3:",
                "mov {from}, [{tap}]",
                "add {from}, {input}",
                "vmovups zmm24, [{from}]",
                "vmovups zmm25, [{from} + 64]",
                "vmovups zmm26, [{from} + 128]",
                channel!(0, 0, 1, 2),
                channel!(4, 3, 4, 5),
                channel!(8, 6, 7, 8),
                channel!(12, 9, 10, 11),
                channel!(16, 12, 13, 14),
                channel!(20, 15, 16, 17),
                channel!(24, 18, 19, 20),
                channel!(28, 21, 22, 23),
                "add {weights}, 32",
                "add {tap}, 8",
                "cmp {tap}, {end}",
                "jne 3b",
                "add {input}, {stride}",
                "dec {channels}",
                "jnz 2b",
                store!(0 0 1 64 2 128 3 192 4 256 5 320 6 384 7 448 8 512 9 576 10 640 11 704),
                store!(12 768 13 832 14 896 15 960 16 1024 17 1088 18 1152 19 1216 20 1280 21 1344 22 1408 23 1472),
                // Code that does not know of the wide registers is slow while their upper halves are in use.
                "vzeroupper",
                input = inout(reg) tile.input => _,
                weights = inout(reg) tile.weights => _,
                channels = inout(reg) tile.channels => _,
                taps = in(reg) tile.taps.as_ptr(),
                end = in(reg) tile.taps.as_ptr_range().end,
                stride = in(reg) tile.channel_stride * size_of::<f32>(),
                sums = in(reg) sums,
                tap = out(reg) _,
                from = out(reg) _,
                out("zmm0") _, out("zmm1") _, out("zmm2") _, out("zmm3") _, out("zmm4") _, out("zmm5") _,
                out("zmm6") _, out("zmm7") _, out("zmm8") _, out("zmm9") _, out("zmm10") _, out("zmm11") _,
                out("zmm12") _, out("zmm13") _, out("zmm14") _, out("zmm15") _, out("zmm16") _, out("zmm17") _,
                out("zmm18") _, out("zmm19") _, out("zmm20") _, out("zmm21") _, out("zmm22") _, out("zmm23") _,
                out("zmm24") _, out("zmm25") _, out("zmm26") _,
                options(nostack),
            );
        }
    }

    /// Four channels by three vectors of eight voxels: twelve registers of sums, three of voxels, one of a weight.
    ///
    /// # Safety
    /// As for [`super::Kernel::run`]; the processor has AVX2 and FMA, and `sums` room for 4 × 24.
    pub unsafe fn avx2(tile: &Tile<'_>, sums: *mut f32) {
        macro_rules! channel {
            ($at:literal, $a:literal, $b:literal, $c:literal) => {
                concat!(
                    "vbroadcastss ymm15, [{weights} + ",
                    $at,
                    "]\n",
                    "vfmadd231ps ymm",
                    $a,
                    ", ymm12, ymm15\n",
                    "vfmadd231ps ymm",
                    $b,
                    ", ymm13, ymm15\n",
                    "vfmadd231ps ymm",
                    $c,
                    ", ymm14, ymm15",
                )
            };
        }
        macro_rules! zero {
            ($($n:literal)*) => { concat!($("vxorps ymm", $n, ", ymm", $n, ", ymm", $n, "\n"),*) };
        }
        macro_rules! store {
            ($($n:literal $at:literal)*) => { concat!($("vmovups [{sums} + ", $at, "], ymm", $n, "\n"),*) };
        }
        // SAFETY: reads and writes what the caller vouches for; no other register is changed.
        unsafe {
            asm!(
                zero!(0 1 2 3 4 5 6 7 8 9 10 11),
                "2:",
                "mov {tap}, {taps}",
                "3:",
                "mov {from}, [{tap}]",
                "add {from}, {input}",
                "vmovups ymm12, [{from}]",
                "vmovups ymm13, [{from} + 32]",
                "vmovups ymm14, [{from} + 64]",
                channel!(0, 0, 1, 2),
                channel!(4, 3, 4, 5),
                channel!(8, 6, 7, 8),
                channel!(12, 9, 10, 11),
                "add {weights}, 16",
                "add {tap}, 8",
                "cmp {tap}, {end}",
                "jne 3b",
                "add {input}, {stride}",
                "dec {channels}",
                "jnz 2b",
                store!(0 0 1 32 2 64 3 96 4 128 5 160 6 192 7 224 8 256 9 288 10 320 11 352),
                "vzeroupper",
                input = inout(reg) tile.input => _,
                weights = inout(reg) tile.weights => _,
                channels = inout(reg) tile.channels => _,
                taps = in(reg) tile.taps.as_ptr(),
                end = in(reg) tile.taps.as_ptr_range().end,
                stride = in(reg) tile.channel_stride * size_of::<f32>(),
                sums = in(reg) sums,
                tap = out(reg) _,
                from = out(reg) _,
                out("ymm0") _, out("ymm1") _, out("ymm2") _, out("ymm3") _, out("ymm4") _, out("ymm5") _,
                out("ymm6") _, out("ymm7") _, out("ymm8") _, out("ymm9") _, out("ymm10") _, out("ymm11") _,
                out("ymm12") _, out("ymm13") _, out("ymm14") _, out("ymm15") _,
                options(nostack),
            );
        }
    }
}

#[cfg(target_arch = "aarch64")]
mod aarch64 {
    use super::Tile;
    use std::arch::asm;

    /// Eight channels by three vectors of four voxels: 24 registers of sums, three of voxels, two of weights.
    ///
    /// # Safety
    /// As for [`super::Kernel::run`]; `sums` has room for 8 × 12.
    pub unsafe fn neon(tile: &Tile<'_>, sums: *mut f32) {
        macro_rules! channel {
            ($weight:literal, $a:literal, $b:literal, $c:literal) => {
                concat!(
                    "fmla v",
                    $a,
                    ".4s, v24.4s, ",
                    $weight,
                    "\n",
                    "fmla v",
                    $b,
                    ".4s, v25.4s, ",
                    $weight,
                    "\n",
                    "fmla v",
                    $c,
                    ".4s, v26.4s, ",
                    $weight,
                )
            };
        }
        macro_rules! zero {
            ($($n:literal)*) => { concat!($("movi v", $n, ".2d, #0\n"),*) };
        }
        macro_rules! store {
            ($($a:literal $b:literal $at:literal)*) => {
                concat!($("stp q", $a, ", q", $b, ", [{sums}, #", $at, "]\n"),*)
            };
        }
        // SAFETY: reads and writes what the caller vouches for; no other register is changed.
        unsafe {
            asm!(
                zero!(0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20 21 22 23),
                "2:",
                "mov {tap}, {taps}",
                "3:",
                "ldr {from}, [{tap}], #8",
                "add {from}, {from}, {input}",
                "ldp q24, q25, [{from}]",
                "ldr q26, [{from}, #32]",
                "ldp q27, q28, [{weights}], #32",
                channel!("v27.s[0]", 0, 1, 2),
                channel!("v27.s[1]", 3, 4, 5),
                channel!("v27.s[2]", 6, 7, 8),
                channel!("v27.s[3]", 9, 10, 11),
                channel!("v28.s[0]", 12, 13, 14),
                channel!("v28.s[1]", 15, 16, 17),
                channel!("v28.s[2]", 18, 19, 20),
                channel!("v28.s[3]", 21, 22, 23),
                "cmp {tap}, {end}",
                "b.ne 3b",
                "add {input}, {input}, {stride}",
                "subs {channels}, {channels}, #1",
                "b.ne 2b",
                store!(0 1 0 2 3 32 4 5 64 6 7 96 8 9 128 10 11 160),
                store!(12 13 192 14 15 224 16 17 256 18 19 288 20 21 320 22 23 352),
                input = inout(reg) tile.input => _,
                weights = inout(reg) tile.weights => _,
                channels = inout(reg) tile.channels => _,
                taps = in(reg) tile.taps.as_ptr(),
                end = in(reg) tile.taps.as_ptr_range().end,
                stride = in(reg) tile.channel_stride * size_of::<f32>(),
                sums = in(reg) sums,
                tap = out(reg) _,
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
}
