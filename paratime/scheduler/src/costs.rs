//! The circuits of this ParaTime, built once, and the FHE gas of everything that it does. All of it follows from
//! public data: the kind of transaction, the number of policies, the number of candidates.

use crate::circuit::{MAX_CANDIDATES, decision_program, job_program, report_program};
use crate::params::Params;
use crate::tx::Call;
use parallax_primitives::{Amount, Gas};
use parallax_runtime::{Abort, Program, ProgramError, gas};
use std::sync::OnceLock;

type Slot = OnceLock<Result<Program, ProgramError>>;

/// Programs by size, built when they are first needed.
#[derive(Debug)]
pub(crate) struct Programs {
    reports: [Slot; 4],
    job: Slot,
    decisions: Vec<Slot>,
}

fn take(slot: Option<&Slot>, build: impl FnOnce() -> Result<Program, ProgramError>) -> Result<&Program, Abort> {
    let slot =
        slot.ok_or_else(|| Abort::Local("a circuit larger than any parameter allows was asked for".to_owned()))?;
    slot.get_or_init(build).as_ref().map_err(|e| Abort::Local(format!("a circuit does not build: {e}")))
}

impl Programs {
    pub(crate) fn new() -> Self {
        let decisions = (0..=MAX_CANDIDATES).map(|_| Slot::new()).collect();
        Self { reports: std::array::from_fn(|_| Slot::new()), job: Slot::new(), decisions }
    }

    pub(crate) fn report(&self, params: &Params) -> Result<&Program, Abort> {
        let policies = params.policies.len();
        take(self.reports.get(policies), || report_program(u16::try_from(policies).unwrap_or(u16::MAX)))
    }

    pub(crate) fn job(&self) -> Result<&Program, Abort> {
        take(Some(&self.job), job_program)
    }

    pub(crate) fn decision(&self, candidates: usize) -> Result<&Program, Abort> {
        let size = u16::try_from(candidates).unwrap_or(u16::MAX);
        take(self.decisions.get(candidates), || decision_program(size))
    }

    /// The most FHE gas that a transaction can use in the round that includes it.
    pub(crate) fn call(&self, params: &Params, call: &Call) -> Result<Gas, Abort> {
        let evaluation = match call {
            Call::ReportTelemetry(_) => self.report(params)?.gas().0,
            Call::SubmitJob { .. } => self.job()?.gas().0,
            Call::Transfer { .. } | Call::RegisterHost { .. } | Call::DeliverAnswer { .. } => {
                return Ok(Gas(gas::TRANSACTION));
            }
        };
        Ok(proven(evaluation))
    }

    /// What a job's owner pays in advance: every attempt at its largest.
    pub(crate) fn escrow(&self, params: &Params, price: Amount) -> Result<Option<Amount>, Abort> {
        let attempt = self.decision(params.candidates_per_decision.into())?.gas();
        Ok(fee(attempt, price).and_then(|one| one.0.checked_mul(params.max_attempts.into())).map(Amount))
    }
}

/// The gas of a transaction with a proven list whose program costs `evaluation`.
fn proven(evaluation: u64) -> Gas {
    Gas(gas::TRANSACTION.saturating_add(gas::PROOF).saturating_add(evaluation))
}

/// The price of some gas; `None` if it overflows.
pub(crate) fn fee(gas: Gas, price: Amount) -> Option<Amount> {
    price.0.checked_mul(gas.0.into()).map(Amount)
}
