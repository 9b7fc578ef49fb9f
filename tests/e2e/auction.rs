//! A sealed-bid auction on real ciphertexts (`examples/contracts/Auction.sol`), through the client library: who bid most
//! is decrypted for everyone, and nothing else ever is.
//!
//! `cargo test --workspace --test e2e -- --ignored sealed_bids --nocapture`

use crate::network::Net;
use crate::turn;
use parallax_consensus_app::tx::Role;
use parallax_evm_client::{Artifact, Endpoints, Error, EvmClient, Held, Method, Receipt, Request, Wallet};
use parallax_fhe::{ClientKeys, Manifest, TfheClientCipher};
use parallax_localnet::{ParaTimeKind, Plan};
use parallax_node::client::endpoints;
use parallax_primitives::Round;
use parallax_rpc::{Client, ParaTimeApiClient as _};
use revm::primitives::{Address, B256, U256};
use std::sync::Arc;
use std::time::Instant;

const AUCTION: &str = include_str!("../../examples/contracts/artifacts/Auction.json");
/// For how many blocks after its own the auction takes bids. Each bid takes two, one for its encrypted amount.
const BLOCKS: &str = "6";
/// Gas with which a call is sent without asking first whether it would fail.
const GAS: u64 = 500_000;

fn dev(n: usize) -> Wallet {
    Wallet::development(n).unwrap()
}

struct House {
    client: EvmClient,
    artifact: Artifact,
    auction: Address,
    cipher: Arc<TfheClientCipher>,
}

impl House {
    async fn new(plan: &Plan) -> Self {
        let node = plan.nodes.iter().find(|n| n.role == Role::Compute).unwrap();
        let ends = Endpoints {
            ethereum: node.ethereum_url().unwrap(),
            node: node.rpc_url(),
            key_managers: endpoints(plan, Role::KeyManager),
        };
        let client = EvmClient::connect(&ends).await.unwrap();
        let artifact = Artifact::parse(AUCTION).unwrap();
        let arguments = artifact.constructor().arguments(&[BLOCKS.to_owned()]).unwrap().encode(&[], &[]).unwrap();
        let code = [artifact.code.clone().unwrap().to_vec(), arguments].concat();
        let auction = client.deploy(&dev(0), &code, Some(&artifact.abi)).await.unwrap().contract.unwrap();
        let keys = plan.keys(ParaTimeKind::Evm).unwrap();
        let manifest = Manifest::load(keys).unwrap();
        let cipher = Arc::new(TfheClientCipher::new(Arc::new(ClientKeys::load(keys, &manifest).unwrap())));
        Self { client, artifact, auction, cipher }
    }

    async fn bid(&self, bidder: &Wallet, amount: u64) -> Receipt {
        let given = [format!("enc:{amount}"), "proof".to_owned()];
        let method = self.artifact.function("bid", 2).unwrap();
        let arguments = method.arguments(&given).unwrap();
        let bound = (self.auction, bidder.address());
        let input = self.client.encrypt_input(self.cipher.clone(), &arguments.values(), bound, bidder).await.unwrap();
        self.send(bidder, arguments.encode(&input.handles, &input.proof).unwrap(), None).await.unwrap()
    }

    async fn send(&self, from: &Wallet, calldata: Vec<u8>, gas: Option<u64>) -> Result<Receipt, Error> {
        let request = Request { gas, ..Request::call(self.auction, calldata) };
        self.client.send(from, &request, Some(&self.artifact.abi)).await
    }

    async fn close(&self, from: &Wallet) -> Result<Receipt, Error> {
        self.send(from, self.calldata("close", &[]), None).await
    }

    async fn settle(&self, winner: Address, proof: &[u8], gas: Option<u64>) -> Result<Receipt, Error> {
        let given = [winner.to_string(), format!("0x{}", hex::encode(proof))];
        // Whoever brings the decryption, it is the key managers' word that counts.
        self.send(&dev(3), self.calldata("settle", &given), gas).await
    }

    fn calldata(&self, function: &str, given: &[String]) -> Vec<u8> {
        let method = self.artifact.function(function, given.len()).unwrap();
        method.arguments(given).unwrap().encode(&[], &[]).unwrap()
    }

    /// The word that a view returns.
    async fn word(&self, signature: &str, given: &[String]) -> B256 {
        let calldata = Method::parse(signature).unwrap().arguments(given).unwrap().encode(&[], &[]).unwrap();
        let output = self.client.call(Address::ZERO, &Request::call(self.auction, calldata), None).await.unwrap();
        B256::from_slice(&output)
    }

    async fn winner(&self) -> Address {
        Address::from_word(self.word("winner()", &[]).await)
    }

    async fn bid_of(&self, bidder: &Wallet) -> Held {
        let handle = self.word("bidOf(address)", &[bidder.address().to_string()]).await;
        Held { handle, contract: self.auction }
    }

    /// Nobody but who made a bid learns it, whoever asks and however.
    async fn stays_sealed(&self, bid: Held, others: &[&Wallet]) {
        for other in others {
            let refused = self.client.user_decrypt(other, None, &[bid]).await.unwrap_err().to_string();
            assert!(refused.contains("may not use handle"), "{refused}");
        }
        let refused = self.client.public_decrypt(&[bid.handle]).await.unwrap_err().to_string();
        assert!(refused.contains("make it publicly decryptable"), "{refused}");
    }
}

/// The bootstraps that a worker's executions of all rounds took.
async fn bootstraps(plan: &Plan) -> u64 {
    let (id, node) = (plan.evm().unwrap(), plan.node("compute-0").unwrap());
    let rpc = Client::connect(&node.rpc_url()).await.unwrap();
    let mut spent = 0;
    for round in 1..=rpc.block(id, None).await.unwrap().round.0 {
        let report = rpc.round_report(id, Round(round)).await.unwrap();
        for announced in report.proposals {
            let effort = rpc.dispute(id, Round(round), announced.proposal.proposal.digest()).await.unwrap().effort;
            spent += effort.map_or(0, |effort| effort.spent_pbs);
        }
    }
    spent
}

#[test]
#[ignore = "1,724 bootstraps, 50 core-seconds: run it when the auction, the client or the key manager's part in it changes"]
fn the_highest_of_sealed_bids_wins_and_the_chain_believes_only_who_the_key_manager_signed_for() {
    let _turn = turn();
    let dir = tempfile::tempdir().unwrap();
    let small = ["--validators", "2", "--compute", "3", "--backups", "1", "--accounts", "2"];
    let (_net, _) = Net::up_with(dir.path(), "evm", &small);
    let begun = Instant::now();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(async {
        let plan = Plan::load(&dir.path().join("net")).unwrap().unwrap();
        auction(&House::new(&plan).await).await;
        println!("{} bootstraps a worker, {:.0} s", bootstraps(&plan).await, begun.elapsed().as_secs_f64());
    });
}

async fn auction(house: &House) {
    let [seller, alice, bob] = [0, 1, 2].map(dev);
    house.bid(&alice, 700).await;
    let mut block = house.bid(&bob, 701).await.block;
    let (hers, his) = (house.bid_of(&alice).await, house.bid_of(&bob).await);
    let own = house.client.user_decrypt(&bob, None, &[his]).await.unwrap();
    assert_eq!(own[0].text(), "701", "a bidder sees its own bid");

    // While bids are taken nobody learns who leads.
    let early = house.close(&seller).await.unwrap_err().to_string();
    assert_eq!(early, "the contract refuses: TooEarly()");
    let leader = house.word("leaderHandle()", &[]).await;
    let early = house.client.public_decrypt(&[leader]).await.unwrap_err().to_string();
    assert!(early.contains("make it publicly decryptable"), "{early}");
    let last: u64 = U256::from_be_bytes(house.word("lastBlock()", &[]).await.0).to();
    while block < last {
        let tick = Request::call(dev(8).address(), vec![]);
        block = house.client.send(&dev(9), &tick, None).await.unwrap().block;
    }
    house.close(&seller).await.unwrap();
    // It is too late before anyone looks at the amount, so any will do.
    let given = ["enc:702".to_owned(), "proof".to_owned()];
    let method = house.artifact.function("bid", 2).unwrap();
    let late = method.arguments(&given).unwrap().encode(&[B256::repeat_byte(1)], &[]).unwrap();
    let late = house.send(&dev(4), late, None).await.unwrap_err().to_string();
    assert_eq!(late, "the contract refuses: TooLate()");

    // Who won is everyone's to know; what anyone bid is not, the seller included.
    let opened = house.client.public_decrypt(&[leader]).await.unwrap();
    assert_eq!(opened.values[0].text(), bob.address().to_string(), "701 is more than 700");
    house.stays_sealed(hers, &[&bob, &seller]).await;
    house.stays_sealed(his, &[&alice]).await;

    // Another winner than the one that was signed, and a signature of something else.
    let wrong = house.settle(alice.address(), &opened.proof, None).await.unwrap_err().to_string();
    assert!(wrong.contains("KMSInvalidSigner"), "{wrong}");
    let wrong = house.settle(alice.address(), &opened.proof, Some(GAS)).await.unwrap_err();
    assert!(matches!(&wrong, Error::Failed { reason, .. } if reason.contains("KMSInvalidSigner")), "{wrong}");
    let mut forged = opened.proof.clone();
    // In r of the signature: a count comes before it.
    forged[9] ^= 1;
    let wrong = house.settle(bob.address(), &forged, None).await.unwrap_err().to_string();
    assert!(wrong.starts_with("the contract refuses: "), "{wrong}");
    assert_eq!(house.winner().await, Address::ZERO, "no wrong winner was taken");
    house.settle(bob.address(), &opened.proof, None).await.unwrap();
    assert_eq!(house.winner().await, bob.address());
}
