//! Transactions of the confidential EVM: signed ones, encrypted inputs, and those of a developer.

use crate::rounds::{CHAIN, digest, paratime};
use parallax_evm::control::{self, Action};
use parallax_evm::envelope::Envelope;
use parallax_evm::params::{Genesis, LOCALNET_CHAIN_ID, Params, Signers};
use parallax_evm::{EvmParaTime, developer};
use parallax_memory_store::MemoryView;
use parallax_primitives::{Address, Epoch, Gas, Height, KeyId, Round, SecretKey};
use parallax_runtime::decryption::KeyManagers;
use parallax_runtime::{ParaTime, RoundContext};
use std::sync::LazyLock;

/// The chain at genesis.
static GENESIS: LazyLock<MemoryView> = LazyLock::new(|| {
    let parties = vec![SecretKey::from_seed([200; 32]).public()];
    let managers = KeyManagers { parties, threshold: 0, epoch: Epoch(1) };
    let signers = |seed| Signers {
        contract: Address([seed; 20]),
        chain_id: 10_901,
        signers: vec![Address([seed; 20])],
        threshold: 1,
    };
    let params = Params::localnet(managers, signers(1), signers(2));
    let genesis = serde_json::to_value(Genesis::localnet(params)).unwrap();
    let mut state = MemoryView::default();
    state.apply(EvmParaTime::new(paratime()).init_genesis(&genesis).unwrap());
    state
});

fn context() -> RoundContext {
    RoundContext {
        chain: CHAIN,
        paratime: paratime(),
        round: Round(1),
        previous_hash: digest(0),
        epoch: Epoch(1),
        beacon: digest(1),
        height: Height(1),
        anchor: digest(2),
        time_ms: 1_700_000_000_000,
        key_ids: vec![KeyId([4; 32])],
        in_messages: vec![],
        message_results: vec![],
    }
}

pub(crate) fn decode(bytes: &[u8]) -> bool {
    Envelope::open(bytes, LOCALNET_CHAIN_ID).is_ok()
}

/// Decodes, admits, and executes as far as public data go: what planning a batch does.
pub(crate) fn check(bytes: &[u8]) {
    let evm = EvmParaTime::new(paratime());
    let admitted = evm.check_tx(&*GENESIS, &CHAIN, bytes, None);
    let plan = evm.plan(&*GENESIS, &context(), &[bytes.to_vec()], Gas(u64::MAX));
    match Envelope::open(bytes, LOCALNET_CHAIN_ID) {
        Err(_) => {
            assert!(admitted.is_err() && plan.is_err(), "what does not decode is neither admitted nor planned");
        }
        Ok(envelope) => {
            if let Envelope::Control(control) = &envelope {
                let again = control::bytes(LOCALNET_CHAIN_ID, control.salt, control.action.clone());
                assert_eq!(again, bytes, "a developer transaction has one encoding");
            }
            assert_eq!(plan.unwrap().take, 1, "whatever decodes has a place in a batch");
        }
    }
    // The same bytes as the parameters of a method.
    if let Ok(parameters) = serde_json::from_slice(bytes) {
        for method in ["hardhat_setStorageAt", "evm_mine", "eth_sendTransaction"] {
            let _ = developer::request(LOCALNET_CHAIN_ID, method, &parameters, [0; 32]);
        }
    }
}

/// Signed transactions of each type and an input, by the keys of the development mnemonic.
const SIGNED: [(&str, &str); 4] = [
    (
        "legacy",
        "f8688084b2d05e0082c35094b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0808301020382f4f5a0f95f78ed96226dc67d073114a2e2de46\
         e41ff504fcaaadd28d18e821df5fded9a0303bce2a00f32c424f134dd308fa065aa420da4e0ce0be0fd848fedddd4ae870",
    ),
    (
        "access-list",
        "01f86a827a698084b2d05e0082c35094b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b08083010203c001a0b627dd8f19e0841fdc7fbb22ca\
         a11d2799cac816563e112ca4fad7c747739a12a066216d68e2e2de3c0a8b7acf8300db3dc80c70d14737097d488f2182f645a6a6",
    ),
    (
        "priority-fee",
        "02f86b827a69800184b2d05e0082c35094b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b08083010203c001a08a29b3fb19e862879dd132b7\
         ba74d055dbdc4b24f0969294930c7e8527a34385a04481297b0f15eed95610d0893f06ed1924020fba6a68625e0b33eacde2f507e6",
    ),
    (
        "input",
        "50f8c6827a69800184b2d05e008307a12094c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c09470997970c51812dc3a010c7d01b50e0d17dc\
         79c8a0040404040404040404040404040404040404040404040404040404040404040405a8434c4c310404040404040404040404040404040\
         4040404040404040404040404040404041000000080a09bc5011235661872dccae65eeffbf40d84798c2b5392a55b2318b8a6feeeda65a051\
         b50b95381213580a985001cf86b81c9e7ebf4d310c8e6f044ec528e10e1a43",
    ),
];

fn unhex(text: &str) -> Vec<u8> {
    let digits: Vec<u8> = text.bytes().filter(|b| !b.is_ascii_whitespace()).collect();
    digits.chunks(2).map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap()).collect()
}

/// One transaction of each kind, and the actions with the most in them.
pub(crate) fn seeds() -> Vec<(&'static str, Vec<u8>)> {
    let address = [0xb0; 20];
    let unsigned = control::Unsigned {
        from: address,
        to: Some([1; 20]),
        value: [0; 32],
        input: vec![1, 2, 3],
        nonce: Some(1),
        gas: Some(50_000),
        max_fee: Some(1 << 40),
        max_priority_fee: None,
    };
    let actions = [
        ("balance", Action::SetBalance { address, balance: [1; 32] }),
        ("code", Action::SetCode { address, code: vec![0x5f, 0x5f, 0xf3] }),
        ("storage", Action::SetStorage { address, slot: [0; 32], value: [1; 32] }),
        ("mine", Action::Mine { blocks: 3, interval: 1, at: Some(1_800_000_000) }),
        ("time", Action::IncreaseTime(10)),
        ("snapshot", Action::Snapshot),
        ("revert", Action::Revert(1)),
        ("send", Action::Send(unsigned)),
    ];
    let actions = actions.map(|(name, action)| (name, control::bytes(LOCALNET_CHAIN_ID, [7; 32], action)));
    SIGNED.map(|(name, text)| (name, unhex(text))).into_iter().chain(actions).collect()
}
