//! What hosts report and jobs ask for, in the units that are encrypted, and the digits that a client encrypts.
//!
//! Quantities are whole numbers of eight bits or fewer: free resources are rounded down, requests up, so rounding never
//! places a job where it does not fit.

use borsh::{BorshDeserialize, BorshSerialize};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt;

/// Milli-cores of CPU in one unit.
pub const CPU_UNIT_MILLI: u64 = 500;
/// MiB of memory in one unit.
pub const MEMORY_UNIT_MIB: u64 = 4 * 1024;
/// Most whole GPUs of a host.
pub const MAX_GPUS: u8 = 8;
/// A whole GPU, in the unit of shares.
pub const MAX_SHARE: u8 = 100;
/// The highest latency class.
pub const MAX_LATENCY: u8 = 15;
/// Digits of a request, and of a report without its scores.
pub const RESOURCE_DIGITS: u16 = 10;
/// Digits of one score.
pub const SCORE_DIGITS: u16 = 2;

/// How the winner among the feasible hosts is chosen. The three scored policies take the least score.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, BorshSerialize, BorshDeserialize, Serialize, Deserialize,
)]
#[serde(rename_all = "kebab-case")]
pub enum Policy {
    /// The fullest host, GPUs first: leaves whole hosts free.
    Pack,
    /// The emptiest host.
    Spread,
    /// The cheapest host, by latency and price.
    Cost,
    /// In turn: the first feasible candidate from a public pointer on, which each such decision moves by one. Hosts
    /// report no score for it.
    PriorityRoundRobin,
}

impl Policy {
    /// All of them, in the order by whose positions contracts of other ParaTimes name them.
    pub const ALL: [Self; 4] = [Self::Pack, Self::Spread, Self::Cost, Self::PriorityRoundRobin];

    /// Its position in [`Policy::ALL`].
    pub fn number(self) -> u8 {
        match self {
            Self::Pack => 0,
            Self::Spread => 1,
            Self::Cost => 2,
            Self::PriorityRoundRobin => 3,
        }
    }

    /// Whether hosts report a score for it.
    pub fn is_scored(self) -> bool {
        !matches!(self, Self::PriorityRoundRobin)
    }

    /// Its name in parameters and in the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::Pack => "pack",
            Self::Spread => "spread",
            Self::Cost => "cost",
            Self::PriorityRoundRobin => "priority-round-robin",
        }
    }
}

impl std::str::FromStr for Policy {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        Self::ALL
            .into_iter()
            .find(|p| p.name() == text)
            .ok_or_else(|| format!("policy {text:?} is none of pack, spread, cost, priority-round-robin"))
    }
}

/// Most replicas of a job.
pub const MAX_REPLICAS: u8 = 8;

/// How replicas of a job keep apart. Two of them never share a host in any case.
#[derive(
    Clone,
    Copy,
    Debug,
    Default,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    BorshSerialize,
    BorshDeserialize,
    Serialize,
    Deserialize,
)]
#[serde(rename_all = "kebab-case")]
pub enum Spread {
    /// On different hosts.
    #[default]
    None,
    /// In different zones. A host's zone is public.
    Zone,
}

impl Spread {
    /// Its name in queries and in the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Zone => "zone",
        }
    }
}

impl std::str::FromStr for Spread {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let all = [Self::None, Self::Zone];
        all.into_iter().find(|s| s.name() == text).ok_or_else(|| format!("spread {text:?} is neither none nor zone"))
    }
}

/// How many hosts a job wants, and how they go together. Public.
///
/// A gang is placed with all its replicas or not at all. Other jobs take what one attempt gives: such a job counts as
/// placed with its first replica, and only its owner learns how many there are. What is missing is the owner's to submit
/// again: to try it on the job's account would publish the number, and which zones it has.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, BorshSerialize, BorshDeserialize, Serialize, Deserialize,
)]
#[serde(deny_unknown_fields)]
pub struct Replication {
    /// How many hosts, 1..=[`MAX_REPLICAS`].
    pub count: u8,
    /// How they keep apart.
    pub spread: Spread,
    /// All or nothing.
    pub gang: bool,
}

impl Default for Replication {
    /// One host.
    fn default() -> Self {
        Self { count: 1, spread: Spread::None, gang: false }
    }
}

impl Replication {
    /// The fewest candidates among which a decision makes sense.
    pub fn least_candidates(self) -> usize {
        if self.gang { self.count.into() } else { 1 }
    }
}

/// A quantity that cannot be encrypted as it is.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum QuantityError {
    /// Over its range.
    #[error("{field} is over its range, the largest value is {max} {unit}; split the job, or report less")]
    OutOfRange {
        /// Which.
        field: &'static str,
        /// The largest value accepted.
        max: u64,
        /// In this unit.
        unit: &'static str,
    },
    /// None of what every machine has some of.
    #[error("{field} is less than one unit; such a machine cannot be offered")]
    None {
        /// Which.
        field: &'static str,
    },
    /// A report without a score that the ParaTime's parameters ask for.
    #[error("the report has no score for policy {0}, which this ParaTime has enabled")]
    MissingScore(&'static str),
}

fn in_range(field: &'static str, value: u8, max: u8, unit: &'static str) -> Result<(), QuantityError> {
    if value > max { Err(QuantityError::OutOfRange { field, max: max.into(), unit }) } else { Ok(()) }
}

fn nibbles(value: u8) -> [u8; 2] {
    [value & 15, value >> 4]
}

/// What a host has free. Its `Debug` shows nothing: it is confidential.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct Report {
    /// Free CPU in units of [`CPU_UNIT_MILLI`].
    pub cpu: u8,
    /// Free memory in units of [`MEMORY_UNIT_MIB`].
    pub memory: u8,
    /// Whole GPUs free, at most [`MAX_GPUS`].
    pub gpus: u8,
    /// The largest free share of one GPU in hundredths, at most [`MAX_SHARE`].
    pub share: u8,
    /// What the host offers, one bit a label.
    pub labels: u8,
    /// Its latency class, at most [`MAX_LATENCY`].
    pub latency: u8,
    /// Its score by policy; smaller is better.
    pub scores: BTreeMap<Policy, u8>,
}

impl fmt::Debug for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Report(…)")
    }
}

impl Report {
    /// Whether every quantity is in its range. The circuit leaves out a host whose report is not.
    pub fn is_valid(&self) -> bool {
        self.gpus <= MAX_GPUS && self.share <= MAX_SHARE && self.latency <= MAX_LATENCY
    }

    /// The digits to encrypt, with one score for each of `policies` that has scores, in that order.
    ///
    /// # Errors
    /// [`QuantityError`] if a value is over its range or a score is missing.
    pub fn digits(&self, policies: &[Policy]) -> Result<Vec<u8>, QuantityError> {
        in_range("whole GPUs free", self.gpus, MAX_GPUS, "GPUs")?;
        in_range("largest free share", self.share, MAX_SHARE, "hundredths")?;
        in_range("latency class", self.latency, MAX_LATENCY, "classes")?;
        self.unchecked_digits(policies)
    }

    /// The digits without the check of ranges: what a hostile host could send.
    pub(crate) fn unchecked_digits(&self, policies: &[Policy]) -> Result<Vec<u8>, QuantityError> {
        let request = Request {
            cpu: self.cpu,
            memory: self.memory,
            gpus: self.gpus,
            share: self.share,
            need: self.labels,
            latency: self.latency,
        };
        let mut digits = request.unchecked_digits();
        for policy in policies.iter().filter(|p| p.is_scored()) {
            let score = self.scores.get(policy).ok_or(QuantityError::MissingScore(policy.name()))?;
            digits.extend(nibbles(*score));
        }
        Ok(digits)
    }
}

/// What a job asks for. Its `Debug` shows nothing: it is confidential.
#[derive(Clone, Copy, PartialEq, Eq, Default)]
pub struct Request {
    /// CPU in units of [`CPU_UNIT_MILLI`].
    pub cpu: u8,
    /// Memory in units of [`MEMORY_UNIT_MIB`].
    pub memory: u8,
    /// Whole GPUs.
    pub gpus: u8,
    /// A share of one GPU, in hundredths.
    pub share: u8,
    /// Labels that the host must have: feasible if `need & !labels == 0`.
    pub need: u8,
    /// The highest latency class that will do.
    pub latency: u8,
}

impl fmt::Debug for Request {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Request(…)")
    }
}

impl Request {
    /// The digits to encrypt.
    ///
    /// # Errors
    /// [`QuantityError`] if a value is over its range.
    pub fn digits(&self) -> Result<Vec<u8>, QuantityError> {
        in_range("whole GPUs", self.gpus, MAX_GPUS, "GPUs")?;
        in_range("share of a GPU", self.share, MAX_SHARE, "hundredths")?;
        in_range("latency limit", self.latency, MAX_LATENCY, "classes")?;
        Ok(self.unchecked_digits())
    }

    /// The digits without the check of ranges: what a hostile client could send. One digit holds four bits.
    pub(crate) fn unchecked_digits(&self) -> Vec<u8> {
        let wide = [self.cpu, self.memory].into_iter().flat_map(nibbles);
        let tail = [nibbles(self.share), nibbles(self.need)].into_iter().flatten();
        wide.chain([self.gpus & 15]).chain(tail).chain([self.latency & 15]).collect()
    }
}
