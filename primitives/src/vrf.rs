//! The verifiable random function of the beacon: schnorrkel (Ristretto, as deployed in Polkadot's BABE).
//! One input has one output a key; the proof shows which.

use crate::hash::{Digest, Domain};
use crate::ids::hex_text;
use borsh::{BorshDeserialize, BorshSerialize};
use merlin::Transcript;
use rand::SeedableRng;
use rand::rngs::StdRng;
use schnorrkel::context::attach_rng;
use schnorrkel::vrf::{VRFPreOut, VRFProof};
use schnorrkel::{ExpansionMode, Keypair, MiniSecretKey, signing_context};
use serde::{Deserialize, Serialize};
use std::fmt;

/// A Ristretto public key for the VRF.
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, BorshSerialize, BorshDeserialize)]
pub struct VrfPublicKey(pub [u8; 32]);
hex_text!(VrfPublicKey, 32, "VRF key");

impl fmt::Debug for VrfPublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "0x{}", hex::encode(self.0))
    }
}

/// An output with its proof.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize)]
pub struct VrfOutput {
    /// The pre-output point.
    pub preout: [u8; 32],
    /// The proof, 64 bytes.
    pub proof: Vec<u8>,
}

/// A VRF secret key. Never shown.
#[derive(Clone)]
pub struct VrfSecretKey(Keypair);

impl fmt::Debug for VrfSecretKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "VrfSecretKey(of {:?})", self.public())
    }
}

fn label() -> String {
    Domain::VrfInput.context()
}

impl VrfSecretKey {
    /// The key with this seed.
    #[allow(clippy::expect_used)]
    pub fn from_seed(seed: [u8; 32]) -> Self {
        let mini = MiniSecretKey::from_bytes(&seed).expect("a mini secret key is any 32 bytes");
        Self(mini.expand_to_keypair(ExpansionMode::Ed25519))
    }

    /// The public half.
    pub fn public(&self) -> VrfPublicKey {
        VrfPublicKey(self.0.public.to_bytes())
    }

    /// Evaluates the function on an input.
    pub fn evaluate(&self, input: &Digest) -> VrfOutput {
        let (inout, proof, _) = self.0.vrf_sign(signing_context(label().as_bytes()).bytes(&input.0));
        VrfOutput { preout: inout.to_preout().to_bytes(), proof: proof.to_bytes().to_vec() }
    }

    /// The same with a proof that depends on nothing else: the nonce comes from key, input and `entropy` instead of
    /// the system's randomness. For simulations, in which a run has to be repeated bit by bit.
    pub fn evaluate_with(&self, input: &Digest, entropy: [u8; 32]) -> VrfOutput {
        // The extra transcript is the one that `vrf_sign` takes.
        let extra = attach_rng(Transcript::new(b"VRF"), StdRng::from_seed(entropy));
        let (inout, proof, _) = self.0.vrf_sign_extra(signing_context(label().as_bytes()).bytes(&input.0), extra);
        VrfOutput { preout: inout.to_preout().to_bytes(), proof: proof.to_bytes().to_vec() }
    }
}

impl VrfPublicKey {
    /// The pseudorandom value, if the proof holds for this key and input.
    pub fn verify(&self, input: &Digest, output: &VrfOutput) -> Option<Digest> {
        let key = schnorrkel::PublicKey::from_bytes(&self.0).ok()?;
        let preout = VRFPreOut::from_bytes(&output.preout).ok()?;
        let proof = VRFProof::from_bytes(&output.proof).ok()?;
        let context = signing_context(label().as_bytes());
        let (inout, _) = key.vrf_verify(context.bytes(&input.0), &preout, &proof).ok()?;
        Some(Digest(inout.make_bytes::<[u8; 32]>(Domain::Beacon.context().as_bytes())))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_output_verifies_for_its_key_and_input_only() {
        let (a, b) = (VrfSecretKey::from_seed([1; 32]), VrfSecretKey::from_seed([2; 32]));
        let (x, y) = (Digest([1; 32]), Digest([2; 32]));
        let output = a.evaluate(&x);
        let value = a.public().verify(&x, &output).expect("an honest proof verifies");
        assert_eq!(a.public().verify(&x, &a.evaluate(&x)), Some(value), "one output a key and input");
        assert_eq!(b.public().verify(&x, &output), None);
        assert_eq!(a.public().verify(&y, &output), None);
    }

    #[test]
    fn with_given_entropy_the_proof_too_is_always_the_same_and_verifies() {
        let (key, input) = (VrfSecretKey::from_seed([1; 32]), Digest([1; 32]));
        let output = key.evaluate_with(&input, [7; 32]);
        assert_eq!(output, key.evaluate_with(&input, [7; 32]));
        assert_ne!(output.proof, key.evaluate_with(&input, [8; 32]).proof);
        let value = key.public().verify(&input, &output);
        assert_eq!(value, key.public().verify(&input, &key.evaluate(&input)));
        assert!(value.is_some());
    }
}
