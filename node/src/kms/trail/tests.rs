//! What a peer's proof is worth.
#![allow(clippy::unwrap_used, reason = "a test ends at the first error")]

use super::*;
use parallax_consensus_app::light::{ParaTimeProof, ProofSetV1};
use parallax_consensus_app::{CommitCertificate, Header, PrecommitMessage, Validator, ValidatorSet, keys, stored};
use parallax_memory_store::MemoryStore;
use parallax_primitives::{ChainContext, Digest, Height, Round, SecretKey};
use parallax_rounds::ParaTimeBlock;
use parallax_state::{Batch, Changes, Database, Namespace, Tree, Value};
use std::sync::Arc;

const CHAIN: ChainContext = ChainContext(Digest([7; 32]));
const ID: ParaTimeId = ParaTimeId([3; 32]);

fn key() -> SecretKey {
    SecretKey::from_seed([1; 32])
}

fn validators() -> ValidatorSet {
    ValidatorSet { validators: vec![Validator { node: key().public(), power: 1 }] }
}

fn trail() -> Trail {
    Trail { light: LightClient::genesis(CHAIN, validators(), 0).unwrap(), unsaved: None, followed: None }
}

fn tree(ns: Namespace, key: &[u8], value: Vec<u8>) -> Tree {
    let tree = Database::open(Arc::new(MemoryStore::new())).unwrap().tree(ns);
    let writes = [(key.to_vec(), Some(Value::Plain(value)))].into_iter().collect();
    tree.commit(tree.prepare(1, &Changes { writes, ..Changes::default() }).unwrap(), Batch::default()).unwrap();
    tree
}

/// The proof of `asked` in the state after `round`, which holds `grant` alone, under the header of `height`.
fn bundle(round: u64, height: u64, asked: &[u8]) -> ProofBundleV1 {
    let inner = tree(Namespace::ParaTime(ID), b"grant", vec![1]);
    let block = ParaTimeBlock { round: Round(round), ..ParaTimeBlock::genesis(ID, inner.root_at(1).unwrap()) };
    let block_key = keys::paratime_block(&ID, Round(round));
    let outer = tree(Namespace::Consensus, &block_key, stored::to_bytes(&block));
    let header = Header {
        height: Height(height),
        parent: Digest::ZERO,
        time_ms: height,
        proposer: key().public(),
        app_hash: outer.root_at(1).unwrap(),
        transactions_root: Digest::ZERO,
        validators_hash: validators().hash(),
        next_validators_hash: validators().hash(),
    };
    let (value, validator) = (header.hash(), key().public());
    let message = PrecommitMessage { chain: CHAIN, height: header.height, round: 0, value: Some(value), validator };
    let signatures = vec![(validator, key().sign_raw(&message.signing_bytes().0))];
    ProofBundleV1 {
        certificate: CommitCertificate { height: header.height, round: 0, value, signatures },
        header,
        validators: validators(),
        consensus: outer.prove(1, &block_key).unwrap(),
        paratime: Some(ParaTimeProof { block, proof: inner.prove(1, asked).unwrap() }),
    }
}

fn read(trail: &mut Trail, bundle: ProofBundleV1, asked: &[u8], newest: u64) -> &'static str {
    let known = Newest::default();
    known.set(Round(newest));
    shown(&trail.believe(&ProofBundle::V1(bundle).encode(), ID, asked, &known))
}

fn shown<T>(reading: &Reading<T>) -> &'static str {
    match reading {
        Reading::Good(_) => "good",
        Reading::Weak(_) => "weak",
        Reading::Skip(_) => "skip",
        Reading::False(_) => "false",
    }
}

#[test]
fn a_proof_is_followed_and_one_of_absence_gives_way_to_another_peers() {
    let mut trail = trail();
    assert_eq!(read(&mut trail, bundle(2, 40, b"grant"), b"grant", 0), "good");
    assert_eq!(trail.light.height(), Height(40));
    assert_eq!(trail.unsaved.as_ref().map(|l| l.header.height), Some(Height(40)));
    assert_eq!(read(&mut trail, bundle(2, 42, b"none"), b"none", 0), "weak");
}

#[test]
fn a_peer_that_lags_is_passed_over_and_one_that_forges_is_called_false() {
    let mut trail = trail();
    assert!(matches!(trail.believe(b"no bundle", ID, b"grant", &Newest::default()), Reading::False(_)));
    let mut unsigned = bundle(2, 40, b"grant");
    unsigned.certificate.signatures.clear();
    assert_eq!(read(&mut trail, unsigned, b"grant", 0), "false");
    assert_eq!(trail.light.height(), Height(0), "nothing is followed that is not final");
    let mut other_state = bundle(2, 40, b"grant");
    other_state.paratime = bundle(3, 40, b"grant").paratime;
    assert_eq!(read(&mut trail, other_state, b"grant", 0), "false");
    assert_eq!(read(&mut trail, bundle(2, 42, b"none"), b"grant", 0), "false", "a proof of another key");

    // A peer at round 2 may be honest when round 3 is proven already.
    assert_eq!(read(&mut trail, bundle(2, 51, b"grant"), b"grant", 3), "skip");
    assert_eq!(read(&mut trail, bundle(3, 52 + MAX_PROOF_AGE, b"grant"), b"grant", 3), "good");
    assert_eq!(read(&mut trail, bundle(3, 51, b"grant"), b"grant", 3), "skip", "a header from long ago");
}

#[test]
fn a_set_that_leaves_out_what_was_asked_for_is_false_and_one_with_an_absence_is_weak() {
    let mut trail = trail();
    let mut read = |first: &[u8], more: &[&[u8]], asked: &[&[u8]]| {
        let inner = tree(Namespace::ParaTime(ID), b"grant", vec![1]);
        let more = more.iter().map(|key| inner.prove(1, key).unwrap()).collect();
        let set = ProofSet::V1(ProofSetV1 { bundle: ProofBundle::V1(bundle(2, 40, first)), more });
        let asked: Vec<Vec<u8>> = asked.iter().map(|key| key.to_vec()).collect();
        shown(&trail.believe_all(&set.encode(), ID, &asked, &Newest::default()))
    };
    assert_eq!(read(b"grant", &[], &[b"grant"]), "good");
    assert_eq!(read(b"grant", &[b"none"], &[b"none", b"grant"]), "weak");
    assert_eq!(read(b"grant", &[], &[b"grant", b"none"]), "false");
    assert!(matches!(trail.believe_all(b"no set", ID, &[], &Newest::default()), Reading::False(_)));
}
