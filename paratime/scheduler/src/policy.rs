//! What governance may change while a cluster runs: which images run, who may submit, tiers, freshness, candidates.
//!
//! Tiers, freshness and the number of candidates stand in the parameters; images and submitters in a record of their
//! own. A change counts from the next round on, so the work of a round still follows from the state at its start. A job
//! that waits keeps what it has paid: if a decision gets larger after its submission, its escrow is all that it pays.

use crate::calls::{Done, Halt, Rules};
use crate::error::{Code, refuse};
use crate::images::ImageClaim;
use crate::keys;
use crate::model::Replication;
use crate::params::Params;
use crate::records::{self, get, put};
use borsh::{BorshDeserialize, BorshSerialize};
use parallax_primitives::{Address, Event, Keccak256};
use parallax_runtime::TxError;
use parallax_state::{Overlay, StateError, StateView};
use serde::{Deserialize, Serialize};

/// Most accounts on the list of those who may submit.
pub const MAX_SUBMITTERS: usize = 1_000;

/// Which images jobs may name.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ImageRule {
    /// Any, and none at all.
    #[default]
    Any,
    /// Those of the list with this root; see [`crate::images`].
    Root(Keccak256),
}

/// Who may submit jobs.
#[derive(Clone, Debug, Default, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum SubmitterRule {
    /// Everyone.
    #[default]
    Anyone,
    /// These accounts.
    Listed(Vec<Address>),
}

/// What stands beside the parameters.
#[derive(Clone, Debug, Default, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize)]
pub struct ClusterPolicy {
    /// How often governance has changed something.
    pub version: u64,
    /// Which images jobs may name.
    pub images: ImageRule,
    /// Who may submit.
    pub submitters: SubmitterRule,
}

/// A change; what is left out stays as it is.
#[derive(Clone, Debug, Default, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct PolicyChange {
    /// Which images jobs may name.
    pub images: Option<ImageRule>,
    /// Who may submit.
    pub submitters: Option<SubmitterRule>,
    /// How many tiers there are.
    pub tiers: Option<u8>,
    /// For how many rounds after its report a host is a candidate.
    pub freshness_rounds: Option<u64>,
    /// Most candidates of a decision.
    pub candidates_per_decision: Option<u16>,
}

impl ClusterPolicy {
    /// The policy in force; before the first change everything is allowed.
    pub(crate) fn of(view: &dyn StateView) -> Result<Self, StateError> {
        Ok(get(view, &keys::policy())?.unwrap_or_default())
    }

    /// Whether a job with this image may be submitted by this account.
    pub(crate) fn admits(&self, sender: &Address, image: Option<&ImageClaim>) -> Result<(), TxError> {
        if let SubmitterRule::Listed(accounts) = &self.submitters
            && !accounts.contains(sender)
        {
            let text = format!("{sender} is not among the {} accounts that may submit jobs here", accounts.len());
            return Err(refuse(Code::NotASubmitter, text));
        }
        let ImageRule::Root(root) = &self.images else { return Ok(()) };
        match image {
            None => {
                let text = format!("this cluster runs listed images only (root {root}); name the job's image");
                Err(refuse(Code::ImageNotAllowed, text))
            }
            Some(claim) if !claim.leads_to(root) => {
                let image = claim.image;
                let text = format!("image {image} is not shown to be on the list with root {root}; prove it anew");
                Err(refuse(Code::ImageNotAllowed, text))
            }
            Some(_) => Ok(()),
        }
    }
}

impl PolicyChange {
    /// Checks what the bytes alone decide.
    pub(crate) fn check_fields(&self) -> Result<(), TxError> {
        if *self == Self::default() {
            return Err(refuse(Code::BadField, "the change is empty; name what is to change"));
        }
        let Some(SubmitterRule::Listed(accounts)) = &self.submitters else { return Ok(()) };
        if accounts.len() > MAX_SUBMITTERS {
            let text = format!("{} accounts may submit, the limit is {MAX_SUBMITTERS}", accounts.len());
            return Err(refuse(Code::BadField, text));
        }
        Ok(())
    }

    /// The parameters after it.
    fn params(&self, params: &Params) -> Result<Params, TxError> {
        let mut next = params.clone();
        next.tiers = self.tiers.unwrap_or(next.tiers);
        next.freshness_rounds = self.freshness_rounds.unwrap_or(next.freshness_rounds);
        next.candidates_per_decision = self.candidates_per_decision.unwrap_or(next.candidates_per_decision);
        next.check().map_err(|text| refuse(Code::BadField, text))?;
        Ok(next)
    }

    /// Whether `sender` may make it, and whether it makes sense.
    pub(crate) fn check(&self, rules: &Rules<'_>, sender: &Address) -> Result<(), Halt> {
        match rules.params.governance {
            Some(governance) if governance == *sender => {}
            Some(governance) => {
                let text = format!("{sender} may not change the policy; {governance} governs this ParaTime");
                return Err(refuse(Code::NotGovernance, text).into());
            }
            None => return Err(refuse(Code::NotGovernance, "nobody governs this ParaTime; its rules stay").into()),
        }
        let next = self.params(rules.params)?;
        for policy in &next.policies {
            let gas = rules.programs.decision_gas(next.candidates_per_decision, *policy, Replication::default())?;
            if gas > next.max_decision_gas {
                let (candidates, most) = (next.candidates_per_decision, next.max_decision_gas);
                let text =
                    format!("a decision among {candidates} candidates takes {gas} gas, a round has {most} for them");
                return Err(refuse(Code::BadField, text).into());
            }
        }
        Ok(())
    }

    /// Writes it, on top of what the changes before it in this round have written.
    pub(crate) fn apply(&self, state: &mut Overlay<'_>) -> Result<Done, Halt> {
        let params = self.params(&records::params(state)?)?;
        let mut policy = ClusterPolicy::of(state)?;
        policy.version = policy.version.saturating_add(1);
        policy.images = self.images.unwrap_or(policy.images);
        policy.submitters = self.submitters.clone().unwrap_or(policy.submitters);
        put(state, keys::params(), &params);
        put(state, keys::policy(), &policy);
        Ok((Vec::new(), vec![Event::new("scheduler.policy_set").with("version", policy.version)]))
    }
}
