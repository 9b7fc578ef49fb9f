//! A programmable bootstrap whose bits do not depend on the processor.
//!
//! tfhe's own bootstrap multiplies polynomials by a floating-point FFT and lets the error of the FFT into the result. Its
//! bits therefore depend on the order of the additions, on fused instructions and on the mathematics library. Here the
//! products are **exact**: the result is the one that integer arithmetic modulo 2^64 gives, whichever way it is
//! computed. Nodes with unlike processors agree, and a dispute can be judged on any machine.
//!
//! # Construction
//! A bootstrap is a chain of 918 steps, one a bit `s_i` of the small key: `acc += s_i (X^(a_i) acc - acc)`, as the product
//! of the digits of `X^(a_i) acc - acc` (base 2^23, one level: integers up to 2^22 in size) with a GGSW encryption of
//! `s_i`, two rows of two polynomials. Everything but that product is integer arithmetic anyway.
//!
//! 1. The key is **rounded to 52 bits** ([`rounded_key`]): a public transformation, so it costs no security, and an error
//!    of 2^10 where the encryptions' own is 2^16 (`docs/exact.md` has the noise, measured). The result is exact *for the
//!    rounded key*: bit-identical to tfhe's Karatsuba bootstrap with it.
//! 2. Each rounded coefficient is four **signed limbs of 13 bits**. The products of the digits with one limb's polynomials
//!    have coefficients below `4096 * 2^22 * 2^12 = 2^46`: far within the 53 bits of an `f64`.
//! 3. They are computed by an FFT on `f64` (`transform`), two polynomials in and eight out, and **rounded** to integers.
//!    The error of that FFT is below 1/2, so each rounding gives the one right integer.
//! 4. The four integers are added in their places, modulo 2^64.
//!
//! # Why the error is below 1/2
//! Let `u = 2^-53`. The factors are computed in integers, to within `0.95 u` as complex numbers (`roots`). A complex
//! product errs by at most `sqrt(5) u` of its size, fused or not (Brent, Percival, Zimmermann, "Error bounds on complex
//! floating-point multiplication", 2007), a sum by `u`. A transform is a twist and five rounds of radix-4 butterflies: on
//! the way of a value five factors that are not a power of i, and ten additions. To first order its relative error in
//! the 2-norm is at most `5 (sqrt(5) + 0.95) u + 10 u < 26 u`. It is that for the digits, for the key, and, by the
//! 1-norm of what goes in, for each coefficient that comes out; the product in between (two products and a sum, chained)
//! adds at most `6 u`. By Cauchy and Schwarz every coefficient of the result errs by at most
//!
//! `84 u * sum over the two rows of |digits|_2 |limbs|_2 <= 84 * 2^-53 * 2^27.5 * R`,
//!
//! with `|digits|_2 <= sqrt(2048) 2^22 = 2^27.5` whatever the input, and `R` the sum over the rows of the limbs' norms. For
//! a uniform key `R = 2 sqrt(2048) 2^12 / sqrt(3) = 2^17.71`; the loader computes it and **refuses a key** with
//! `R > 2^18`, so the error is at most **0.47**, and 0.39 for the keys that there are. Terms of second order are below
//! 10^-12. This is worst case over inputs, not probable error: the farthest that was ever measured is 0.001.
//!
//! # The guard
//! Every rounding is checked: were a value farther than 1/4 from the integer, the step would be done again in integers
//! (schoolbook, 8 ms), to the same result. The guard is not needed for the bound; it catches a machine or a compiler that
//! does not keep to IEEE 754. It has never fired but in the test that forces it.

mod path;
mod pattern;
mod product;
mod roots;
#[cfg(test)]
mod tests;
mod transform;

pub use path::{Path, UnknownPath};
pub(crate) use pattern::{ExactPattern, bootstrap, keyswitch};
pub use product::Deviation;
use product::{GGSW_WORDS, GUARD, Preparation, Rotation, Scratch};
use std::sync::atomic::{AtomicU64, Ordering};
pub use transform::N;
use transform::{BLOCK, Factors, Lanes, QUARTERS};

/// A GLWE ciphertext: mask and body.
pub(crate) type GlweWords = Box<[[u64; N]; 2]>;

/// The largest sum, over the two rows, of the 2-norms of a limb's coefficients for which the error bound is below 1/2.
const MAX_NORM: f64 = 262_144.0;

/// Why there can be no exact bootstrap with a key.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum ExactKeyError {
    /// Not a whole number of GGSW ciphertexts.
    #[error("a bootstrapping key of {words} words is not a whole number of GGSW ciphertexts of {GGSW_WORDS}")]
    WrongLength {
        /// Its length.
        words: usize,
    },
    /// A key for which the bound does not hold; no honest generator makes one.
    #[error(
        "the limbs of the bootstrapping key have norm {norm:.0}, over {MAX_NORM:.0}: products with it are not certain to be \
         exact; make the keys again"
    )]
    Norm {
        /// The largest norm.
        norm: f64,
    },
    /// Not of the one parameter set.
    #[error("the bootstrapping key is not of the parameter set {}", crate::parameters::NAME)]
    OtherParameters,
}

/// The key that an exact bootstrap is exact for: every word rounded to a multiple of 2^12.
pub fn rounded_key(words: &mut [u64]) {
    for word in words {
        *word = product::rounded(*word);
    }
}

/// A bootstrapping key, transformed limb by limb: 256 KiB a bit of the small key, 230 MiB for 918.
pub struct ExactKey {
    factors: Factors,
    values: Vec<[[Lanes; 2]; BLOCK]>,
    path: Path,
    norm: f64,
    guard: f64,
    rotations: AtomicU64,
    redone: AtomicU64,
}

impl ExactKey {
    /// From the words of a bootstrapping key in the standard domain, one level of base 2^23, polynomials of 2,048
    /// coefficients, two a GLWE ciphertext. Takes 0.2 core-seconds for 918 GGSW ciphertexts.
    ///
    /// # Errors
    /// If the words are no such key.
    pub fn new(words: &[u64], path: Path) -> Result<Self, ExactKeyError> {
        if words.is_empty() || !words.len().is_multiple_of(GGSW_WORDS) {
            return Err(ExactKeyError::WrongLength { words: words.len() });
        }
        let factors = Factors::new();
        let mut values = vec![[[Lanes::ZERO; 2]; BLOCK]; words.len() / GGSW_WORDS * QUARTERS];
        let mut norm = 0.0f64;
        let mut ggsw = vec![0; GGSW_WORDS];
        for (from, out) in words.chunks_exact(GGSW_WORDS).zip(values.chunks_exact_mut(QUARTERS)) {
            ggsw.copy_from_slice(from);
            rounded_key(&mut ggsw);
            norm = norm.max(path.run(Preparation { factors: &factors, words: &ggsw, out }));
        }
        if norm > MAX_NORM {
            return Err(ExactKeyError::Norm { norm });
        }
        Ok(Self { factors, values, path, norm, guard: GUARD, rotations: AtomicU64::new(0), redone: AtomicU64::new(0) })
    }

    /// The same key on another path.
    #[must_use]
    pub fn on(mut self, path: Path) -> Self {
        self.path = path;
        self
    }

    /// Which instructions it uses.
    pub fn path(&self) -> Path {
        self.path
    }

    /// The largest sum over the rows of the norms of a limb: `R` of the error bound.
    pub fn norm(&self) -> f64 {
        self.norm
    }

    /// How many rotations it has done.
    pub fn rotations(&self) -> u64 {
        self.rotations.load(Ordering::Relaxed)
    }

    /// How many steps the guard has had done again.
    pub fn redone(&self) -> u64 {
        self.redone.load(Ordering::Relaxed)
    }

    /// Rotates a test polynomial by the phase of a ciphertext: `accumulator * X^(sum a_i s_i - body)`. `mask` and `body`
    /// are switched to the modulus 4,096; elements of the mask beyond the key are ignored.
    pub fn blind_rotate(&self, mask: &[usize], body: usize, accumulator: &mut [[u64; N]; 2]) -> Deviation {
        for polynomial in accumulator.iter_mut() {
            divide_by_monomial(polynomial, body % (2 * N));
        }
        let mut scratch = Scratch::new();
        let seen = self.path.run(Rotation {
            factors: &self.factors,
            key: &self.values,
            mask,
            accumulator,
            scratch: &mut scratch,
            guard: self.guard,
        });
        self.rotations.fetch_add(1, Ordering::Relaxed);
        if seen.redone > 0 {
            self.redone.fetch_add(seen.redone.into(), Ordering::Relaxed);
            tracing::warn!(steps = seen.redone, largest = seen.largest, path = %self.path, "fhe.exact_guard");
        }
        seen
    }
}

impl std::fmt::Debug for ExactKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ExactKey").field("path", &self.path).field("norm", &self.norm).finish_non_exhaustive()
    }
}

/// `polynomial * X^(-degree)` modulo `X^N + 1`, for a degree below `2 N`.
fn divide_by_monomial(polynomial: &mut [u64; N], degree: usize) {
    let negated = degree >= N;
    polynomial.rotate_left(degree % N);
    let (kept, wrapped) = polynomial.split_at_mut(N - degree % N);
    for word in if negated { kept } else { wrapped } {
        *word = word.wrapping_neg();
    }
}
