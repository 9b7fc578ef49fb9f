//! The chain as far as proofs have led along it, and what a peer's proof is worth.

use super::desk::Newest;
use parallax_consensus_app::light::{
    LightClient, LightError, ProofBundle, ProofBundleV1, ProofSet, Verified, VerifiedSet,
};
use parallax_kms::MAX_PROOF_AGE;
use parallax_network::Response;
use parallax_primitives::ParaTimeId;
use parallax_rpc::LightBlock;
use std::time::Instant;

/// What a peer's response is worth.
pub(super) enum Reading<T> {
    /// It is what was asked for.
    Good(T),
    /// It holds, but another peer may know of something newer: taken if nobody has better.
    Weak(T),
    /// It does not serve; the peer may be honest.
    Skip(String),
    /// It cannot come from an honest peer.
    False(String),
}

/// The light client, with what is to be written of it.
pub(super) struct Trail {
    pub(super) light: LightClient,
    /// The newest trusted header, until it is on disk.
    pub(super) unsaved: Option<LightBlock>,
    /// When the trusted header last moved.
    pub(super) followed: Option<Instant>,
}

impl Trail {
    /// Verifies a bundle, follows the chain by its header, and tells what it is worth as the proof of `key` in the
    /// state of `paratime`.
    pub(super) fn believe(
        &mut self,
        bytes: &[u8],
        paratime: ParaTimeId,
        key: &[u8],
        newest: &Newest,
    ) -> Reading<(ProofBundle, Verified)> {
        let bundle = match ProofBundle::decode(bytes) {
            Ok(bundle) => bundle,
            Err(error) => return Reading::False(error.to_string()),
        };
        let verified = match self.follow(&bundle).and_then(|()| bundle.verify(&self.light)) {
            Ok(verified) => verified,
            Err(error) => return unbelieved(&error),
        };
        match self.judge(&verified, paratime, newest) {
            Some(reading) => reading,
            None if verified.key != key => False::other(),
            None if verified.value.is_none() => Reading::Weak((bundle, verified)),
            None => Reading::Good((bundle, verified)),
        }
    }

    /// The same for the proof of several keys in one state. Whoever lacks one of them may be behind.
    pub(super) fn believe_all(
        &mut self,
        bytes: &[u8],
        paratime: ParaTimeId,
        keys: &[Vec<u8>],
        newest: &Newest,
    ) -> Reading<(ProofSet, VerifiedSet)> {
        let set = match ProofSet::decode(bytes) {
            Ok(set) => set,
            Err(error) => return Reading::False(error.to_string()),
        };
        let verified = match self.follow(set.bundle()).and_then(|()| set.verify(&self.light)) {
            Ok(verified) => verified,
            Err(error) => return unbelieved(&error),
        };
        match self.judge(&verified.first, paratime, newest) {
            Some(reading) => reading,
            None if keys.iter().any(|key| !verified.values.contains_key(key)) => False::other(),
            None if verified.values.values().any(Option::is_none) => Reading::Weak((set, verified)),
            None => Reading::Good((set, verified)),
        }
    }

    /// Follows the chain by the header that a proof comes with: skipping verification, as far as trust reaches.
    fn follow(&mut self, bundle: &ProofBundle) -> Result<(), LightError> {
        let ProofBundle::V1(ProofBundleV1 { header, certificate, validators, .. }) = bundle;
        let before = self.light.height();
        self.light.advance(header, certificate, validators)?;
        if self.light.height() > before {
            let (header, certificate) = (header.clone(), certificate.clone());
            self.unsaved = Some(LightBlock { header, certificate, validators: validators.clone() });
            self.followed = Some(Instant::now());
        }
        Ok(())
    }

    /// Why a proof that holds does not serve, if so.
    fn judge<T>(&self, verified: &Verified, paratime: ParaTimeId, newest: &Newest) -> Option<Reading<T>> {
        let round = match verified.paratime {
            Some((id, round)) if id == paratime => round,
            _ => return Some(False::other()),
        };
        let known = newest.round();
        if round < known {
            return Some(Reading::Skip(format!("it proves round {round}, round {known} is proven already")));
        }
        let (height, current) = (verified.height, self.light.height());
        let old = current.0.saturating_sub(height.0) > MAX_PROOF_AGE;
        old.then(|| Reading::Skip(format!("it proves height {height}, the chain is at {current}")))
    }
}

/// Answers that no honest peer gives.
struct False;

impl False {
    fn other<T>() -> Reading<T> {
        Reading::False("a proof of something else than was asked for".to_owned())
    }
}

fn unbelieved<T>(error: &LightError) -> Reading<T> {
    if is_forged(error) { Reading::False(error.to_string()) } else { Reading::Skip(error.to_string()) }
}

/// Whether an error shows that the peer itself is wrong, whatever it may have missed of the chain.
fn is_forged(error: &LightError) -> bool {
    error.is_about_state()
        || matches!(
            error,
            LightError::Decode(_)
                | LightError::WrongHeight { .. }
                | LightError::WrongHeader { .. }
                | LightError::WrongRound(_)
                | LightError::MalformedValidators(_)
                | LightError::WrongValidators { .. }
                | LightError::NotAValidator { .. }
                | LightError::DuplicateSigner { .. }
                | LightError::BadSignature { .. }
                | LightError::NotEnoughPower { .. }
        )
}

/// A response that is allowed but does not help.
pub(super) fn unserved<T>(response: &Response) -> Reading<T> {
    Reading::Skip(match response {
        Response::Refused(text) => text.clone(),
        Response::NotFound => "it does not have it".to_owned(),
        Response::Busy => "it is busy".to_owned(),
        _ => "it answered something else".to_owned(),
    })
}

#[cfg(test)]
mod tests;
