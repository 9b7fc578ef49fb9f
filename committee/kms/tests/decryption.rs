//! Decryption through the whole chain of proofs, on a decryptor whose ciphertexts are one byte longer than the text.

// Helpers outside #[test] functions too: a fixture that cannot be built is a failed test.
#![allow(clippy::unwrap_used)]

mod chain;

use chain::{final_header, sign_header, tree, validators};
use parallax_consensus_app::light::{LightClient, LightError, ParaTimeProof, ProofBundle, ProofBundleV1};
use parallax_consensus_app::{keys, stored};
use parallax_kms::{
    AuditRecord, DecryptionRequest, DecryptionResponse, KeyManager, MAX_BLOCKS, MAX_PROOF_AGE, MAX_REMEMBERED,
    OpenError, Refusal, SetupError, open_answer, read_public,
};
use parallax_primitives::seal::{self, OpeningKey, SealingKey};
use parallax_primitives::{Address, ChainContext, Digest, Epoch, Height, KeyId, ParaTimeId, Round, SecretKey, encode};
use parallax_rounds::ParaTimeBlock;
use parallax_runtime::access::{self, Grant};
use parallax_runtime::decryption::{KeyManagers, Payload, Permit, SignedAnswer, SignedPermit};
use parallax_runtime::{Decryptor, FheError};
use parallax_state::{CipherRef, Namespace, blob_digest};
use proptest::prelude::*;
use rand::SeedableRng;
use rand::rngs::StdRng;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use zeroize::Zeroizing;

const CHAIN: ChainContext = ChainContext(Digest([7; 32]));
const KEY: KeyId = KeyId([1; 32]);
const HEIGHT: u64 = 40;
const SUBJECT: Digest = Digest([0x5b; 32]);

/// "Decrypts" bytes that begin with a marker; counts how often it is asked.
#[derive(Default)]
struct Marked {
    calls: AtomicUsize,
}

impl Decryptor for Marked {
    fn key_id(&self) -> KeyId {
        KEY
    }

    fn decrypt(&self, cipher: &[u8], blocks: u16) -> Result<Zeroizing<Vec<u8>>, FheError> {
        self.calls.fetch_add(1, Ordering::SeqCst);
        match cipher.split_first() {
            Some((0xc1, text)) if text.len() == usize::from(blocks) => Ok(Zeroizing::new(text.to_vec())),
            _ => Err(FheError::BadInput { index: 0, reason: "secret detail".to_owned() }),
        }
    }
}

fn id() -> ParaTimeId {
    ParaTimeId::named("scheduler")
}

fn cipher(text: &[u8]) -> Vec<u8> {
    [&[0xc1], text].concat()
}

fn reference(bytes: &[u8], key_id: KeyId) -> CipherRef {
    CipherRef { key_id, blocks: u16::try_from(bytes.len() - 1).unwrap(), digest: blob_digest(bytes) }
}

fn light() -> LightClient {
    LightClient::genesis(CHAIN, validators(), 0).unwrap()
}

/// The proof of `key` in a state of `paratime` that holds `writes`.
fn prove_in(paratime: ParaTimeId, writes: &[(Vec<u8>, Vec<u8>)], key: &[u8]) -> ProofBundle {
    prove_at(Round(3), paratime, writes, key)
}

fn prove_at(round: Round, paratime: ParaTimeId, writes: &[(Vec<u8>, Vec<u8>)], key: &[u8]) -> ProofBundle {
    let inner = tree(Namespace::ParaTime(paratime), writes);
    let genesis = ParaTimeBlock::genesis(paratime, inner.root_at(1).unwrap());
    let block = ParaTimeBlock { round, height: Height(10 * round.0), ..genesis };
    let block_key = keys::paratime_block(&paratime, round);
    let filler = (b"supply".to_vec(), vec![0; 16]);
    let outer = tree(Namespace::Consensus, &[(block_key.clone(), stored::to_bytes(&block)), filler]);
    let (header, certificate) = sign_header(final_header(outer.root_at(1).unwrap(), HEIGHT), CHAIN);
    ProofBundle::V1(ProofBundleV1 {
        header,
        certificate,
        validators: validators(),
        consensus: outer.prove(1, &block_key).unwrap(),
        paratime: Some(ParaTimeProof { block, proof: inner.prove(1, key).unwrap() }),
    })
}

fn prove(writes: &[(Vec<u8>, Vec<u8>)], key: &[u8]) -> ProofBundle {
    let other = (b"host/1".to_vec(), b"x".to_vec());
    prove_in(id(), &[writes, &[other]].concat(), key)
}

fn public_grant(reference: CipherRef) -> ProofBundle {
    let key = access::public_key(&reference.digest);
    prove(&[(key.clone(), encode(&Grant { cipher: reference, round: Round(3), subject: SUBJECT }))], &key)
}

fn user_grant(reference: CipherRef, user: &Address) -> ProofBundle {
    let key = access::user_key(&reference.digest, user);
    prove(&[(key.clone(), encode(&Grant { cipher: reference, round: Round(3), subject: SUBJECT }))], &key)
}

fn user() -> SecretKey {
    SecretKey::from_seed([0x22; 32])
}

fn user_address() -> Address {
    Address::of(&user().public())
}

fn sealing() -> (OpeningKey, SealingKey) {
    OpeningKey::from_seed(&[0x33; 32])
}

fn wish(cipher: &[u8]) -> Permit {
    Permit {
        paratime: id(),
        cipher: blob_digest(cipher),
        requester: user().public(),
        seal_to: sealing().1,
        expires: Height(HEIGHT),
    }
}

fn permit(cipher: &[u8]) -> SignedPermit {
    SignedPermit::sign(wish(cipher), CHAIN, &user())
}

fn party() -> SecretKey {
    SecretKey::from_seed([0x44; 32])
}

fn managers() -> KeyManagers {
    KeyManagers { parties: vec![party().public()], threshold: 0, epoch: Epoch(2) }
}

fn manager() -> (KeyManager, Arc<Marked>) {
    let decryptor = Arc::new(Marked::default());
    let manager = KeyManager::new(CHAIN, id(), managers(), 0, party(), vec![decryptor.clone()]).unwrap();
    (manager, decryptor)
}

fn rng() -> StdRng {
    StdRng::seed_from_u64(1)
}

fn ask(
    manager: &mut KeyManager,
    permit: &SignedPermit,
    bundle: &ProofBundle,
    bytes: &[u8],
) -> Result<SignedAnswer, Refusal> {
    manager.answer_user(&mut rng(), &light(), permit, bundle, bytes)
}

fn altered(bundle: &ProofBundle, change: impl FnOnce(&mut ProofBundleV1)) -> ProofBundle {
    let ProofBundle::V1(mut inner) = bundle.clone();
    change(&mut inner);
    ProofBundle::V1(inner)
}

/// Asks for a public and a user decryption with changed bundles; both must be refused alike, and nothing decrypted.
fn both_refused(change: impl Fn(&mut ProofBundleV1), expected: impl Fn(&Refusal) -> bool) {
    let bytes = cipher(&[4, 2]);
    let reference = reference(&bytes, KEY);
    let (mut manager, decryptor) = manager();
    let public = manager.answer_public(&light(), &altered(&public_grant(reference), &change), &bytes).unwrap_err();
    assert!(expected(&public), "{public}");
    let bundle = altered(&user_grant(reference, &user_address()), &change);
    let user = ask(&mut manager, &permit(&bytes), &bundle, &bytes).unwrap_err();
    assert!(expected(&user), "{user}");
    assert_eq!(decryptor.calls.load(Ordering::SeqCst), 0, "nothing was decrypted");
}

#[test]
fn a_public_grant_is_answered_for_everyone() {
    let bytes = cipher(&[1, 0]);
    let (mut manager, _) = manager();
    let answer = manager.answer_public(&light(), &public_grant(reference(&bytes, KEY)), &bytes).unwrap();
    let a = &answer.answer;
    assert_eq!((a.party, a.parties, a.threshold, a.epoch), (0, 1, 0, Epoch(2)));
    assert_eq!((a.height, a.key_id, a.request), (Height(HEIGHT - 1), KEY, Digest::ZERO));
    assert_eq!((a.round, a.subject), (Round(3), SUBJECT), "it says of what, and in which state the grant was seen");
    let ProofBundle::V1(bundle) = public_grant(reference(&bytes, KEY));
    assert_eq!(Some(a.state_root), bundle.paratime.map(|p| p.block.state_root));
    let blocks = read_public(id(), blob_digest(&bytes), &[answer], &managers(), CHAIN).unwrap();
    assert_eq!(blocks, [1, 0]);
}

#[test]
fn a_users_grant_is_answered_for_that_user_alone() {
    let bytes = cipher(&[9, 3, 15]);
    let (mut manager, _) = manager();
    let bundle = user_grant(reference(&bytes, KEY), &user_address());
    let answer = ask(&mut manager, &permit(&bytes), &bundle, &bytes).unwrap();
    let blocks = open_answer(&sealing().0, &wish(&bytes), std::slice::from_ref(&answer), &managers(), CHAIN).unwrap();
    assert_eq!(*blocks, [9, 3, 15]);
    let Payload::Sealed(sealed) = &answer.answer.payload else { panic!("a user's answer is sealed") };
    assert!(!sealed.ciphertext.windows(3).any(|w| w == [9, 3, 15]));
    let stranger = OpeningKey::from_seed(&[0x55; 32]).0;
    let refused = open_answer(&stranger, &wish(&bytes), &[answer], &managers(), CHAIN);
    assert!(matches!(refused, Err(OpenError::DoesNotOpen { party: 0, .. })));
}

#[test]
fn a_replayed_permit_gives_the_same_answer_without_decrypting_again() {
    let bytes = cipher(&[9]);
    let (mut manager, decryptor) = manager();
    let bundle = user_grant(reference(&bytes, KEY), &user_address());
    let first = manager.answer_user(&mut StdRng::seed_from_u64(1), &light(), &permit(&bytes), &bundle, &bytes).unwrap();
    let again = manager.answer_user(&mut StdRng::seed_from_u64(2), &light(), &permit(&bytes), &bundle, &bytes).unwrap();
    assert_eq!(first, again);
    let public = public_grant(reference(&bytes, KEY));
    let one = manager.answer_public(&light(), &public, &bytes).unwrap();
    assert_eq!(manager.answer_public(&light(), &public, &bytes).unwrap(), one);
    assert_eq!(decryptor.calls.load(Ordering::SeqCst), 2, "once for the user, once for the public");
    let tampered = cipher(&[8]);
    let refused = ask(&mut manager, &permit(&bytes), &bundle, &tampered);
    assert!(matches!(refused, Err(Refusal::OtherCiphertext { .. })), "what is remembered is verified all the same");
}

#[test]
fn a_header_that_is_not_final_is_refused() {
    both_refused(
        |b| b.certificate.signatures.clear(),
        |r| matches!(r, Refusal::NotFinal(LightError::NotEnoughPower { .. })),
    );
    both_refused(|b| b.header.time_ms += 1, |r| matches!(r, Refusal::NotFinal(LightError::WrongHeader { .. })));
}

#[test]
fn a_header_of_another_chain_is_refused() {
    let other = ChainContext(Digest([8; 32]));
    both_refused(
        |b| b.certificate = sign_header(b.header.clone(), other).1,
        |r| matches!(r, Refusal::NotFinal(LightError::BadSignature { .. })),
    );
    let bytes = cipher(&[1]);
    let (mut manager, _) = manager();
    let foreign = LightClient::genesis(other, validators(), 0).unwrap();
    let refused = manager.answer_public(&foreign, &public_grant(reference(&bytes, KEY)), &bytes);
    assert_eq!(refused, Err(Refusal::Unavailable), "the light client itself is of another chain");
}

#[test]
fn a_proof_under_another_root_is_refused() {
    both_refused(
        |b| (b.header, b.certificate) = sign_header(final_header(Digest([9; 32]), HEIGHT), CHAIN),
        |r| matches!(r, Refusal::WrongRoot(LightError::ConsensusProof { .. })),
    );
    both_refused(
        |b| b.paratime.as_mut().unwrap().block.state_root = Digest::ZERO,
        |r| matches!(r, Refusal::WrongRoot(LightError::WrongBlock { .. })),
    );
    both_refused(|b| b.paratime = None, |r| matches!(r, Refusal::OtherParaTime { .. }));
}

#[test]
fn a_state_without_the_grant_is_refused() {
    let bytes = cipher(&[1]);
    let digest = blob_digest(&bytes);
    let (mut manager, _) = manager();
    let absent = prove(&[], &access::public_key(&digest));
    assert_eq!(manager.answer_public(&light(), &absent, &bytes), Err(Refusal::NoGrant { cipher: digest }));
    let absent = prove(&[], &access::user_key(&digest, &user_address()));
    assert_eq!(ask(&mut manager, &permit(&bytes), &absent, &bytes), Err(Refusal::NoGrant { cipher: digest }));
}

#[test]
fn the_grant_of_another_user_or_ciphertext_is_refused() {
    let bytes = cipher(&[1]);
    let (mut manager, _) = manager();
    let other = Address::of(&party().public());
    let bundle = user_grant(reference(&bytes, KEY), &other);
    assert_eq!(ask(&mut manager, &permit(&bytes), &bundle, &bytes), Err(Refusal::OtherGrant));
    let public = public_grant(reference(&bytes, KEY));
    assert_eq!(ask(&mut manager, &permit(&bytes), &public, &bytes), Err(Refusal::OtherGrant));
    let mine = user_grant(reference(&bytes, KEY), &user_address());
    assert_eq!(
        manager.answer_public(&light(), &mine, &bytes),
        Err(Refusal::OtherGrant),
        "a user's grant is not public"
    );
    let key = access::public_key(&blob_digest(&bytes));
    let elsewhere = encode(&Grant { cipher: reference(&cipher(&[2]), KEY), round: Round(3), subject: SUBJECT });
    for value in [elsewhere, vec![1, 2, 3]] {
        let odd = prove(&[(key.clone(), value)], &key);
        assert_eq!(manager.answer_public(&light(), &odd, &bytes), Err(Refusal::MalformedGrant));
    }
}

#[test]
fn another_paratime_cannot_grant_what_is_under_this_ones_key() {
    let bytes = cipher(&[1]);
    let key = access::public_key(&blob_digest(&bytes));
    let grant = encode(&Grant { cipher: reference(&bytes, KEY), round: Round(3), subject: SUBJECT });
    let bundle = prove_in(ParaTimeId::named("attacker"), &[(key.clone(), grant), (vec![1], vec![2])], &key);
    let (mut manager, _) = manager();
    assert_eq!(manager.answer_public(&light(), &bundle, &bytes), Err(Refusal::OtherParaTime { ours: id() }));
    let foreign = Permit { paratime: ParaTimeId::named("attacker"), ..wish(&bytes) };
    let permit = SignedPermit::sign(foreign, CHAIN, &user());
    assert_eq!(ask(&mut manager, &permit, &bundle, &bytes), Err(Refusal::OtherParaTime { ours: id() }));
}

#[test]
fn an_expired_permit_is_refused_even_with_an_old_proof() {
    let bytes = cipher(&[1]);
    let bundle = user_grant(reference(&bytes, KEY), &user_address());
    let (mut manager, _) = manager();
    let until = |expires| SignedPermit::sign(Permit { expires: Height(expires), ..wish(&bytes) }, CHAIN, &user());
    assert!(ask(&mut manager, &until(HEIGHT - 1), &bundle, &bytes).is_ok(), "its last height");
    let refused = ask(&mut manager, &until(HEIGHT - 2), &bundle, &bytes);
    assert_eq!(refused, Err(Refusal::ExpiredPermit { expires: Height(HEIGHT - 2), current: Height(HEIGHT - 1) }));
    let mut ahead = light();
    let (header, certificate) = sign_header(final_header(Digest::ZERO, HEIGHT + 5), CHAIN);
    ahead.advance(&header, &certificate, &validators()).unwrap();
    let refused = manager.answer_user(&mut rng(), &ahead, &permit(&bytes), &bundle, &bytes);
    assert_eq!(refused, Err(Refusal::ExpiredPermit { expires: Height(HEIGHT), current: Height(HEIGHT + 5) }));
}

#[test]
fn a_proof_from_long_ago_is_refused() {
    let bytes = cipher(&[1]);
    let bundle = public_grant(reference(&bytes, KEY));
    let (mut manager, _) = manager();
    let mut at = |height| {
        let mut ahead = light();
        let (header, certificate) = sign_header(final_header(Digest::ZERO, height), CHAIN);
        ahead.advance(&header, &certificate, &validators()).unwrap();
        manager.answer_public(&ahead, &bundle, &bytes)
    };
    assert!(at(HEIGHT - 1 + MAX_PROOF_AGE).is_ok());
    assert!(matches!(at(HEIGHT + MAX_PROOF_AGE), Err(Refusal::Stale { proven: Height(39), .. })));
}

#[test]
fn a_grant_that_was_taken_back_does_not_return_with_the_proof_of_an_older_round() {
    let bytes = cipher(&[1]);
    let reference = reference(&bytes, KEY);
    let key = access::public_key(&reference.digest);
    let writes = [
        (b"host/1".to_vec(), b"x".to_vec()),
        (key.clone(), encode(&Grant { cipher: reference, round: Round(1), subject: SUBJECT })),
    ];
    let at = |round, writes: &[_]| prove_at(Round(round), id(), writes, &key);
    let (mut manager, decryptor) = manager();
    assert_eq!(manager.newest_round(), Round(0));
    assert!(manager.answer_public(&light(), &at(2, &writes), &bytes).is_ok());
    assert!(manager.answer_public(&light(), &at(2, &writes), &bytes).is_ok(), "an idle ParaTime has no newer round");
    let absent = manager.answer_public(&light(), &at(3, &writes[..1]), &bytes);
    assert_eq!(absent, Err(Refusal::NoGrant { cipher: reference.digest }));
    let replayed = manager.answer_public(&light(), &at(2, &writes), &bytes);
    assert_eq!(replayed, Err(Refusal::Stale { proven: Height(20), current: Height(30) }));
    assert_eq!((manager.newest_round(), decryptor.calls.load(Ordering::SeqCst)), (Round(3), 1));
}

#[test]
fn a_permit_that_its_requester_did_not_sign_for_this_chain_is_refused() {
    let bytes = cipher(&[1]);
    let bundle = user_grant(reference(&bytes, KEY), &user_address());
    let (mut manager, _) = manager();
    let forged = SignedPermit::sign(wish(&bytes), CHAIN, &party());
    assert_eq!(ask(&mut manager, &forged, &bundle, &bytes), Err(Refusal::BadPermit));
    let elsewhere = SignedPermit::sign(wish(&bytes), ChainContext(Digest([8; 32])), &user());
    assert_eq!(ask(&mut manager, &elsewhere, &bundle, &bytes), Err(Refusal::BadPermit));
    let mut redirected = permit(&bytes);
    redirected.permit.seal_to = seal::generate(&mut rng()).1;
    assert_eq!(ask(&mut manager, &redirected, &bundle, &bytes), Err(Refusal::BadPermit));
}

#[test]
fn a_tampered_blob_is_never_decrypted() {
    let bytes = cipher(&[1, 2]);
    let (mut manager, decryptor) = manager();
    for flipped in 0..bytes.len() {
        let mut bad = bytes.clone();
        bad[flipped] ^= 1;
        let expected = Refusal::OtherCiphertext { given: blob_digest(&bad), granted: blob_digest(&bytes) };
        let public = public_grant(reference(&bytes, KEY));
        assert_eq!(manager.answer_public(&light(), &public, &bad), Err(expected.clone()));
        let bundle = user_grant(reference(&bytes, KEY), &user_address());
        assert_eq!(ask(&mut manager, &permit(&bytes), &bundle, &bad), Err(expected));
    }
    assert_eq!(decryptor.calls.load(Ordering::SeqCst), 0);
}

#[test]
fn a_ciphertext_under_another_key_or_of_an_impossible_size_is_never_decrypted() {
    let bytes = cipher(&[1]);
    let (mut manager, decryptor) = manager();
    let unknown = KeyId([2; 32]);
    let refused = manager.answer_public(&light(), &public_grant(reference(&bytes, unknown)), &bytes);
    assert_eq!(refused, Err(Refusal::UnknownKey(unknown)));
    for blocks in [0, MAX_BLOCKS + 1] {
        let odd = CipherRef { blocks, ..reference(&bytes, KEY) };
        let refused = manager.answer_public(&light(), &public_grant(odd), &bytes);
        assert_eq!(refused, Err(Refusal::Size { blocks, bytes: 2 }));
    }
    assert_eq!(decryptor.calls.load(Ordering::SeqCst), 0);
}

#[test]
fn what_does_not_conform_is_refused_without_the_reason() {
    let (mut manager, _) = manager();
    let malformed = vec![0xff, 1];
    let refused = manager.answer_public(&light(), &public_grant(reference(&malformed, KEY)), &malformed).unwrap_err();
    assert_eq!(refused, Refusal::NotConformant);
    assert!(!refused.to_string().contains("secret detail"));
    let over = cipher(&[16]);
    let refused = manager.answer_public(&light(), &public_grant(reference(&over, KEY)), &over);
    assert_eq!(refused, Err(Refusal::NotConformant), "a block holds four bits");
}

#[test]
fn a_key_manager_is_set_up_only_as_what_it_is() {
    let new = |managers: KeyManagers, key: SecretKey, decryptors| {
        KeyManager::new(CHAIN, id(), managers, 0, key, decryptors).map(|_| ()).unwrap_err()
    };
    let one = || vec![Arc::new(Marked::default()) as Arc<dyn Decryptor>];
    let four = KeyManagers { parties: vec![party().public(); 4], threshold: 1, epoch: Epoch(0) };
    let error = new(four, party(), one());
    assert_eq!(error, SetupError::ThresholdNotSupported { parties: 4, threshold: 1 });
    assert!(error.to_string().contains("designated decryptor"));
    assert_eq!(new(managers(), user(), one()), SetupError::NotAParty { party: 0, key: user().public() });
    assert_eq!(new(managers(), party(), vec![]), SetupError::Keys);
    assert_eq!(new(managers(), party(), [one(), one()].concat()), SetupError::Keys);
    let shown = format!("{:?}", manager().0);
    assert!(!shown.contains("SecretKey") && shown.contains("key_ids"), "{shown}");
}

#[test]
fn old_answers_are_forgotten_and_made_again() {
    let (mut manager, decryptor) = manager();
    let texts: Vec<Vec<u8>> = (0..=MAX_REMEMBERED)
        .map(|n| cipher(&[n % 16, n / 16 % 16, n / 256 % 16, n / 4096].map(|d| u8::try_from(d).unwrap())))
        .collect();
    let writes: Vec<_> = texts
        .iter()
        .map(|bytes| {
            let reference = reference(bytes, KEY);
            (
                access::public_key(&reference.digest),
                encode(&Grant { cipher: reference, round: Round(3), subject: SUBJECT }),
            )
        })
        .collect();
    let inner = tree(Namespace::ParaTime(id()), &writes);
    let block = ParaTimeBlock { round: Round(3), ..ParaTimeBlock::genesis(id(), inner.root_at(1).unwrap()) };
    let block_key = keys::paratime_block(&id(), Round(3));
    let outer = tree(Namespace::Consensus, &[(block_key.clone(), stored::to_bytes(&block)), (vec![1], vec![2])]);
    let (header, certificate) = sign_header(final_header(outer.root_at(1).unwrap(), HEIGHT), CHAIN);
    let mut answer = |n: usize| {
        let bundle = ProofBundle::V1(ProofBundleV1 {
            header: header.clone(),
            certificate: certificate.clone(),
            validators: validators(),
            consensus: outer.prove(1, &block_key).unwrap(),
            paratime: Some(ParaTimeProof { block: block.clone(), proof: inner.prove(1, &writes[n].0).unwrap() }),
        });
        manager.answer_public(&light(), &bundle, &texts[n]).unwrap()
    };
    let first = answer(0);
    for n in 1..=MAX_REMEMBERED {
        answer(n);
    }
    assert_eq!(decryptor.calls.load(Ordering::SeqCst), MAX_REMEMBERED + 1);
    assert_eq!(answer(0), first, "made again, the same");
    assert_eq!(decryptor.calls.load(Ordering::SeqCst), MAX_REMEMBERED + 2);
    assert_eq!(answer(MAX_REMEMBERED).answer.cipher, writes_digest(&texts[MAX_REMEMBERED]));
    assert_eq!(decryptor.calls.load(Ordering::SeqCst), MAX_REMEMBERED + 2, "the latest is remembered");
}

fn writes_digest(bytes: &[u8]) -> Digest {
    blob_digest(bytes)
}

/// Signed public answers of `n` parties with the threshold `t`.
fn public_answers(texts: &[&[u8]], threshold: u16) -> (KeyManagers, Vec<SignedAnswer>, Digest) {
    let bytes = cipher(&[0]);
    let (mut manager, _) = manager();
    let template = manager.answer_public(&light(), &public_grant(reference(&bytes, KEY)), &bytes).unwrap().answer;
    let party = |n: usize| SecretKey::from_seed([0x60 + u8::try_from(n).unwrap(); 32]);
    let parties = u16::try_from(texts.len()).unwrap();
    let managers =
        KeyManagers { parties: (0..texts.len()).map(|n| party(n).public()).collect(), threshold, epoch: Epoch(2) };
    let answers = texts.iter().enumerate().map(|(n, text)| {
        let mut answer = template.clone();
        answer.party = u16::try_from(n).unwrap();
        (answer.parties, answer.threshold) = (parties, threshold);
        answer.payload = Payload::Public(text.to_vec());
        SignedAnswer::sign(answer, CHAIN, &party(n))
    });
    (managers.clone(), answers.collect(), template.cipher)
}

#[test]
fn a_reader_needs_threshold_plus_one_equal_answers() {
    let (managers, answers, digest) = public_answers(&[&[1], &[2], &[1], &[3]], 1);
    let read = |answers: &[SignedAnswer]| read_public(id(), digest, answers, &managers, CHAIN);
    assert_eq!(read(&answers), Ok(vec![1]));
    assert_eq!(read(&answers[..2]), Err(OpenError::TooFew { equal: 1, needed: 2 }));
    assert_eq!(read(&[]), Err(OpenError::TooFew { equal: 0, needed: 2 }));
    let twice = [answers[1].clone(), answers[1].clone()];
    assert_eq!(read(&twice), Err(OpenError::DuplicateParty { party: 1 }), "one party is one voice");
    let (managers, split, _) = public_answers(&[&[1], &[2], &[1], &[2]], 1);
    assert_eq!(read_public(id(), digest, &split, &managers, CHAIN), Err(OpenError::Disagreement));
}

#[test]
fn a_reader_refuses_answers_that_are_forged_or_for_something_else() {
    let bytes = cipher(&[5]);
    let (mut manager, _) = manager();
    let bundle = user_grant(reference(&bytes, KEY), &user_address());
    let good = ask(&mut manager, &permit(&bytes), &bundle, &bytes).unwrap();
    let open = |answer: SignedAnswer, permit: &Permit, managers: &KeyManagers, chain| {
        open_answer(&sealing().0, permit, &[answer], managers, chain).map(|b| b.to_vec()).unwrap_err()
    };
    let unsigned = |e| e == OpenError::BadSignature { party: 0 };
    let mut forged = good.clone();
    forged.answer.height = Height(1);
    assert!(unsigned(open(forged, &wish(&bytes), &managers(), CHAIN)));
    let later = KeyManagers { epoch: Epoch(3), ..managers() };
    assert!(unsigned(open(good.clone(), &wish(&bytes), &later, CHAIN)), "another epoch");
    assert!(unsigned(open(good.clone(), &wish(&bytes), &managers(), ChainContext(Digest([8; 32])))), "another chain");
    let other = Permit { expires: Height(1), ..wish(&bytes) };
    let error = open(good.clone(), &other, &managers(), CHAIN);
    assert_eq!(error, OpenError::OtherRequest { party: 0, what: "permit" });
    let other = Permit { cipher: Digest::ZERO, ..wish(&bytes) };
    let error = open(good.clone(), &other, &managers(), CHAIN);
    assert_eq!(error, OpenError::OtherRequest { party: 0, what: "ciphertext" });
    let public = read_public(id(), blob_digest(&bytes), &[good], &managers(), CHAIN);
    assert_eq!(public, Err(OpenError::OtherRequest { party: 0, what: "permit" }));
}

#[test]
fn the_log_tells_who_asked_for_what_and_what_came_of_it() {
    let bytes = cipher(&[5]);
    let (mut manager, _) = manager();
    let bundle = user_grant(reference(&bytes, KEY), &user_address());
    let outcome = ask(&mut manager, &permit(&bytes), &bundle, &bytes);
    let entry = |record: &AuditRecord| match record {
        AuditRecord::V1(entry) => entry.clone(),
        other => panic!("{other:?}"),
    };
    let first = entry(&AuditRecord::user(&permit(&bytes), Height(HEIGHT), &outcome));
    assert_eq!((first.requester, first.cipher), (Some(user_address()), blob_digest(&bytes)));
    assert!(first.outcome.is_ok());
    let refused = ask(&mut manager, &permit(&bytes), &bundle, &cipher(&[6]));
    let record = AuditRecord::user(&permit(&bytes), Height(HEIGHT), &refused);
    assert!(matches!(&entry(&record).outcome, Err((10, text)) if text.starts_with("the ciphertext bytes hash to")));
    assert_eq!(AuditRecord::decode(&record.encode()), Ok(record.clone()));
    assert_eq!(entry(&AuditRecord::public(id(), Digest::ZERO, Height(1), &refused)).requester, None);
}

#[test]
fn requests_and_responses_come_back_from_their_bytes() {
    let bytes = cipher(&[5]);
    let (mut manager, _) = manager();
    let bundle = user_grant(reference(&bytes, KEY), &user_address());
    let outcome = ask(&mut manager, &permit(&bytes), &bundle, &bytes);
    let request = DecryptionRequest::UserV1 { permit: permit(&bytes), bundle };
    assert_eq!(request.cipher(), blob_digest(&bytes));
    assert_eq!(DecryptionRequest::decode(&request.encode()), Ok(request));
    for response in [DecryptionResponse::from(outcome), DecryptionResponse::from(Err(Refusal::BadPermit))] {
        assert_eq!(DecryptionResponse::decode(&response.encode()), Ok(response));
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn a_request_with_any_bit_changed_is_never_decrypted(at in any::<prop::sample::Index>(), bit in 0u8..8) {
        let bytes = cipher(&[5]);
        let (mut manager, decryptor) = manager();
        let bundle = user_grant(reference(&bytes, KEY), &user_address());
        let mut wire = DecryptionRequest::UserV1 { permit: permit(&bytes), bundle }.encode();
        let at = at.index(wire.len());
        wire[at] ^= 1 << bit;
        if let Ok(DecryptionRequest::UserV1 { permit, bundle }) = DecryptionRequest::decode(&wire) {
            prop_assert!(ask(&mut manager, &permit, &bundle, &bytes).is_err(), "byte {} bit {}", at, bit);
        }
        prop_assert_eq!(decryptor.calls.load(Ordering::SeqCst), 0);
    }
}
