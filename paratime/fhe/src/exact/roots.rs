//! Roots of unity, computed in integers so that they are the same on every machine and their error is known.
//!
//! A mathematics library may round a sine differently on another system; and a bound on the error of a transform needs
//! a bound on the error of its factors. Both are had by computing `exp(2 pi i j / 4096)` in fixed point with 62 bits
//! after the point: half angles from the right angle down, by integer square roots, then products of at most twelve of
//! them. Each of these is within 2^-60 of the truth and each product adds less than 2^-61, so a component is within
//! `18 * 2^-60 < 2^-55.8` before it is rounded to an `f64`, which adds at most 2^-54: a root errs by less than
//! `sqrt(2) (2^-54 + 2^-55.8) < 0.95 * 2^-53`.

/// The roots are powers of `exp(2 pi i / ORDER)`.
pub(super) const ORDER: usize = 4096;
/// Bits after the point.
const POINT: u32 = 62;
const ONE: i128 = 1 << POINT;

/// A point of the unit circle in fixed point.
#[derive(Clone, Copy)]
struct Fixed {
    re: i128,
    im: i128,
}

fn rounded(product: i128) -> i128 {
    (product + (1 << (POINT - 1))) >> POINT
}

fn product(a: Fixed, b: Fixed) -> Fixed {
    Fixed { re: rounded(a.re * b.re - a.im * b.im), im: rounded(a.re * b.im + a.im * b.re) }
}

/// Half the angle, for an angle from 0 to a right one: `cos(t/2) = sqrt((1 + cos t) / 2)` and
/// `sin(t/2) = sin t / (2 cos(t/2))`. The cosine is never small here, so neither step loses digits.
fn half(a: Fixed) -> Fixed {
    let squared = ((ONE + a.re) as u128) << (POINT - 1);
    let re = squared.isqrt() as i128;
    Fixed { re, im: (a.im << (POINT - 1)) / re }
}

/// `exp(2 pi i j / 4096)` for every `j`, as pairs of real and imaginary part.
pub(super) fn roots() -> Vec<[f64; 2]> {
    let bits = ORDER.ilog2() as usize;
    // steps[k] is the root for j = 2^k.
    let mut steps = vec![Fixed { re: -ONE, im: 0 }; bits];
    steps[bits - 2] = Fixed { re: 0, im: ONE };
    for k in (0..bits - 2).rev() {
        steps[k] = half(steps[k + 1]);
    }
    let mut out = Vec::with_capacity(ORDER);
    for j in 0..ORDER {
        let factors = steps.iter().enumerate().filter(|(k, _)| j >> k & 1 == 1).map(|(_, step)| *step);
        let root = factors.fold(Fixed { re: ONE, im: 0 }, product);
        let float = |x: i128| x as f64 / ONE as f64;
        out.push([float(root.re), float(root.im)]);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_roots_are_the_sines_and_cosines() {
        for (j, [re, im]) in roots().into_iter().enumerate() {
            let (sin, cos) = (2.0 * std::f64::consts::PI * j as f64 / ORDER as f64).sin_cos();
            // The library's own argument is rounded; this is the loosest side of the comparison.
            assert!((re - cos).abs() < 2e-15 && (im - sin).abs() < 2e-15, "root {j}: {re} {im}, not {cos} {sin}");
            assert!((re * re + im * im - 1.0).abs() < 5e-16, "root {j} has the wrong length");
        }
    }

    #[test]
    fn the_roots_are_pinned_to_the_bit() {
        let roots = roots();
        assert_eq!(roots[0], [1.0, 0.0]);
        assert_eq!(roots[1024], [0.0, 1.0]);
        assert_eq!(roots[512].map(f64::to_bits), [0x3fe6_a09e_667f_3bcd; 2]);
        let mut hasher = blake3::Hasher::new();
        roots.iter().flatten().for_each(|x| {
            hasher.update(&x.to_bits().to_le_bytes());
        });
        assert_eq!(&hasher.finalize().to_hex()[..16], "5ad44515673f9b21");
    }
}
