//! The negacyclic transform, eight polynomials at a time.
//!
//! A polynomial of 2,048 real coefficients modulo `X^2048 + 1` is determined by its values at 1,024 of the roots of
//! that modulus, the other half being their conjugates: coefficients `j` and `j + 1024` become the real and imaginary
//! part of one number, times `exp(pi i j / 2048)`, and a complex transform of size 1,024 follows (the "right-angle
//! convolution" of Crandall and Fagin).
//!
//! That transform is five rounds of radix-4 butterflies. The first splits it into four transforms of size 256, so two
//! polynomials make eight of those, and eight is the number of lanes here: **a lane never meets another one**, there is
//! no shuffle, and how wide the processor's vectors are changes nothing but the time. Going back, the eight lanes are the
//! eight products of a step (two columns, four limbs), and the four transforms of size 256 are joined by the last round.
//! Values stay in the order in which the forward transform leaves them; products do not mind.

use super::roots::{ORDER, roots};
use pulp::Simd;

/// Coefficients of a polynomial.
pub const N: usize = 2048;
/// Complex values of its transform.
pub(super) const HALF: usize = N / 2;
/// Transforms that the first round leaves.
pub(super) const QUARTERS: usize = 4;
/// The size of each.
pub(super) const BLOCK: usize = HALF / QUARTERS;
/// Transforms that run side by side.
pub(super) const LANES: usize = 8;

/// One complex value of each of the eight transforms.
#[derive(Clone, Copy, Debug)]
#[repr(C, align(64))]
pub(super) struct Lanes {
    pub(super) re: [f64; LANES],
    pub(super) im: [f64; LANES],
}

impl Lanes {
    pub(super) const ZERO: Self = Self { re: [0.0; LANES], im: [0.0; LANES] };
}

/// A vector of complex values.
#[derive(Clone, Copy)]
pub(super) struct Complex<S: Simd> {
    pub(super) re: S::f64s,
    pub(super) im: S::f64s,
}

impl<S: Simd> Complex<S> {
    /// Part `h` of the eight lanes.
    #[inline(always)]
    pub(super) fn load(from: &Lanes, h: usize) -> Self {
        Self { re: S::as_simd_f64s(&from.re).0[h], im: S::as_simd_f64s(&from.im).0[h] }
    }

    #[inline(always)]
    pub(super) fn store(self, to: &mut Lanes, h: usize) {
        S::as_mut_simd_f64s(&mut to.re).0[h] = self.re;
        S::as_mut_simd_f64s(&mut to.im).0[h] = self.im;
    }

    #[inline(always)]
    pub(super) fn splat(simd: S, [re, im]: [f64; 2]) -> Self {
        Self { re: simd.splat_f64s(re), im: simd.splat_f64s(im) }
    }

    #[inline(always)]
    fn add(self, simd: S, b: Self) -> Self {
        Self { re: simd.add_f64s(self.re, b.re), im: simd.add_f64s(self.im, b.im) }
    }

    #[inline(always)]
    fn sub(self, simd: S, b: Self) -> Self {
        Self { re: simd.sub_f64s(self.re, b.re), im: simd.sub_f64s(self.im, b.im) }
    }

    /// `self + i b`.
    #[inline(always)]
    fn add_i(self, simd: S, b: Self) -> Self {
        Self { re: simd.sub_f64s(self.re, b.im), im: simd.add_f64s(self.im, b.re) }
    }

    /// `self - i b`.
    #[inline(always)]
    fn sub_i(self, simd: S, b: Self) -> Self {
        Self { re: simd.add_f64s(self.re, b.im), im: simd.sub_f64s(self.im, b.re) }
    }

    #[inline(always)]
    pub(super) fn mul(self, simd: S, b: Self) -> Self {
        Self {
            re: simd.negate_mul_add_e_f64s(self.im, b.im, simd.mul_f64s(self.re, b.re)),
            im: simd.mul_add_e_f64s(self.im, b.re, simd.mul_f64s(self.re, b.im)),
        }
    }

    /// `self * conj(b)`.
    #[inline(always)]
    pub(super) fn mul_conj(self, simd: S, b: Self) -> Self {
        Self {
            re: simd.mul_add_e_f64s(self.im, b.im, simd.mul_f64s(self.re, b.re)),
            im: simd.negate_mul_add_e_f64s(self.re, b.im, simd.mul_f64s(self.im, b.re)),
        }
    }

    /// `self * b + c * d`.
    #[inline(always)]
    pub(super) fn mul_sum(self, simd: S, b: Self, c: Self, d: Self) -> Self {
        let first = self.mul(simd, b);
        Self {
            re: simd.negate_mul_add_e_f64s(c.im, d.im, simd.mul_add_e_f64s(c.re, d.re, first.re)),
            im: simd.mul_add_e_f64s(c.im, d.re, simd.mul_add_e_f64s(c.re, d.im, first.im)),
        }
    }
}

#[inline(always)]
fn load_four<S: Simd>([a, b, c, d]: [&Lanes; 4], h: usize) -> [Complex<S>; 4] {
    [Complex::load(a, h), Complex::load(b, h), Complex::load(c, h), Complex::load(d, h)]
}

#[inline(always)]
pub(super) fn splat_three<S: Simd>(simd: S, [a, b, c]: &[[f64; 2]; 3]) -> [Complex<S>; 3] {
    [Complex::splat(simd, *a), Complex::splat(simd, *b), Complex::splat(simd, *c)]
}

/// How many vectors hold the eight lanes.
#[inline(always)]
pub(super) fn parts<S: Simd>() -> usize {
    LANES / S::F64_LANES
}

/// `sum over p of x_p i^(pq)` for `q` in 0..4.
#[inline(always)]
fn butterfly<S: Simd>(simd: S, [a, b, c, d]: [Complex<S>; 4]) -> [Complex<S>; 4] {
    let (t0, t1, t2, t3) = (a.add(simd, c), a.sub(simd, c), b.add(simd, d), b.sub(simd, d));
    [t0.add(simd, t2), t1.add_i(simd, t3), t0.sub(simd, t2), t1.sub_i(simd, t3)]
}

/// `sum over q of x_q i^(-pq)` for `p` in 0..4.
#[inline(always)]
pub(super) fn inverse_butterfly<S: Simd>(simd: S, [a, b, c, d]: [Complex<S>; 4]) -> [Complex<S>; 4] {
    let (t0, t1, t2, t3) = (a.add(simd, c), a.sub(simd, c), b.add(simd, d), b.sub(simd, d));
    [t0.add(simd, t2), t1.sub_i(simd, t3), t0.sub(simd, t2), t1.add_i(simd, t3)]
}

/// Real and imaginary parts apart, as vectors over neighbouring indices want them.
struct Apart {
    re: Vec<f64>,
    im: Vec<f64>,
}

impl Apart {
    fn new(values: impl Iterator<Item = [f64; 2]> + Clone) -> Self {
        Self { re: values.clone().map(|v| v[0]).collect(), im: values.map(|v| v[1]).collect() }
    }

    #[inline(always)]
    fn load<S: Simd>(&self, at: usize) -> Complex<S> {
        Complex { re: load::<S>(&self.re, at), im: load::<S>(&self.im, at) }
    }
}

#[inline(always)]
fn load<S: Simd>(from: &[f64], at: usize) -> S::f64s {
    S::as_simd_f64s(&from[at..at + S::F64_LANES]).0[0]
}

/// The factors of the butterflies.
pub(super) struct Factors {
    /// `exp(pi i j / 2048)` for each `j` of [`HALF`].
    twist: Apart,
    /// The same, divided by [`HALF`]: exact, a power of two.
    pub(super) untwist: Vec<[f64; 2]>,
    /// `exp(2 pi i j q / 1024)` for each `j` of [`BLOCK`] and `q` in 1..4.
    pub(super) join: Vec<[[f64; 2]; 3]>,
    /// The same, one table for each `q`.
    split: [Apart; 3],
    /// The same for sizes 256, 64 and 16: entry `j` for `j` up to a quarter of the size.
    rounds: [Vec<[[f64; 2]; 3]>; 3],
}

impl Factors {
    pub(super) fn new() -> Self {
        let roots = roots();
        let of_size = |size: usize| -> Vec<[[f64; 2]; 3]> {
            let root = |j: usize, q: usize| roots[ORDER / size * j * q % ORDER];
            (0..size / 4).map(|j| [root(j, 1), root(j, 2), root(j, 3)]).collect()
        };
        let join = of_size(HALF);
        Self {
            twist: Apart::new(roots[..HALF].iter().copied()),
            untwist: roots[..HALF].iter().map(|w| w.map(|x| x / HALF as f64)).collect(),
            split: std::array::from_fn(|q| Apart::new(join.iter().map(|w| w[q]))),
            join,
            rounds: [of_size(256), of_size(64), of_size(16)],
        }
    }

    /// Transforms two polynomials. Value `k` of quarter `q` of polynomial `c` is in lane `4c + q` of `out[k]`.
    #[inline(always)]
    pub(super) fn forward<S: Simd>(&self, simd: S, polynomials: [&[f64; N]; 2], out: &mut [Lanes; BLOCK]) {
        for (c, x) in polynomials.into_iter().enumerate() {
            self.split::<S>(simd, x, c, out);
        }
        for factors in &self.rounds {
            forward_round(simd, out.as_mut_slice(), factors);
        }
        for four in out.as_chunks_mut::<4>().0 {
            for h in 0..parts::<S>() {
                let [a, b, c, d] = four;
                let y = butterfly::<S>(simd, load_four([&*a, b, c, d], h));
                y[0].store(a, h);
                y[1].store(b, h);
                y[2].store(c, h);
                y[3].store(d, h);
            }
        }
    }

    /// Folds and twists a polynomial, does the first round, and puts the quarters into their lanes.
    #[inline(always)]
    fn split<S: Simd>(&self, simd: S, x: &[f64; N], c: usize, out: &mut [Lanes; BLOCK]) {
        let width = S::F64_LANES;
        let (mut re, mut im) = ([[0.0; LANES]; QUARTERS], [[0.0; LANES]; QUARTERS]);
        for start in (0..BLOCK).step_by(LANES) {
            for h in 0..parts::<S>() {
                let at = start + h * width;
                let u = [
                    self.twisted(simd, x, at),
                    self.twisted(simd, x, at + BLOCK),
                    self.twisted(simd, x, at + 2 * BLOCK),
                    self.twisted(simd, x, at + 3 * BLOCK),
                ];
                let y = butterfly(simd, u);
                for q in 0..QUARTERS {
                    let y = if q == 0 { y[0] } else { y[q].mul(simd, self.split[q - 1].load(at)) };
                    S::as_mut_simd_f64s(&mut re[q]).0[h] = y.re;
                    S::as_mut_simd_f64s(&mut im[q]).0[h] = y.im;
                }
            }
            for l in 0..LANES {
                let to = &mut out[start + l];
                for q in 0..QUARTERS {
                    to.re[4 * c + q] = re[q][l];
                    to.im[4 * c + q] = im[q][l];
                }
            }
        }
    }

    #[inline(always)]
    fn twisted<S: Simd>(&self, simd: S, x: &[f64; N], j: usize) -> Complex<S> {
        let folded = Complex::<S> { re: load::<S>(x, j), im: load::<S>(x, j + HALF) };
        folded.mul(simd, self.twist.load(j))
    }

    /// Undoes the rounds of size 16, 64 and 256 on one quarter; the round of size 4 was done by the caller.
    #[inline(always)]
    pub(super) fn inverse_rounds<S: Simd>(&self, simd: S, block: &mut [Lanes]) {
        for factors in self.rounds.iter().rev() {
            inverse_round(simd, block, factors);
        }
    }
}

#[inline(always)]
fn forward_round<S: Simd>(simd: S, data: &mut [Lanes], factors: &[[[f64; 2]; 3]]) {
    let m = factors.len();
    for block in data.chunks_exact_mut(4 * m) {
        let (a, rest) = block.split_at_mut(m);
        let (b, rest) = rest.split_at_mut(m);
        let (c, d) = rest.split_at_mut(m);
        for ((((a, b), c), d), w) in a.iter_mut().zip(b).zip(c).zip(d).zip(factors) {
            let w = splat_three::<S>(simd, w);
            for h in 0..parts::<S>() {
                let y = butterfly(simd, load_four([&*a, b, c, d], h));
                y[0].store(a, h);
                y[1].mul(simd, w[0]).store(b, h);
                y[2].mul(simd, w[1]).store(c, h);
                y[3].mul(simd, w[2]).store(d, h);
            }
        }
    }
}

#[inline(always)]
fn inverse_round<S: Simd>(simd: S, data: &mut [Lanes], factors: &[[[f64; 2]; 3]]) {
    let m = factors.len();
    for block in data.chunks_exact_mut(4 * m) {
        let (a, rest) = block.split_at_mut(m);
        let (b, rest) = rest.split_at_mut(m);
        let (c, d) = rest.split_at_mut(m);
        for ((((a, b), c), d), w) in a.iter_mut().zip(b).zip(c).zip(d).zip(factors) {
            let w = splat_three::<S>(simd, w);
            for h in 0..parts::<S>() {
                let [y0, y1, y2, y3] = load_four::<S>([&*a, b, c, d], h);
                let y = [y0, y1.mul_conj(simd, w[0]), y2.mul_conj(simd, w[1]), y3.mul_conj(simd, w[2])];
                let x = inverse_butterfly(simd, y);
                x[0].store(a, h);
                x[1].store(b, h);
                x[2].store(c, h);
                x[3].store(d, h);
            }
        }
    }
}
