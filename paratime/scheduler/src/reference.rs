//! The plaintext scheduler that the encrypted decision must equal, for every input. Host clients, tests and the
//! demonstration use it; the ParaTime itself never does.

use crate::model::{Policy, Replication, Report, Request, Spread};
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

/// A candidate of a decision, in the clear.
#[derive(Clone, Copy, Debug)]
pub struct Candidate<'a> {
    /// Its newest report.
    pub report: &'a Report,
    /// Whether it was chosen since.
    pub chosen: bool,
    /// Its zone.
    pub zone: u16,
}

/// The winning positions among candidates in their recorded order, first replica first; none if the job is not placed.
///
/// Each replica goes to the feasible candidate of the least score that is neither chosen already nor taken by a replica
/// before it (nor, if they are spread over zones, in a zone with one); ties go to the lowest position. In turn, the
/// score is the position. A gang that lacks a replica has none. A candidate without a score for the policy is not
/// feasible.
pub fn decide(candidates: &[Candidate<'_>], request: &Request, policy: Policy, replication: Replication) -> Vec<usize> {
    let score = |c: &Candidate<'_>| if policy.is_scored() { c.report.scores.get(&policy).copied() } else { Some(0) };
    let mut winners: Vec<usize> = Vec::new();
    for _ in 0..replication.count {
        let is_taken = |(i, c): (usize, &Candidate<'_>)| {
            let near = |w: usize| candidates.get(w).is_some_and(|other| other.zone == c.zone);
            winners.iter().any(|w| *w == i || replication.spread == Spread::Zone && near(*w))
        };
        let open = candidates.iter().enumerate().filter(|(_, c)| !c.chosen && is_feasible(c.report, request));
        let open = open.filter(|(i, c)| !is_taken((*i, c)));
        let Some((_, winner)) = open.filter_map(|(i, c)| Some((score(c)?, i))).min() else { break };
        winners.push(winner);
    }
    if replication.gang && winners.len() < usize::from(replication.count) { Vec::new() } else { winners }
}

/// A cluster in the clear: the newest report of each host, its zone, and who was chosen since.
#[derive(Clone, Debug, Default)]
pub struct Cluster<Host> {
    reports: BTreeMap<Host, Report>,
    zones: BTreeMap<Host, u16>,
    chosen: BTreeSet<Host>,
}

impl<Host: Ord + Clone> Cluster<Host> {
    /// No hosts.
    pub fn new() -> Self {
        Self { reports: BTreeMap::new(), zones: BTreeMap::new(), chosen: BTreeSet::new() }
    }

    /// A host's zone; 0 for one that was never registered here.
    pub fn register(&mut self, host: Host, zone: u16) {
        self.zones.insert(host, zone);
    }

    /// A host's new report: it may be chosen again.
    pub fn report(&mut self, host: Host, report: Report) {
        self.chosen.remove(&host);
        self.reports.insert(host, report);
    }

    /// Decides one job among candidates in the order that a run recorded, and marks the winners. Candidates that never
    /// reported count as not feasible.
    pub fn decide(
        &mut self,
        candidates: &[Host],
        request: &Request,
        policy: Policy,
        replication: Replication,
    ) -> Vec<Host> {
        let none = Report::default();
        let rows: Vec<Candidate<'_>> = candidates
            .iter()
            .map(|host| {
                let report = self.reports.get(host);
                Candidate {
                    report: report.unwrap_or(&none),
                    chosen: report.is_none() || self.chosen.contains(host),
                    zone: self.zones.get(host).copied().unwrap_or(0),
                }
            })
            .collect();
        let winners = decide(&rows, request, policy, replication);
        let hosts: Vec<Host> = winners.into_iter().filter_map(|w| candidates.get(w).cloned()).collect();
        self.chosen.extend(hosts.iter().cloned());
        hosts
    }
}
