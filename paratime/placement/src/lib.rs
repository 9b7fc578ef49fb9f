//! What a job's owner and its host show each other: the proof that the job went to this host.
//!
//! A job's position is decrypted for its owner alone. The key managers sign what they give, and seal it to a key that
//! the owner made for this one ciphertext; so the owner can hand on answers *and* key, and the host reads the position
//! itself, from the key managers' own words, believing neither the owner nor a node:
//!
//! - headers and state proofs lead from the genesis document to the job's record and to the ParaTime's parameters, both
//!   under one state root;
//! - the parameters name the key managers, the record names the ciphertext and the candidates;
//! - the answers are signed by enough of those key managers, about that ciphertext, that job and that root, and open
//!   under a key that the owner's signed permit names;
//! - the position leads to the host that verifies, in the record's list.
//!
//! A proof shows one position of one job and nothing more: every other part of it is public already. It is for the
//! host; whoever else gets it learns where the job went.
//!
//! From a proof that it believes, the host makes an acknowledgement ([`acknowledge`]); the owner holds it against its own
//! proof and countersigns it ([`countersign`]). How files travel between the two is left to them.
//!
//! Pure: no I/O, no clock. Start with [`PlacementProof::verify`].

mod acknowledge;
mod proof;

pub use acknowledge::{AcknowledgementError, acknowledge, check, countersign};
pub use proof::{
    MAX_PROOF_JSON, OpeningSeed, Placement, PlacementProof, PlacementProofV1, ProofError, Reader, read_position,
};
