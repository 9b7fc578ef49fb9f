//! What the codec, signatures and seals promise to whoever feeds them hostile bytes.

use parallax_primitives::seal::{self, OpeningKey, SealError};
use parallax_primitives::{
    ChainContext, DecodeError, Digest, Domain, ParaTimeId, SecretKey, SigningContext, decode, encode,
};
use proptest::prelude::*;
use rand::SeedableRng;

type Message = (u64, String, Vec<u16>, Option<Digest>);

proptest! {
    #[test]
    fn a_value_decodes_to_itself_and_never_with_bytes_missing_or_added(
        a: u64, b in ".{0,20}", c in prop::collection::vec(any::<u16>(), 0..20), d: Option<[u8; 32]>, extra in 1usize..9,
    ) {
        let message: Message = (a, b, c, d.map(Digest));
        let bytes = encode(&message);
        prop_assert_eq!(&decode::<Message>("message", &bytes, bytes.len()).unwrap(), &message);
        for end in 0..bytes.len() {
            prop_assert!(decode::<Message>("message", &bytes[..end], 1 << 16).is_err());
        }
        let mut longer = bytes.clone();
        longer.extend(std::iter::repeat_n(0, extra));
        prop_assert_eq!(
            decode::<Message>("message", &longer, 1 << 16),
            Err(DecodeError::Trailing { what: "message", extra })
        );
        let limit = bytes.len() - 1;
        prop_assert_eq!(
            decode::<Message>("message", &bytes, limit),
            Err(DecodeError::TooLarge { what: "message", actual: bytes.len(), limit })
        );
    }

    #[test]
    fn hostile_bytes_never_panic_the_decoder(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = decode::<Message>("message", &bytes, 200);
        let _ = decode::<Vec<Vec<Digest>>>("list", &bytes, 200);
    }

    #[test]
    fn a_signature_counts_for_its_domain_chain_and_paratime_only(seed: [u8; 32], text in ".{0,40}") {
        let key = SecretKey::from_seed(seed);
        let (here, there) = (ChainContext(Digest([1; 32])), ChainContext(Digest([2; 32])));
        let (a, b) = (ParaTimeId([1; 32]), ParaTimeId([2; 32]));
        let context = SigningContext::in_paratime(Domain::RoundProposal, here, a);
        let signature = key.sign(&context, text.as_str());
        prop_assert!(key.public().verify(&context, text.as_str(), &signature));
        for other in [
            SigningContext::in_paratime(Domain::RoundCommitment, here, a),
            SigningContext::in_paratime(Domain::RoundProposal, there, a),
            SigningContext::in_paratime(Domain::RoundProposal, here, b),
            SigningContext::new(Domain::RoundProposal, here),
        ] {
            prop_assert!(!key.public().verify(&other, text.as_str(), &signature));
        }
    }

    #[test]
    fn a_seal_opens_for_its_reader_and_purpose_only(seed: [u8; 32], other: [u8; 32], message: Vec<u8>) {
        prop_assume!(seed != other);
        let mut rng = rand::rngs::StdRng::from_seed(seed);
        let (open, public) = OpeningKey::from_seed(&seed);
        let sealed = seal::seal(&mut rng, &public, b"purpose", &message).unwrap();
        prop_assert_eq!(&*open.open(b"purpose", &sealed).unwrap(), &message);
        prop_assert_eq!(open.open(b"another", &sealed).err(), Some(SealError::DoesNotOpen));
        prop_assert_eq!(OpeningKey::from_seed(&other).0.open(b"purpose", &sealed).err(), Some(SealError::DoesNotOpen));
        let mut altered = sealed;
        altered.ciphertext[0] ^= 1;
        prop_assert_eq!(open.open(b"purpose", &altered).err(), Some(SealError::DoesNotOpen));
    }
}

#[test]
fn every_domain_has_a_context_of_its_own() {
    assert_ne!(Domain::Blob.context(), Domain::Beacon.context());
    assert_ne!(Digest::of_bytes(Domain::Blob, b"x"), Digest::of_bytes(Domain::Beacon, b"x"));
}

#[test]
fn secrets_do_not_show_in_debug_output() {
    let seed = [0xAB; 32];
    let shown = format!("{:?} {:?}", SecretKey::from_seed(seed), OpeningKey::from_seed(&seed).0);
    assert!(!shown.contains("ababab") && !shown.contains("171, 171"), "{shown}");
}
