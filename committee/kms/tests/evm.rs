//! What a key manager does for an EVM ParaTime: on states that the EVM itself made, and with answers that its contracts
//! verify.

// Helpers outside #[test] functions too: a fixture that cannot be built is a failed test.
#![allow(clippy::unwrap_used)]

mod chain;
#[path = "../../../paratime/evm/tests/support/mod.rs"]
mod support;

use chain::{final_header, sign_header, tree, validators};
use parallax_clear::ClearDecryptor;
use parallax_consensus_app::keys;
use parallax_consensus_app::light::{
    LightClient, LightError, ParaTimeProof, ProofBundle, ProofBundleV1, ProofSet, ProofSetV1,
};
use parallax_consensus_app::stored;
use parallax_evm::decryption::HandleError;
use parallax_evm::host::ACL;
use parallax_evm::permit::{Pair, Permit, PermitError, SignedPermit};
use parallax_evm::{decryption, input};
use parallax_kms::evm::{input_keys, public_keys, user_keys};
use parallax_kms::{
    AuditRecord, EvmKeyManager, EvmRequest, KeyManager, OpenError, PublicDecryption, Refusal, Role, SetupError,
    open_evm_answer,
};
use parallax_primitives::seal::{OpeningKey, SealingKey};
use parallax_primitives::{
    Address as Account, ChainContext, Digest, Epoch, EthereumKey, Height, KeyId, ParaTimeId, Round, SecretKey,
};
use parallax_rounds::ParaTimeBlock;
use parallax_runtime::decryption::{KeyManagers, SignedAnswer};
use parallax_runtime::{Decryptor, FheError, FheType};
use parallax_state::{Namespace, StateView, Value};
use rand::SeedableRng;
use rand::rngs::StdRng;
use revm::primitives::{Address, B256, U256, keccak256};
use serde_json::Value as Json;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use support::wallet::Wallet;
use support::{CHAIN_ID, GATEWAY_DECRYPTIONS, KEY, Net, calldata, calldata_with_bytes, handles, word};
use zeroize::Zeroizing;

const PURSE: &str = include_str!("../../../paratime/evm/contracts/Purse.hex");
const AUCTION: &str = include_str!("../../../paratime/evm/contracts/Auction.hex");
/// That of the EVM's tests.
const CHAIN: ChainContext = ChainContext(Digest([1; 32]));
const HEIGHT: u64 = 40;
const DAY: u64 = 86_400;

/// The decryptor of the clear backend, which counts how often it is asked.
struct Counting {
    inner: ClearDecryptor,
    calls: AtomicUsize,
}

impl Decryptor for Counting {
    fn key_id(&self) -> KeyId {
        self.inner.key_id()
    }

    fn decrypt(&self, cipher: &[u8], blocks: u16) -> Result<Zeroizing<Vec<u8>>, FheError> {
        self.calls.fetch_add(1, Ordering::SeqCst);
        self.inner.decrypt(cipher, blocks)
    }
}

fn id() -> ParaTimeId {
    ParaTimeId::named("evm")
}

fn party() -> SecretKey {
    SecretKey::from_seed([200; 32])
}

fn managers() -> KeyManagers {
    KeyManagers { parties: vec![party().public()], threshold: 0, epoch: Epoch(1) }
}

fn ethereum() -> EthereumKey {
    EthereumKey::from_bytes(&[73; 32]).unwrap()
}

fn ours(address: Address) -> Account {
    Account(address.into_array())
}

fn sealing() -> (OpeningKey, SealingKey) {
    OpeningKey::from_seed(&[0x33; 32])
}

fn key_of(n: usize) -> EthereumKey {
    // The first two development keys.
    let text = [
        "ac0974bec39a17e36ba4a6b4d238ff944bacb478cbed5efcae784d7bf4f2ff80",
        "59c6995e998f97a5a0044966f0945389dc9e86dae88c7a8412f4603b6b78690d",
    ];
    EthereumKey::from_bytes(&hex::decode(text[n]).unwrap().try_into().unwrap()).unwrap()
}

/// An EVM with a purse, and a key manager beside it.
struct World {
    net: Net,
    purse: Address,
    manager: EvmKeyManager,
    decryptor: Arc<Counting>,
    /// Seconds that the consensus layer's clock is ahead of the EVM's newest block.
    ahead: u64,
}

impl World {
    fn new() -> Self {
        let signer = ethereum().address();
        let mut net = Net::new(|genesis| {
            genesis.params.inputs.signers = vec![signer];
            genesis.params.decryptions.signers = vec![signer];
        });
        let purse = net.deploy(&alice(), hex::decode(PURSE.trim()).unwrap());
        let decryptor = Arc::new(Counting { inner: ClearDecryptor::new(KEY), calls: AtomicUsize::new(0) });
        let inner = KeyManager::new(CHAIN, id(), managers(), 0, party(), vec![decryptor.clone()]).unwrap();
        let mut params = support::genesis().params;
        params.inputs.signers = vec![signer];
        params.decryptions.signers = vec![signer];
        let manager = EvmKeyManager::new(inner, &params, ethereum()).unwrap();
        Self { net, purse, manager, decryptor, ahead: 0 }
    }

    fn light(&self) -> LightClient {
        LightClient::genesis(CHAIN, validators(), 0).unwrap()
    }

    fn now(&self) -> u64 {
        1_700_000_000 + self.net.round + self.ahead
    }

    fn prove(&self, keys: &[Vec<u8>]) -> ProofSet {
        self.prove_in(id(), keys)
    }

    /// The proofs of state keys in the newest state, under a final header.
    fn prove_in(&self, paratime: ParaTimeId, asked: &[Vec<u8>]) -> ProofSet {
        let (inner, round) = (self.net.tree(), self.net.round);
        let genesis = ParaTimeBlock::genesis(paratime, inner.root_at(round).unwrap());
        let block = ParaTimeBlock { round: Round(round), height: Height(10), ..genesis };
        let block_key = keys::paratime_block(&paratime, Round(round));
        let filler = (b"supply".to_vec(), vec![0; 16]);
        let outer = tree(Namespace::Consensus, &[(block_key.clone(), stored::to_bytes(&block)), filler]);
        let mut header = final_header(outer.root_at(1).unwrap(), HEIGHT);
        header.time_ms = self.now() * 1_000;
        let (header, certificate) = sign_header(header, CHAIN);
        let mut proofs: Vec<_> = asked.iter().map(|key| inner.prove(round, key).unwrap()).collect();
        let first = proofs.remove(0);
        let bundle = ProofBundle::V1(ProofBundleV1 {
            header,
            certificate,
            validators: validators(),
            consensus: outer.prove(1, &block_key).unwrap(),
            paratime: Some(ParaTimeProof { block, proof: first }),
        });
        ProofSet::V1(ProofSetV1 { bundle, more: proofs })
    }

    fn calls(&self) -> usize {
        self.decryptor.calls.load(Ordering::SeqCst)
    }

    fn mint(&mut self, owner: &Wallet, amount: u64) -> B256 {
        let data = calldata("mint(address,uint64)", &[owner.address().into_word(), word(amount)]);
        assert_eq!(self.net.send(&alice(), self.purse, data)["status"], "0x1");
        self.balance(owner)
    }

    fn balance(&self, owner: &Wallet) -> B256 {
        let data = calldata("balanceOf(address)", &[owner.address().into_word()]);
        B256::from_slice(&self.net.call(Address::ZERO, self.purse, &data))
    }

    fn reveal(&mut self, owner: &Wallet) {
        assert_eq!(self.net.send(owner, self.purse, calldata("reveal()", &[]))["status"], "0x1");
    }

    /// The ciphertexts that are asked for, as honest nodes serve them.
    fn fetch(&self, digests: impl IntoIterator<Item = Digest>) -> BTreeMap<Digest, Vec<u8>> {
        digests.into_iter().map(|digest| (digest, self.net.state.blob(&digest).unwrap().unwrap())).collect()
    }

    fn public(&mut self, asked: &[B256]) -> Result<PublicDecryption, Refusal> {
        let granted = self.manager.grant_public(&self.light(), asked, &self.prove(&public_keys(asked)))?;
        let ciphers = self.fetch(self.manager.needed(&granted));
        self.manager.public(&granted, &ciphers)
    }

    fn user(&mut self, permit: &SignedPermit) -> Result<Vec<SignedAnswer>, Refusal> {
        self.user_at(permit, 1)
    }

    fn user_at(&mut self, permit: &SignedPermit, seed: u64) -> Result<Vec<SignedAnswer>, Refusal> {
        let set = self.prove(&user_keys(permit));
        let granted = self.manager.grant_user(&self.light(), permit, &set)?;
        let ciphers = self.fetch(self.manager.needed(&granted));
        self.manager.user(&mut StdRng::seed_from_u64(seed), &granted, &ciphers)
    }

    /// A permit of the n-th development account for values of the purse.
    fn permit(&self, n: usize, handles: &[B256], change: impl FnOnce(&mut Permit)) -> SignedPermit {
        let mut permit = Permit {
            public_key: sealing().1,
            contracts: vec![ours(self.purse)],
            delegator: None,
            start: self.now(),
            days: 2,
            extra: vec![0],
        };
        change(&mut permit);
        let pair = |handle: &B256| Pair { handle: Digest(handle.0), contract: ours(self.purse) };
        sign(permit, n, handles.iter().map(pair).collect())
    }

    fn attest(&mut self, tx: &B256) -> Result<parallax_kms::Attestation, Refusal> {
        let place = match self.net.state.get(&input_keys(tx, None)[0]).unwrap() {
            Some(Value::Plain(bytes)) => Some(bytes),
            _ => None,
        };
        let set = self.prove(&input_keys(tx, place.as_deref()));
        self.manager.attest(&self.light(), tx, &set)
    }
}

fn sign(permit: Permit, n: usize, pairs: Vec<Pair>) -> SignedPermit {
    let signature = key_of(n).sign(&permit.digest(CHAIN_ID, &GATEWAY_DECRYPTIONS).0).unwrap();
    SignedPermit { permit, user: key_of(n).address(), pairs, signature }
}

fn alice() -> Wallet {
    Wallet::development(0)
}

fn bob() -> Wallet {
    Wallet::development(1)
}

fn expired<T>(outcome: Result<T, Refusal>) -> bool {
    matches!(outcome, Err(Refusal::Permit(PermitError::Expired { .. })))
}

/// The number that a user reads.
fn read(permit: &SignedPermit, at: usize, answer: &SignedAnswer) -> Result<B256, OpenError> {
    let (pair, answers) = (permit.pairs[at], [answer.clone()]);
    let blocks = open_evm_answer(&sealing().0, id(), permit, &pair, &answers, &managers(), CHAIN)?;
    let kind = FheType::from_code(pair.handle.0[30]).unwrap();
    Ok(decryption::word(kind, &blocks).unwrap())
}

#[test]
fn a_contract_takes_an_input_that_the_key_manager_attested() {
    let mut world = World::new();
    let list = world.net.input(&alice(), &[1_000, 7], world.purse);
    let tx = alice().input(&list);
    let expected = handles(&world.net.submit(&alice(), &list));
    let done = world.attest(&keccak256(&tx)).unwrap();
    assert_eq!(done.handles, expected);
    assert_eq!((done.contract, done.user), (ours(world.purse), ours(alice().address())));
    assert_eq!((done.signer, done.extra.as_slice()), (ethereum().address(), [0].as_slice()));
    let proof = input::proof(&done.handles, &[done.signature.0.to_vec()], &done.extra);
    for handle in &done.handles {
        let words = [alice().address().into_word(), *handle];
        let data = calldata_with_bytes("mintEncrypted(address,bytes32,bytes)", &words, &proof);
        let receipt = world.net.send(&alice(), world.purse, data);
        assert_eq!(receipt["status"], "0x1", "{receipt}");
    }
    assert_eq!(world.net.decrypt(world.balance(&alice())), U256::from(1_007));
    assert_eq!(world.attest(&keccak256(&tx)), Ok(done), "asked again, the same signature");
    assert_eq!(world.calls(), 0, "an attestation decrypts nothing");
}

#[test]
fn an_input_that_failed_is_not_attested() {
    let mut world = World::new();
    let mut list = world.net.input(&alice(), &[1_000], world.purse);
    // Proven for another contract than it is brought for.
    list.contract = Address::repeat_byte(1);
    let hash = keccak256(alice().input(&list));
    assert_eq!(world.net.submit(&alice(), &list)["status"], "0x0");
    assert_eq!(world.attest(&hash), Err(Refusal::InputFailed { tx: Digest(hash.0) }));
}

#[test]
fn only_inputs_in_final_blocks_are_attested() {
    let mut world = World::new();
    let unknown = B256::repeat_byte(0x11);
    assert_eq!(world.attest(&unknown), Err(Refusal::NoTransaction { tx: Digest(unknown.0) }));
    let words = [alice().address().into_word(), word(5)];
    let call = world.net.tx(&alice(), world.purse.into(), calldata("mint(address,uint64)", &words));
    world.net.round(std::slice::from_ref(&call));
    let hash = keccak256(&call);
    assert_eq!(world.attest(&hash), Err(Refusal::NotAnInput { tx: Digest(hash.0) }));
    let set = world.prove(&input_keys(&hash, None));
    let refused = world.manager.attest(&world.light(), &hash, &set).unwrap_err();
    assert!(matches!(&refused, Refusal::NotProven { key } if key.starts_with("receipt/0x")), "{refused}");
}

/// An auction that is over, with its encrypted winner.
fn auction(world: &mut World) -> (Address, B256) {
    let code = [hex::decode(AUCTION.trim()).unwrap(), word(4).to_vec()].concat();
    let auction = world.net.deploy(&alice(), code);
    for (bidder, amount) in [(alice(), 300), (bob(), 1_000_000_007)] {
        let list = world.net.input(&bidder, &[amount], auction);
        let tx = keccak256(bidder.input(&list));
        world.net.submit(&bidder, &list);
        let done = world.attest(&tx).unwrap();
        let proof = input::proof(&done.handles, &[done.signature.0.to_vec()], &done.extra);
        let data = calldata_with_bytes("bid(bytes32,bytes)", &[done.handles[0]], &proof);
        let receipt = world.net.send(&bidder, auction, data);
        assert_eq!(receipt["status"], "0x1", "{receipt}");
    }
    while world.net.send(&bob(), auction, calldata("close()", &[]))["status"] != "0x1" {}
    let leader = world.net.call(Address::ZERO, auction, &calldata("leaderHandle()", &[]));
    (auction, B256::from_slice(&leader))
}

#[test]
fn a_contract_believes_a_public_decryption_of_the_key_manager() {
    let mut world = World::new();
    let (auction, leader) = auction(&mut world);
    let done = world.public(&[leader]).unwrap();
    assert_eq!(done.plaintexts(), bob().address().into_word().to_vec());
    let (kind, value) = done.values[0];
    assert_eq!(decryption::value(kind, &value), format!("{:#x}", bob().address()));
    let proof = decryption::proof(&[done.signature.0.to_vec()], &done.extra);
    let settle = |world: &mut World, winner: Address| -> Json {
        let data = calldata_with_bytes("settle(address,bytes)", &[winner.into_word()], &proof);
        world.net.send(&alice(), auction, data)
    };
    assert_eq!(settle(&mut world, alice().address())["status"], "0x0", "signed for another value");
    let receipt = settle(&mut world, bob().address());
    assert_eq!(receipt["status"], "0x1", "{receipt}");
    assert_eq!((world.public(&[leader]), world.calls()), (Ok(done), 1), "asked again, it is remembered");
}

#[test]
fn several_public_values_are_signed_in_the_order_of_the_request() {
    let mut world = World::new();
    let (first, second) = (world.mint(&alice(), 7), world.mint(&bob(), 9));
    world.reveal(&alice());
    world.reveal(&bob());
    let both = world.public(&[second, first]).unwrap();
    assert_eq!(both.plaintexts(), [word(9), word(7)].concat());
    let again = world.public(&[first, second, first]).unwrap();
    assert_eq!(again.plaintexts(), [word(7), word(9), word(7)].concat());
    assert_ne!(again.signature, both.signature);
    assert_eq!(world.calls(), 2, "each value is decrypted once");
}

#[test]
fn a_value_that_is_not_public_is_not_decrypted_for_everyone() {
    let mut world = World::new();
    let (open, secret) = (world.mint(&alice(), 7), world.mint(&bob(), 9));
    world.reveal(&alice());
    let refused = world.public(&[open, secret]);
    assert_eq!(refused, Err(Refusal::NotPublic { handle: Digest(secret.0) }));
    assert_eq!(world.calls(), 0, "not even the one that is");
}

#[test]
fn a_handle_without_a_ciphertext_is_refused() {
    let mut world = World::new();
    let handle = world.mint(&alice(), 7);
    world.reveal(&alice());
    let key = parallax_evm::state::cipher_key(&handle);
    // As if the round that computes it were still to come.
    let changes = parallax_state::Changes { writes: [(key, None)].into(), ..Default::default() };
    world.net.round += 1;
    let tree = world.net.tree();
    let prepared = tree.prepare(world.net.round, &changes).unwrap();
    tree.commit(prepared, parallax_state::Batch::default()).unwrap();
    assert_eq!(world.public(&[handle]), Err(Refusal::NoCiphertext { handle: Digest(handle.0) }));
    let permit = world.permit(0, &[handle], |_| ());
    assert_eq!(world.user(&permit), Err(Refusal::NoCiphertext { handle: Digest(handle.0) }));
}

#[test]
fn only_the_bytes_that_the_state_commits_to_are_decrypted() {
    let mut world = World::new();
    let (handle, other) = (world.mint(&alice(), 7), world.mint(&bob(), 9));
    world.reveal(&alice());
    let light = world.light();
    let granted = world.manager.grant_public(&light, &[handle], &world.prove(&public_keys(&[handle]))).unwrap();
    let digest = world.manager.needed(&granted).into_iter().next().unwrap();
    let theirs = parallax_evm::state::cipher(&world.net.state, &other).unwrap().unwrap().digest;
    let given = world.fetch([theirs])[&theirs].clone();
    let refused = world.manager.public(&granted, &[(digest, given)].into());
    assert_eq!(refused, Err(Refusal::OtherCiphertext { given: theirs, granted: digest }));
    let refused = world.manager.public(&granted, &BTreeMap::new());
    assert_eq!(refused, Err(Refusal::NoBytes { cipher: digest }));
    assert_eq!(world.calls(), 0);
}

#[test]
fn a_user_reads_its_own_values_and_gets_the_same_answers_again() {
    let mut world = World::new();
    let handle = world.mint(&alice(), 123_456);
    let permit = world.permit(0, &[handle, handle], |_| ());
    let answers = world.user(&permit).unwrap();
    assert_eq!(answers.len(), 2);
    for (at, answer) in answers.iter().enumerate() {
        assert_eq!(read(&permit, at, answer), Ok(word(123_456)));
        assert_eq!(answer.answer.subject, Digest(handle.0));
        assert_eq!((answer.answer.round, answer.answer.height), (Round(world.net.round), Height(HEIGHT - 1)));
    }
    assert_eq!((world.user_at(&permit, 2).unwrap(), world.calls()), (answers.clone(), 1), "equal, and decrypted once");
    let later = world.permit(0, &[handle], |p| p.days = 3);
    let error = read(&later, 0, &answers[0]).unwrap_err();
    assert_eq!(error, OpenError::OtherRequest { party: 0, what: "permit" });
    assert_ne!(world.user(&later).unwrap()[0], answers[0], "another permit is another request");
}

#[test]
fn a_user_without_a_grant_is_refused() {
    let mut world = World::new();
    let handle = world.mint(&alice(), 5);
    let refused = world.user(&world.permit(1, &[handle], |_| ()));
    let address = ours(bob().address());
    assert_eq!(refused, Err(Refusal::NotAllowed { handle: Digest(handle.0), role: Role::User, address }));
    assert_eq!(world.calls(), 0);
}

#[test]
fn a_grant_of_the_user_without_one_of_the_contract_is_not_enough() {
    let mut world = World::new();
    let handle = world.mint(&alice(), 5);
    let other = Account([0xc7; 20]);
    let permit = world.permit(0, &[], |p| p.contracts = vec![ours(world.purse), other]).permit;
    let permit = sign(permit, 0, vec![Pair { handle: Digest(handle.0), contract: other }]);
    let refused = world.user(&permit);
    assert_eq!(refused, Err(Refusal::NotAllowed { handle: Digest(handle.0), role: Role::Contract, address: other }));
}

#[test]
fn a_value_of_a_contract_that_the_permit_does_not_list_is_refused() {
    let mut world = World::new();
    let handle = world.mint(&alice(), 5);
    let permit = world.permit(0, &[handle], |p| p.contracts = vec![Account([0xc7; 20])]);
    let expected = PermitError::ContractNotListed(ours(world.purse));
    assert_eq!(world.user(&permit), Err(Refusal::Permit(expected.clone())));
    assert_eq!(world.manager.check_user(&world.light(), &permit), Err(Refusal::Permit(expected)), "before any proof");
}

#[test]
fn a_permit_whose_time_is_over_or_has_not_come_is_refused() {
    let mut world = World::new();
    let handle = world.mint(&alice(), 5);
    let permit = world.permit(0, &[handle], |_| ());
    world.ahead = 2 * DAY;
    assert!(world.user(&permit).is_ok(), "its last second");
    world.ahead += 1;
    assert!(expired(world.user(&permit)), "although the answer is remembered");
    let now = world.now();
    let early = world.permit(0, &[handle], |p| p.start = now + 61);
    let expected = PermitError::NotYetValid { start: now + 61, now };
    assert_eq!(world.user(&early), Err(Refusal::Permit(expected)));
    let soon = world.permit(0, &[handle], |p| p.start = now + 60);
    assert!(world.user(&soon).is_ok(), "clocks differ");
    // A light client that has followed the chain further does not fall for an old proof.
    let (mut ahead, old) = (world.light(), world.prove(&user_keys(&soon)));
    let mut header = final_header(Digest::ZERO, HEIGHT + 5);
    header.time_ms = (now + 3 * DAY) * 1_000;
    let (header, certificate) = sign_header(header, CHAIN);
    ahead.advance(&header, &certificate, &validators()).unwrap();
    assert!(expired(world.manager.check_user(&ahead, &soon)), "before any proof");
    assert!(expired(world.manager.grant_user(&ahead, &soon, &old)));
}

#[test]
fn a_forged_permit_and_one_for_another_chain_are_refused() {
    let mut world = World::new();
    let handle = world.mint(&alice(), 5);
    let good = world.permit(0, &[handle], |_| ());
    let unsigned = |refused| matches!(refused, Err(Refusal::Permit(PermitError::Signature { .. })));
    let forged = SignedPermit { user: ours(alice().address()), ..world.permit(1, &[handle], |_| ()) };
    assert!(unsigned(world.user(&forged)), "bob signed for alice");
    let mut redirected = good.clone();
    redirected.permit.public_key = OpeningKey::from_seed(&[9; 32]).1;
    assert!(unsigned(world.user(&redirected)), "another sealing key");
    for digest in [good.permit.digest(1, &GATEWAY_DECRYPTIONS), good.permit.digest(CHAIN_ID, &Account([1; 20]))] {
        let signature = key_of(0).sign(&digest.0).unwrap();
        assert!(unsigned(world.user(&SignedPermit { signature, ..good.clone() })));
    }
    let mut elsewhere = handle;
    elsewhere[29] ^= 1;
    let refused = world.user(&world.permit(0, &[elsewhere], |_| ()));
    assert!(matches!(refused, Err(Refusal::Permit(PermitError::Handles(HandleError::OtherChain { .. })))));
    assert!(matches!(world.public(&[elsewhere]), Err(Refusal::Handles(HandleError::OtherChain { .. }))));
    assert_eq!(world.calls(), 0);
}

#[test]
fn proofs_of_another_paratime_or_another_chain_are_refused() {
    let mut world = World::new();
    let handle = world.mint(&alice(), 5);
    world.reveal(&alice());
    let asked = public_keys(&[handle]);
    let foreign = world.prove_in(ParaTimeId::named("attacker"), &asked);
    let refused = world.manager.grant_public(&world.light(), &[handle], &foreign);
    assert_eq!(refused, Err(Refusal::OtherParaTime { ours: id() }));
    let ProofSet::V1(mut set) = world.prove(&asked);
    let ProofBundle::V1(bundle) = &mut set.bundle;
    (bundle.header, bundle.certificate) = sign_header(bundle.header.clone(), ChainContext(Digest([8; 32])));
    let refused = world.manager.grant_public(&world.light(), &[handle], &ProofSet::V1(set));
    assert!(matches!(refused, Err(Refusal::NotFinal(LightError::BadSignature { .. }))), "{refused:?}");
}

#[test]
fn proofs_of_several_states_and_proofs_that_leave_something_out_are_refused() {
    let mut world = World::new();
    let handle = world.mint(&alice(), 5);
    let asked = public_keys(&[handle]);
    let ProofSet::V1(before) = world.prove(&asked);
    world.reveal(&alice());
    let ProofSet::V1(mut after) = world.prove(&asked);
    let light = world.light();
    let mixed = ProofSetV1 { bundle: before.bundle, more: after.more.clone() };
    let refused = world.manager.grant_public(&light, &[handle], &ProofSet::V1(mixed));
    assert!(matches!(refused, Err(Refusal::WrongRoot(LightError::ParaTimeProof { .. }))), "{refused:?}");
    after.more.clear();
    let refused = world.manager.grant_public(&light, &[handle], &ProofSet::V1(after));
    assert!(matches!(&refused, Err(Refusal::NotProven { key }) if key.starts_with("storage/0x50157c")), "{refused:?}");
}

#[test]
fn a_delegate_reads_until_the_delegation_ends_or_is_taken_back() {
    let mut world = World::new();
    let handle = world.mint(&alice(), 77);
    let (delegator, user, contract) = (ours(alice().address()), ours(bob().address()), ours(world.purse));
    let permit = world.permit(1, &[handle], |p| p.delegator = Some(delegator));
    assert_eq!(world.user(&permit), Err(Refusal::NoDelegation { delegator, user, contract }), "there is none yet");
    let words = [bob().address().into_word(), world.purse.into_word()];
    let expiry = world.now() + DAY;
    let data = [words.as_slice(), &[word(expiry)]].concat();
    let data = calldata("delegateForUserDecryption(address,address,uint64)", &data);
    assert_eq!(world.net.send(&alice(), ACL, data)["status"], "0x1");
    let answers = world.user(&permit).unwrap();
    assert_eq!(read(&permit, 0, &answers[0]), Ok(word(77)));
    let own = world.permit(1, &[handle], |_| ());
    let refused = world.user(&own);
    assert_eq!(refused, Err(Refusal::NotAllowed { handle: Digest(handle.0), role: Role::User, address: user }));

    world.ahead = expiry - world.now();
    assert!(world.user(&permit).is_ok(), "its last second");
    world.ahead += 1;
    let now = world.now();
    let expected = Refusal::DelegationExpired { delegator, user, contract, expiry, now };
    assert_eq!(world.user(&permit), Err(expected));
    world.ahead = 0;
    assert!(world.user(&permit).is_ok());
    let data = calldata("revokeDelegationForUserDecryption(address,address)", &words);
    assert_eq!(world.net.send(&alice(), ACL, data)["status"], "0x1");
    assert_eq!(world.user(&permit), Err(Refusal::NoDelegation { delegator, user, contract }), "taken back");
}

#[test]
fn a_right_that_was_taken_back_does_not_return_with_the_proof_of_an_older_round() {
    let mut world = World::new();
    let handle = world.mint(&alice(), 77);
    let delegator = ours(alice().address());
    let words = [bob().address().into_word(), world.purse.into_word()];
    let data = [words.as_slice(), &[word(world.now() + DAY)]].concat();
    world.net.send(&alice(), ACL, calldata("delegateForUserDecryption(address,address,uint64)", &data));
    let permit = world.permit(1, &[handle], |p| p.delegator = Some(delegator));
    let old = world.prove(&user_keys(&permit));
    world.net.send(&alice(), ACL, calldata("revokeDelegationForUserDecryption(address,address)", &words));
    assert!(matches!(world.user(&permit), Err(Refusal::NoDelegation { .. })));
    let replayed = world.manager.grant_user(&world.light(), &permit, &old);
    assert!(matches!(replayed, Err(Refusal::Stale { .. })), "{replayed:?}");
}

#[test]
fn the_delegator_itself_must_be_allowed() {
    let mut world = World::new();
    let handle = world.mint(&alice(), 77);
    let carol = Wallet::development(2);
    let words = [bob().address().into_word(), world.purse.into_word(), word(world.now() + DAY)];
    world.net.send(&carol, ACL, calldata("delegateForUserDecryption(address,address,uint64)", &words));
    let address = ours(carol.address());
    let refused = world.user(&world.permit(1, &[handle], |p| p.delegator = Some(address)));
    assert_eq!(refused, Err(Refusal::NotAllowed { handle: Digest(handle.0), role: Role::Delegator, address }));
}

#[test]
fn a_request_of_more_than_2048_bits_is_refused_before_any_proof() {
    let world = World::new();
    let handle = parallax_evm::handle::compose(B256::ZERO, 255, CHAIN_ID, parallax_evm::handle::FheType::UINT64);
    let over = [handle; 33];
    let expected = HandleError::TooManyBits(33 * 64);
    assert_eq!(world.manager.check_public(&over), Err(Refusal::Handles(expected.clone())));
    let permit = world.permit(0, &over, |_| ());
    assert_eq!(world.manager.check_user(&world.light(), &permit), Err(Refusal::Permit(expected.into())));
    assert!(world.manager.check_public(&over[..32]).is_ok());
}

#[test]
fn a_ciphertext_under_an_unknown_key_is_refused() {
    let mut world = World::new();
    let handle = world.mint(&alice(), 5);
    world.reveal(&alice());
    let other = Arc::new(ClearDecryptor::new(KeyId([9; 32])));
    let inner = KeyManager::new(CHAIN, id(), managers(), 0, party(), vec![other]).unwrap();
    let mut params = support::genesis().params;
    params.inputs.signers = vec![ethereum().address()];
    params.decryptions.signers = vec![ethereum().address()];
    world.manager = EvmKeyManager::new(inner, &params, ethereum()).unwrap();
    assert_eq!(world.public(&[handle]), Err(Refusal::UnknownKey(KEY)));
}

#[test]
fn a_node_that_the_genesis_document_does_not_name_is_not_set_up() {
    let new = |change: fn(&mut parallax_evm::params::Params)| {
        let decryptor = Arc::new(ClearDecryptor::new(KEY));
        let inner = KeyManager::new(CHAIN, id(), managers(), 0, party(), vec![decryptor]).unwrap();
        let mut params = support::genesis().params;
        params.inputs.signers = vec![ethereum().address()];
        params.decryptions.signers = vec![ethereum().address()];
        change(&mut params);
        EvmKeyManager::new(inner, &params, ethereum()).map(|manager| format!("{manager:?}"))
    };
    let shown = new(|_| ()).unwrap();
    assert!(shown.contains("signer") && !shown.contains("4949"), "{shown}");
    for list in ["inputs", "decryptions"] {
        let error = match list {
            "inputs" => new(|p| p.inputs.signers.clear()),
            _ => new(|p| p.decryptions.signers.clear()),
        };
        assert_eq!(error, Err(SetupError::NotASigner { address: ethereum().address(), list }));
    }
}

#[test]
fn what_one_may_know_is_not_given_to_everyone() {
    let mut world = World::new();
    let handle = world.mint(&alice(), 5);
    let permit = world.permit(0, &[handle], |_| ());
    let granted = world.manager.grant_user(&world.light(), &permit, &world.prove(&user_keys(&permit))).unwrap();
    let ciphers = world.fetch(world.manager.needed(&granted));
    assert_eq!(world.manager.public(&granted, &ciphers), Err(Refusal::OtherGrant));
    assert_eq!(world.calls(), 0);
}

#[test]
fn the_log_tells_who_asked_for_which_values_and_never_the_values() {
    let mut world = World::new();
    let handle = world.mint(&alice(), 5);
    let permit = world.permit(0, &[handle], |_| ());
    let outcome = world.user(&permit);
    let record = AuditRecord::evm_user(id(), &permit, Height(HEIGHT), &outcome);
    let AuditRecord::EvmV1(entry) = &record else { panic!("{record:?}") };
    assert!(entry.outcome.is_ok());
    let expected = vec![(Digest(handle.0), ours(world.purse))];
    let EvmRequest::User { user, delegator, values, .. } = &entry.request else { panic!("{entry:?}") };
    assert_eq!((*user, *delegator, values), (ours(alice().address()), None, &expected));
    assert_eq!(AuditRecord::decode(&record.encode()), Ok(record.clone()));
    let refused = world.user(&world.permit(1, &[handle], |_| ()));
    let AuditRecord::EvmV1(entry) = AuditRecord::evm_user(id(), &permit, Height(HEIGHT), &refused) else { panic!() };
    assert!(matches!(&entry.outcome, Err((21, text)) if text.starts_with("user 0x7099")), "{entry:?}");
    let largest = world.permit(0, &vec![handle; decryption::MAX_HANDLES], |_| ());
    let record = AuditRecord::evm_user(id(), &largest, Height(HEIGHT), &refused);
    assert_eq!(AuditRecord::decode(&record.encode()), Ok(record));
}
