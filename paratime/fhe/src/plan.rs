//! The FFT plan, pinned for the whole process.
//!
//! Left alone, tfhe picks its plan by a stopwatch (`core_crypto/fft_impl/fft64/math/fft/mod.rs`, `Method::Measure`), and
//! plans differ in the last bits of what they compute: two processes on one machine then disagree on a ciphertext. Here
//! the plan is stated, set before any key is loaded, and read back.

use parallax_runtime::EvaluationProfile;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;
use std::sync::{Mutex, PoisonError};
use tfhe::core_crypto::fft_impl::fft64::math::fft::{Fft, FftAlgo, Method, Plan, setup_custom_fft_plan};
use tfhe::core_crypto::prelude::PolynomialSize;

/// The sizes of complex transforms that any parameter set of ours can ask for.
const FFT_SIZES: [usize; 5] = [128, 256, 512, 1024, 2048];
/// The largest size that the base transform handles by itself; larger ones are split into these.
const MAX_BASE_SIZE: usize = 1024;
/// How often [`init`] looks for a foreign plan: once for each size.
const POLYNOMIALS_PER_FFT: usize = 2;

/// Which algorithm the transforms use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FftPlan {
    /// Decimation in frequency, radix 16: the plan of the network, and the fastest on the processors measured.
    Dif16,
    /// Decimation in frequency, radix 4. It exists for one fault of the localnet, a node that evaluates under another
    /// plan than its committee; such a node is refused by the known answers.
    Dif4,
}

impl FftPlan {
    fn algorithm(self) -> FftAlgo {
        match self {
            Self::Dif16 => FftAlgo::Dif16,
            Self::Dif4 => FftAlgo::Dif4,
        }
    }

    /// Its name in an [`EvaluationProfile`].
    pub fn name(self) -> &'static str {
        match self {
            Self::Dif16 => "dif16/1024",
            Self::Dif4 => "dif4/1024",
        }
    }
}

impl fmt::Display for FftPlan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// How bootstraps are computed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum BackendKind {
    /// By tfhe's floating-point FFT under the pinned plan: the fastest. Bits depend on plan and instruction class.
    #[default]
    CpuFft,
    /// Exactly ([`crate::exact`]): up to twice the time, the same bits on every processor.
    CpuExact,
}

impl BackendKind {
    /// Both.
    pub const ALL: [Self; 2] = [Self::CpuFft, Self::CpuExact];

    /// Its name in an [`EvaluationProfile`].
    pub fn name(self) -> &'static str {
        match self {
            Self::CpuFft => "cpu-fft",
            Self::CpuExact => "cpu-exact",
        }
    }

    /// The backend that a profile asks for; `None` if this version has it not.
    pub fn of(profile: &EvaluationProfile) -> Option<Self> {
        profile.backend.parse().ok()
    }

    /// The profile under which this build evaluates with it; for `cpu-fft`, under the network's plan.
    pub fn profile(self) -> EvaluationProfile {
        match self {
            Self::CpuFft => profile_of(FftPlan::Dif16),
            Self::CpuExact => EvaluationProfile {
                library: crate::parameters::LIBRARY.to_owned(),
                plan: EXACT_PLAN.to_owned(),
                parameters: crate::parameters::NAME.to_owned(),
                backend: self.name().to_owned(),
                instructions: "any".to_owned(),
            },
        }
    }
}

/// The plan of the exact backend: there is none, but bits depend on how far the bootstrapping key is rounded.
const EXACT_PLAN: &str = "none, key of 52 bits";

impl fmt::Display for BackendKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A name that is no backend.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("there is no FHE backend {0:?}; there are cpu-fft and cpu-exact")]
pub struct UnknownBackend(String);

impl FromStr for BackendKind {
    type Err = UnknownBackend;

    fn from_str(name: &str) -> Result<Self, UnknownBackend> {
        Self::ALL.into_iter().find(|kind| kind.name() == name).ok_or_else(|| UnknownBackend(name.to_owned()))
    }
}

/// Why this process cannot evaluate under the `cpu-fft` profile.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InitError {
    /// The processor lacks an instruction set.
    #[error(
        "this processor has no {missing}: the cpu-fft profile is bit-exact only on x86-64 with AVX2 and FMA, the scalar \
         code of tfhe computes other bits; run this node on such a processor, or in a committee of the cpu-exact profile"
    )]
    MissingInstructions {
        /// Which.
        missing: &'static str,
    },
    /// Not an x86-64.
    #[error(
        "this is {architecture}: the cpu-fft profile is defined for x86-64 with AVX2 and FMA only; committees of the \
         cpu-exact profile accept other processors"
    )]
    Architecture {
        /// What it is.
        architecture: &'static str,
    },
    /// Another plan is already in force.
    #[error("the FFT plan {asked} was asked for, but this process already runs with {installed}; start a new process")]
    AlreadyPinned {
        /// The plan in force.
        installed: FftPlan,
        /// The plan asked for.
        asked: FftPlan,
    },
    /// No plan was pinned before the first use of a key.
    #[error("no FFT plan is pinned; call parallax_fhe::init before keys are made or loaded")]
    NotPinned,
    /// The library does not use the plan that was set.
    #[error(
        "tfhe uses the plan `{found}` for transforms of {size} where {expected} was set; this is a fault of the build"
    )]
    NotInForce {
        /// Size of the transform.
        size: usize,
        /// The plan set.
        expected: FftPlan,
        /// What tfhe reports.
        found: String,
    },
}

static PINNED: Mutex<Option<FftPlan>> = Mutex::new(None);

/// Pins the FFT plan for the whole process and checks that tfhe uses it. Call it first, before any key is made or
/// loaded. Calling it again with the same plan does nothing.
///
/// # Errors
/// [`InitError`] if the processor is not of the profile's class, or another plan is already pinned.
pub fn init(plan: FftPlan) -> Result<(), InitError> {
    check_processor()?;
    let mut pinned = PINNED.lock().unwrap_or_else(PoisonError::into_inner);
    match *pinned {
        Some(installed) if installed == plan => return Ok(()),
        Some(installed) => return Err(InitError::AlreadyPinned { installed, asked: plan }),
        None => {}
    }
    for size in FFT_SIZES {
        let base_n = size.min(MAX_BASE_SIZE);
        setup_custom_fft_plan(Plan::new(size, Method::UserProvided { base_algo: plan.algorithm(), base_n }));
    }
    for size in FFT_SIZES {
        // The plan's fields are private; its debug form is the only way to read it back.
        let found = format!("{:?}", Fft::new(PolynomialSize(size * POLYNOMIALS_PER_FFT)).as_view());
        let found = found.rfind("Plan {").map_or(found.as_str(), |at| &found[at..]).to_owned();
        let base_size = size.min(MAX_BASE_SIZE);
        let expected = format!("base_algo: {:?}, base_size: {base_size}, fft_size: {size} ", plan.algorithm());
        if !found.contains(&expected) {
            return Err(InitError::NotInForce { size, expected: plan, found });
        }
    }
    *pinned = Some(plan);
    tracing::debug!(plan = plan.name(), "fhe.plan_pinned");
    Ok(())
}

/// The plan in force.
///
/// # Errors
/// [`InitError::NotPinned`] before [`init`].
pub fn pinned() -> Result<FftPlan, InitError> {
    PINNED.lock().unwrap_or_else(PoisonError::into_inner).ok_or(InitError::NotPinned)
}

/// The profile under which this process evaluates.
///
/// # Errors
/// [`InitError::NotPinned`] before [`init`].
pub fn profile() -> Result<EvaluationProfile, InitError> {
    Ok(profile_of(pinned()?))
}

/// The profile of this build under a plan.
pub fn profile_of(plan: FftPlan) -> EvaluationProfile {
    EvaluationProfile {
        library: crate::parameters::LIBRARY.to_owned(),
        plan: plan.name().to_owned(),
        parameters: crate::parameters::NAME.to_owned(),
        backend: "cpu-fft".to_owned(),
        instructions: "x86-64 avx2+fma".to_owned(),
    }
}

#[cfg(target_arch = "x86_64")]
fn check_processor() -> Result<(), InitError> {
    for (present, missing) in
        [(std::arch::is_x86_feature_detected!("avx2"), "AVX2"), (std::arch::is_x86_feature_detected!("fma"), "FMA")]
    {
        if !present {
            return Err(InitError::MissingInstructions { missing });
        }
    }
    Ok(())
}

#[cfg(not(target_arch = "x86_64"))]
fn check_processor() -> Result<(), InitError> {
    Err(InitError::Architecture { architecture: std::env::consts::ARCH })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_profile_names_its_backend() {
        for kind in BackendKind::ALL {
            assert_eq!(BackendKind::of(&kind.profile()), Some(kind));
            assert_eq!(kind.name().parse(), Ok(kind));
            assert_eq!(serde_json::to_value(kind).unwrap(), kind.name());
        }
        let other = EvaluationProfile { backend: "gpu".to_owned(), ..BackendKind::CpuExact.profile() };
        assert_eq!(BackendKind::of(&other), None);
        assert_eq!(BackendKind::CpuExact.profile().instructions, "any");
    }

    #[test]
    fn the_plan_is_pinned_once_and_another_one_is_refused() {
        assert_eq!(init(FftPlan::Dif16), Ok(()));
        assert_eq!(init(FftPlan::Dif16), Ok(()));
        assert_eq!(pinned(), Ok(FftPlan::Dif16));
        let refused = init(FftPlan::Dif4);
        assert_eq!(refused, Err(InitError::AlreadyPinned { installed: FftPlan::Dif16, asked: FftPlan::Dif4 }));
        assert_eq!(profile().map(|p| p.plan), Ok("dif16/1024".to_owned()));
    }
}
