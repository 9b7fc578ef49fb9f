use super::*;
use crate::block::Validator;
use parallax_memory_store::MemoryStore;
use parallax_primitives::{SecretKey, Signature};
use parallax_rounds::BlockKind;
use parallax_state::{Batch, Changes, Database, Namespace};
use proptest::prelude::*;
use std::sync::{Arc, LazyLock};

const CHAIN: ChainContext = ChainContext(Digest([7; 32]));
const GENESIS_TIME: u64 = 1_000;

fn key(n: u8) -> SecretKey {
    SecretKey::from_seed([n; 32])
}

fn set(members: &[(u8, u64)]) -> ValidatorSet {
    let mut validators: Vec<Validator> =
        members.iter().map(|(n, power)| Validator { node: key(*n).public(), power: *power }).collect();
    validators.sort_by_key(|v| v.node);
    ValidatorSet { validators }
}

fn header(height: u64, parent: Digest, this: &ValidatorSet, next: &ValidatorSet) -> Header {
    Header {
        height: Height(height),
        parent,
        time_ms: GENESIS_TIME + height * 500,
        proposer: key(1).public(),
        app_hash: Digest::ZERO,
        transactions_root: Digest::ZERO,
        validators_hash: this.hash(),
        next_validators_hash: next.hash(),
    }
}

fn signature(signer: u8, header: &Header, chain: ChainContext, round: i64) -> (NodeId, Signature) {
    let validator = key(signer).public();
    let message = PrecommitMessage { chain, height: header.height, round, value: Some(header.hash()), validator };
    (validator, key(signer).sign_raw(&message.signing_bytes().0))
}

fn certify(header: &Header, signers: &[u8]) -> CommitCertificate {
    let signatures = signers.iter().map(|n| signature(*n, header, CHAIN, 0)).collect();
    CommitCertificate { height: header.height, round: 0, value: header.hash(), signatures }
}

fn four() -> ValidatorSet {
    set(&[(1, 10), (2, 10), (3, 10), (4, 10)])
}

fn client() -> LightClient {
    LightClient::genesis(CHAIN, four(), GENESIS_TIME).unwrap()
}

#[test]
fn a_header_signed_by_more_than_two_thirds_is_final() {
    let first = header(1, CHAIN.0, &four(), &four());
    assert_eq!(client().verify(&first, &certify(&first, &[1, 2, 3]), &four()), Ok(()));
    assert_eq!(client().verify(&first, &certify(&first, &[4, 2, 1, 3]), &four()), Ok(()), "in any order");
}

#[test]
fn exactly_two_thirds_are_not_enough() {
    let validators = set(&[(1, 1), (2, 1), (3, 1)]);
    let first = header(1, CHAIN.0, &validators, &validators);
    let trust = LightClient::genesis(CHAIN, validators.clone(), GENESIS_TIME).unwrap();
    assert_eq!(
        trust.verify(&first, &certify(&first, &[1, 2]), &validators),
        Err(LightError::NotEnoughPower { height: Height(1), signed: 2, total: 3 })
    );
    let nobody = certify(&first, &[]);
    assert!(matches!(trust.verify(&first, &nobody, &validators), Err(LightError::NotEnoughPower { signed: 0, .. })));
}

#[test]
fn forged_signatures_are_refused() {
    let first = header(1, CHAIN.0, &four(), &four());
    let good = certify(&first, &[1, 2, 3]);
    let bad = |signer: (NodeId, Signature)| {
        let mut certificate = good.clone();
        certificate.signatures[2] = signer;
        client().verify(&first, &certificate, &four())
    };
    let forged = |what| Err(LightError::BadSignature { height: Height(1), signer: key(what).public(), chain: CHAIN });
    assert_eq!(bad((key(3).public(), Signature([0; 64]))), forged(3), "not a signature");
    assert_eq!(bad((key(4).public(), good.signatures[2].1)), forged(4), "another validator's signature");
    let other_chain = ChainContext(Digest([8; 32]));
    assert_eq!(bad(signature(3, &first, other_chain, 0)), forged(3), "made for another chain");
    assert_eq!(bad(signature(3, &first, CHAIN, 1)), forged(3), "made in another consensus round");
    let second = header(2, first.hash(), &four(), &four());
    assert_eq!(bad(signature(3, &second, CHAIN, 0)), forged(3), "made for another header");
    assert_eq!(
        bad(signature(9, &first, CHAIN, 0)),
        Err(LightError::NotAValidator { height: Height(1), signer: key(9).public() })
    );
}

#[test]
fn a_signer_counts_once() {
    let first = header(1, CHAIN.0, &four(), &four());
    assert_eq!(
        client().verify(&first, &certify(&first, &[1, 2, 2]), &four()),
        Err(LightError::DuplicateSigner { height: Height(1), signer: key(2).public() })
    );
}

#[test]
fn a_vote_for_no_block_is_no_vote_for_this_one() {
    let first = header(1, CHAIN.0, &four(), &four());
    let mut certificate = certify(&first, &[1, 2, 3]);
    let validator = key(3).public();
    let nil = PrecommitMessage { chain: CHAIN, height: Height(1), round: 0, value: None, validator };
    certificate.signatures[2].1 = key(3).sign_raw(&nil.signing_bytes().0);
    assert!(matches!(client().verify(&first, &certificate, &four()), Err(LightError::BadSignature { .. })));
}

#[test]
fn the_same_header_is_worth_nothing_on_another_chain() {
    let first = header(1, CHAIN.0, &four(), &four());
    let other = ChainContext(Digest([8; 32]));
    for trust in [
        LightClient::genesis(other, four(), GENESIS_TIME).unwrap(),
        LightClient::from_validators_hash(other, four().hash()),
    ] {
        let result = trust.verify(&first, &certify(&first, &[1, 2, 3]), &four());
        assert!(matches!(result, Err(LightError::BadSignature { chain, .. }) if chain == other), "{result:?}");
    }
}

#[test]
fn a_certificate_for_another_header_height_or_round_is_refused() {
    let first = header(1, CHAIN.0, &four(), &four());
    let good = certify(&first, &[1, 2, 3]);
    let check = |certificate: CommitCertificate| client().verify(&first, &certificate, &four()).unwrap_err();
    assert!(matches!(check(CommitCertificate { value: Digest::ZERO, ..good.clone() }), LightError::WrongHeader { .. }));
    assert!(matches!(check(CommitCertificate { height: Height(2), ..good.clone() }), LightError::WrongHeight { .. }));
    assert_eq!(check(CommitCertificate { round: -1, ..good.clone() }), LightError::WrongRound(-1));
    let zero = header(0, CHAIN.0, &four(), &four());
    let result = client().verify(&zero, &certify(&zero, &[1, 2, 3]), &four());
    assert!(matches!(result, Err(LightError::WrongHeight { .. })), "there is no header 0");
}

#[test]
fn validators_must_be_those_of_the_header_and_well_formed() {
    let first = header(1, CHAIN.0, &four(), &four());
    let good = certify(&first, &[1, 2, 3]);
    let refused = |validators: &ValidatorSet| client().verify(&first, &good, validators).unwrap_err();
    assert!(matches!(refused(&set(&[(1, 10), (2, 10), (3, 10)])), LightError::WrongValidators { .. }));
    let mut unsorted = four();
    unsorted.validators.reverse();
    assert!(matches!(refused(&unsorted), LightError::MalformedValidators(_)));
    let mut twice = four();
    twice.validators[1] = twice.validators[0].clone();
    assert!(matches!(refused(&twice), LightError::MalformedValidators(_)));
    assert!(matches!(refused(&ValidatorSet::default()), LightError::MalformedValidators(_)));
    assert!(matches!(refused(&set(&[(1, 10), (2, 0)])), LightError::MalformedValidators(_)));
    assert!(matches!(refused(&set(&[(1, u64::MAX), (2, 1)])), LightError::MalformedValidators(_)));
}

#[test]
fn trust_advances_header_by_header_through_announced_sets() {
    let (a, b) = (four(), set(&[(5, 1), (6, 1), (7, 1)]));
    let mut trust = client();
    let first = header(1, CHAIN.0, &a, &b);
    trust.advance(&first, &certify(&first, &[1, 2, 3]), &a).unwrap();
    let second = header(2, first.hash(), &b, &b);
    trust.advance(&second, &certify(&second, &[5, 6, 7]), &b).unwrap();
    assert_eq!((trust.height(), trust.time_ms()), (Height(2), second.time_ms));

    let mut elsewhere = client();
    elsewhere.advance(&first, &certify(&first, &[1, 2, 3]), &a).unwrap();
    let c = set(&[(1, 10), (2, 10), (3, 10)]);
    let unannounced = header(2, first.hash(), &c, &c);
    assert!(matches!(
        elsewhere.advance(&unannounced, &certify(&unannounced, &[1, 2, 3]), &c),
        Err(LightError::UnannouncedValidators { .. })
    ));
    assert_eq!(elsewhere.height(), Height(1), "a refused header changes nothing");
}

#[test]
fn a_child_of_another_parent_and_a_second_header_of_a_height_are_a_fork() {
    let mut trust = client();
    let first = header(1, CHAIN.0, &four(), &four());
    let orphan = header(1, Digest::ZERO, &four(), &four());
    assert!(matches!(trust.verify(&orphan, &certify(&orphan, &[1, 2, 3]), &four()), Err(LightError::Fork { .. })));
    trust.advance(&first, &certify(&first, &[1, 2, 3]), &four()).unwrap();
    assert_eq!(trust.verify(&first, &certify(&first, &[1, 2, 4]), &four()), Ok(()), "the trusted header again");
    let twin = Header { proposer: key(2).public(), ..first };
    assert!(matches!(trust.verify(&twin, &certify(&twin, &[1, 2, 3]), &four()), Err(LightError::Fork { .. })));
}

#[test]
fn a_new_set_is_believed_with_more_than_a_third_of_the_trusted_power_and_not_with_less() {
    let trusted = set(&[(1, 1), (2, 1), (3, 1)]);
    let trust = LightClient::genesis(CHAIN, trusted, GENESIS_TIME).unwrap();
    let overlap = set(&[(1, 1), (2, 1), (8, 2), (9, 2)]);
    let far = header(50, Digest::ZERO, &overlap, &overlap);
    assert_eq!(trust.verify(&far, &certify(&far, &[1, 2, 8, 9]), &overlap), Ok(()));
    let one_third = certify(&far, &[1, 8, 9]);
    assert_eq!(
        trust.verify(&far, &one_third, &overlap),
        Err(LightError::NotEnoughTrust { height: Height(50), trusted: Height::ZERO, vouched: 1, total: 3 })
    );
    let strangers = set(&[(8, 2), (9, 2)]);
    let foreign = header(50, Digest::ZERO, &strangers, &strangers);
    let result = trust.verify(&foreign, &certify(&foreign, &[8, 9]), &strangers);
    assert!(matches!(result, Err(LightError::NotEnoughTrust { vouched: 0, .. })));
    let mut skipped = trust;
    skipped.advance(&far, &certify(&far, &[1, 2, 8, 9]), &overlap).unwrap();
    let farther = header(90, Digest::ZERO, &strangers, &strangers);
    assert_eq!(skipped.verify(&farther, &certify(&farther, &[8, 9]), &strangers), Ok(()), "trust moves on from there");
}

#[test]
fn an_older_header_is_believed_from_the_trusted_set_only() {
    let mut trust = client();
    let late = header(50, Digest::ZERO, &four(), &four());
    trust.advance(&late, &certify(&late, &[1, 2, 3]), &four()).unwrap();
    let early = header(20, Digest::ZERO, &four(), &four());
    assert_eq!(trust.verify(&early, &certify(&early, &[1, 2, 3]), &four()), Ok(()));
    assert_eq!(trust.advance(&early, &certify(&early, &[1, 2, 3]), &four()), Ok(()));
    assert_eq!(trust.height(), Height(50), "trust does not move back");
    let former = set(&[(1, 10), (2, 10), (3, 10)]);
    let past = header(20, Digest::ZERO, &former, &four());
    let result = trust.verify(&past, &certify(&past, &[1, 2, 3]), &former);
    assert!(matches!(result, Err(LightError::UntrustedValidators { .. })));
}

#[test]
fn time_rises_with_the_height() {
    let mut trust = client();
    let late = header(50, Digest::ZERO, &four(), &four());
    trust.advance(&late, &certify(&late, &[1, 2, 3]), &four()).unwrap();
    for (height, time_ms) in [(60, late.time_ms), (60, late.time_ms - 1), (40, late.time_ms), (40, late.time_ms + 1)] {
        let odd = Header { time_ms, ..header(height, Digest::ZERO, &four(), &four()) };
        let result = trust.verify(&odd, &certify(&odd, &[1, 2, 3]), &four());
        assert!(matches!(result, Err(LightError::TimeNotMonotonic { .. })), "height {height} at {time_ms}");
    }
    assert!(!trust.is_stale(late.time_ms + 10, 10));
    assert!(trust.is_stale(late.time_ms + 11, 10));
}

#[test]
fn a_trusted_validators_hash_is_enough_to_verify_what_that_set_signs() {
    let trust = LightClient::from_validators_hash(CHAIN, four().hash());
    let far = header(77, Digest::ZERO, &four(), &four());
    assert_eq!(trust.verify(&far, &certify(&far, &[1, 2, 3]), &four()), Ok(()));
    let other = set(&[(1, 10), (2, 10), (3, 10)]);
    let foreign = header(77, Digest::ZERO, &other, &other);
    let result = trust.verify(&foreign, &certify(&foreign, &[1, 2, 3]), &other);
    assert!(matches!(result, Err(LightError::UntrustedValidators { .. })));
}

/// A ledger that holds one ParaTime block, a ParaTime with one value, and the header that proves both.
struct Fixture {
    ledger: ProofBundle,
    absent: ProofBundle,
    paratime: ProofBundle,
    /// Another value of the ParaTime, and the absence of one.
    more: Vec<StateProof>,
    id: ParaTimeId,
}

fn tree(ns: Namespace, writes: &[(Vec<u8>, Vec<u8>)]) -> parallax_state::Tree {
    let tree = Database::open(Arc::new(MemoryStore::new())).unwrap().tree(ns);
    let writes = writes.iter().map(|(k, v)| (k.clone(), Some(Value::Plain(v.clone())))).collect();
    let prepared = tree.prepare(1, &Changes { writes, ..Changes::default() }).unwrap();
    tree.commit(prepared, Batch::default()).unwrap();
    tree
}

static FIXTURE: LazyLock<Fixture> = LazyLock::new(|| {
    let id = ParaTimeId::named("scheduler");
    let inner = tree(
        Namespace::ParaTime(id),
        &[(b"job/1".to_vec(), b"placed".to_vec()), (b"job/2".to_vec(), b"waiting".to_vec())],
    );
    let block = ParaTimeBlock {
        round: Round(256),
        kind: BlockKind::Normal,
        ..ParaTimeBlock::genesis(id, inner.root_at(1).unwrap())
    };
    let key = keys::paratime_block(&id, Round(256));
    let other = ParaTimeBlock { round: Round(255), ..block.clone() };
    let outer = tree(
        Namespace::Consensus,
        &[
            (key.clone(), stored::to_bytes(&block)),
            (keys::paratime_block(&id, Round(255)), stored::to_bytes(&other)),
            (b"supply".to_vec(), b"1".to_vec()),
        ],
    );
    let app_hash = outer.root_at(1).unwrap();
    let header = Header { app_hash, ..header(13, Digest::ZERO, &four(), &four()) };
    let bundle = |consensus: &[u8], paratime: Option<ParaTimeProof>| {
        ProofBundle::V1(ProofBundleV1 {
            certificate: certify(&header, &[1, 2, 3]),
            header: header.clone(),
            validators: four(),
            consensus: outer.prove(1, consensus).unwrap(),
            paratime,
        })
    };
    let proof = inner.prove(1, b"job/1").unwrap();
    let more = [b"job/2", b"job/3"].map(|key| inner.prove(1, key).unwrap()).to_vec();
    Fixture {
        more,
        ledger: bundle(b"supply", None),
        absent: bundle(b"nothing", None),
        paratime: bundle(&key, Some(ParaTimeProof { block, proof })),
        id,
    }
});

fn altered(bundle: &ProofBundle, change: impl FnOnce(&mut ProofBundleV1)) -> ProofBundle {
    let ProofBundle::V1(mut inner) = bundle.clone();
    change(&mut inner);
    ProofBundle::V1(inner)
}

#[test]
fn a_bundle_proves_a_value_of_the_ledger_its_absence_and_a_value_of_a_paratime() {
    let verified = FIXTURE.ledger.verify(&client()).unwrap();
    assert_eq!(verified.height, Height(12), "header 13 proves the state after height 12");
    assert_eq!((verified.key, verified.value), (b"supply".to_vec(), Some(Value::Plain(b"1".to_vec()))));
    assert_eq!(verified.paratime, None);
    assert_eq!(FIXTURE.absent.verify(&client()).unwrap().value, None);
    let verified = FIXTURE.paratime.verify(&LightClient::from_validators_hash(CHAIN, four().hash())).unwrap();
    assert_eq!(verified.paratime, Some((FIXTURE.id, Round(256))));
    assert_eq!((verified.key, verified.value), (b"job/1".to_vec(), Some(Value::Plain(b"placed".to_vec()))));
}

#[test]
fn a_proof_under_another_root_is_refused_and_named_as_about_the_state() {
    let resigned = altered(&FIXTURE.ledger, |b| {
        b.header.app_hash = Digest([9; 32]);
        b.certificate = certify(&b.header, &[1, 2, 3]);
    });
    let error = resigned.verify(&client()).unwrap_err();
    assert!(matches!(error, LightError::ConsensusProof { height: Height(13), .. }) && error.is_about_state());
    let unsigned = altered(&FIXTURE.ledger, |b| b.header.app_hash = Digest([9; 32]));
    let error = unsigned.verify(&client()).unwrap_err();
    assert!(matches!(error, LightError::WrongHeader { .. }) && !error.is_about_state());
}

#[test]
fn a_paratime_value_must_hang_on_the_block_that_the_ledger_holds() {
    let ProofBundle::V1(ledger) = &FIXTURE.ledger;
    let elsewhere = altered(&FIXTURE.paratime, |b| b.consensus = ledger.consensus.clone());
    assert!(matches!(elsewhere.verify(&client()), Err(LightError::NotTheBlock { .. })));
    let forged = |change: fn(&mut ParaTimeBlock)| {
        altered(&FIXTURE.paratime, |b| change(&mut b.paratime.as_mut().unwrap().block)).verify(&client()).unwrap_err()
    };
    assert!(matches!(forged(|b| b.state_root = Digest::ZERO), LightError::WrongBlock { .. }));
    assert!(matches!(forged(|b| b.round = Round(255)), LightError::NotTheBlock { .. }));
    assert!(matches!(forged(|b| b.paratime = ParaTimeId([1; 32])), LightError::NotTheBlock { .. }));
    let swapped = altered(&FIXTURE.paratime, |b| b.paratime.as_mut().unwrap().proof = ledger.consensus.clone());
    assert!(matches!(swapped.verify(&client()), Err(LightError::ParaTimeProof { round: Round(256), .. })));
}

#[test]
fn a_set_proves_several_values_of_one_state_and_none_of_another() {
    let Fixture { paratime, ledger, more, .. } = &*FIXTURE;
    let verify = |bundle: &ProofBundle, more: &[StateProof]| {
        let set = ProofSet::V1(ProofSetV1 { bundle: bundle.clone(), more: more.to_vec() });
        assert_eq!(ProofSet::decode(&set.encode()).as_ref(), Ok(&set));
        set.verify(&client())
    };
    let verified = verify(paratime, more).unwrap();
    assert_eq!(verified.first.key, b"job/1");
    let known = |key: &[u8], text: &[u8]| (key.to_vec(), Some(Value::Plain(text.to_vec())));
    let expected = [known(b"job/1", b"placed"), known(b"job/2", b"waiting"), (b"job/3".to_vec(), None)];
    assert_eq!(verified.values, expected.into());
    let elsewhere = verify(ledger, more).unwrap_err();
    assert!(matches!(elsewhere, LightError::ConsensusProof { .. }) && elsewhere.is_about_state());
    let ProofBundle::V1(ProofBundleV1 { consensus, .. }) = ledger;
    let of_the_ledger = verify(paratime, std::slice::from_ref(consensus)).unwrap_err();
    assert!(matches!(of_the_ledger, LightError::ParaTimeProof { round: Round(256), .. }));
    let unsigned = altered(paratime, |b| b.certificate.signatures.clear());
    assert!(!verify(&unsigned, more).unwrap_err().is_about_state());
}

#[test]
fn bundles_come_back_from_bytes_and_from_json() {
    for bundle in [&FIXTURE.ledger, &FIXTURE.absent, &FIXTURE.paratime] {
        assert_eq!(ProofBundle::decode(&bundle.encode()).as_ref(), Ok(bundle));
        let json = serde_json::to_string(bundle).unwrap();
        assert!(json.contains(r#""version":"v1""#), "{json}");
        assert_eq!(&serde_json::from_str::<ProofBundle>(&json).unwrap(), bundle);
    }
    assert!(matches!(ProofBundle::decode(&vec![0; MAX_BUNDLE_BYTES + 1]), Err(LightError::Decode(_))));
}

#[test]
fn the_largest_bundle_fits_its_limit() {
    let validators = ValidatorSet { validators: vec![Validator { node: key(1).public(), power: 1 }; MAX_VALIDATORS] };
    let largest = altered(&FIXTURE.paratime, |b| {
        b.certificate.signatures = vec![(key(1).public(), Signature([0; 64])); MAX_VALIDATORS];
        b.validators = validators;
    });
    let ProofBundle::V1(parts) = &largest;
    let proofs = parts.consensus.encode().len() + parts.paratime.as_ref().unwrap().proof.encode().len();
    assert!(largest.encode().len() - proofs + 2 * MAX_PROOF_BYTES <= MAX_BUNDLE_BYTES);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn a_bundle_with_any_bit_changed_proves_nothing_else(at in any::<proptest::sample::Index>(), bit in 0u8..8) {
        let mut bytes = FIXTURE.paratime.encode();
        let at = at.index(bytes.len());
        bytes[at] ^= 1 << bit;
        let outcome = ProofBundle::decode(&bytes).and_then(|b| b.verify(&client()));
        prop_assert!(outcome.is_err(), "byte {} bit {}", at, bit);
    }

    #[test]
    fn hostile_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..600), cut in any::<proptest::sample::Index>()) {
        prop_assert!(ProofBundle::decode(&bytes).and_then(|b| b.verify(&client())).is_err());
        let good = FIXTURE.paratime.encode();
        let cut = cut.index(good.len());
        prop_assert!(ProofBundle::decode(&good[..cut]).is_err(), "truncated at {}", cut);
        let mut spliced = good[..cut].to_vec();
        spliced.extend(&bytes);
        let _ = ProofBundle::decode(&spliced).and_then(|b| b.verify(&client()));
    }
}
