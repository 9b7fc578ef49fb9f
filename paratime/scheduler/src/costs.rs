//! The circuits of this ParaTime, and the FHE gas of everything that it does. All of it follows from public data: the
//! kind of transaction, the number of policies, the shape of a decision.

use crate::audit::circuit as audit;
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
    capacity: Slot,
    audit: Slot,
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
        Self {
            reports: std::array::from_fn(|_| Slot::new()),
            job: Slot::new(),
            capacity: Slot::new(),
            audit: Slot::new(),
            decisions: Mutex::default(),
            gas: Mutex::default(),
        }
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
        let gas = Shape::most_gas(candidates, policy.is_scored(), replication).map_err(broken)?;
        known.insert(size, gas);
        Ok(gas)
    }

    /// The program of a capacity; the policies of a ParaTime never change.
    pub(crate) fn capacity(&self, params: &Params) -> Result<&Program, Abort> {
        take(Some(&self.capacity), || audit::capacity_program(&params.policies))
    }

    /// The program of an audit. The price is part of its tables.
    pub(crate) fn audit(&self, params: &Params, price: u8) -> Result<Program, Abort> {
        let built = audit::audit_program(&params.policies, price);
        built.map_err(|e| Abort::Local(format!("a circuit does not build: {e}")))
    }

    /// The FHE gas of an audit: the same for every price.
    pub(crate) fn audit_gas(&self, params: &Params) -> Result<Gas, Abort> {
        Ok(take(Some(&self.audit), || audit::audit_program(&params.policies, 1))?.gas())
    }

    /// The FHE gas of as many audits as a round may make.
    pub(crate) fn most_audits(&self, params: &Params) -> Result<Gas, Abort> {
        let Some(rules) = &params.audits else { return Ok(Gas::ZERO) };
        Ok(Gas(self.audit_gas(params)?.0.saturating_mul(rules.per_round.into())))
    }

    /// The most FHE gas that a transaction can use in the round that includes it.
    pub(crate) fn call(&self, params: &Params, call: &Call) -> Result<Gas, Abort> {
        let evaluation = match call {
            Call::ReportTelemetry(_) => self.report(params)?.gas().0,
            Call::SubmitJob { .. } => self.job()?.gas().0,
            Call::RegisterCapacity { .. } if params.audits.is_some() => self.capacity(params)?.gas().0,
            // Refused before anything is evaluated.
            Call::RegisterCapacity { .. } => 0,
            Call::Transfer { .. }
            | Call::RegisterHost { .. }
            | Call::DeliverAnswer { .. }
            | Call::SetPolicy(_)
            | Call::AnchorDeployment { .. }
            | Call::UpdateStatus { .. }
            | Call::OpenAnchor(_) => {
                return Ok(Gas(gas::TRANSACTION));
            }
        };
        Ok(proven(evaluation))
    }

    /// The most FHE gas of taking a job in.
    pub(crate) fn submission(&self) -> Result<Gas, Abort> {
        Ok(proven(self.job()?.gas().0))
    }

    /// The most FHE gas of so many requests of contracts.
    pub(crate) fn requests(&self, count: usize) -> Result<Gas, Abort> {
        let one = self.submission()?;
        Ok(Gas(one.0.saturating_mul(u64::try_from(count).unwrap_or(u64::MAX))))
    }

    /// The gas of the largest transaction: a report, whose list is the longest, or a capacity.
    pub(crate) fn largest_call(&self, params: &Params) -> Result<Gas, Abort> {
        let capacity = if params.audits.is_some() { self.capacity(params)?.gas().0 } else { 0 };
        Ok(proven(self.report(params)?.gas().0.max(self.job()?.gas().0).max(capacity)))
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
