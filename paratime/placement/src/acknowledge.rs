//! Acknowledgements, made from a proof and checked against it.

use crate::proof::Placement;
use parallax_primitives::{Address, Digest, Domain, ImageDigest, SecretKey, encode};
use parallax_scheduler::{Acknowledgement, Countersigned, Progress, SignedAcknowledgement};
use zeroize::Zeroizing;

/// Why an acknowledgement is not made or not accepted. No text says which host it was.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AcknowledgementError {
    /// The key is not the chosen host's.
    #[error("this key is not that of the host that the proof names; use the key of the host's account")]
    NotTheHost,
    /// The key is not the owner's.
    #[error("this key is not that of the owner of job {job}")]
    NotTheOwner {
        /// The job.
        job: Digest,
    },
    /// The job names its image.
    #[error("job {job} names image {named} on the chain, not {given}")]
    OtherImage {
        /// The job.
        job: Digest,
        /// What the job names.
        named: ImageDigest,
        /// What was given.
        given: ImageDigest,
    },
    /// The job names no image, and none was given.
    #[error("job {job} names no image on the chain; say which one runs")]
    NoImage {
        /// The job.
        job: Digest,
    },
    /// It is about something else than this placement.
    #[error("the acknowledgement is for another {what} than the proof")]
    Other {
        /// What differs.
        what: &'static str,
    },
    /// It is not signed.
    #[error("the acknowledgement is not signed by the host that it names")]
    BadSignature,
}

/// The salt of a host's acknowledgements for one job: the same each time, and known to nobody without the host's key
/// until the host hands it on.
fn salt(key: &SecretKey, placement: &Placement) -> Digest {
    let job = (placement.chain, placement.paratime, placement.job, placement.replica, placement.round);
    let input = Zeroizing::new(encode(&("salt of the anchor", *key.to_seed(), job)));
    Digest::of_bytes(Domain::DeploymentAnchor, &input)
}

/// The host's word on a job that a verified proof shows to be its own. `image` may be left out if the job names one.
///
/// # Errors
/// [`AcknowledgementError`].
pub fn acknowledge(
    placement: &Placement,
    key: &SecretKey,
    image: Option<ImageDigest>,
    status: Progress,
) -> Result<SignedAcknowledgement, AcknowledgementError> {
    let (job, host) = (placement.job, Address::of(&key.public()));
    if host != placement.host {
        return Err(AcknowledgementError::NotTheHost);
    }
    let image = match (placement.image, image) {
        (Some(named), Some(given)) if named != given => {
            return Err(AcknowledgementError::OtherImage { job, named, given });
        }
        (Some(image), _) | (None, Some(image)) => image,
        (None, None) => return Err(AcknowledgementError::NoImage { job }),
    };
    let said = Acknowledgement {
        chain: placement.chain,
        paratime: placement.paratime,
        job,
        replica: placement.replica,
        round: placement.round,
        image,
        host,
        salt: salt(key, placement),
        status,
    };
    Ok(SignedAcknowledgement::sign(said, key))
}

/// Checks an acknowledgement against the placement that a proof shows.
///
/// # Errors
/// [`AcknowledgementError`].
pub fn check(placement: &Placement, signed: &SignedAcknowledgement) -> Result<(), AcknowledgementError> {
    let said = &signed.acknowledgement;
    let other = |what| Err(AcknowledgementError::Other { what });
    if said.chain != placement.chain || said.paratime != placement.paratime {
        return other("chain or ParaTime");
    }
    if (said.job, said.replica, said.round) != (placement.job, placement.replica, placement.round) {
        return other("job or decision");
    }
    if said.host != placement.host {
        return other("host");
    }
    if placement.image.is_some_and(|named| named != said.image) {
        return other("image");
    }
    if signed.verify() { Ok(()) } else { Err(AcknowledgementError::BadSignature) }
}

/// The owner's countersignature under an acknowledgement that fits its own proof.
///
/// # Errors
/// [`AcknowledgementError`].
pub fn countersign(
    placement: &Placement,
    signed: SignedAcknowledgement,
    owner: &SecretKey,
) -> Result<Countersigned, AcknowledgementError> {
    if Address::of(&owner.public()) != placement.owner {
        return Err(AcknowledgementError::NotTheOwner { job: placement.job });
    }
    check(placement, &signed)?;
    Ok(Countersigned::sign(signed, owner))
}
