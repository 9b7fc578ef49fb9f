//! Which instructions the products are computed with.

use pulp::{Scalar, Simd, WithSimd};
use std::fmt;
use std::str::FromStr;

/// A way to compute the same bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Path {
    /// Eight lanes at once: x86-64 with AVX-512 F, BW, CD, DQ and VL.
    Avx512,
    /// Four lanes at once, with fused multiply and add: x86-64 with AVX2 and FMA.
    Avx2,
    /// One lane at a time, whatever the processor.
    Portable,
}

impl Path {
    /// Every path, the fastest first.
    pub const ALL: [Self; 3] = [Self::Avx512, Self::Avx2, Self::Portable];

    /// The fastest path on this processor.
    pub fn best() -> Self {
        Self::ALL.into_iter().find(|path| path.is_available()).unwrap_or(Self::Portable)
    }

    /// Whether this processor has the instructions.
    pub fn is_available(self) -> bool {
        match self {
            #[cfg(target_arch = "x86_64")]
            Self::Avx512 => pulp::x86::V4::try_new().is_some(),
            #[cfg(target_arch = "x86_64")]
            Self::Avx2 => pulp::x86::V3::try_new().is_some(),
            #[cfg(not(target_arch = "x86_64"))]
            Self::Avx512 | Self::Avx2 => false,
            Self::Portable => true,
        }
    }

    /// Runs an operation on this path; on the portable one if the processor lacks the instructions, to the same bits.
    pub(super) fn run<W: WithSimd>(self, operation: W) -> W::Output {
        #[cfg(target_arch = "x86_64")]
        match self {
            Self::Avx512 => {
                if let Some(simd) = pulp::x86::V4::try_new() {
                    return Simd::vectorize(simd, operation);
                }
            }
            Self::Avx2 => {
                if let Some(simd) = pulp::x86::V3::try_new() {
                    return Simd::vectorize(simd, operation);
                }
            }
            Self::Portable => {}
        }
        Simd::vectorize(Scalar, operation)
    }
}

/// A name that is no path.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("there is no path {0:?}; there are avx-512, avx2+fma and portable")]
pub struct UnknownPath(String);

impl FromStr for Path {
    type Err = UnknownPath;

    fn from_str(name: &str) -> Result<Self, UnknownPath> {
        Self::ALL.into_iter().find(|path| path.to_string() == name).ok_or_else(|| UnknownPath(name.to_owned()))
    }
}

impl fmt::Display for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Avx512 => "avx-512",
            Self::Avx2 => "avx2+fma",
            Self::Portable => "portable",
        })
    }
}
