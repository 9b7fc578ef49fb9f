//! What an audit says, in the clear: the report fits its capacity, and its scores follow from both.

use crate::cluster::{Free, cost_score, pack_score, spread_score};
use crate::model::{MAX_GPUS, MAX_SHARE, Policy, QuantityError, Report};
use std::fmt;

/// Digits of a capacity: CPU, memory (two each), GPUs.
pub const CAPACITY_DIGITS: u16 = 5;

/// What a machine has, in the units of reports. Its `Debug` shows nothing: it is confidential.
#[derive(Clone, Copy, PartialEq, Eq, Default)]
pub struct Capacity {
    /// CPU in units of [`crate::model::CPU_UNIT_MILLI`], at least 1.
    pub cpu: u8,
    /// Memory in units of [`crate::model::MEMORY_UNIT_MIB`], at least 1.
    pub memory: u8,
    /// GPUs, at most [`MAX_GPUS`].
    pub gpus: u8,
}

impl fmt::Debug for Capacity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Capacity(…)")
    }
}

impl Capacity {
    /// The digits to encrypt.
    ///
    /// # Errors
    /// If a value is out of range: no report would ever be consistent with it.
    pub fn digits(&self) -> Result<Vec<u8>, QuantityError> {
        for (field, value) in [("CPU of the machine", self.cpu), ("memory of the machine", self.memory)] {
            if value == 0 {
                return Err(QuantityError::None { field });
            }
        }
        if self.gpus > MAX_GPUS {
            let (field, max, unit) = ("GPUs of the machine", MAX_GPUS.into(), "GPUs");
            return Err(QuantityError::OutOfRange { field, max, unit });
        }
        Ok(self.unchecked_digits())
    }

    /// The digits without the check: what a hostile host could send.
    pub(crate) fn unchecked_digits(&self) -> Vec<u8> {
        vec![self.cpu & 15, self.cpu >> 4, self.memory & 15, self.memory >> 4, self.gpus & 15]
    }
}

/// The free GPUs as scores count them, in hundredths of one: the whole ones, or the largest share of one where none is
/// whole. It is all that a report says.
pub fn free_gpus(gpus: u8, share: u8) -> u64 {
    u64::from(gpus).saturating_mul(u64::from(MAX_SHARE)).max(share.into())
}

/// The score of a policy that follows from a report's quantities, the capacity and the public price; `None` for a
/// policy without scores.
pub fn score(policy: Policy, report: &Report, capacity: &Capacity, price: u8) -> Option<u8> {
    let part = |free: u64, total: u64| Free { free, total };
    let cpu = part(report.cpu.into(), capacity.cpu.into());
    let memory = part(report.memory.into(), capacity.memory.into());
    let total = u64::from(capacity.gpus).saturating_mul(u64::from(MAX_SHARE));
    let gpu = part(free_gpus(report.gpus, report.share), total);
    match policy {
        Policy::Pack => Some(pack_score(cpu, memory, gpu)),
        Policy::Spread => Some(spread_score(cpu, memory, gpu)),
        Policy::Cost => Some(cost_score(report.latency, price)),
        Policy::PriorityRoundRobin => None,
    }
}

/// Whether a report is consistent with the capacity and the price that its host has registered: nothing out of range,
/// nothing free that is not there, and every score the one that follows. The encrypted audit equals this for every
/// input.
pub fn is_consistent(report: &Report, capacity: &Capacity, price: u8, policies: &[Policy]) -> bool {
    let fits = capacity.gpus <= MAX_GPUS
        && report.is_valid()
        && report.cpu <= capacity.cpu
        && report.memory <= capacity.memory
        && report.gpus <= capacity.gpus
        && (report.share == 0 || capacity.gpus > 0);
    // A share of nothing is no number: a capacity without CPU or memory has no score but that of COST.
    let has = |policy: &Policy| *policy == Policy::Cost || (capacity.cpu > 0 && capacity.memory > 0);
    let right =
        |policy: &Policy| has(policy) && report.scores.get(policy).copied() == score(*policy, report, capacity, price);
    fits && policies.iter().filter(|p| p.is_scored()).all(right)
}
