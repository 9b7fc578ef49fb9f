//! The circuits of this ParaTime, and the FHE gas of everything that it does. All of it follows from public data: the
//! kind of transaction, the number of policies, the shape of a decision.

use crate::circuit::{Shape, decision_program, job_program, report_program};
use crate::model::{Policy, Replication};
use crate::params::Params;
use crate::tx::Call;
use parallax_primitives::{Amount, Gas};
use parallax_runtime::{Abort, Program, ProgramError, gas};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

/// Most decisions whose circuits are kept.
const MAX_KEPT: usize = 32;

type Slot = OnceLock<Result<Program, ProgramError>>;
/// What the gas of a decision depends on, at its largest: candidates, whether it is scored, replicas.
type Size = (u16, bool, Replication);

/// Programs, built when they are first needed.
#[derive(Debug)]
pub(crate) struct Programs {
    reports: [Slot; 4],
    job: Slot,
    /// By shape. Which ones are kept shows in speed only.
    decisions: Mutex<BTreeMap<Shape, Arc<Program>>>,
    /// The gas of the largest decisions, a number each.
    gas: Mutex<BTreeMap<Size, Gas>>,
}

fn broken(error: ProgramError) -> Abort {
    Abort::Local(format!("a circuit does not build: {error}"))
}

fn take(slot: Option<&Slot>, build: impl FnOnce() -> Result<Program, ProgramError>) -> Result<&Program, Abort> {
    let slot =
        slot.ok_or_else(|| Abort::Local("a circuit larger than any parameter allows was asked for".to_owned()))?;
    slot.get_or_init(build).as_ref().map_err(|e| broken(e.clone()))
}

impl Programs {
    pub(crate) fn new() -> Self {
        let reports = std::array::from_fn(|_| Slot::new());
        Self { reports, job: Slot::new(), decisions: Mutex::default(), gas: Mutex::default() }
    }

    pub(crate) fn report(&self, params: &Params) -> Result<&Program, Abort> {
        let scores = params.scores();
        take(self.reports.get(usize::from(scores)), || report_program(scores))
    }

    pub(crate) fn job(&self) -> Result<&Program, Abort> {
        take(Some(&self.job), job_program)
    }

    pub(crate) fn decision(&self, shape: &Shape) -> Result<Arc<Program>, Abort> {
        let mut kept = self.decisions.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(program) = kept.get(shape) {
            return Ok(Arc::clone(program));
        }
        if kept.len() >= MAX_KEPT {
            kept.clear();
        }
        let program = Arc::new(decision_program(shape).map_err(broken)?);
        kept.insert(shape.clone(), Arc::clone(&program));
        Ok(program)
    }

    /// The most FHE gas of a decision among so many candidates, whatever their flags and zones.
    pub(crate) fn decision_gas(
        &self,
        candidates: u16,
        policy: Policy,
        mut replication: Replication,
    ) -> Result<Gas, Abort> {
        if replication.least_candidates() > usize::from(candidates) {
            // Never decided, and refused at admission; until then it has the price of the largest gang.
            replication.count = u8::try_from(candidates).unwrap_or(u8::MAX);
        }
        let size = (candidates, policy.is_scored(), replication);
        let mut known = self.gas.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(gas) = known.get(&size) {
            return Ok(*gas);
        }
        let shape = Shape::largest(candidates, policy.is_scored(), replication);
        let gas = decision_program(&shape).map_err(broken)?.gas();
        known.insert(size, gas);
        Ok(gas)
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

    /// The gas of the largest transaction: a report, whose list is the longest.
    pub(crate) fn largest_call(&self, params: &Params) -> Result<Gas, Abort> {
        Ok(proven(self.report(params)?.gas().0.max(self.job()?.gas().0)))
    }

    /// What a job's owner pays in advance: every attempt at its largest.
    pub(crate) fn escrow(
        &self,
        params: &Params,
        policy: Policy,
        replication: Replication,
        price: Amount,
    ) -> Result<Option<Amount>, Abort> {
        let attempt = self.decision_gas(params.candidates_per_decision, policy, replication)?;
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
