//! Where a job went: decryption for its owner, and the proof that the owner hands to the host.

use super::{JobView, POLL, SchedulerClient};
use eyre::{Result, WrapErr as _, bail, eyre};
use parallax_genesis::AccountKey;
use parallax_kms::open_answer;
use parallax_placement::{OpeningSeed, PlacementProof, PlacementProofV1, read_position};
use parallax_primitives::{Digest, Height, Round};
use parallax_rpc::{Client, Hex, KmsApiClient as _, NodeApiClient, ParaTimeApiClient};
use parallax_runtime::decryption::{Permit, SignedAnswer, SignedPermit};
use parallax_scheduler::keys;
use std::time::Duration;

/// Heights for which a permit is valid, and so the proof made with it.
pub const PERMIT_HEIGHTS: u64 = 1_000;

impl SchedulerClient {
    /// The height of the node that answers.
    ///
    /// # Errors
    /// If no node answers.
    pub async fn height(&self) -> Result<Height> {
        Ok(self.ask(|rpc| async move { NodeApiClient::health(&rpc).await }).await?.height)
    }

    /// The key managers' answer for one position of a decision, sealed to a key for this ciphertext alone.
    async fn answer(
        &self,
        kms: &Client,
        owner: &AccountKey,
        cipher: Digest,
        heights: u64,
    ) -> Result<(SignedPermit, SignedAnswer)> {
        let (_, seal_to) = owner.opening_key(&cipher);
        let expires = Height(self.height().await?.0.saturating_add(heights));
        let permit = Permit { paratime: self.id, cipher, requester: owner.public(), seal_to, expires };
        let signed = SignedPermit::sign(permit, self.chain, &owner.secret);
        let answer = kms.user_decrypt(signed.clone()).await?;
        Ok((signed, answer))
    }

    /// The positions of a placed job's hosts among the candidates, one for each replica that found one, decrypted for
    /// its owner by the key managers.
    ///
    /// # Errors
    /// If the key managers refuse, or their answer does not hold.
    pub async fn positions(&self, kms: &Client, owner: &AccountKey, job: &JobView) -> Result<Vec<usize>> {
        let decision = job.decision.as_ref().ok_or_else(|| eyre!("job {} has no decision yet", job.id))?;
        let mut found = Vec::with_capacity(decision.positions.len());
        for cipher in &decision.positions {
            found.extend(self.position(kms, owner, *cipher).await?);
        }
        Ok(found)
    }

    /// One replica's position; none if there was no host for it.
    async fn position(&self, kms: &Client, owner: &AccountKey, cipher: Digest) -> Result<Option<usize>> {
        let (permit, answer) = self.answer(kms, owner, cipher, PERMIT_HEIGHTS).await?;
        let (opening, _) = owner.opening_key(&cipher);
        let blocks = open_answer(&opening, &permit.permit, &[answer], &self.keys.managers, self.chain)?;
        match (read_position(&blocks), &blocks[..]) {
            (None, [_, _, 0]) => Ok(None),
            (None, other) => bail!("the position has {} blocks, two or three are expected", other.len()),
            (position, _) => Ok(position),
        }
    }

    /// Like [`SchedulerClient::positions`], asked again while the grant is on its way to a final header.
    ///
    /// # Errors
    /// As for [`SchedulerClient::positions`], when it still fails after `limit`.
    pub async fn wait_positions(
        &self,
        kms: &Client,
        owner: &AccountKey,
        job: &JobView,
        limit: Duration,
    ) -> Result<Vec<usize>> {
        let begun = tokio::time::Instant::now();
        loop {
            match self.positions(kms, owner, job).await {
                Ok(positions) => return Ok(positions),
                Err(error) if begun.elapsed() >= limit => return Err(error),
                Err(_) => tokio::time::sleep(POLL).await,
            }
        }
    }

    /// The proof of where a replica of a placed job went, for the chosen host; it is valid for `heights` from now. Not verified yet.
    ///
    /// # Errors
    /// If the job is not placed, the key managers refuse, or no node can prove the state that they answered from.
    pub async fn placement_proof(
        &self,
        kms: &Client,
        owner: &AccountKey,
        job: &JobView,
        (replica, heights): (u8, u64),
    ) -> Result<PlacementProof> {
        let decision = job.decision.as_ref().filter(|_| job.status == "placed");
        let decision =
            decision.ok_or_else(|| eyre!("job {} is {}, only a placed job went anywhere", job.id, job.status))?;
        if owner.address() != job.agent {
            let whose = if job.agent == job.owner { "its owner is" } else { "the agent of its contract is" };
            bail!("{} may not have job {} decrypted, {whose} {}", owner.address(), job.id, job.agent);
        }
        let cipher = *decision.positions.get(usize::from(replica)).ok_or_else(|| {
            eyre!("job {} has {} replicas, there is none with the number {replica}", job.id, decision.positions.len())
        })?;
        let (permit, answer) = self.answer(kms, owner, cipher, heights).await?;
        // The answer names the state in which the key manager saw the grant: both proofs are of that one.
        let round = answer.answer.round;
        let (record, params) = (self.proof(keys::job(&job.id), round).await, self.proof(keys::params(), round).await);
        Ok(PlacementProof::V1(Box::new(PlacementProofV1 {
            job: job.id,
            opening: OpeningSeed(owner.opening_seed(&cipher)),
            permit,
            answers: vec![answer],
            params: params?,
            record: record?,
        })))
    }

    /// The proof of a key in the ParaTime's state after a round; asked again while the round is on its way to a header.
    async fn proof(&self, key: Vec<u8>, round: Round) -> Result<parallax_rpc::ProofBundle> {
        let (id, begun) = (self.id, tokio::time::Instant::now());
        loop {
            let proof = self
                .ask(|rpc| {
                    let key = Hex(key.clone());
                    async move { ParaTimeApiClient::proof(&rpc, id, key, Some(round)).await }
                })
                .await;
            match proof {
                Err(error) if begun.elapsed() >= Duration::from_secs(10) => {
                    return Err(error)
                        .wrap_err_with(|| format!("no node proves the state of round {round}; ask again"));
                }
                Err(_) => tokio::time::sleep(POLL).await,
                Ok(bundle) => return Ok(bundle),
            }
        }
    }

    /// The anchor of a placed job's replica and its status, as JSON; `null` if there is none.
    ///
    /// # Errors
    /// If no node answers.
    pub async fn deployment(&self, job: Digest, replica: u8) -> Result<serde_json::Value> {
        self.query("deployment", serde_json::json!({ "job": job, "replica": replica })).await
    }

    /// What governance has set, as JSON.
    ///
    /// # Errors
    /// If no node answers.
    pub async fn policy(&self) -> Result<serde_json::Value> {
        self.query("policy", serde_json::json!({})).await
    }
}
