//! Random values of contracts: what a key manager finds behind the handles.

mod support;

use parallax_evm::control::{self, Action};
use parallax_evm::handle::FheType;
use parallax_evm::host::{ACL, EXECUTOR, Op};
use parallax_evm::state::cipher;
use revm::primitives::{Address, B256, TxKind, U256, hex};
use std::collections::BTreeSet;
use support::wallet::Wallet;
use support::{CHAIN_ID, Net, calldata, creation, entries, entry};

const CALLER: &str = include_str!("../contracts/Caller.hex");

/// A chain on which a contract draws. Handles depend on the block's time, so it is set beforehand.
struct Draw {
    net: Net,
    caller: Address,
}

impl Draw {
    fn new() -> Self {
        let mut net = Net::new(|genesis| genesis.params.max_transaction_fhe_gas = support::LIMIT);
        let code = creation(&hex::decode(CALLER.trim()).expect("it is hexadecimal"));
        let caller = net.deploy(&Wallet::development(0), code);
        Self { net, caller }
    }

    /// Makes these calls of the executor in one transaction, at a time, and keeps the results; their handles.
    fn make(&mut self, time: u64, calls: &[Vec<u8>]) -> Vec<B256> {
        self.net.round(&[control::bytes(CHAIN_ID, B256::from(U256::from(time)).0, Action::SetNextTime(time))]);
        let alice = Wallet::development(0);
        let mut data: Vec<u8> = calls.iter().flat_map(|call| entry(EXECUTOR, call)).collect();
        let results = entries(&self.net.call(alice.address(), self.caller, &data));
        let handles: Vec<B256> = results
            .iter()
            .map(|(ok, out)| {
                assert!(ok, "the executor takes it");
                B256::from_slice(out)
            })
            .collect();
        for handle in &handles {
            let allow = calldata("allow(bytes32,address)", &[*handle, self.caller.into_word()]);
            data.extend(entry(ACL, &allow));
        }
        let mut tx = self.net.unsigned(&alice, TxKind::Call(self.caller), data);
        tx.gas_limit = 20_000_000;
        let tx = alice.transaction(&tx);
        self.net.round(std::slice::from_ref(&tx));
        let receipt = self.net.receipt(&tx);
        assert_eq!(receipt["status"], "0x1", "{receipt}");
        handles
    }

    /// The digest of the ciphertext behind a handle.
    fn digest(&self, handle: B256) -> [u8; 32] {
        cipher(&self.net.state, &handle).expect("it can be read").expect("it has a ciphertext").digest.0
    }
}

fn unbounded(kind: FheType) -> Vec<u8> {
    calldata(&Op::Rand.function(), &[B256::with_last_byte(kind.number())])
}

fn bounded(kind: FheType, bound: U256) -> Vec<u8> {
    calldata(&Op::RandBounded.function(), &[bound.into(), B256::with_last_byte(kind.number())])
}

const WIDE: [FheType; 3] = [FheType::UINT64, FheType::UINT128, FheType::UINT256];

#[test]
fn every_draw_has_a_value_of_its_own_and_every_replica_the_same() {
    let (mut one, mut two) = (Draw::new(), Draw::new());
    let (mut values, mut digests) = (BTreeSet::new(), BTreeSet::new());
    // Twice in each transaction, in three blocks.
    for time in [2_000_000_000, 2_000_000_001, 2_000_000_100] {
        let calls: Vec<Vec<u8>> = WIDE.iter().flat_map(|kind| [unbounded(*kind), unbounded(*kind)]).collect();
        let handles = one.make(time, &calls);
        assert_eq!(two.make(time, &calls), handles, "replicas name them alike");
        for handle in handles {
            assert_eq!(one.digest(handle), two.digest(handle), "bit for bit");
            digests.insert(one.digest(handle));
            values.insert(one.net.decrypt(handle) & U256::from(u64::MAX));
        }
    }
    assert_eq!((values.len(), digests.len()), (18, 18), "no two draws of 64 bits and more are equal");
    // Another chain of blocks draws others.
    let mut other = Draw::new();
    other.net.round(&[]);
    let handle = other.make(2_000_000_000, &[unbounded(FheType::UINT64)])[0];
    assert!(!values.contains(&other.net.decrypt(handle)));
}

#[test]
fn values_use_all_bits_of_their_type_and_none_beyond() {
    let mut draw = Draw::new();
    for kind in [FheType::BOOL, FheType::UINT8, FheType::UINT16, FheType::UINT32, FheType::UINT64] {
        let bits = usize::from(kind.bits().expect("it can be computed with"));
        let handles = draw.make(2_000_000_000 + bits as u64, &vec![unbounded(kind); 24]);
        let drawn: Vec<U256> = handles.iter().map(|handle| draw.net.decrypt(*handle)).collect();
        assert!(drawn.iter().all(|n| n.bit_len() <= bits), "{bits} bits: {drawn:?}");
        // A bit is the same in all of 24 draws once in eight million.
        let (ones, zeros) = drawn.iter().fold((U256::ZERO, U256::ZERO), |(ones, zeros), n| (ones | n, zeros | !*n));
        let mask = U256::MAX >> (256 - bits);
        assert_eq!((ones & mask, zeros & mask), (mask, mask), "{bits} bits: {drawn:?}");
    }
}

#[test]
fn a_bounded_value_is_below_its_bound_and_takes_every_place_below() {
    let mut draw = Draw::new();
    let mut time = 2_000_000_000;
    for kind in [FheType::UINT8, FheType::UINT32, FheType::UINT64] {
        for bound in [1u64, 2, 4, 128] {
            time += 1;
            let handles = draw.make(time, &vec![bounded(kind, U256::from(bound)); 24]);
            let drawn: BTreeSet<u64> = handles.iter().map(|handle| draw.net.decrypt(*handle).to()).collect();
            assert!(drawn.iter().all(|n| *n < bound), "below {bound}: {drawn:?}");
            // All of 24 draws miss one of four places once in 250.
            let places = if bound <= 2 { bound as usize } else { 3 };
            assert!(drawn.len() >= places, "below {bound}: {drawn:?}");
        }
    }
    for (kind, bound) in [(FheType::UINT8, 3u64), (FheType::UINT8, 0), (FheType::UINT8, 512)] {
        let call = entry(EXECUTOR, &bounded(kind, U256::from(bound)));
        let refused = entries(&draw.net.call(Wallet::development(0).address(), draw.caller, &call));
        assert!(!refused[0].0, "{bound} is no bound");
    }
}
