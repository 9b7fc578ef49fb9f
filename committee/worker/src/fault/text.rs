//! Faults as text, as the command line takes them.

use super::{CrashPoints, Fault, FaultKind};
use crate::seams::{CrashStep, Where};
use parallax_primitives::Round;
use std::fmt;
use std::str::FromStr;

/// The rounds in which a fault acts: `7` is that round alone, `7..10` the rounds 7 to 9, `7..` all from 7 on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rounds {
    first: u64,
    /// The first round after them; `None`: they do not end.
    end: Option<u64>,
}

impl Rounds {
    /// Whether a round is among them.
    pub fn contains(&self, round: Round) -> bool {
        self.first <= round.0 && self.end.is_none_or(|end| round.0 < end)
    }
}

impl fmt::Display for Rounds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.end {
            Some(end) if end == self.first.saturating_add(1) => write!(f, "{}", self.first),
            Some(end) => write!(f, "{}..{end}", self.first),
            None => write!(f, "{}..", self.first),
        }
    }
}

impl FromStr for Rounds {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let number = |text: &str| text.parse::<u64>().map_err(|_| ());
        let rounds = match text.split_once("..") {
            None => {
                let first = number(text)?;
                Self { first, end: Some(first.checked_add(1).ok_or(())?) }
            }
            Some((first, "")) => Self { first: number(first)?, end: None },
            Some((first, end)) => Self { first: number(first)?, end: Some(number(end)?) },
        };
        if rounds.end.is_some_and(|end| end <= rounds.first) { Err(()) } else { Ok(rounds) }
    }
}

/// A text that is no fault.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UnknownFault {
    /// There is no such kind.
    #[error(
        "`{0}` is no fault; there are {kinds}, flip-bit=PROGRAMS and crash-at=POINT+POINT..., where POINT is before- or after- and one of \
         {steps}",
        kinds = FaultKind::NAMED.map(FaultKind::name).join(", "),
        steps = CrashStep::names()
    )]
    Kind(String),
    /// The rounds cannot be read.
    #[error("`{0}` names no rounds; write KIND@7 for round 7 alone, KIND@7..10 for 7 to 9, KIND@7.. for all from 7 on")]
    Rounds(String),
    /// The kind is not bound to rounds.
    #[error("the fault `{0}` is not bound to rounds; leave @ and what follows out")]
    NoRounds(FaultKind),
}

impl FaultKind {
    /// All kinds but [`FaultKind::CrashAt`].
    pub const NAMED: [Self; 18] = [
        Self::WrongRoot,
        Self::WrongRootScheduler,
        Self::WrongRootBackup,
        Self::EpochCheat,
        Self::Silent,
        Self::Runaway,
        Self::Straggler,
        Self::Failure,
        Self::BogusTransactions,
        Self::InvalidBatchRoot,
        Self::Preempt,
        Self::EquivocateVote,
        Self::EquivocateProposal,
        Self::EquivocateBatches,
        Self::FlipBit { skip: 0 },
        Self::CorruptBlob,
        Self::TamperRelay,
        Self::OtherFftPlan,
    ];

    /// Its stable name; `crash-at` is followed by its points in the whole text, `flip-bit` by how many programs it leaves
    /// alone, if any.
    pub fn name(self) -> &'static str {
        match self {
            Self::WrongRoot => "wrong-root",
            Self::WrongRootScheduler => "wrong-root-scheduler",
            Self::WrongRootBackup => "wrong-root-backup",
            Self::EpochCheat => "epoch-cheat",
            Self::Silent => "silent",
            Self::Runaway => "runaway",
            Self::Straggler => "straggler",
            Self::Failure => "failure",
            Self::BogusTransactions => "bogus-transactions",
            Self::InvalidBatchRoot => "invalid-batch-root",
            Self::Preempt => "preempt",
            Self::EquivocateVote => "equivocate-vote",
            Self::EquivocateProposal => "equivocate-proposal",
            Self::EquivocateBatches => "equivocate-batches",
            Self::FlipBit { .. } => "flip-bit",
            Self::CorruptBlob => "corrupt-blob",
            Self::TamperRelay => "tamper-relay",
            Self::OtherFftPlan => "other-fft-plan",
            Self::CrashAt(_) => "crash-at",
        }
    }
}

impl fmt::Display for FaultKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())?;
        if let Self::CrashAt(points) = self {
            let points: Vec<String> = points.iter().map(|(place, step)| format!("{place}-{step}")).collect();
            write!(f, "={}", points.join("+"))?;
        }
        if let Self::FlipBit { skip: skip @ 1.. } = self {
            write!(f, "={skip}")?;
        }
        Ok(())
    }
}

impl FromStr for FaultKind {
    type Err = UnknownFault;

    fn from_str(text: &str) -> Result<Self, UnknownFault> {
        let unknown = || UnknownFault::Kind(text.to_owned());
        if let Some(kind) = Self::NAMED.into_iter().find(|kind| kind.name() == text) {
            return Ok(kind);
        }
        if let Some(skip) = text.strip_prefix("flip-bit=") {
            return skip.parse().map(|skip| Self::FlipBit { skip }).map_err(|_| unknown());
        }
        let points =
            text.strip_prefix("crash-at=").ok_or_else(unknown)?.split('+').map(point).collect::<Option<Vec<_>>>();
        points.and_then(CrashPoints::of).map(Self::CrashAt).ok_or_else(unknown)
    }
}

fn point(text: &str) -> Option<(Where, CrashStep)> {
    let (place, step) = text.split_once('-')?;
    let place = [Where::Before, Where::After].into_iter().find(|p| p.to_string() == place)?;
    Some((place, CrashStep::ALL.into_iter().find(|s| s.name() == step)?))
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.rounds {
            Some(rounds) => write!(f, "{}@{rounds}", self.kind),
            None => write!(f, "{}", self.kind),
        }
    }
}

impl FromStr for Fault {
    type Err = UnknownFault;

    fn from_str(text: &str) -> Result<Self, UnknownFault> {
        let Some((kind, rounds)) = text.split_once('@') else { return Ok(text.parse::<FaultKind>()?.into()) };
        let kind: FaultKind = kind.parse()?;
        if !kind.has_rounds() {
            return Err(UnknownFault::NoRounds(kind));
        }
        let rounds = rounds.parse().map_err(|()| UnknownFault::Rounds(rounds.to_owned()))?;
        Ok(Self { kind, rounds: Some(rounds) })
    }
}
