//! The library's messages as bytes: canonical borsh under a version tag, with a size cap and no trailing bytes. The
//! library has borsh forms for most of its types; the rest are mirrored here.

use super::context::{Address, Consensus, Height};
use super::parts::Part;
use crate::blocks::{decode_versioned, encode_v1};
use borsh::{BorshDeserialize, BorshSerialize};
use bytes::Bytes;
use malachite::app::types::codec::{Codec, HasEncodedLen};
use malachite_consensus::{LivenessMsg, ProposedValue, SignedConsensusMsg};
use malachite_core::{
    ExtendedCommitCertificate, ExtendedCommitSignature, PolkaCertificate, Round, SignedExtension, ValidatorProof,
};
use malachite_engine::util::streaming::StreamMessage;
use malachite_sync::{RawDecidedValue, Request, Response, Status, ValueResponse};
use parallax_consensus_app::CommitCertificate;
use parallax_primitives::{DecodeError, Digest, NodeId, Signature};

/// Largest vote, proposal, certificate of votes or status, in bytes. A certificate of 120 validators has about 13 KB.
const MAX_MESSAGE: usize = 256 * 1024;
/// Largest proposal part with its stream's frame, in bytes.
const MAX_PART_MESSAGE: usize = super::parts::PART_BYTES + 4 * 1024;
/// Largest answer of value sync, in bytes.
pub(crate) const MAX_SYNC_RESPONSE: usize = 10 * 1024 * 1024;

/// The codec of WAL, gossip and sync.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Borsh;

macro_rules! borsh_codec {
    ($($what:literal, $limit:expr => $message:ty),* $(,)?) => { $(
        impl Codec<$message> for Borsh {
            type Error = DecodeError;

            fn decode(&self, bytes: Bytes) -> Result<$message, DecodeError> {
                decode_versioned($what, &bytes, $limit)
            }

            fn encode(&self, message: &$message) -> Result<Bytes, DecodeError> {
                Ok(encode_v1(message).into())
            }
        }
    )* };
}

borsh_codec! {
    "proposal part", MAX_PART_MESSAGE => Part,
    "stream message", MAX_PART_MESSAGE => StreamMessage<Part>,
    "consensus message", MAX_MESSAGE => SignedConsensusMsg<Consensus>,
    "liveness message", MAX_MESSAGE => LivenessMsg<Consensus>,
    "proposed value", MAX_MESSAGE => ProposedValue<Consensus>,
    "polka certificate", MAX_MESSAGE => PolkaCertificate<Consensus>,
    "sync status", MAX_MESSAGE => Status<Consensus>,
    "sync request", MAX_MESSAGE => Request<Consensus>,
}

#[derive(BorshSerialize, BorshDeserialize)]
struct ProofWire {
    key: Vec<u8>,
    peer: Vec<u8>,
    signature: Signature,
}

impl Codec<ValidatorProof<Consensus>> for Borsh {
    type Error = DecodeError;

    fn decode(&self, bytes: Bytes) -> Result<ValidatorProof<Consensus>, DecodeError> {
        let proof: ProofWire = decode_versioned("validator proof", &bytes, MAX_MESSAGE)?;
        Ok(ValidatorProof::new(proof.key, proof.peer, proof.signature))
    }

    fn encode(&self, proof: &ValidatorProof<Consensus>) -> Result<Bytes, DecodeError> {
        let (key, peer) = (proof.public_key.clone(), proof.peer_id.clone());
        Ok(encode_v1(&ProofWire { key, peer, signature: proof.signature }).into())
    }
}

#[derive(BorshSerialize, BorshDeserialize)]
struct CertificateWire {
    height: Height,
    round: Round,
    value: Digest,
    signatures: Vec<(Address, Signature, Option<SignedExtension<Consensus>>)>,
}

impl From<&ExtendedCommitCertificate<Consensus>> for CertificateWire {
    fn from(c: &ExtendedCommitCertificate<Consensus>) -> Self {
        let signatures = c.commit_signatures.iter().map(|s| (s.address, s.signature, s.extension.clone())).collect();
        Self { height: c.height, round: c.round, value: c.value_id, signatures }
    }
}

impl From<CertificateWire> for ExtendedCommitCertificate<Consensus> {
    fn from(wire: CertificateWire) -> Self {
        let signatures = wire.signatures.into_iter().map(|(a, s, e)| ExtendedCommitSignature::new(a, s, e)).collect();
        Self { height: wire.height, round: wire.round, value_id: wire.value, commit_signatures: signatures }
    }
}

#[derive(BorshSerialize, BorshDeserialize)]
struct ResponseWire {
    start: Height,
    values: Vec<(Vec<u8>, CertificateWire)>,
}

impl Codec<Response<Consensus>> for Borsh {
    type Error = DecodeError;

    fn decode(&self, bytes: Bytes) -> Result<Response<Consensus>, DecodeError> {
        let wire: ResponseWire = decode_versioned("sync response", &bytes, MAX_SYNC_RESPONSE)?;
        let values = wire.values.into_iter().map(|(b, c)| RawDecidedValue::new(b.into(), c.into())).collect();
        Ok(Response::ValueResponse(ValueResponse::new(wire.start, values)))
    }

    fn encode(&self, response: &Response<Consensus>) -> Result<Bytes, DecodeError> {
        let Response::ValueResponse(response) = response;
        let values = response.values.iter().map(|v| (v.value_bytes.to_vec(), (&v.certificate).into())).collect();
        Ok(encode_v1(&ResponseWire { start: response.start_height, values }).into())
    }
}

impl HasEncodedLen<Response<Consensus>> for Borsh {
    fn encoded_len(&self, response: &Response<Consensus>) -> Result<usize, DecodeError> {
        self.encode(response).map(|bytes| bytes.len())
    }
}

/// A decided certificate in our own form, its signatures in the order of the validators' keys.
pub(crate) fn certificate_from(c: &malachite_core::CommitCertificate<Consensus>) -> CommitCertificate {
    let mut signatures: Vec<(NodeId, Signature)> =
        c.commit_signatures.iter().map(|s| (s.address.0, s.signature)).collect();
    signatures.sort_unstable();
    signatures.dedup_by_key(|(node, _)| *node);
    CommitCertificate {
        height: parallax_primitives::Height(c.height.0),
        round: c.round.as_i64(),
        value: c.value_id,
        signatures,
    }
}

/// Our certificate as value sync sends it. `None` if its round is none that the engine can have written.
pub(crate) fn certificate_to(c: &CommitCertificate) -> Option<ExtendedCommitCertificate<Consensus>> {
    let round = Round::new(u32::try_from(c.round).ok()?);
    let signatures = c.signatures.iter().map(|(n, s)| ExtendedCommitSignature::new(Address(*n), *s, None)).collect();
    Some(ExtendedCommitCertificate {
        height: Height(c.height.0),
        round,
        value_id: c.value,
        commit_signatures: signatures,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use malachite_core::CommitSignature;
    use parallax_primitives::SecretKey;

    fn certificate(round: u32) -> malachite_core::CommitCertificate<Consensus> {
        let signature = |seed: u8| {
            let key = SecretKey::from_seed([seed; 32]);
            CommitSignature::new(Address(key.public()), key.sign_raw(b"vote"))
        };
        malachite_core::CommitCertificate {
            height: Height(9),
            round: Round::new(round),
            value_id: Digest([4; 32]),
            commit_signatures: vec![signature(3), signature(1), signature(2), signature(1)],
        }
    }

    #[test]
    fn a_certificate_keeps_its_content_in_our_form_and_names_each_signer_once_in_order() {
        let ours = certificate_from(&certificate(2));
        assert_eq!((ours.height.0, ours.round, ours.value, ours.signatures.len()), (9, 2, Digest([4; 32]), 3));
        assert!(ours.signatures.windows(2).all(|pair| pair[0].0 < pair[1].0));
        let sent = certificate_to(&ours).expect("its round is the engine's");
        assert_eq!(certificate_from(&sent.trim_vote_extensions()), ours);
        assert!(certificate_to(&CommitCertificate { round: -1, ..ours.clone() }).is_none());
        assert!(certificate_to(&CommitCertificate { round: 1 << 40, ..ours }).is_none());
    }

    #[test]
    fn a_sync_response_survives_its_bytes_and_altered_bytes_are_refused() {
        let sent = certificate_to(&certificate_from(&certificate(0))).expect("its round is the engine's");
        let value = RawDecidedValue::new(Bytes::from_static(b"block"), sent);
        let response = Response::ValueResponse(ValueResponse::new(Height(9), vec![value]));
        let bytes = Borsh.encode(&response).expect("encodes");
        assert_eq!(Borsh.encoded_len(&response).expect("encodes"), bytes.len());
        let decode = |bytes: Vec<u8>| <Borsh as Codec<Response<Consensus>>>::decode(&Borsh, bytes.into());
        assert_eq!(decode(bytes.to_vec()).expect("decodes"), response);
        let refused = |bytes: Vec<u8>| decode(bytes).is_err();
        assert!(refused(bytes[..bytes.len() - 1].to_vec()));
        assert!(refused([&bytes[..], &[0]].concat()), "trailing bytes");
        assert!(refused([&[1], &bytes[1..]].concat()), "an unknown version");
        assert!(refused(vec![0; MAX_SYNC_RESPONSE + 1]));
    }
}
