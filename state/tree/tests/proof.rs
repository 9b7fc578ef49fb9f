//! Proofs verify for what they say, for nothing else, and no bytes make the decoder panic.
#![allow(clippy::unwrap_used, reason = "a test ends at the first error")]

mod common;

use common::{Content, cipher, fresh, plain};
use parallax_primitives::limits::MAX_PROOF_BYTES;
use parallax_primitives::{DecodeError, Digest, Domain};
use parallax_state::{ProofError, Snapshot, StateProof, StateView};
use proptest::prelude::*;
use std::sync::LazyLock;

fn key(n: u32) -> Vec<u8> {
    format!("key/{n}").into_bytes()
}

/// Enough keys for ways of several nodes.
static TREE: LazyLock<Snapshot> = LazyLock::new(|| {
    let value = |n: u32| if n.is_multiple_of(7) { cipher(n.to_le_bytes()[0]) } else { plain(&n.to_be_bytes()) };
    let content: Content = (0..3_000).map(|n| (key(n), value(n))).collect();
    fresh(&content).1
});

#[test]
fn every_key_and_every_absence_is_proven_against_the_root_and_no_other() {
    let root = TREE.root();
    let mut other = root;
    other.0[31] ^= 1;
    for n in 0..6_000 {
        let proof = TREE.prove(&key(n)).unwrap();
        assert_eq!(proof.key(), key(n));
        assert_eq!(proof.value().cloned(), TREE.get(&key(n)).unwrap());
        assert_eq!(proof.value().is_some(), n < 3_000);
        proof.verify(&root).unwrap();
        assert!(matches!(proof.verify(&other), Err(ProofError::WrongRoot { .. })));
        assert!(proof.encode().len() < 1_000, "a proof of a small value is small");
    }
}

#[test]
fn a_tree_of_one_key_and_an_empty_tree_prove_absence() {
    let one = fresh(&[(b"only".to_vec(), plain(b"1"))].into()).1;
    one.prove(b"only").unwrap().verify(&one.root()).unwrap();
    one.prove(b"other").unwrap().verify(&one.root()).unwrap();
    let none = fresh(&Content::new()).1;
    let proof = none.prove(b"any").unwrap();
    proof.verify(&none.root()).unwrap();
    assert!(matches!(proof.verify(&one.root()), Err(ProofError::WrongRoot { .. })));
}

#[test]
fn a_proof_goes_through_text_and_json_unchanged() {
    let proof = TREE.prove(&key(14)).unwrap();
    assert_eq!(proof.to_string().parse::<StateProof>().unwrap(), proof);
    let json = serde_json::to_string(&proof).unwrap();
    assert_eq!(serde_json::from_str::<StateProof>(&json).unwrap(), proof);
    assert!(json.starts_with("\"0x"));
    assert!(matches!("0xzz".parse::<StateProof>(), Err(ProofError::NotHex(_))));
    assert!(serde_json::from_str::<StateProof>("\"0x00\"").is_err());
}

#[test]
fn oversize_and_trailing_bytes_are_refused() {
    let bytes = TREE.prove(&key(1)).unwrap().encode();
    let mut trailing = bytes.clone();
    trailing.push(0);
    assert!(matches!(StateProof::decode(&trailing), Err(ProofError::Decode(DecodeError::Trailing { .. }))));
    let mut oversize = bytes;
    oversize.resize(MAX_PROOF_BYTES + 1, 0);
    let too_large =
        |e: Result<StateProof, ProofError>| matches!(e, Err(ProofError::Decode(DecodeError::TooLarge { .. })));
    assert!(too_large(StateProof::decode(&oversize)));
    assert!(too_large(format!("0x{}", "00".repeat(oversize.len())).parse()));
}

#[test]
fn a_present_key_cannot_be_passed_off_as_absent() {
    // An encoded proof is: variant, key, outcome, siblings.
    let present = TREE.prove(&key(1)).unwrap();
    let bytes = present.encode();
    let head = 1 + 4 + key(1).len();
    let value = parallax_primitives::encode(present.value().unwrap());
    let siblings = &bytes[head + 1 + value.len()..];
    // Absent, with the way ending in nothing; and with the key's own leaf as the "other" leaf.
    let own = Digest::of_bytes(Domain::StateKey, &key(1));
    for outcome in [vec![1, 0], [&[1, 1][..], &own.0, &[0; 32]].concat()] {
        let forged = StateProof::decode(&[&bytes[..head], &outcome, siblings].concat()).unwrap();
        assert_eq!(forged.value(), None);
        forged.verify(&TREE.root()).unwrap_err();
    }
    // The leaf of a key that left this key's way earlier says nothing about its end.
    let other = Digest::of_bytes(Domain::StateKey, &key(2));
    let outcome = [&[1, 1][..], &other.0, &[0; 32]].concat();
    let forged = StateProof::decode(&[&bytes[..head], &outcome, siblings].concat()).unwrap();
    assert!(matches!(forged.verify(&TREE.root()), Err(ProofError::UnrelatedLeaf { .. })));
}

#[test]
fn more_siblings_than_a_key_has_bits_are_refused() {
    let mut bytes = vec![0];
    bytes.extend(1u32.to_le_bytes());
    bytes.extend(b"k");
    bytes.extend([1, 0]);
    bytes.extend(257u32.to_le_bytes());
    bytes.extend([0; 257 * 32]);
    let proof = StateProof::decode(&bytes).unwrap();
    assert!(matches!(proof.verify(&Digest::ZERO), Err(ProofError::TooLong { actual: 257, limit: 256, .. })));
}

#[derive(Clone, Debug)]
enum Mutation {
    Flip(prop::sample::Index, u8),
    Cut(prop::sample::Index),
    Insert(prop::sample::Index, u8),
    Remove(prop::sample::Index),
    Swap(prop::sample::Index, prop::sample::Index),
}

fn mutation() -> impl Strategy<Value = Mutation> {
    let index = any::<prop::sample::Index>;
    prop_oneof![
        4 => (index(), 1..=255u8).prop_map(|(i, b)| Mutation::Flip(i, b)),
        1 => index().prop_map(Mutation::Cut),
        1 => (index(), any::<u8>()).prop_map(|(i, b)| Mutation::Insert(i, b)),
        1 => index().prop_map(Mutation::Remove),
        1 => (index(), index()).prop_map(|(i, j)| Mutation::Swap(i, j)),
    ]
}

fn mutate(bytes: &mut Vec<u8>, mutation: &Mutation) {
    if bytes.is_empty() {
        return;
    }
    match mutation {
        Mutation::Flip(i, bits) => *i.get_mut(bytes) ^= bits,
        Mutation::Cut(i) => bytes.truncate(i.index(bytes.len())),
        Mutation::Insert(i, byte) => bytes.insert(i.index(bytes.len()), *byte),
        Mutation::Remove(i) => drop(bytes.remove(i.index(bytes.len()))),
        Mutation::Swap(i, j) => {
            let (i, j) = (i.index(bytes.len()), j.index(bytes.len()));
            bytes.swap(i, j);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn a_mutated_proof_is_refused_unless_it_is_the_same_proof(
        n in 0..6_000u32,
        mutations in prop::collection::vec(mutation(), 1..6),
    ) {
        let original = TREE.prove(&key(n)).unwrap();
        let mut bytes = original.encode();
        for mutation in &mutations {
            mutate(&mut bytes, mutation);
        }
        if let Ok(proof) = StateProof::decode(&bytes) {
            prop_assert_eq!(proof.encode(), bytes, "one proof has one encoding");
            prop_assert_eq!(proof.verify(&TREE.root()).is_ok(), proof == original);
        }
    }

    #[test]
    fn arbitrary_bytes_never_panic_the_decoder_or_the_verifier(bytes in prop::collection::vec(any::<u8>(), 0..600)) {
        if let Ok(proof) = StateProof::decode(&bytes) {
            prop_assert!(proof.verify(&TREE.root()).is_err());
        }
    }
}
