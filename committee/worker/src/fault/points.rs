//! Ends of a process on purpose.

use crate::seams::{CrashPoint, CrashStep, Journal, Where};
use std::sync::{Arc, Mutex, PoisonError};

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
///
/// A process ends at one point only. Tasks run side by side, and one may pass a point while another has just reached
/// its own; that point then stays for the next life.
pub struct CrashAt {
    points: CrashPoints,
    journal: Arc<dyn Journal>,
    /// Whether a point was reached, so that this process is about to end.
    ending: Mutex<bool>,
}

impl CrashAt {
    /// `journal` remembers which points were reached.
    pub fn new(points: CrashPoints, journal: Arc<dyn Journal>) -> Self {
        Self { points, journal, ending: Mutex::new(false) }
    }
}

impl CrashPoint for CrashAt {
    fn reached(&self, place: Where, step: CrashStep) -> bool {
        if !self.points.contains(place, step) {
            return false;
        }
        let mut ending = self.ending.lock().unwrap_or_else(PoisonError::into_inner);
        if *ending {
            return false;
        }
        *ending = self.journal.once(&format!("crash-at={place}-{step}")).unwrap_or_else(|error| {
            tracing::error!(%error, "worker.fault_not_remembered");
            false
        });
        *ending
    }
}
