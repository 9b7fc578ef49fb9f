//! The proof, as a file, and what a host checks in it.

use parallax_consensus_app::CommitCertificate;
use parallax_consensus_app::light::{HeaderVerifier, LightError, ProofBundle};
use parallax_kms::{OpenError, open_answer};
use parallax_primitives::limits::MAX_COMMITTEE;
use parallax_primitives::seal::OpeningKey;
use parallax_primitives::{Address, ChainContext, Digest, Height, ImageDigest, ParaTimeId, Round};
use parallax_runtime::decryption::{SignedAnswer, SignedPermit, request_digest};
use parallax_scheduler::records::{self, Decision, Job, Status};
use parallax_scheduler::{Params, keys};
use parallax_state::{StateError, Value};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::fmt;
use zeroize::Zeroizing;

/// Largest file of a proof, in bytes: two bundles and the answers of the largest committee, in JSON.
pub const MAX_PROOF_JSON: usize = 8 * 1024 * 1024;

/// Why a proof is not believed. No text says where the job went.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProofError {
    /// The file cannot be read.
    #[error("this is no placement proof: {0}; ask the owner for the file that `parallax job proof` wrote")]
    Malformed(String),
    /// A header or a state proof does not hold.
    #[error("the proof of the {what} does not hold on this chain: {reason}")]
    NotProven {
        /// Of what.
        what: &'static str,
        /// Why.
        reason: Box<LightError>,
    },
    /// A proof of something else.
    #[error("the proof of the {what} is about another key or another ParaTime")]
    OtherKey {
        /// What it should be about.
        what: &'static str,
    },
    /// Job and parameters are shown in two different states.
    #[error(
        "the job is shown in the state of round {job}, the parameters in that of round {params}; one state is needed"
    )]
    TwoStates {
        /// The round of the job's state.
        job: Round,
        /// The round of the parameters' state.
        params: Round,
    },
    /// A value that is not what the ParaTime writes.
    #[error("a proven value cannot be read: {0}")]
    Unreadable(StateError),
    /// It is about another job than the one expected.
    #[error("the proof is about job {given}, expected is job {expected}")]
    OtherJob {
        /// The one expected.
        expected: Digest,
        /// The one that it is about.
        given: Digest,
    },
    /// There is no such job in that state.
    #[error("the state of round {round} holds no job {job}")]
    NoJob {
        /// Which.
        job: Digest,
        /// In which state.
        round: Round,
    },
    /// The job has no winner.
    #[error("job {job} is not placed, it is {status}")]
    NotPlaced {
        /// Which.
        job: Digest,
        /// Where it stands.
        status: &'static str,
    },
    /// The permit is not one of the job's owner.
    #[error("the permit is not signed by the job's owner for this chain and ParaTime")]
    BadPermit,
    /// The permit is void.
    #[error("the proof expired at height {expires}, the chain is at {current}; ask the owner for a new one")]
    Expired {
        /// Its last height.
        expires: Height,
        /// The height now.
        current: Height,
    },
    /// The permit is for another ciphertext than the decision's.
    #[error("the permit is for another ciphertext than the position of this job's decision in round {round}")]
    OtherCiphertext {
        /// The decision's round.
        round: Round,
    },
    /// An answer that was given for another job, or by another state.
    #[error("the answer of party {party} is about another {what}")]
    OtherAnswer {
        /// The party.
        party: u16,
        /// What differs.
        what: &'static str,
    },
    /// The answers do not open to one position that enough key managers signed.
    #[error(transparent)]
    Answers(#[from] OpenError),
    /// The key handed on is not the one to which the answers are sealed.
    #[error("the opening key is not the one that the permit names; ask the owner for a new proof")]
    OtherKeyPair,
    /// What the key managers signed is no position among the candidates.
    #[error("what was decrypted is no position among the {candidates} candidates of the decision")]
    NoPosition {
        /// How many there were.
        candidates: usize,
    },
    /// Another host was chosen.
    #[error("the position is not that of host {host}; this proof was made for another host")]
    OtherHost {
        /// Who verifies.
        host: Address,
    },
}

/// The seed of the key that opens the answers for one ciphertext. Never shown by `Debug`, wiped when dropped.
#[derive(Clone, PartialEq, Eq)]
pub struct OpeningSeed(pub Zeroizing<[u8; 32]>);

impl fmt::Debug for OpeningSeed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "OpeningSeed(…)")
    }
}

impl Serialize for OpeningSeed {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        Digest(*self.0).serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for OpeningSeed {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(Self(Zeroizing::new(Digest::deserialize(deserializer)?.0)))
    }
}

/// The first format of a [`PlacementProof`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PlacementProofV1 {
    /// The job.
    pub job: Digest,
    /// The owner's permit: it names the ciphertext and the key to which the answers are sealed.
    pub permit: SignedPermit,
    /// The key managers' answers.
    pub answers: Vec<SignedAnswer>,
    /// What opens them, and nothing else.
    pub opening: OpeningSeed,
    /// Shows the ParaTime's parameters, which name the key managers.
    pub params: ProofBundle,
    /// Shows the job's record, in the same state.
    pub record: ProofBundle,
}

/// That a job went to a host, for that host.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "version", rename_all = "lowercase")]
pub enum PlacementProof {
    /// The first format.
    V1(Box<PlacementProofV1>),
}

/// Who verifies, and what it knows by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reader {
    /// The ParaTime in which it is a host.
    pub paratime: ParaTimeId,
    /// Its account.
    pub host: Address,
    /// The job that it was asked to run, if it knows that from elsewhere.
    pub job: Option<Digest>,
    /// The consensus height now.
    pub height: Height,
}

/// What a proof has been found to show. `Debug` leaves out the host: where a job went is confidential.
#[derive(Clone, PartialEq, Eq)]
pub struct Placement {
    /// The chain.
    pub chain: ChainContext,
    /// The ParaTime.
    pub paratime: ParaTimeId,
    /// The job.
    pub job: Digest,
    /// Who owns it.
    pub owner: Address,
    /// The chosen host.
    pub host: Address,
    /// The number of the host's report that was compared.
    pub report: u64,
    /// Which of the job's replicas, counted from 0.
    pub replica: u8,
    /// The image that the job names on the chain, if it does.
    pub image: Option<ImageDigest>,
    /// The round that decided.
    pub round: Round,
    /// The round in whose state all of it is shown.
    pub shown: Round,
    /// The root of that state.
    pub state_root: Digest,
    /// The consensus height after which the proof is void.
    pub expires: Height,
}

impl fmt::Debug for Placement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Placement").field("job", &self.job).field("round", &self.round).finish_non_exhaustive()
    }
}

/// A value in a final state of a ParaTime.
struct Shown {
    round: Round,
    root: Digest,
    value: Option<Value>,
}

fn shown(
    trust: &impl HeaderVerifier<Certificate = CommitCertificate>,
    bundle: &ProofBundle,
    paratime: ParaTimeId,
    key: &[u8],
    what: &'static str,
) -> Result<Shown, ProofError> {
    let not_proven = |reason| ProofError::NotProven { what, reason: Box::new(reason) };
    let verified = bundle.verify(trust).map_err(not_proven)?;
    let ProofBundle::V1(inner) = bundle;
    match &inner.paratime {
        Some(p) if p.block.paratime == paratime && verified.key == key => {
            Ok(Shown { round: p.block.round, root: p.block.state_root, value: verified.value })
        }
        _ => Err(ProofError::OtherKey { what }),
    }
}

/// The position that decrypted blocks stand for: low digit, high digit and, of one of several replicas, whether there is
/// one.
pub fn read_position(blocks: &[u8]) -> Option<usize> {
    match blocks {
        [low @ 0..=15, high @ 0..=15] | [low @ 0..=15, high @ 0..=15, 1] => {
            Some(usize::from(*low).saturating_add(usize::from(*high).saturating_mul(16)))
        }
        _ => None,
    }
}

impl PlacementProof {
    /// From a file's bytes; not verified yet.
    ///
    /// # Errors
    /// [`ProofError::Malformed`].
    pub fn from_json(bytes: &[u8]) -> Result<Self, ProofError> {
        if bytes.len() > MAX_PROOF_JSON {
            return Err(ProofError::Malformed(format!("{} bytes, the limit is {MAX_PROOF_JSON}", bytes.len())));
        }
        // The parser's text could quote what it found; where it stopped is enough.
        serde_json::from_slice(bytes)
            .map_err(|e| ProofError::Malformed(format!("line {}, column {}", e.line(), e.column())))
    }

    /// The bytes of the file.
    ///
    /// # Errors
    /// None in practice: every part is plain data.
    pub fn to_json(&self) -> Result<Zeroizing<Vec<u8>>, ProofError> {
        serde_json::to_vec_pretty(self).map(Zeroizing::new).map_err(|e| ProofError::Malformed(e.to_string()))
    }

    /// The job that it claims to be about.
    pub fn job(&self) -> Digest {
        let Self::V1(proof) = self;
        proof.job
    }

    /// Checks everything, with `trust` as the only root: that job and parameters are in one final state of the
    /// reader's ParaTime, that its key managers decrypted this very decision for the job's owner, and that the position
    /// is the reader's.
    ///
    /// # Errors
    /// [`ProofError`].
    pub fn verify(
        &self,
        trust: &impl HeaderVerifier<Certificate = CommitCertificate>,
        reader: &Reader,
    ) -> Result<Placement, ProofError> {
        let placement = self.open(trust, reader.paratime, reader.height)?;
        if let Some(expected) = reader.job.filter(|expected| *expected != placement.job) {
            return Err(ProofError::OtherJob { expected, given: placement.job });
        }
        if placement.host != reader.host {
            return Err(ProofError::OtherHost { host: reader.host });
        }
        Ok(placement)
    }

    /// As [`PlacementProof::verify`], for whoever may know which host it was: the job's owner.
    ///
    /// # Errors
    /// [`ProofError`], but for the two that name the reader's own expectation.
    pub fn open(
        &self,
        trust: &impl HeaderVerifier<Certificate = CommitCertificate>,
        paratime: ParaTimeId,
        height: Height,
    ) -> Result<Placement, ProofError> {
        let Self::V1(proof) = self;
        proof.chosen(trust, paratime, height)
    }
}

impl PlacementProofV1 {
    /// The candidate that the proof shows to be chosen, whoever it is.
    fn chosen(
        &self,
        trust: &impl HeaderVerifier<Certificate = CommitCertificate>,
        paratime: ParaTimeId,
        height: Height,
    ) -> Result<Placement, ProofError> {
        let record = shown(trust, &self.record, paratime, &keys::job(&self.job), "job")?;
        let params = shown(trust, &self.params, paratime, &keys::params(), "parameters")?;
        if (record.round, record.root) != (params.round, params.root) {
            return Err(ProofError::TwoStates { job: record.round, params: params.round });
        }
        let value = record.value.ok_or(ProofError::NoJob { job: self.job, round: record.round })?;
        let job = records::read_job(&value).map_err(ProofError::Unreadable)?;
        let value = params.value.ok_or(ProofError::OtherKey { what: "parameters" })?;
        let params = records::read_params(&value).map_err(ProofError::Unreadable)?;
        let decision = match (&job.decision, job.status) {
            (Some(decision), Status::Placed) => decision,
            (_, status) => return Err(ProofError::NotPlaced { job: self.job, status: status.name() }),
        };
        let replica = self.check_permit(trust, (paratime, height), &job, decision)?;
        self.check_answers(&job, record.round, record.root)?;
        let candidates = decision.candidates.len();
        let position = self.position(trust, &params)?.ok_or(ProofError::NoPosition { candidates })?;
        let candidate = decision.candidates.get(position).ok_or(ProofError::NoPosition { candidates })?;
        Ok(Placement {
            chain: trust.chain(),
            paratime,
            image: job.image,
            replica,
            job: self.job,
            owner: job.agent(),
            host: candidate.host,
            report: candidate.report,
            round: decision.round,
            shown: record.round,
            state_root: record.root,
            expires: self.permit.permit.expires,
        })
    }

    /// The replica whose position the owner's permit is for.
    fn check_permit(
        &self,
        trust: &impl HeaderVerifier,
        (paratime, height): (ParaTimeId, Height),
        job: &Job,
        decision: &Decision,
    ) -> Result<u8, ProofError> {
        let permit = &self.permit.permit;
        let owners = permit.paratime == paratime && Address::of(&permit.requester) == job.agent();
        if !owners || !self.permit.verify(trust.chain()) {
            return Err(ProofError::BadPermit);
        }
        if height > permit.expires {
            return Err(ProofError::Expired { expires: permit.expires, current: height });
        }
        let mut positions = (0u8..).zip(&decision.positions);
        let found = positions.find(|(_, position)| position.digest == permit.cipher);
        found.map(|(replica, _)| replica).ok_or(ProofError::OtherCiphertext { round: decision.round })
    }

    /// What the signatures say of job and state; that they hold is checked when the answers are opened.
    fn check_answers(&self, job: &Job, round: Round, root: Digest) -> Result<(), ProofError> {
        if self.answers.is_empty() || self.answers.len() > MAX_COMMITTEE {
            return Err(ProofError::Malformed(format!(
                "it has {} answers, 1..={MAX_COMMITTEE} are accepted",
                self.answers.len()
            )));
        }
        let request = request_digest(&self.permit.permit);
        for SignedAnswer { answer, .. } in &self.answers {
            let differs = |what| Err(ProofError::OtherAnswer { party: answer.party, what });
            if answer.subject != self.job {
                return differs("job");
            }
            if answer.request != request {
                return differs("permit");
            }
            if answer.key_id != job.key_id {
                return differs("key");
            }
            if (answer.round, answer.state_root) != (round, root) {
                return differs("state of the ParaTime");
            }
        }
        Ok(())
    }

    fn position(&self, trust: &impl HeaderVerifier, params: &Params) -> Result<Option<usize>, ProofError> {
        let (opening, sealing) = OpeningKey::from_seed(&self.opening.0);
        if sealing != self.permit.permit.seal_to {
            return Err(ProofError::OtherKeyPair);
        }
        let permit = &self.permit.permit;
        let blocks = open_answer(&opening, permit, &self.answers, &params.key_managers, trust.chain())?;
        Ok(read_position(&blocks))
    }
}
