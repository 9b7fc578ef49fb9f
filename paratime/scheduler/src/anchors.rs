//! What owner and host sign to each other about a placed job, and what of it the chain gets.
//!
//! Off the chain, between the two: the host signs an [`Acknowledgement`] of the job (`accepted`, `running`, `finished`,
//! `failed`), the owner countersigns it. How the files travel is not decided here.
//!
//! On the chain, from the owner's account, which paid the job's escrow (of a contract's job, from its agent's): an anchor, the digest of job, image, host and a
//! salt, and a status. Neither the anchor nor its sender says which host it was. In a dispute either side *opens* it:
//! it shows an acknowledgement that both have signed. The anchor then has a host, and the status is at least what both
//! signed, whatever the owner alone had said. An opened status moves forward only, so an old acknowledgement undoes
//! nothing.

use crate::calls::{Done, Halt, Rules};
use crate::error::{Code, refuse};
use crate::keys;
use crate::records::{Job, Status, get, need, put};
use borsh::{BorshDeserialize, BorshSerialize};
use parallax_primitives::{
    Address, ChainContext, Digest, Domain, Event, ImageDigest, ParaTimeId, PublicKey, Round, SecretKey, Signature,
    SigningContext,
};
use parallax_runtime::TxError;
use parallax_state::{Overlay, StateView};
use serde::{Deserialize, Serialize};
use std::fmt;

/// How far a job has come at its host.
#[derive(Clone, Copy, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Progress {
    /// The host will run it.
    Accepted,
    /// It runs.
    Running,
    /// It ended well.
    Finished,
    /// It did not.
    Failed,
}

impl Progress {
    /// The name in commands and events.
    pub fn name(self) -> &'static str {
        match self {
            Self::Accepted => "accepted",
            Self::Running => "running",
            Self::Finished => "finished",
            Self::Failed => "failed",
        }
    }

    /// Its number for contracts.
    pub(crate) fn number(self) -> u8 {
        match self {
            Self::Accepted => 0,
            Self::Running => 1,
            Self::Finished => 2,
            Self::Failed => 3,
        }
    }

    fn rank(self) -> u8 {
        match self {
            Self::Accepted => 0,
            Self::Running => 1,
            Self::Finished | Self::Failed => 2,
        }
    }

    /// Whether it can come after `before`.
    #[must_use]
    pub fn follows(self, before: Self) -> bool {
        self.rank() > before.rank()
    }
}

impl std::str::FromStr for Progress {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        [Self::Accepted, Self::Running, Self::Finished, Self::Failed]
            .into_iter()
            .find(|p| p.name() == text)
            .ok_or_else(|| format!("status {text:?} is none of accepted, running, finished, failed"))
    }
}

/// A host's word to a job's owner. `Debug` leaves out the host and the salt: together they open the anchor.
#[derive(Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Acknowledgement {
    /// The chain.
    pub chain: ChainContext,
    /// The ParaTime.
    pub paratime: ParaTimeId,
    /// The job.
    pub job: Digest,
    /// Which of its replicas, counted from 0.
    pub replica: u8,
    /// The round whose decision chose the host.
    pub round: Round,
    /// What it runs.
    pub image: ImageDigest,
    /// The host's account.
    pub host: Address,
    /// Random; it keeps the anchor from being guessed. The same in all acknowledgements of one job.
    pub salt: Digest,
    /// How far the job has come.
    pub status: Progress,
}

impl fmt::Debug for Acknowledgement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Acknowledgement").field("job", &self.job).field("status", &self.status).finish_non_exhaustive()
    }
}

impl Acknowledgement {
    fn context(&self, domain: Domain) -> SigningContext {
        SigningContext::in_paratime(domain, self.chain, self.paratime)
    }

    /// What the chain gets: the digest of job and replica, image, host and salt.
    pub fn anchor(&self) -> Digest {
        let opened = (self.chain, self.paratime, self.job, self.replica, self.image, self.host, self.salt);
        Digest::of_value(Domain::DeploymentAnchor, &opened)
    }
}

/// An acknowledgement with its host's signature.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SignedAcknowledgement {
    /// What the host says.
    pub acknowledgement: Acknowledgement,
    /// The host's key.
    pub key: PublicKey,
    /// By the host, under `Domain::HostAcknowledgement` in this chain and ParaTime.
    pub signature: Signature,
}

impl SignedAcknowledgement {
    /// Signs.
    pub fn sign(acknowledgement: Acknowledgement, key: &SecretKey) -> Self {
        let signature = key.sign(&acknowledgement.context(Domain::HostAcknowledgement), &acknowledgement);
        Self { acknowledgement, key: key.public(), signature }
    }

    /// Whether the host that it names signed it.
    #[must_use]
    pub fn verify(&self) -> bool {
        let said = &self.acknowledgement;
        Address::of(&self.key) == said.host
            && self.key.verify(&said.context(Domain::HostAcknowledgement), said, &self.signature)
    }
}

/// An acknowledgement with both signatures: either side can open the anchor with it.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Countersigned {
    /// What the host signed.
    pub host: SignedAcknowledgement,
    /// The owner's key.
    pub owner: PublicKey,
    /// By the owner over the host's signed acknowledgement, under `Domain::OwnerCountersignature`.
    pub signature: Signature,
}

impl Countersigned {
    /// Countersigns.
    pub fn sign(host: SignedAcknowledgement, owner: &SecretKey) -> Self {
        let signature = owner.sign(&host.acknowledgement.context(Domain::OwnerCountersignature), &host);
        Self { host, owner: owner.public(), signature }
    }

    /// Whether the host that it names and the owner with this key signed it.
    #[must_use]
    pub fn verify(&self) -> bool {
        let context = self.host.acknowledgement.context(Domain::OwnerCountersignature);
        self.host.verify() && self.owner.verify(&context, &self.host, &self.signature)
    }
}

/// What the chain knows of the deployment of a placed job's replica.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Deployment {
    /// The digest of job, image, host and salt.
    pub anchor: Digest,
    /// The round that took the anchor.
    pub anchored: Round,
    /// How far the job has come: as the owner says, or as both signed.
    pub status: Progress,
    /// The round that last changed the status.
    pub updated: Round,
    /// What was opened in a dispute.
    pub opened: Option<Opened>,
}

/// What an opened anchor says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Opened {
    /// The host.
    pub host: Address,
    /// The image.
    pub image: ImageDigest,
    /// What host and owner signed.
    pub status: Progress,
    /// Who opened it: the owner or the host.
    pub by: Address,
    /// In which round.
    pub round: Round,
    /// What the status on the chain was before.
    pub claimed: Progress,
}

fn placed_job(view: &dyn StateView, id: &Digest) -> Result<Job, Halt> {
    let job: Option<Job> = get(view, &keys::job(id))?;
    let job = job.ok_or_else(|| refuse(Code::UnknownJob, format!("there is no job {id}")))?;
    if job.status != Status::Placed {
        let text = format!("job {id} is {}; only a placed job has a deployment", job.status.name());
        return Err(refuse(Code::NotPlaced, text).into());
    }
    Ok(job)
}

/// A replica of a job.
type Replica<'a> = (&'a Digest, u8);

fn owned_job(view: &dyn StateView, (id, replica): Replica<'_>, sender: &Address) -> Result<Job, Halt> {
    let job = placed_job(view, id)?;
    let count = job.decision.as_ref().map_or(0, |d| d.positions.len());
    if usize::from(replica) >= count {
        let text = format!("job {id} has {count} replicas, there is none with the number {replica}");
        return Err(refuse(Code::BadField, text).into());
    }
    if job.agent() != *sender {
        let text = format!("{sender} does not own job {id}; its owner anchors and updates it");
        return Err(refuse(Code::NotTheOwner, text).into());
    }
    Ok(job)
}

pub(crate) fn deployment(view: &dyn StateView, (id, replica): Replica<'_>) -> Result<Deployment, Halt> {
    let found: Option<Deployment> = get(view, &keys::deployment(id, replica))?;
    let text = || format!("replica {replica} of job {id} has no anchor yet; its owner anchors it first");
    Ok(found.ok_or_else(|| refuse(Code::NotAnchored, text()))?)
}

/// Whether `sender` may anchor the job.
pub(crate) fn check_anchor(view: &dyn StateView, sender: &Address, which: Replica<'_>) -> Result<(), Halt> {
    owned_job(view, which, sender)?;
    let (id, replica) = which;
    if view.get(&keys::deployment(id, replica))?.is_some() {
        return Err(
            refuse(Code::AlreadyAnchored, format!("replica {replica} of job {id} has an anchor already")).into()
        );
    }
    Ok(())
}

/// Writes the anchor. The host has accepted, or its owner would have nothing to anchor.
pub(crate) fn anchor(
    state: &mut Overlay<'_>,
    round: Round,
    (id, replica): Replica<'_>,
    anchor: Digest,
) -> Result<Done, Halt> {
    let status = Progress::Accepted;
    let found = Deployment { anchor, anchored: round, status, updated: round, opened: None };
    put(state, keys::deployment(id, replica), &found);
    let event = Event::new("scheduler.deployment_anchored").with("job", id).with("replica", replica);
    Ok((Vec::new(), vec![event.with("anchor", anchor)]))
}

fn not_next(id: &Digest, from: Progress, to: Progress) -> TxError {
    let text = format!("job {id} is {}, it cannot become {} after that", from.name(), to.name());
    refuse(Code::StatusNotNext, text)
}

/// Whether `sender` may say so.
pub(crate) fn check_update(
    view: &dyn StateView,
    sender: &Address,
    which: Replica<'_>,
    to: Progress,
) -> Result<(), Halt> {
    owned_job(view, which, sender)?;
    let now = deployment(view, which)?.status;
    if to.follows(now) { Ok(()) } else { Err(not_next(which.0, now, to).into()) }
}

/// Writes what the owner says.
pub(crate) fn update(
    state: &mut Overlay<'_>,
    round: Round,
    (id, replica): Replica<'_>,
    to: Progress,
) -> Result<Done, Halt> {
    let mut found: Deployment = need(state, &keys::deployment(id, replica))?;
    (found.status, found.updated) = (to, round);
    put(state, keys::deployment(id, replica), &found);
    let event = Event::new("scheduler.deployment_updated").with("job", id).with("replica", replica);
    Ok((Vec::new(), vec![event.with("status", to.name())]))
}

/// Whether this acknowledgement opens its job's anchor, and whether `sender` is one of the two.
pub(crate) fn check_open(
    rules: &Rules<'_>,
    view: &dyn StateView,
    sender: &Address,
    shown: &Countersigned,
) -> Result<(), Halt> {
    let said = &shown.host.acknowledgement;
    let bad = |text: &str| refuse(Code::BadAcknowledgement, format!("{text}; show the one that both sides signed"));
    if said.chain != rules.chain || said.paratime != rules.paratime {
        return Err(bad("the acknowledgement is for another chain or ParaTime").into());
    }
    if !shown.verify() {
        return Err(bad("the acknowledgement is not signed by the host that it names and countersigned").into());
    }
    let job = placed_job(view, &said.job)?;
    if Address::of(&shown.owner) != job.agent() {
        return Err(bad("the acknowledgement is countersigned by another account than the job's owner").into());
    }
    if *sender != job.agent() && *sender != said.host {
        let text = format!("{sender} is neither the owner of job {} nor its host", said.job);
        return Err(refuse(Code::NotTheOwner, text).into());
    }
    let found = deployment(view, (&said.job, said.replica))?;
    if said.anchor() != found.anchor {
        return Err(bad("the acknowledgement does not open this anchor: job, image, host or salt differ").into());
    }
    let decided = job.decision.as_ref();
    let candidate = decided.is_some_and(|d| d.round == said.round && d.candidates.iter().any(|c| c.host == said.host));
    if !candidate || job.image.is_some_and(|image| image != said.image) {
        return Err(bad("host, round or image are not those of the job's decision").into());
    }
    match &found.opened {
        Some(opened) if !said.status.follows(opened.status) => {
            Err(not_next(&said.job, opened.status, said.status).into())
        }
        _ => Ok(()),
    }
}

/// Writes what both signed.
pub(crate) fn open(state: &mut Overlay<'_>, round: Round, by: Address, shown: &Countersigned) -> Result<Done, Halt> {
    let said = &shown.host.acknowledgement;
    let mut found: Deployment = need(state, &keys::deployment(&said.job, said.replica))?;
    let claimed = found.status;
    // What both signed stands, unless the chain is further already.
    if !claimed.follows(said.status) {
        found.status = said.status;
    }
    found.updated = round;
    let (host, image, status) = (said.host, said.image, said.status);
    found.opened = Some(Opened { host, image, status, by, round, claimed });
    put(state, keys::deployment(&said.job, said.replica), &found);
    let event = Event::new("scheduler.anchor_opened")
        .with("job", said.job)
        .with("replica", said.replica)
        .with("host", said.host)
        .with("by", by)
        .with("claimed", claimed.name())
        .with("status", found.status.name());
    Ok((Vec::new(), vec![event]))
}
