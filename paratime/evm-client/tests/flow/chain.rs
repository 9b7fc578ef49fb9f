//! A chain of one process on the clear backend, behind the interface of real nodes: every transaction is a round. Its
//! key manager answers whatever it is asked, and can be told to lie.

use jsonrpsee::RpcModule;
use jsonrpsee::server::{Server, ServerHandle};
use jsonrpsee::types::ErrorObjectOwned;
use parallax_clear::{ClearBackend, ClearDecryptor};
use parallax_evm::input::Input;
use parallax_evm::params::{Genesis, Params, Signers};
use parallax_evm::permit::SignedPermit;
use parallax_evm::state::cipher;
use parallax_evm::{EvmParaTime, KIND, decryption, input};
use parallax_memory_store::MemoryView;
use parallax_primitives::seal::{SealingKey, seal};
use parallax_primitives::{
    Address as Account, ChainContext, Digest, Epoch, EthereumKey, Gas, Height, KeyId, ParaTimeId, Round, SecretKey,
};
use parallax_rpc::Hex;
use parallax_rpc::types::{Health, InputAttestation, ParaTimeView, PublicKeyInfo, PublicValues, Status};
use parallax_runtime::decryption::{Answer, KeyManagers, Payload, SignedAnswer};
use parallax_runtime::{Decryptor, EvaluationProfile, ParaTime, RoundContext};
use parallax_state::StateView as _;
use revm::primitives::{Address, B256, keccak256};
use serde_json::{Value as Json, json};
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

pub const KEY: KeyId = KeyId([4; 32]);
const CHAIN_ID: u64 = 31_337;
const CHAIN: ChainContext = ChainContext(Digest([1; 32]));
/// The chain and the contracts that attestations and decryptions name.
const GATEWAY: u64 = 10_901;
const VERIFIERS: [Account; 2] = [Account([0x81; 20]), Account([0x5f; 20])];

/// What a dishonest key manager does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lie {
    None,
    /// Signs with keys that nobody knows.
    OtherKey,
    /// Says other values, or attests other handles, and signs that.
    OtherValues,
    /// Seals to a key that is not the user's.
    OtherReader,
    /// Answers a request of before once more.
    OldAnswer,
}

pub struct Chain {
    evm: EvmParaTime,
    backend: ClearBackend,
    state: MemoryView,
    round: u64,
    /// The inputs that were brought, by hash.
    inputs: BTreeMap<B256, Input>,
    signer: EthereumKey,
    party: SecretKey,
    pub lie: Lie,
    last: Vec<SignedAnswer>,
}

fn paratime() -> ParaTimeId {
    ParaTimeId::named(KIND)
}

impl Chain {
    fn new() -> Self {
        let (signer, party) = (EthereumKey::derive(&[71; 32]), SecretKey::from_seed([200; 32]));
        let signers = |contract| Signers { contract, chain_id: GATEWAY, signers: vec![signer.address()], threshold: 1 };
        let managers = KeyManagers { parties: vec![party.public()], threshold: 0, epoch: Epoch(1) };
        let params = Params::localnet(managers, signers(VERIFIERS[0]), signers(VERIFIERS[1]));
        let genesis = serde_json::to_value(Genesis::localnet(params)).unwrap();
        let (mut state, evm) = (MemoryView::default(), EvmParaTime::new(paratime()));
        state.apply(evm.init_genesis(&genesis).unwrap());
        let backend = ClearBackend::new(vec![KEY]);
        Self { evm, backend, state, round: 0, inputs: BTreeMap::new(), signer, party, lie: Lie::None, last: Vec::new() }
    }

    fn context(&self) -> RoundContext {
        let round = Round(self.round + 1);
        RoundContext {
            chain: CHAIN,
            paratime: paratime(),
            round,
            previous_hash: Digest([round.0 as u8; 32]),
            epoch: Epoch(5),
            beacon: Digest([8; 32]),
            height: Height(10 * self.round),
            anchor: Digest([100 + round.0 as u8; 32]),
            time_ms: 1_700_000_000_000 + 1_000 * round.0,
            key_ids: vec![KEY],
            in_messages: Vec::new(),
            message_results: Vec::new(),
        }
    }

    fn execute(&mut self, tx: Vec<u8>) -> B256 {
        let (context, hash) = (self.context(), keccak256(&tx));
        let plan = self.evm.plan(&self.state, &context, std::slice::from_ref(&tx), Gas(u64::MAX)).unwrap();
        assert_eq!(plan.take, 1);
        let done =
            self.evm.execute(&self.state, &context, std::slice::from_ref(&tx), &self.backend, &|| false).unwrap();
        self.state.apply(done.changes);
        self.round += 1;
        if let Ok(input) = Input::open(&tx, CHAIN_ID) {
            self.inputs.insert(hash, input);
        }
        hash
    }

    fn key(&self) -> EthereumKey {
        if self.lie == Lie::OtherKey { EthereumKey::derive(&[99; 32]) } else { self.signer.clone() }
    }

    fn blocks(&self, handle: &B256) -> (Digest, Vec<u8>) {
        let found = cipher(&self.state, handle).unwrap().expect("the handle has a ciphertext");
        let bytes = self.state.blob(&found.digest).unwrap().expect("the bytes are kept");
        let blocks = ClearDecryptor::new(KEY).decrypt(&bytes, found.blocks).unwrap();
        (found.digest, blocks.to_vec())
    }

    fn verifier(&self, which: usize) -> parallax_evm::host::Verifier {
        let contract = Address::from(VERIFIERS[which].0);
        parallax_evm::host::Verifier { contract, chain_id: GATEWAY, signers: vec![], threshold: 1 }
    }

    fn attest(&self, hash: &B256) -> Json {
        let input = self.inputs.get(hash).expect("it is an input");
        let (mut handles, contract, user) = (input.handles(CHAIN_ID), input.contract, input.user);
        if self.lie == Lie::OtherValues {
            handles.reverse();
        }
        let digest = input::attestation(&self.verifier(0), &handles, user, contract, CHAIN_ID, &[]);
        let signature = self.key().sign(&digest.0).unwrap();
        json!(InputAttestation {
            handles: handles.iter().map(|handle| Digest(handle.0)).collect(),
            contract: Account(contract.into_array()),
            user: Account(user.into_array()),
            signature,
            signer: self.key().address(),
            extra: Hex(vec![]),
        })
    }

    fn decrypt(&self, handles: &[B256]) -> Json {
        let mut plaintexts = Vec::new();
        for handle in handles {
            let (_, blocks) = self.blocks(handle);
            let mut word = [0; 32];
            for (byte, digits) in word.iter_mut().rev().zip(blocks.chunks(4)) {
                *byte = digits.iter().rev().fold(0, |byte, digit| byte << 2 | digit);
            }
            plaintexts.extend_from_slice(&word);
        }
        let digest = decryption::digest(&self.verifier(1), handles, &plaintexts, &[]);
        let signature = self.key().sign(&digest.0).unwrap();
        if self.lie == Lie::OtherValues {
            *plaintexts.last_mut().unwrap() ^= 1;
        }
        let (signer, extra) = (self.key().address(), Hex(vec![]));
        json!(PublicValues { plaintexts: Hex(plaintexts), values: vec![], signature, signer, extra })
    }

    fn decrypt_for(&mut self, signed: &SignedPermit) -> Vec<SignedAnswer> {
        signed.check(CHAIN_ID, &VERIFIERS[1]).expect("the permit holds");
        let party = if self.lie == Lie::OtherKey { SecretKey::from_seed([201; 32]) } else { self.party.clone() };
        let answer = |pair: &parallax_evm::permit::Pair| {
            let (cipher, mut blocks) = self.blocks(&B256::from(pair.handle.0));
            if self.lie == Lie::OtherValues {
                blocks.push(0);
            }
            let request = signed.request(CHAIN, paratime(), pair);
            let reader = if self.lie == Lie::OtherReader { SealingKey([9; 32]) } else { signed.permit.public_key };
            let sealed = seal(&mut rand::rngs::OsRng, &reader, &request.0, &blocks).unwrap();
            let answer = Answer {
                paratime: paratime(),
                key_id: KEY,
                cipher,
                request,
                party: 0,
                parties: 1,
                threshold: 0,
                epoch: Epoch(1),
                height: Height(1),
                round: Round(self.round),
                state_root: Digest::ZERO,
                subject: pair.handle,
                payload: Payload::Sealed(sealed),
            };
            SignedAnswer::sign(answer, CHAIN, &party)
        };
        let answers: Vec<SignedAnswer> = signed.pairs.iter().map(answer).collect();
        if self.lie == Lie::OldAnswer {
            return self.last.clone();
        }
        self.last.clone_from(&answers);
        answers
    }

    fn keys(&self) -> PublicKeyInfo {
        let text = || "clear".to_owned();
        PublicKeyInfo {
            key_id: KEY,
            previous: None,
            profile: EvaluationProfile {
                library: text(),
                plan: text(),
                parameters: text(),
                backend: text(),
                instructions: text(),
            },
            parts: vec![],
            managers: KeyManagers { parties: vec![self.party.public()], threshold: 0, epoch: Epoch(1) },
        }
    }

    fn status(&self) -> Json {
        let node = self.party.public();
        json!(Status {
            node,
            entity: Account::of(&node),
            moniker: "test".to_owned(),
            version: "1".to_owned(),
            chain_id: "test".to_owned(),
            chain_context: CHAIN,
            height: Height(10 * self.round),
            app_hash: Digest::ZERO,
            time_ms: 0,
            epoch: Epoch(5),
            roles: vec![],
            peers: 0,
            rss_bytes: 0,
            pool: 0,
            paratimes: vec![],
            fault: None,
        })
    }

    /// Ten heights a round, so that a key manager has always seen what there is.
    fn health(&self) -> Json {
        json!(Health {
            ready: true,
            reason: None,
            height: Height(10 * self.round),
            peers: 0,
            roles: vec![],
            catching_up: false,
            paratimes: vec![],
        })
    }

    fn list(&self) -> Json {
        json!([ParaTimeView {
            id: paratime(),
            kind: KIND.to_owned(),
            round: Round(self.round),
            profile: Digest::ZERO,
            key_id: KEY,
            served_here: true,
        }])
    }

    fn answer(&mut self, method: &str, parameters: &[Json]) -> Result<Json, ErrorObjectOwned> {
        let text = |at: usize| parameters[at].as_str().expect("it is text");
        Ok(match method {
            "eth_sendRawTransaction" => json!(self.execute(hex::decode(&text(0)[2..]).unwrap())),
            "node_status" => self.status(),
            "node_health" => self.health(),
            "paratime_list" => self.list(),
            "paratime_public_key" => json!(self.keys()),
            "paratime_query" => self.evm.query(&self.state, text(1), &parameters[2]).unwrap(),
            "kms_attest_input" => self.attest(&text(1).parse().unwrap()),
            "kms_public_decrypt" => {
                let handles: Vec<B256> = serde_json::from_value(parameters[1].clone()).unwrap();
                self.decrypt(&handles)
            }
            "kms_user_decrypt_for" => {
                let permit: SignedPermit = serde_json::from_value(parameters[1].clone()).unwrap();
                json!(self.decrypt_for(&permit))
            }
            ethereum => {
                let answer = self.evm.query(&self.state, ethereum, &json!(parameters)).unwrap();
                let Some(error) = answer.get("error") else { return Ok(answer["result"].clone()) };
                let (code, message) = (error["code"].as_i64().unwrap() as i32, error["message"].to_string());
                return Err(ErrorObjectOwned::owned(code, message, error.get("data").cloned()));
            }
        })
    }
}

const METHODS: [&str; 18] = [
    "node_status",
    "node_health",
    "paratime_list",
    "paratime_public_key",
    "paratime_query",
    "kms_attest_input",
    "kms_public_decrypt",
    "kms_user_decrypt_for",
    "eth_chainId",
    "eth_gasPrice",
    "eth_maxPriorityFeePerGas",
    "eth_getBalance",
    "eth_getCode",
    "eth_getTransactionCount",
    "eth_call",
    "eth_estimateGas",
    "eth_sendRawTransaction",
    "eth_getTransactionReceipt",
];

/// Serves a chain on a free port of this machine.
pub async fn serve() -> (Arc<Mutex<Chain>>, String, ServerHandle) {
    let chain = Arc::new(Mutex::new(Chain::new()));
    let mut module = RpcModule::new(chain.clone());
    for method in METHODS {
        module
            .register_method(method, move |parameters, chain, _| {
                let given: Vec<Json> = parameters.parse().unwrap_or_default();
                chain.lock().unwrap().answer(method, &given)
            })
            .unwrap();
    }
    let server = Server::builder().build(SocketAddr::from(([127, 0, 0, 1], 0))).await.unwrap();
    let url = format!("http://{}", server.local_addr().unwrap());
    (chain, url, server.start(module))
}
