//! A sealed-bid auction of our own (`examples/contracts/Auction.sol`): encrypted bids, a winner decrypted in public.

mod support;

use parallax_evm::host::slots;
use revm::primitives::{Address, B256, U256, hex, keccak256};
use serde_json::Value as Json;
use support::wallet::Wallet;
use support::{Net, calldata, calldata_with_bytes, decrypted, word};

const AUCTION: &str = include_str!("../contracts/Auction.hex");

struct House {
    net: Net,
    auction: Address,
}

impl House {
    /// An auction that takes bids for this many blocks after its own.
    fn new(blocks: u64) -> Self {
        let mut net = Net::default();
        let code = hex::decode(AUCTION.trim()).expect("it is hexadecimal");
        let auction = net.deploy(&Wallet::development(0), [code, word(blocks).to_vec()].concat());
        Self { net, auction }
    }

    fn bid(&mut self, bidder: &Wallet, amount: u64) -> Json {
        let (handle, proof) = self.net.encrypt(bidder, amount, self.auction);
        let data = calldata_with_bytes("bid(bytes32,bytes)", &[handle], &proof);
        self.net.send(bidder, self.auction, data)
    }

    fn send(&mut self, from: &Wallet, data: Vec<u8>) -> Json {
        self.net.send(from, self.auction, data)
    }

    fn leader(&self) -> B256 {
        let input = calldata("leaderHandle()", &[]);
        B256::from_slice(&self.net.call(Address::ZERO, self.auction, &input))
    }

    /// Whether key managers would decrypt for everyone: the slot that they ask a proof of.
    fn is_public(&self, handle: &B256) -> bool {
        self.net.granted(&slots::allowed_for_decryption(handle))
    }

    fn winner(&self) -> Address {
        let output = self.net.call(Address::ZERO, self.auction, &calldata("winner()", &[]));
        Address::from_word(B256::from_slice(&output))
    }
}

#[test]
fn the_highest_sealed_bid_wins_and_only_the_winner_is_shown() {
    let mut house = House::new(8);
    let [alice, bob, carol] = [0, 1, 2].map(Wallet::development);
    for (bidder, amount) in [(&alice, 300), (&bob, 1_000_000_007), (&carol, 1_000_000_007)] {
        let receipt = house.bid(bidder, amount);
        assert_eq!(receipt["status"], "0x1", "{receipt}");
    }
    let early = house.send(&alice, calldata("close()", &[]));
    assert_eq!(early["failure"]["revert"], hex::encode_prefixed(&keccak256("TooEarly()")[..4]));
    let late = house.bid(&alice, 1);
    assert_eq!(late["failure"]["revert"], hex::encode_prefixed(&keccak256("TooLate()")[..4]));
    assert_eq!(house.send(&carol, calldata("close()", &[]))["status"], "0x1");
    // Who won can be decrypted by everyone; no bid can.
    let leader = house.leader();
    assert!(house.net.has_cipher(leader) && house.is_public(&leader));
    for bidder in [&alice, &bob, &carol] {
        let input = calldata("bidOf(address)", &[bidder.address().into_word()]);
        let bid = B256::from_slice(&house.net.call(Address::ZERO, house.auction, &input));
        assert!(house.net.has_cipher(bid) && !house.is_public(&bid));
    }
    let opened = Address::from_word(house.net.decrypt(leader).into());
    assert_eq!(opened, bob.address(), "the first of equal bids wins");
    // A winner that nobody signed is not believed.
    let settle = |house: &mut House, winner: Address, signed: Address| {
        let proof = decrypted(&[leader], signed.into_word().as_slice(), 72);
        let data = calldata_with_bytes("settle(address,bytes)", &[winner.into_word()], &proof);
        house.send(&carol, data)
    };
    assert_eq!(settle(&mut house, carol.address(), bob.address())["status"], "0x0");
    assert_eq!(house.winner(), Address::ZERO);
    assert_eq!(settle(&mut house, opened, opened)["status"], "0x1");
    assert_eq!(house.winner(), bob.address());
}

#[test]
fn an_auction_without_bids_goes_back_to_its_seller() {
    let mut house = House::new(0);
    let alice = Wallet::development(0);
    assert_eq!(house.send(&alice, calldata("close()", &[]))["status"], "0x1");
    let leader = house.leader();
    assert_eq!(house.net.decrypt(leader), U256::from_be_bytes(Wallet::development(0).address().into_word().0));
}
