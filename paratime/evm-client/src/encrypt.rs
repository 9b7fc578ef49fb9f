//! Encryption: from typed values to handles and the proof that a contract takes.

use crate::chain::{EvmClient, Receipt};
use crate::error::{Error, argument};
use crate::transaction::{Fee, UnsignedInput};
use crate::value::Value;
use crate::wallet::Wallet;
use parallax_evm::handle::FheType as HandleType;
use parallax_evm::input::{Bound, Input, MAX_BITS};
use parallax_runtime::ClientCipher;
use revm::primitives::{Address, B256, Bytes};
use std::sync::Arc;
use zeroize::Zeroizing;

/// Values that a contract can be given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EncryptedInput {
    /// One for each value, in their order.
    pub handles: Vec<B256>,
    /// The proof that the contract takes with them.
    pub proof: Vec<u8>,
    /// What became of the transaction that brought them.
    pub receipt: Receipt,
}

/// The numbers of four bits that a list of these values holds.
fn packed(values: &[Value]) -> Result<Zeroizing<Vec<u8>>, Error> {
    let bits: u32 = values.iter().map(|value| u32::from(value.kind().bits())).sum();
    if values.is_empty() || values.len() >= usize::from(parallax_evm::handle::COMPUTED) || bits > MAX_BITS {
        let count = values.len();
        return Err(argument(format!(
            "{count} values of {bits} bits; one list takes 1 to 254 values of {MAX_BITS} bits"
        )));
    }
    let mut out = Zeroizing::new(Vec::new());
    values.iter().for_each(|value| out.extend_from_slice(&value.packed()));
    Ok(out)
}

/// The list as the ParaTime will read it: handles and gas follow from it.
fn as_read(unsigned: &UnsignedInput, sender: Address) -> Input {
    Input {
        hash: B256::ZERO,
        sender,
        nonce: unsigned.nonce,
        max_priority_fee: unsigned.priority,
        max_fee: unsigned.most,
        gas_limit: unsigned.gas_limit,
        contract: unsigned.contract,
        user: unsigned.user,
        key: unsigned.key,
        kinds: unsigned.types.iter().filter_map(|kind| HandleType::new(kind.code())).collect(),
        list: unsigned.list.clone(),
    }
}

impl EvmClient {
    /// Encrypts values in one list with its proof, for one contract on behalf of one user. Takes about two core-seconds
    /// whatever the number of values, on a thread that may block. What the list is bound to is part of its proof.
    ///
    /// # Errors
    /// If the cipher is of another key set, the values are too many, or the library fails.
    pub async fn encrypt(
        &self,
        cipher: Arc<dyn ClientCipher>,
        values: &[Value],
        contract: Address,
        user: Address,
    ) -> Result<Bytes, Error> {
        let (here, there) = (cipher.key_id(), self.keys.key_id);
        if here != there {
            return Err(Error::OtherKey { here, there });
        }
        let digits = packed(values)?;
        let kinds = values.iter().filter_map(|value| HandleType::new(value.kind().code())).collect();
        let bound = Bound { chain: self.chain, paratime: self.paratime, key: there, contract, user, kinds };
        let list = tokio::task::spawn_blocking(move || cipher.encrypt(&digits, &bound.metadata())).await;
        Ok(list.map_err(|_| argument("the thread that encrypts has ended"))??.into())
    }

    /// Encrypts values, brings them into the state in a transaction that `payer` signs, and has the key managers attest
    /// them: handles and proof for a call by `user` of `contract`.
    ///
    /// # Errors
    /// As [`EvmClient::encrypt`]; the node's refusal; or that not enough key managers attest.
    pub async fn encrypt_input(
        &self,
        cipher: Arc<dyn ClientCipher>,
        values: &[Value],
        (contract, user): (Address, Address),
        payer: &Wallet,
    ) -> Result<EncryptedInput, Error> {
        let list = self.encrypt(cipher, values, contract, user).await?;
        let Fee::Dynamic { priority, most } = self.fee().await? else {
            return Err(argument("the price of gas has no form that inputs take"));
        };
        let mut unsigned = UnsignedInput {
            chain_id: self.chain_id,
            nonce: self.nonce(payer.address()).await?,
            priority,
            most,
            gas_limit: 0,
            contract,
            user,
            key: self.keys.key_id,
            types: values.iter().map(Value::kind).collect(),
            list,
        };
        let read = as_read(&unsigned, payer.address());
        let program = read.program().map_err(|e| argument(format!("the values cannot be taken apart: {e}")))?;
        // Exact: it follows from the list's length and its types.
        unsigned.gas_limit = read.gas(read.fhe_gas(&program));
        let handles = read.handles(self.chain_id);
        let receipt = self.submit(&unsigned.sign(payer)?, None).await?;
        let proof = self.attest(receipt.hash, &handles, contract, user).await?;
        Ok(EncryptedInput { handles, proof, receipt })
    }
}
