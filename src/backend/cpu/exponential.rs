//! The exponential of values that are not above 0, as a softmax takes it, in a way that a compiler makes wide registers of.

/// e^x, right to two of the last places of float32, for x up to 0; 0 where float32 has nothing smaller, and NaN of NaN.
///
/// x is so many times ln 2 and a rest, of which a polynomial is taken (Cephes' `expf`).
#[inline(always)]
pub fn exponential(x: f32) -> f32 {
    // Its exponential is less than half of the smallest number.
    const LEAST: f32 = -104.0;
    // Beyond this a float32 has no fraction: what is added to it is rounded.
    const WHOLE: f32 = 12_582_912.0;
    // ln 2 in two parts, of which the first has few digits.
    const LN_2: [f32; 2] = [355.0 / 512.0, -2.121_944_4e-4];
    let x = if x < LEAST { LEAST } else { x };
    let rounded = x * std::f32::consts::LOG2_E + WHOLE;
    let times = rounded - WHOLE;
    let r = x - times * LN_2[0] - times * LN_2[1];
    let coefficients = [1.398_199_9e-3, 8.333_452e-3, 4.166_579_6e-2, 1.666_666_5e-1, 5e-1];
    let polynomial = coefficients.into_iter().fold(1.987_569_1e-4, |sum, next| sum * r + next);
    let of_rest = polynomial * r * r + r + 1.0;
    // In two steps, since the whole factor may be less than the smallest number that has all digits.
    let exponent = rounded.to_bits() as i32 - WHOLE.to_bits() as i32;
    let half = exponent >> 1;
    let power = |exponent: i32| f32::from_bits(((exponent + 127) as u32) << 23);
    of_rest * power(half) * power(exponent - half)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_right_to_two_of_the_last_places() {
        for i in 0..200_000 {
            let x = -(i as f32) * 87.0 / 200_000.0;
            let exact = f64::from(x).exp();
            assert!((f64::from(exponential(x)) - exact).abs() < 1.3e-7 * exact, "{x}");
        }
        // Numbers with fewer digits.
        for i in 0..1000 {
            let x = -87.0 - i as f32 / 50.0;
            let smallest = f64::from(f32::from_bits(1));
            assert!((f64::from(exponential(x)) - f64::from(x).exp()).abs() <= smallest + 1.3e-7 * f64::from(x).exp());
        }
        assert_eq!([0.0, -0.0, f32::NEG_INFINITY, f32::MIN].map(exponential), [1.0, 1.0, 0.0, 0.0]);
        assert!(exponential(f32::NAN).is_nan());
    }
}
