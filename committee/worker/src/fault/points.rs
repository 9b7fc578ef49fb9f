//! Ends of a process on purpose.

use crate::seams::{CrashPoint, CrashStep, Journal, Where};
use std::sync::Arc;

/// A set of points at which a node ends: before or after steps of its worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CrashPoints(u32);

/// Every point that there is, in the order of the steps.
fn all() -> impl Iterator<Item = (Where, CrashStep)> {
    CrashStep::ALL.into_iter().flat_map(|step| [(Where::Before, step), (Where::After, step)])
}

impl CrashPoints {
    /// This point alone.
    pub fn one(place: Where, step: CrashStep) -> Self {
        Self(all().position(|point| point == (place, step)).map_or(0, |bit| 1 << bit))
    }

    /// These points; `None` if there are none.
    pub(super) fn of(points: impl IntoIterator<Item = (Where, CrashStep)>) -> Option<Self> {
        let bits = points.into_iter().fold(0, |bits, (place, step)| bits | Self::one(place, step).0);
        (bits != 0).then_some(Self(bits))
    }

    /// Whether this point is among them.
    pub fn contains(self, place: Where, step: CrashStep) -> bool {
        self.0 & Self::one(place, step).0 != 0
    }

    /// The points, in the order of the steps.
    pub fn iter(self) -> impl Iterator<Item = (Where, CrashStep)> {
        all().filter(move |(place, step)| self.contains(*place, *step))
    }
}

/// Ends a worker at points, once at each in the life of a home directory: no restart would ever get past one otherwise.
pub struct CrashAt {
    points: CrashPoints,
    journal: Arc<dyn Journal>,
}

impl CrashAt {
    /// `journal` remembers which points were reached.
    pub fn new(points: CrashPoints, journal: Arc<dyn Journal>) -> Self {
        Self { points, journal }
    }
}

impl CrashPoint for CrashAt {
    fn reached(&self, place: Where, step: CrashStep) -> bool {
        if !self.points.contains(place, step) {
            return false;
        }
        self.journal.once(&format!("crash-at={place}-{step}")).unwrap_or_else(|error| {
            tracing::error!(%error, "worker.fault_not_remembered");
            false
        })
    }
}
