//! Products of polynomials, and the blind rotation made of them.

use super::transform::{
    BLOCK, Complex, Factors, HALF, LANES, Lanes, N, QUARTERS, inverse_butterfly, parts, splat_three,
};
use pulp::{Simd, WithSimd};

/// Low bits of the bootstrapping key that are rounded away.
pub(super) const DROPPED_BITS: u32 = 12;
/// Bits of a limb.
pub(super) const LIMB_BITS: u32 = 13;
/// Limbs of a coefficient of the key.
pub(super) const LIMBS: usize = 4;
/// Polynomials of a GLWE ciphertext: one of mask, one of body.
pub(super) const COLUMNS: usize = 2;
/// The base of the decomposition is 2^23, in one level: that many low bits are rounded away from the accumulator.
pub(super) const DIGIT_SHIFT: u32 = 64 - 23;
/// Words of one GGSW ciphertext: two rows of two polynomials.
pub(super) const GGSW_WORDS: usize = 2 * COLUMNS * N;
/// Adding and subtracting this rounds an `f64` below 2^51 to an integer: 1.5 * 2^52, where the last place is one.
const ROUNDING: f64 = 6_755_399_441_055_744.0;
/// How far a value may be from the integer that it is rounded to. Farther, and the step is done again in integers.
pub(super) const GUARD: f64 = 0.25;

const _: () = assert!(DROPPED_BITS + LIMB_BITS * LIMBS as u32 == 64 && COLUMNS * LIMBS == LANES);

/// The transform of one GGSW ciphertext's limbs. Entry `[k of quarter q][row]` holds, in lane `4 * column + limb`, a
/// value of the transform of that limb.
pub(super) type Ggsw = [[[Lanes; 2]; BLOCK]];

/// The key for one step, rounded to 52 bits: what the products are exact for.
pub(super) fn rounded(word: u64) -> u64 {
    (word.wrapping_add(1 << (DROPPED_BITS - 1)) >> DROPPED_BITS) << DROPPED_BITS
}

/// The signed limbs of a rounded coefficient, lowest first, each in `-2^12..=2^12 - 1`. What the highest leaves over
/// counts 2^64, which is nothing.
pub(super) fn limbs(word: u64) -> [i32; LIMBS] {
    let mut rest = (word as i64) >> DROPPED_BITS;
    std::array::from_fn(|_| {
        let limb = (rest << (64 - LIMB_BITS)) >> (64 - LIMB_BITS);
        rest = (rest - limb) >> LIMB_BITS;
        limb as i32
    })
}

/// Memory that a rotation works in: 450 KiB.
pub(super) struct Scratch {
    digits: Box<[[f64; N]; COLUMNS]>,
    transformed: Box<[Lanes; BLOCK]>,
    products: Box<[[Lanes; BLOCK]; QUARTERS]>,
    integers: Box<[[u64; LANES]; N]>,
}

impl Scratch {
    pub(super) fn new() -> Self {
        fn boxed<T: Copy, const K: usize>(value: T) -> Box<[T; K]> {
            let slice = vec![value; K].into_boxed_slice();
            slice.try_into().unwrap_or_else(|_| Box::new([value; K]))
        }
        Self {
            digits: boxed([0.0; N]),
            transformed: boxed(Lanes::ZERO),
            products: boxed([Lanes::ZERO; BLOCK]),
            integers: boxed([0; LANES]),
        }
    }
}

/// A blind rotation: `accumulator *= X^(-body)`, then for each mask element `a_i` with its GGSW encryption of `s_i`,
/// `accumulator += s_i (X^(a_i) accumulator - accumulator)`.
pub(super) struct Rotation<'a> {
    pub(super) factors: &'a Factors,
    pub(super) key: &'a Ggsw,
    /// One for each GGSW ciphertext, below `2 N`.
    pub(super) mask: &'a [usize],
    pub(super) accumulator: &'a mut [[u64; N]; COLUMNS],
    pub(super) scratch: &'a mut Scratch,
    pub(super) guard: f64,
}

/// What a rotation did.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Deviation {
    /// The farthest that a value was from the integer that it was rounded to.
    pub largest: f64,
    /// Steps that were done again in integers.
    pub redone: u32,
}

impl WithSimd for Rotation<'_> {
    type Output = Deviation;

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) -> Deviation {
        let mut seen = Deviation::default();
        for (a, ggsw) in self.mask.iter().zip(self.key.chunks_exact(QUARTERS)) {
            if *a == 0 {
                continue;
            }
            for (accumulator, digits) in self.accumulator.iter().zip(self.scratch.digits.iter_mut()) {
                rotated_digits(accumulator, *a, digits);
            }
            let deviation = step(simd, self.factors, ggsw, self.scratch);
            seen.largest = seen.largest.max(deviation);
            if deviation <= self.guard {
                add_rounded(self.accumulator, &self.scratch.integers);
            } else {
                seen.redone += 1;
                add_in_integers(self.factors, ggsw, &self.scratch.digits, self.accumulator);
            }
        }
        seen
    }
}

/// The digits of `X^a accumulator - accumulator`: what tfhe's signed decomposition of base 2^23 and one level gives,
/// ties included (`commons/math/decomposition/decomposer.rs`, `init_decomposer_state`).
#[inline(always)]
fn rotated_digits(accumulator: &[u64; N], a: usize, digits: &mut [f64; N]) {
    let (negated, a) = (a >= N, a % N);
    // Negation as xor and subtraction of a mask, so that one loop serves both signs.
    let (inner, outer) = if negated { (0, u64::MAX) } else { (u64::MAX, 0) };
    let (low, high) = digits.split_at_mut(a);
    for ((digit, turned), own) in low.iter_mut().zip(&accumulator[N - a..]).zip(accumulator) {
        *digit = decomposed(((turned ^ inner).wrapping_sub(inner)).wrapping_sub(*own));
    }
    for ((digit, turned), own) in high.iter_mut().zip(accumulator).zip(&accumulator[a..]) {
        *digit = decomposed(((turned ^ outer).wrapping_sub(outer)).wrapping_sub(*own));
    }
}

/// One digit in `-2^22..=2^22`. Halves are rounded up; a result of half the base is taken negative if it was rounded
/// up and positive otherwise, so that the error is balanced.
#[inline(always)]
fn decomposed(word: u64) -> f64 {
    let half = 1u64 << (DIGIT_SHIFT - 1);
    let digit = (word.wrapping_add(half) as i64) >> DIGIT_SHIFT;
    let lowest = u64::from(digit == -(1 << 22)) & !(word >> (DIGIT_SHIFT - 1)) & 1;
    let digit = (digit as u64).wrapping_add(lowest << 23);
    // The integer as a float, by its bits: exact, and the same instructions on every path.
    f64::from_bits(digit.wrapping_add(ROUNDING.to_bits())) - ROUNDING
}

/// The products of the digits with a GGSW ciphertext's limbs, rounded to integers. Returns the largest deviation.
#[inline(always)]
fn step<S: Simd>(simd: S, factors: &Factors, ggsw: &Ggsw, scratch: &mut Scratch) -> f64 {
    let Scratch { digits, transformed, products, integers } = scratch;
    let [mask, body] = &**digits;
    factors.forward(simd, [mask, body], transformed);
    for (q, (key, product)) in ggsw.iter().zip(products.iter_mut()).enumerate() {
        multiply(simd, transformed, key, q, product);
        factors.inverse_rounds(simd, product);
    }
    join(simd, factors, products, integers)
}

/// The sum over both rows of digits times key, for one quarter, and the inverse round of size 4, which has no factors.
#[inline(always)]
fn multiply<S: Simd>(simd: S, digits: &[Lanes; BLOCK], key: &[[Lanes; 2]; BLOCK], q: usize, out: &mut [Lanes; BLOCK]) {
    let (digits, key, out) = (digits.as_chunks::<4>().0, key.as_chunks::<4>().0, out.as_chunks_mut::<4>().0);
    for ((digits, key), out) in digits.iter().zip(key).zip(out) {
        for h in 0..parts::<S>() {
            let x = [
                product_at::<S>(simd, &digits[0], &key[0], q, h),
                product_at::<S>(simd, &digits[1], &key[1], q, h),
                product_at::<S>(simd, &digits[2], &key[2], q, h),
                product_at::<S>(simd, &digits[3], &key[3], q, h),
            ];
            let x = inverse_butterfly(simd, x);
            x[0].store(&mut out[0], h);
            x[1].store(&mut out[1], h);
            x[2].store(&mut out[2], h);
            x[3].store(&mut out[3], h);
        }
    }
}

#[inline(always)]
fn product_at<S: Simd>(simd: S, digits: &Lanes, key: &[Lanes; 2], q: usize, h: usize) -> Complex<S> {
    let first = Complex::splat(simd, [digits.re[q], digits.im[q]]);
    let second = Complex::splat(simd, [digits.re[QUARTERS + q], digits.im[QUARTERS + q]]);
    first.mul_sum(simd, Complex::load(&key[0], h), second, Complex::load(&key[1], h))
}

/// The last round: joins the quarters, untwists, unfolds and rounds.
#[inline(always)]
fn join<S: Simd>(
    simd: S,
    factors: &Factors,
    products: &[[Lanes; BLOCK]; QUARTERS],
    integers: &mut [[u64; LANES]; N],
) -> f64 {
    let (mut above, mut below) = (simd.splat_f64s(0.0), simd.splat_f64s(0.0));
    let (real, imaginary) = integers.split_at_mut(HALF);
    let [y0, y1, y2, y3] = products;
    for (j, w) in factors.join.iter().enumerate() {
        let w = splat_three::<S>(simd, w);
        for h in 0..parts::<S>() {
            let y = [
                Complex::load(&y0[j], h),
                Complex::load(&y1[j], h).mul_conj(simd, w[0]),
                Complex::load(&y2[j], h).mul_conj(simd, w[1]),
                Complex::load(&y3[j], h).mul_conj(simd, w[2]),
            ];
            let x = inverse_butterfly(simd, y);
            for p in 0..4 {
                let j = j + BLOCK * p;
                let x = x[p].mul_conj(simd, Complex::splat(simd, factors.untwist[j]));
                let (re, first) = rounded_integer(simd, x.re);
                let (im, second) = rounded_integer(simd, x.im);
                S::as_mut_simd_u64s(&mut real[j]).0[h] = re;
                S::as_mut_simd_u64s(&mut imaginary[j]).0[h] = im;
                above = simd.max_f64s(above, simd.max_f64s(first, second));
                below = simd.min_f64s(below, simd.min_f64s(first, second));
            }
        }
    }
    simd.reduce_max_f64s(above).max(-simd.reduce_min_f64s(below))
}

/// The integer that a value is rounded to, and how far above the value that is.
#[inline(always)]
fn rounded_integer<S: Simd>(simd: S, value: S::f64s) -> (S::u64s, S::f64s) {
    let magic = simd.splat_f64s(ROUNDING);
    let shifted = simd.add_f64s(value, magic);
    let deviation = simd.sub_f64s(simd.sub_f64s(shifted, magic), value);
    (simd.sub_u64s(simd.transmute_u64s_f64s(shifted), simd.splat_u64s(ROUNDING.to_bits())), deviation)
}

/// Adds the products of the limbs, each in its place.
#[inline(always)]
fn add_rounded(accumulator: &mut [[u64; N]; COLUMNS], integers: &[[u64; LANES]; N]) {
    let [mask, body] = accumulator;
    for ((mask, body), lanes) in mask.iter_mut().zip(body).zip(integers) {
        *mask = mask.wrapping_add(sum_of_limbs(lanes[0], lanes[1], lanes[2], lanes[3]));
        *body = body.wrapping_add(sum_of_limbs(lanes[4], lanes[5], lanes[6], lanes[7]));
    }
}

#[inline(always)]
fn sum_of_limbs(a: u64, b: u64, c: u64, d: u64) -> u64 {
    let low = a.wrapping_add(b << LIMB_BITS);
    let high = c.wrapping_add(d << LIMB_BITS);
    low.wrapping_add(high << (2 * LIMB_BITS)) << DROPPED_BITS
}

/// Transforms a GGSW ciphertext: both rows of each column's limbs.
pub(super) struct Preparation<'a> {
    pub(super) factors: &'a Factors,
    /// [`GGSW_WORDS`] words: row by row, polynomial by polynomial.
    pub(super) words: &'a [u64],
    /// [`QUARTERS`] entries.
    pub(super) out: &'a mut Ggsw,
}

impl WithSimd for Preparation<'_> {
    /// The largest sum over the rows of the 2-norms of a limb's coefficients: what the error bound rests on.
    type Output = f64;

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) -> f64 {
        let (mut rows, mut values) = ([[0.0; N]; 2], [Lanes::ZERO; BLOCK]);
        let mut largest = 0.0f64;
        for lane in 0..LANES {
            let (column, limb) = (lane / LIMBS, lane % LIMBS);
            for (row, out) in rows.iter_mut().enumerate() {
                let words = &self.words[(row * COLUMNS + column) * N..][..N];
                for (out, word) in out.iter_mut().zip(words) {
                    *out = f64::from(limbs(*word)[limb]);
                }
            }
            // Sums of 2,048 squares below 2^24 are exact.
            let norms = rows.each_ref().map(|row| row.iter().map(|x| x * x).sum::<f64>().sqrt());
            largest = largest.max(norms.iter().sum());
            self.factors.forward(simd, rows.each_ref(), &mut values);
            for (q, quarter) in self.out.iter_mut().enumerate() {
                for (k, to) in quarter.iter_mut().enumerate() {
                    for (row, to) in to.iter_mut().enumerate() {
                        to.re[lane] = values[k].re[4 * row + q];
                        to.im[lane] = values[k].im[4 * row + q];
                    }
                }
            }
        }
        largest
    }
}

/// The coefficients of a GGSW ciphertext, from its transform. A limb's coefficients are below 2^12, so the error of one
/// inverse transform is below 2^-30 and rounding is beyond doubt.
pub(super) fn coefficients(factors: &Factors, ggsw: &Ggsw) -> Vec<u64> {
    let simd = pulp::Scalar;
    let mut out = vec![0u64; GGSW_WORDS];
    let mut integers = [[0u64; LANES]; N];
    for row in 0..2 {
        let mut products = [[Lanes::ZERO; BLOCK]; QUARTERS];
        for (quarter, product) in ggsw.iter().zip(&mut products) {
            for (from, to) in quarter.as_chunks::<4>().0.iter().zip(product.as_chunks_mut::<4>().0) {
                for h in 0..parts::<pulp::Scalar>() {
                    let y = [0, 1, 2, 3].map(|i| Complex::<pulp::Scalar>::load(&from[i][row], h));
                    for (x, to) in inverse_butterfly(simd, y).into_iter().zip(to.iter_mut()) {
                        x.store(to, h);
                    }
                }
            }
            factors.inverse_rounds(simd, product);
        }
        join(simd, factors, &products, &mut integers);
        let mut words = [[0u64; N]; COLUMNS];
        add_rounded(&mut words, &integers);
        for (column, words) in words.iter().enumerate() {
            out[(row * COLUMNS + column) * N..][..N].copy_from_slice(words);
        }
    }
    out
}

/// A step without floating point: the schoolbook product modulo 2^64, some ten milliseconds. The guard asks for it.
#[inline(never)]
fn add_in_integers(
    factors: &Factors,
    ggsw: &Ggsw,
    digits: &[[f64; N]; COLUMNS],
    accumulator: &mut [[u64; N]; COLUMNS],
) {
    let words = coefficients(factors, ggsw);
    for (column, accumulator) in accumulator.iter_mut().enumerate() {
        for (row, digits) in digits.iter().enumerate() {
            let key = &words[(row * COLUMNS + column) * N..][..N];
            let digits = digits.map(|d| d as i64 as u64);
            add_product(accumulator, &digits, key);
        }
    }
}

/// `sum += a b` modulo `X^N + 1` and 2^64.
fn add_product(sum: &mut [u64; N], a: &[u64; N], b: &[u64]) {
    for (i, a) in a.iter().enumerate() {
        let (low, high) = sum.split_at_mut(i);
        for (sum, b) in high.iter_mut().zip(b) {
            *sum = sum.wrapping_add(a.wrapping_mul(*b));
        }
        for (sum, b) in low.iter_mut().zip(&b[N - i..]) {
            *sum = sum.wrapping_sub(a.wrapping_mul(*b));
        }
    }
}
