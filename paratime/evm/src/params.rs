//! The parameters that genesis fixes, and the state of round 0.

use crate::host::{self, CODE, Verifier};
use crate::receipt::{BLOOM_BYTES, BlockRecord, Header};
use crate::state;
use borsh::{BorshDeserialize, BorshSerialize};
use parallax_primitives::{Address, Amount, Gas, ParaTimeId};
use parallax_runtime::decryption::KeyManagers;
use parallax_runtime::gas;
use parallax_state::{Changes, Empty, Overlay};
use revm::primitives::{Bytes, U256};
use revm::state::{AccountInfo, Bytecode};
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;

/// Most accounts in a genesis document.
pub const MAX_GENESIS_ACCOUNTS: usize = 100_000;
/// The chain id of a localnet: one that the published configuration of contracts knows.
pub const LOCALNET_CHAIN_ID: u64 = 31_337;
/// Addresses of the first ten keys of the development mnemonic that Hardhat and Anvil use (`test test test test test
/// test test test test test test junk`, path `m/44'/60'/0'/0/n`). The keys are public.
pub const DEVELOPMENT_ACCOUNTS: [&str; 10] = [
    "0xf39fd6e51aad88f6f4ce6ab8827279cfffb92266",
    "0x70997970c51812dc3a010c7d01b50e0d17dc79c8",
    "0x3c44cdddb6a900fa2b585dd299e03d12fa4293bc",
    "0x90f79bf6eb2c4f870365e785982e1f101e93b906",
    "0x15d34aaf54267db7d7c367839aaf71a00a2c6a65",
    "0x9965507d1a55bcc2695c58ba16fb37d819b0a4dc",
    "0x976ea74026e726554db657fa54763abd0c3a0aa9",
    "0x14dc79964da2c08b23698b3d3cc7ca32193d9955",
    "0x23618e81e3f5cdf7f54c3d65f7fbc0abf5b21e8f",
    "0xa0ee7a142d267c1f36714e4a8f75612f20a79720",
];
/// The deterministic deployment proxy: who calls it with a salt of 32 bytes and the code that creates a contract has it
/// created by `CREATE2`, at an address that depends on these two alone. Foundry's scripts deploy through it.
pub const CREATE2_DEPLOYER: &str = "0x4e59b44847b379578588920ca78fbf26c0b4956c";
/// Its code, as it is on other chains.
const CREATE2_DEPLOYER_CODE: &str = "0x7fffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffe03601600081602082378035828234f58015156039578182fd5b8082525050506014600cf3";
/// Most contracts in a genesis document.
pub const MAX_GENESIS_CONTRACTS: usize = 1_000;
/// Largest code of a contract, in bytes (EIP-170).
const MAX_CODE_BYTES: usize = 24_576;
/// The first byte that no code may have (EIP-3541).
const RESERVED_CODE: u8 = 0xef;
/// The highest address of a precompiled contract.
const LAST_PRECOMPILE: u8 = 0x0a;
/// What each of them has on a localnet: 10,000 tokens of 18 decimals, in wei.
const DEVELOPMENT_BALANCE: u128 = 10_000_000_000_000_000_000_000;

/// Who attests inputs, or signs decryptions, towards contracts.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Signers {
    /// The contract that their signatures name as verifier.
    pub contract: Address,
    /// The chain that their signatures name.
    pub chain_id: u64,
    /// Their Ethereum addresses.
    pub signers: Vec<Address>,
    /// How many signatures are needed.
    pub threshold: u64,
}

impl Signers {
    fn check(&self, name: &str) -> Result<(), String> {
        let count = u64::try_from(self.signers.len()).unwrap_or(u64::MAX);
        if count == 0 || self.threshold == 0 || self.threshold > count {
            let threshold = self.threshold;
            return Err(format!(
                "evm parameter {name}: a threshold of {threshold} among {count} signers; give 1..={count}"
            ));
        }
        Ok(())
    }

    /// As a verifier has them.
    pub fn verifier(&self) -> Verifier {
        Verifier {
            contract: ours(&self.contract),
            chain_id: self.chain_id,
            signers: self.signers.iter().map(ours).collect(),
            threshold: self.threshold,
        }
    }
}

/// The rules of one EVM ParaTime.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Params {
    /// The EVM's chain id.
    pub chain_id: u64,
    /// Most EVM gas of a round.
    pub block_gas_limit: u64,
    /// Most EVM gas of a transaction.
    pub transaction_gas_limit: u64,
    /// What a unit of EVM gas costs at least, in wei; it is burnt.
    pub base_fee: u64,
    /// Who receives what is paid beyond the base fee.
    pub fee_recipient: Address,
    /// Most FHE gas of one transaction, everything counted: its programs, the check of its proof if it is an input, and
    /// what any transaction costs ([`gas::TRANSACTION`]). Genesis refuses a committee whose batches may have less.
    pub max_transaction_fhe_gas: Gas,
    /// How much wei a token of the consensus layer becomes when it is deposited.
    pub wei_per_token: u64,
    /// Who owns the host contracts.
    pub owner: Address,
    /// Who may stop the access control list.
    #[serde(default)]
    pub pausers: Vec<Address>,
    /// Who attests inputs.
    pub inputs: Signers,
    /// Who signs decryptions.
    pub decryptions: Signers,
    /// Who decrypts.
    pub key_managers: KeyManagers,
    /// Whether anyone may change balances, code and time, and go back to snapshots: for chains made for trying things
    /// out, see [`mod@crate::control`].
    #[serde(default)]
    pub developer: bool,
    /// The scheduling ParaTime to which contracts may submit jobs; none if it is left out.
    #[serde(default)]
    pub scheduler: Option<SchedulerLink>,
}

/// The way to the scheduling ParaTime.
#[derive(Clone, Copy, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SchedulerLink {
    /// The scheduling ParaTime.
    pub paratime: ParaTimeId,
    /// What each message pays for, in either direction: at least the consensus layer's `min_in_message_fee`.
    pub message_fee: Amount,
}

/// One account of the genesis document.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GenesisAccount {
    /// Whose.
    pub address: Address,
    /// How much, in wei: decimal digits as text, since JSON's numbers end too early.
    #[serde(with = "text")]
    pub balance: u128,
}

/// One contract of the genesis document: code that is there from the start. Its storage is empty; a balance comes from
/// an account of the same address.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GenesisContract {
    /// Where.
    pub address: Address,
    /// What runs there, in hexadecimal with `0x`.
    pub code: Bytes,
}

/// Numbers as text.
mod text {
    use serde::{Deserialize, Deserializer, Serializer};

    pub(super) fn serialize<S: Serializer>(number: &u128, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(number)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u128, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(|_| serde::de::Error::custom(format!("{text:?} is not a number of wei")))
    }
}

/// What the genesis document says for this ParaTime.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Genesis {
    /// The rules.
    pub params: Params,
    /// The accounts with a balance.
    pub accounts: Vec<GenesisAccount>,
    /// The contracts that are there from the start, beside the host contracts.
    #[serde(default)]
    pub contracts: Vec<GenesisContract>,
}

impl Genesis {
    /// What a localnet begins with: the ten development accounts, and the deterministic deployment proxy.
    pub fn localnet(params: Params) -> Self {
        Self { params, accounts: development_balances(), contracts: development_contracts() }
    }
}

impl Genesis {
    /// What the ParaTime's account at the consensus layer must hold so that all wei of the accounts can leave again;
    /// rounded up, zero if tokens have no price in wei. The document's author gives it that, or the rest is wei with
    /// nothing behind it: messages that would send it are refused.
    pub fn backing(&self) -> Amount {
        let price = u128::from(self.params.wei_per_token);
        let wei = self.accounts.iter().fold(0u128, |sum, account| sum.saturating_add(account.balance));
        Amount(if price == 0 { 0 } else { wei.div_ceil(price) })
    }
}

/// An address in revm's type.
pub(crate) fn ours(address: &Address) -> revm::primitives::Address {
    revm::primitives::Address::from(address.0)
}

impl Params {
    /// The values for a localnet: chain 31337, the first development account as owner, developer transactions taken.
    pub fn localnet(key_managers: KeyManagers, inputs: Signers, decryptions: Signers) -> Self {
        let owner = development_accounts().first().copied().unwrap_or(Address([0; 20]));
        Self {
            chain_id: LOCALNET_CHAIN_ID,
            block_gas_limit: 60_000_000,
            transaction_gas_limit: 30_000_000,
            base_fee: 1_000_000_000,
            fee_recipient: Address([0; 20]),
            max_transaction_fhe_gas: Gas(8_000 * gas::PBS),
            wei_per_token: 1_000_000_000,
            owner,
            pausers: vec![owner],
            inputs,
            decryptions,
            key_managers,
            developer: true,
            scheduler: None,
        }
    }

    /// Most FHE gas of the programs of one transaction, with the check of its proof if it is an input.
    pub fn max_program_gas(&self) -> Gas {
        Gas(self.max_transaction_fhe_gas.0.saturating_sub(gas::TRANSACTION))
    }

    /// Checks every parameter.
    ///
    /// # Errors
    /// A text that names the parameter at fault.
    pub fn check(&self) -> Result<(), String> {
        if self.chain_id == 0 {
            return Err("evm parameter chain_id is 0; give the chain's number".to_owned());
        }
        if self.transaction_gas_limit < 21_000 || self.transaction_gas_limit > self.block_gas_limit {
            return Err(format!(
                "evm parameter transaction_gas_limit is {}, it must be in 21000..={} (block_gas_limit)",
                self.transaction_gas_limit, self.block_gas_limit
            ));
        }
        if self.max_transaction_fhe_gas.0 <= gas::TRANSACTION {
            return Err(format!(
                "evm parameter max_transaction_fhe_gas is {}, of which any transaction takes {}; no operation could be \
                 evaluated",
                self.max_transaction_fhe_gas,
                gas::TRANSACTION
            ));
        }
        if self.scheduler.is_some() && self.wei_per_token == 0 {
            return Err("evm parameter wei_per_token is 0; a job could not be paid".to_owned());
        }
        self.inputs.check("inputs")?;
        self.decryptions.check("decryptions")
    }
}

/// The addresses of [`DEVELOPMENT_ACCOUNTS`].
pub fn development_accounts() -> Vec<Address> {
    DEVELOPMENT_ACCOUNTS.iter().filter_map(|text| text.parse().ok()).collect()
}

/// The ten development accounts with their balance.
pub fn development_balances() -> Vec<GenesisAccount> {
    let account = |address| GenesisAccount { address, balance: DEVELOPMENT_BALANCE };
    development_accounts().into_iter().map(account).collect()
}

/// The contracts of a localnet: [`CREATE2_DEPLOYER`].
fn development_contracts() -> Vec<GenesisContract> {
    let parsed = || Some((CREATE2_DEPLOYER.parse().ok()?, CREATE2_DEPLOYER_CODE.parse().ok()?));
    parsed().map(|(address, code)| GenesisContract { address, code }).into_iter().collect()
}

/// Checks the contracts of a genesis document.
fn check_contracts(contracts: &[GenesisContract]) -> Result<(), String> {
    if contracts.len() > MAX_GENESIS_CONTRACTS {
        return Err(format!("{} contracts in genesis, the limit is {MAX_GENESIS_CONTRACTS}", contracts.len()));
    }
    let mut seen = BTreeSet::new();
    for contract in contracts {
        let wrong = |what: String| Err(format!("evm contract {}: {what}", contract.address));
        let address = ours(&contract.address);
        if host::NATIVE.contains(&address) {
            return wrong("a host contract has this address; leave it out".to_owned());
        }
        let number = U256::from_be_bytes(address.into_word().0);
        if number <= U256::from(LAST_PRECOMPILE) {
            return wrong("the EVM's own contracts have the addresses up to 0x0a; give another".to_owned());
        }
        if !seen.insert(address) {
            return wrong("the address stands here twice; give it one code".to_owned());
        }
        match contract.code.as_ref() {
            [] => return wrong("it has no code; give what runs there, or an account with a balance".to_owned()),
            [RESERVED_CODE, ..] => return wrong("its code begins with 0xef, which no code may (EIP-3541)".to_owned()),
            code if code.len() > MAX_CODE_BYTES => {
                return wrong(format!("its code has {} bytes, {MAX_CODE_BYTES} is the most (EIP-170)", code.len()));
            }
            _ => {}
        }
    }
    Ok(())
}

/// Reads and checks the genesis document's part.
pub(crate) fn parse(parameters: &serde_json::Value) -> Result<Genesis, String> {
    let genesis: Genesis =
        serde_json::from_value(parameters.clone()).map_err(|e| format!("evm parameters are not valid: {e}"))?;
    genesis.params.check()?;
    if genesis.accounts.len() > MAX_GENESIS_ACCOUNTS {
        return Err(format!("{} accounts in genesis, the limit is {MAX_GENESIS_ACCOUNTS}", genesis.accounts.len()));
    }
    let hosts: Vec<Address> = host::NATIVE.iter().map(|a| Address(a.into_array())).collect();
    if let Some(account) = genesis.accounts.iter().find(|a| hosts.contains(&a.address)) {
        return Err(format!("evm account {} is a host contract; leave it out", account.address));
    }
    check_contracts(&genesis.contracts)?;
    Ok(genesis)
}

/// The state of round 0: parameters, balances, contracts, and the host contracts.
pub(crate) fn init(genesis: &Genesis, paratime: ParaTimeId) -> Changes {
    let mut state = Overlay::new(&Empty);
    let params = &genesis.params;
    state::put_params(&mut state, params);
    for account in &genesis.accounts {
        let info = AccountInfo::default().with_balance(U256::from(account.balance));
        state::put_account(&mut state, &ours(&account.address), &info);
    }
    for contract in &genesis.contracts {
        let address = ours(&contract.address);
        let account = genesis.accounts.iter().rfind(|account| account.address == contract.address);
        let balance = account.map_or(U256::ZERO, |account| U256::from(account.balance));
        let code_hash = state::put_code(&mut state, &Bytecode::new_legacy(contract.code.clone()));
        state::put_account(
            &mut state,
            &address,
            &AccountInfo { nonce: 1, balance, code_hash, ..AccountInfo::default() },
        );
    }
    let code_hash = state::put_code(&mut state, &Bytecode::new_legacy(CODE.to_vec().into()));
    for contract in host::NATIVE {
        // Nonce 1, as every contract has.
        let info = AccountInfo { nonce: 1, code_hash, ..AccountInfo::default() };
        state::put_account(&mut state, &contract, &info);
    }
    let header = Header {
        number: 0,
        round: 0,
        base: 0,
        parent: [0; 32],
        paratime_parent: [0; 32],
        timestamp: 0,
        randomness: [0; 32],
        beneficiary: params.fee_recipient.0,
        gas_limit: params.block_gas_limit,
        gas_used: 0,
        base_fee: params.base_fee,
        transactions: [0; 32],
        bloom: [0; BLOOM_BYTES],
    };
    state::put_block(&mut state, &BlockRecord::new(header, Vec::new()));
    let pausers: Vec<_> = params.pausers.iter().map(ours).collect();
    let slots =
        host::genesis_storage(ours(&params.owner), &pausers, &params.inputs.verifier(), &params.decryptions.verifier());
    for (contract, slot, value) in slots {
        state::put_slot(&mut state, &contract, &slot, value);
    }
    if let Some(link) = params.scheduler {
        for (slot, value) in host::jobs::genesis(paratime, link.paratime, link.message_fee, params.wei_per_token) {
            state::put_slot(&mut state, &host::JOBS, &slot, value);
        }
    }
    state.into_changes()
}
