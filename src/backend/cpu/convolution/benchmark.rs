//! What share of the processor's peak each kernel reaches on the layers of networks for segmentation, by hand:
//! `cargo test --release --lib convolution::benchmark -- --ignored --nocapture`.
//!
//! By the thread's own processor time, which other work does not count in; the peak is measured before each layer's runs.

use super::*;
use std::arch::asm;

/// Channels in and out, the input's extent, the kernel's, the stride, and whether it is transposed.
type Layer = (usize, usize, usize, usize, usize, bool);

/// Of U-Nets for 96³ with 16 filters and for 32³ with 8, of deepbet at 128³, and of networks with many channels.
const LAYERS: &[Layer] = &[
    (1, 16, 96, 3, 1, false),
    (16, 16, 96, 3, 1, false),
    (32, 16, 96, 3, 1, false),
    (32, 32, 48, 3, 1, false),
    (64, 32, 48, 3, 1, false),
    (64, 64, 24, 3, 1, false),
    (128, 64, 24, 3, 1, false),
    (128, 128, 12, 3, 1, false),
    (16, 16, 32, 3, 1, false),
    (32, 32, 16, 3, 1, false),
    (64, 64, 8, 3, 1, false),
    (128, 128, 4, 3, 1, false),
    (320, 320, 8, 3, 1, false),
    (1, 16, 128, 7, 2, false),
    (16, 32, 96, 3, 2, false),
    (32, 64, 48, 3, 2, false),
    (64, 128, 24, 3, 2, false),
    (16, 32, 32, 3, 2, false),
    (32, 16, 48, 2, 2, true),
    (64, 32, 24, 2, 2, true),
    (128, 64, 12, 2, 2, true),
    (16, 8, 32, 3, 2, true),
    (16, 2, 96, 1, 1, false),
    (32, 64, 8, 1, 1, false),
    (64, 16, 8, 1, 1, false),
];

#[test]
#[ignore = "takes a minute, and says nothing where much else runs"]
#[allow(clippy::print_stdout, reason = "it is read by whoever runs it")]
fn shares_of_the_peak() {
    for &(input_channels, output_channels, extent, window, stride, transposed) in LAYERS {
        let padding = if transposed { window / 3 } else { window / 2 };
        let to = if transposed { extent * stride } else { extent.div_ceil(stride) };
        let geometry = Geometry {
            input_channels,
            output_channels,
            input: [extent; 3],
            output: [to; 3],
            kernel: [window; 3],
            stride: [stride; 3],
            dilation: [1; 3],
            padding: [padding; 3],
            transposed,
        };
        let channels = input_channels * output_channels * window.pow(3);
        let sums = channels * if transposed { extent.pow(3) } else { to.pow(3) };
        let input: Vec<f32> = (0..input_channels * extent.pow(3)).map(|i| (i % 1013) as f32 / 1013.0 - 0.5).collect();
        let weights: Vec<f32> = (0..channels).map(|i| (i % 1009) as f32 / 1009.0 - 0.5).collect();
        let mut output = vec![0.0; output_channels * to.pow(3)];
        let kind = if transposed { "transposed " } else { "" };
        print!("{input_channels:3} to {output_channels:3}, {extent:3}³, {kind}{window}³, stride {stride}:");
        for kernel in Kernel::all() {
            let convolution = Convolution::with_kernel(geometry.clone(), &weights, &[], kernel);
            let mut run = || convolution.run(&[&input], None, Finish::default(), &mut output).unwrap();
            run();
            let mut shares: Vec<f64> = (0..7).map(|_| peak(kernel) / per_second(sums, &mut run)).collect();
            shares.sort_by(f64::total_cmp);
            print!(" {:.2}", shares[shares.len() / 2].recip());
        }
        println!();
    }
}

/// Products that are summed in a second of the thread's time.
fn per_second(products: usize, mut work: impl FnMut()) -> f64 {
    const LEAST: f64 = 0.01;
    let begun = now();
    for runs in 1.. {
        work();
        let passed = now() - begun;
        if passed > LEAST {
            return (products * runs) as f64 / passed;
        }
    }
    0.0
}

fn now() -> f64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: it fills the time in.
    unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &mut time) };
    time.tv_sec as f64 + time.tv_nsec as f64 * 1e-9
}

/// With sums that do not wait for each other, and nothing from memory.
fn peak(kernel: Kernel) -> f64 {
    const TURNS: usize = 1_000_000;
    macro_rules! turns {
        ($register:literal $($sum:literal)*) => {
            // SAFETY: it computes with registers alone, which the processor has if it has the kernel.
            unsafe {
                asm!(
                    "2:",
                    $(concat!("vfmadd231ps ", $register, $sum, ", ", $register, "14, ", $register, "15"),)*
                    "dec {turns}",
                    "jnz 2b",
                    "vzeroupper",
                    turns = inout(reg) TURNS => _,
                    out("ymm0") _, out("ymm1") _, out("ymm2") _, out("ymm3") _, out("ymm4") _, out("ymm5") _,
                    out("ymm6") _, out("ymm7") _, out("ymm8") _, out("ymm9") _, out("ymm10") _, out("ymm11") _,
                    options(nostack),
                );
            }
        };
    }
    let of_a_turn = 12 * kernel.vector();
    match kernel.vector() {
        16 => per_second(TURNS * of_a_turn, || turns!("zmm" 0 1 2 3 4 5 6 7 8 9 10 11)),
        _ => per_second(TURNS * of_a_turn, || turns!("ymm" 0 1 2 3 4 5 6 7 8 9 10 11)),
    }
}
