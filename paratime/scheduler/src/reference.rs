//! The plaintext scheduler that the encrypted decision must equal, for every input. Host clients, tests and the
//! demonstration use it; the ParaTime itself never does.

use crate::model::{Policy, Report, Request};
use std::collections::{BTreeMap, BTreeSet};

/// Whether a host can take a job. A report out of its ranges never can.
pub fn is_feasible(report: &Report, request: &Request) -> bool {
    report.is_valid()
        && report.cpu >= request.cpu
        && report.memory >= request.memory
        && report.gpus >= request.gpus
        && report.share >= request.share
        && request.need & !report.labels == 0
        && report.latency <= request.latency
}

/// The winning position among candidates in the beacon's order: the feasible one of the least score that has not been
/// chosen since it reported, ties to the lowest position; `None` if there is none. `chosen[i]` says whether candidate
/// `i` was chosen already. A candidate without a score for the policy is not feasible.
pub fn decide(candidates: &[(&Report, bool)], request: &Request, policy: Policy) -> Option<usize> {
    let feasible = candidates.iter().enumerate().filter(|(_, (r, chosen))| !chosen && is_feasible(r, request));
    feasible.filter_map(|(i, (r, _))| Some((*r.scores.get(&policy)?, i))).min().map(|(_, i)| i)
}

/// A cluster in the clear: the newest report of each host, and who was chosen since.
#[derive(Clone, Debug, Default)]
pub struct Cluster<Host> {
    reports: BTreeMap<Host, Report>,
    chosen: BTreeSet<Host>,
}

impl<Host: Ord + Clone> Cluster<Host> {
    /// No hosts.
    pub fn new() -> Self {
        Self { reports: BTreeMap::new(), chosen: BTreeSet::new() }
    }

    /// A host's new report: it may be chosen again.
    pub fn report(&mut self, host: Host, report: Report) {
        self.chosen.remove(&host);
        self.reports.insert(host, report);
    }

    /// Decides one job among candidates in the beacon's order, as recorded in a run, and marks the winner. Candidates
    /// that never reported count as not feasible.
    pub fn decide(&mut self, candidates: &[Host], request: &Request, policy: Policy) -> Option<Host> {
        let none = Report::default();
        let rows: Vec<(&Report, bool)> = candidates
            .iter()
            .map(|host| (self.reports.get(host).unwrap_or(&none), self.chosen.contains(host)))
            .collect();
        let winner = candidates.get(decide(&rows, request, policy)?)?.clone();
        self.chosen.insert(winner.clone());
        Some(winner)
    }
}
