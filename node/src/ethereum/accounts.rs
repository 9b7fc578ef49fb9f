//! The development accounts, whose keys everyone has: on a localnet the node signs for them, as Hardhat's and Anvil's do.

use super::chain::EvmChain;
use super::{Answer, Service, invalid, refused, submit};
use alloy_dyn_abi::TypedData;
use eyre::Result;
use parallax_evm::eth::{self, Chain as _};
use parallax_evm::params::DEVELOPMENT_ACCOUNTS;
use parallax_evm::state;
use parallax_evm_client::Wallet;
use parallax_evm_client::transaction::{Fee, Unsigned};
use revm::primitives::{Address, B256, Bytes, TxKind, U256, keccak256};
use serde_json::{Value as Json, json};
use std::str::FromStr;
use std::sync::Arc;
use tokio::sync::Mutex;

/// The accounts, and whose turn it is: between the choice of a nonce and the pool no other transaction may come.
pub(super) struct Accounts {
    keys: Vec<Wallet>,
    turn: Mutex<()>,
}

impl Accounts {
    /// The ten accounts of the development mnemonic.
    pub(super) fn development() -> Result<Self> {
        let keys = (0..DEVELOPMENT_ACCOUNTS.len()).map(Wallet::development).collect::<Result<Vec<_>, _>>()?;
        Ok(Self { keys, turn: Mutex::default() })
    }

    /// Their addresses, in lower case as Ethereum's nodes have them.
    pub(super) fn addresses(&self) -> Vec<String> {
        self.keys.iter().map(|key| format!("{:#x}", key.address())).collect()
    }

    fn of(&self, address: &Address) -> Option<&Wallet> {
        self.keys.iter().find(|key| key.address() == *address)
    }
}

fn at(parameters: &Json, index: usize) -> &Json {
    parameters.get(index).unwrap_or(&Json::Null)
}

fn parsed<T: FromStr>(value: &Json, what: &str) -> Result<T, eth::Error> {
    let text = value.as_str().ok_or_else(|| invalid(format!("{what} is missing or is no text")))?;
    text.parse().map_err(|_| invalid(format!("{what} is {text:?}, which is not one")))
}

fn optional<T: FromStr>(transaction: &Json, field: &str) -> Result<Option<T>, eth::Error> {
    match transaction.get(field) {
        None | Some(Json::Null) => Ok(None),
        Some(value) => parsed(value, field).map(Some),
    }
}

/// What is signed for a message: it cannot be taken for a transaction (EIP-191).
fn message_digest(message: &[u8]) -> B256 {
    let mut bytes = format!("\x19Ethereum Signed Message:\n{}", message.len()).into_bytes();
    bytes.extend_from_slice(message);
    keccak256(bytes)
}

/// What is signed for structured data (EIP-712), which come as an object or as its text.
fn typed_digest(given: &Json) -> Result<B256, eth::Error> {
    let data = match given {
        Json::String(text) => serde_json::from_str::<TypedData>(text),
        other => serde_json::from_value(other.clone()),
    };
    let data = data.map_err(|e| invalid(format!("these are no typed data: {e}")))?;
    data.eip712_signing_hash().map_err(|e| invalid(format!("these typed data cannot be hashed: {e}")))
}

fn unknown(address: &Address) -> eth::Error {
    refused(format!(
        "unknown account {address}: this node has no key for it; sign with the key and use eth_sendRawTransaction"
    ))
}

impl Service {
    fn key(&self, address: &Address) -> Result<&Wallet, eth::Error> {
        self.accounts.as_ref().and_then(|accounts| accounts.of(address)).ok_or_else(|| unknown(address))
    }

    /// `eth_sign`, `personal_sign`, `eth_signTypedData_v4`.
    pub(super) fn sign(&self, method: &str, parameters: &Json) -> Answer {
        let (address, digest) = match method {
            "personal_sign" => (at(parameters, 1), message_digest(&submit::bytes(parameters, 0, "the message")?)),
            "eth_sign" => (at(parameters, 0), message_digest(&submit::bytes(parameters, 1, "the message")?)),
            _ => (at(parameters, 0), typed_digest(at(parameters, 1))?),
        };
        let key = self.key(&parsed(address, "address")?)?;
        let signature = key.sign(digest).map_err(|e| refused(e.to_string()))?;
        Ok(json!(signature.to_string()))
    }

    /// `eth_sendTransaction`: for an account of the node, or one that a developer impersonates.
    pub(super) async fn send_transaction(self: &Arc<Self>, parameters: &Json) -> Answer {
        let transaction = at(parameters, 0);
        let from: Address = parsed(transaction.get("from").unwrap_or(&Json::Null), "from")?;
        let held = self.accounts.as_ref().filter(|accounts| accounts.of(&from).is_some());
        let Some(accounts) = held else {
            if self.impersonated(&from)? {
                return self.control("eth_sendTransaction", parameters).await;
            }
            return Err(unknown(&from));
        };
        let _turn = accounts.turn.lock().await;
        let given = transaction.clone();
        let filled = super::methods::reading(Arc::clone(self), move |service| service.filled(&given, from)).await?;
        let bytes = filled.sign(self.key(&from)?).map_err(|e| refused(e.to_string()))?;
        Ok(json!(self.submit(bytes).await?.to_string()))
    }

    /// A transaction with everything that was left out.
    fn filled(&self, given: &Json, from: Address) -> Result<Unsigned, eth::Error> {
        let chain = EvmChain(&self.host);
        let view = chain.newest()?;
        let params = state::params(&*view)?;
        if given.get("accessList").and_then(Json::as_array).is_some_and(|list| !list.is_empty()) {
            return Err(invalid("an access list is not taken here; sign with the key and use eth_sendRawTransaction"));
        }
        if let Some(id) = optional::<U256>(given, "chainId")?
            && id != U256::from(params.chain_id)
        {
            return Err(refused(format!("invalid chain id: it is for chain {id}, this is chain {}", params.chain_id)));
        }
        let number = |field: &str| -> Result<Option<u64>, eth::Error> {
            Ok(optional::<U256>(given, field)?.map(|n| n.saturating_to()))
        };
        let wei = |field: &str| -> Result<Option<u128>, eth::Error> {
            Ok(optional::<U256>(given, field)?.map(|n| n.saturating_to()))
        };
        let nonce = match number("nonce")? {
            Some(nonce) => nonce,
            None => chain.next_nonce(&from, state::account(&*view, &from)?.unwrap_or_default().nonce),
        };
        let fee = match wei("gasPrice")? {
            Some(price) => Fee::Legacy(price),
            None => {
                let priority = wei("maxPriorityFeePerGas")?.unwrap_or_default();
                // Room for a base fee that a developer raises meanwhile.
                let usual = u128::from(params.base_fee).saturating_mul(2).saturating_add(priority);
                Fee::Dynamic { priority, most: wei("maxFeePerGas")?.unwrap_or(usual) }
            }
        };
        let gas_limit = match number("gas")? {
            Some(gas) => gas,
            None => {
                let estimate = eth::answer(&chain, "eth_estimateGas", &json!([given]))?;
                parsed::<U256>(&estimate, "the estimate")?.saturating_to()
            }
        };
        let input = match optional::<Bytes>(given, "input")? {
            Some(input) => input,
            None => optional(given, "data")?.unwrap_or_default(),
        };
        Ok(Unsigned {
            chain_id: params.chain_id,
            nonce,
            fee,
            gas_limit,
            to: optional::<Address>(given, "to")?.map_or(TxKind::Create, TxKind::Call),
            value: optional(given, "value")?.unwrap_or_default(),
            input,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mnemonic_leads_to_the_accounts_that_genesis_funds() {
        assert_eq!(Accounts::development().unwrap().addresses(), DEVELOPMENT_ACCOUNTS);
    }

    #[test]
    fn a_message_is_hashed_as_in_eip_191() {
        // The digest of "hello world" in ethers' documentation of hashMessage.
        let expected = "0xd9eba16ed0ecae432b71fe008c98cc872bb4cc214d3220a36f365326cf807d68";
        assert_eq!(message_digest(b"hello world").to_string(), expected);
    }

    #[test]
    fn typed_data_are_hashed_as_in_the_example_of_eip_712_whether_text_or_object() {
        let person = json!([{ "name": "name", "type": "string" }, { "name": "wallet", "type": "address" }]);
        let data = json!({
            "types": {
                "EIP712Domain": [
                    { "name": "name", "type": "string" },
                    { "name": "version", "type": "string" },
                    { "name": "chainId", "type": "uint256" },
                    { "name": "verifyingContract", "type": "address" },
                ],
                "Person": person,
                "Mail": [
                    { "name": "from", "type": "Person" },
                    { "name": "to", "type": "Person" },
                    { "name": "contents", "type": "string" },
                ],
            },
            "primaryType": "Mail",
            "domain": {
                "name": "Ether Mail",
                "version": "1",
                "chainId": 1,
                "verifyingContract": "0xCcCCccccCCCCcCCCCCCcCcCccCcCCCcCcccccccC",
            },
            "message": {
                "from": { "name": "Cow", "wallet": "0xCD2a3d9F938E13CD947Ec05AbC7FE734Df8DD826" },
                "to": { "name": "Bob", "wallet": "0xbBbBBBBbbBBBbbbBbbBbbbbBBbBbbbbBbBbbBBbB" },
                "contents": "Hello, Bob!",
            },
        });
        let expected = "0xbe609aee343fb3c4b28e1df9e632fca64fcfaede20f02e86244efddf30957bd2";
        assert_eq!(typed_digest(&data).unwrap().to_string(), expected);
        assert_eq!(typed_digest(&json!(data.to_string())).unwrap().to_string(), expected);
        assert_eq!(typed_digest(&json!({ "message": {} })).unwrap_err().code, -32_602);
    }
}
