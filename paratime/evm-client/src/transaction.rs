//! Transactions as bytes: what is signed, and what travels.

use crate::error::Error;
use crate::wallet::{Signed, Wallet};
use alloy_rlp::{Encodable, Header};
use parallax_evm::input;
use parallax_primitives::KeyId;
use parallax_runtime::FheType;
use revm::context::transaction::AccessList;
use revm::primitives::{Address, B256, Bytes, TxKind, U256, keccak256};

/// What a unit of gas may cost, in wei.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fee {
    /// A price, as transactions had it before EIP-1559.
    Legacy(u128),
    /// The most beyond the base fee, and the most in all (EIP-1559).
    Dynamic {
        /// Beyond the base fee.
        priority: u128,
        /// In all.
        most: u128,
    },
}

/// An Ethereum transaction to be signed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unsigned {
    /// The EVM's chain id.
    pub chain_id: u64,
    /// Its position among the sender's.
    pub nonce: u64,
    /// What a unit of gas may cost.
    pub fee: Fee,
    /// The most gas that it uses.
    pub gas_limit: u64,
    /// Whom it calls, or that it creates.
    pub to: TxKind,
    /// Wei that it carries.
    pub value: U256,
    /// Calldata, or the code that creates.
    pub input: Bytes,
}

/// An encrypted input to be signed: a list of ciphertexts with its proof, on its way into the state.
#[derive(Clone, PartialEq, Eq)]
pub struct UnsignedInput {
    /// The EVM's chain id.
    pub chain_id: u64,
    /// Its position among the sender's transactions.
    pub nonce: u64,
    /// The most that a unit of gas costs beyond the base fee, in wei.
    pub priority: u128,
    /// The most that a unit of gas costs in all, in wei.
    pub most: u128,
    /// The most gas that it uses.
    pub gas_limit: u64,
    /// The contract that may use the values.
    pub contract: Address,
    /// On whose behalf.
    pub user: Address,
    /// The key under which the list is encrypted.
    pub key: KeyId,
    /// The types of the values, in their order.
    pub types: Vec<FheType>,
    /// The list with its proof.
    pub list: Bytes,
}

impl std::fmt::Debug for UnsignedInput {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { nonce, contract, user, types, list, .. } = self;
        write!(f, "UnsignedInput({types:?} for {contract} and {user}, nonce {nonce}, {} bytes)", list.len())
    }
}

fn list(prefix: &[u8], fields: &[u8]) -> Vec<u8> {
    let mut out = prefix.to_vec();
    Header { list: true, payload_length: fields.len() }.encode(&mut out);
    out.extend_from_slice(fields);
    out
}

/// The fields, signed under a type byte.
fn typed(kind: u8, mut fields: Vec<u8>, wallet: &Wallet) -> Result<Vec<u8>, Error> {
    let Signed { r, s, odd } = wallet.sign_parts(keccak256(list(&[kind], &fields)))?;
    odd.encode(&mut fields);
    r.encode(&mut fields);
    s.encode(&mut fields);
    Ok(list(&[kind], &fields))
}

impl Unsigned {
    /// The bytes that travel.
    ///
    /// # Errors
    /// If there is no signature; see [`Wallet::sign`].
    pub fn sign(&self, wallet: &Wallet) -> Result<Vec<u8>, Error> {
        let mut fields = Vec::new();
        if let Fee::Dynamic { .. } = self.fee {
            self.chain_id.encode(&mut fields);
        }
        self.nonce.encode(&mut fields);
        match self.fee {
            Fee::Legacy(price) => price.encode(&mut fields),
            Fee::Dynamic { priority, most } => {
                priority.encode(&mut fields);
                most.encode(&mut fields);
            }
        }
        self.gas_limit.encode(&mut fields);
        self.to.encode(&mut fields);
        self.value.encode(&mut fields);
        self.input.encode(&mut fields);
        if let Fee::Dynamic { .. } = self.fee {
            AccessList::default().encode(&mut fields);
            return typed(2, fields, wallet);
        }
        // EIP-155: the chain id and two zeros are signed in the place of the signature.
        let mut signed = fields.clone();
        self.chain_id.encode(&mut signed);
        signed.extend_from_slice(&[0x80, 0x80]);
        let Signed { r, s, odd } = wallet.sign_parts(keccak256(list(&[], &signed)))?;
        let v = self.chain_id.saturating_mul(2).saturating_add(35 + u64::from(odd));
        v.encode(&mut fields);
        r.encode(&mut fields);
        s.encode(&mut fields);
        Ok(list(&[], &fields))
    }
}

impl UnsignedInput {
    /// The bytes that travel.
    ///
    /// # Errors
    /// If there is no signature; see [`Wallet::sign`].
    pub fn sign(&self, wallet: &Wallet) -> Result<Vec<u8>, Error> {
        let mut fields = Vec::new();
        self.chain_id.encode(&mut fields);
        self.nonce.encode(&mut fields);
        self.priority.encode(&mut fields);
        self.most.encode(&mut fields);
        self.gas_limit.encode(&mut fields);
        self.contract.encode(&mut fields);
        self.user.encode(&mut fields);
        B256::from(self.key.0).encode(&mut fields);
        let types: Vec<u8> = self.types.iter().map(|kind| kind.code()).collect();
        Bytes::from(types).encode(&mut fields);
        self.list.encode(&mut fields);
        typed(input::TYPE, fields, wallet)
    }
}

/// The digest that names signed bytes.
pub fn hash(bytes: &[u8]) -> B256 {
    keccak256(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use parallax_evm::input::Input;
    use parallax_evm::transaction::Transaction;
    use revm::primitives::hex;

    fn call(fee: Fee) -> Unsigned {
        Unsigned {
            chain_id: 31_337,
            nonce: 7,
            fee,
            gas_limit: 123_456,
            to: TxKind::Call("0x70997970c51812dc3a010c7d01b50e0d17dc79c8".parse().unwrap()),
            value: U256::from(1_000_000_000_000_000_001u128),
            input: hex!("a9059cbb0000000000000000000000000000000000000000000000000000000000000005").into(),
        }
    }

    const DYNAMIC: Fee = Fee::Dynamic { priority: 3, most: 2_000_000_000 };

    /// `privateKeyToAccount(key of dev-0).signTransaction(...)` of viem 2.57.20 with the values above.
    const BY_VIEM: [(Fee, &str); 2] = [
        (Fee::Legacy(1_500_000_000), include_str!("../vectors/legacy.hex")),
        (DYNAMIC, include_str!("../vectors/dynamic.hex")),
    ];

    #[test]
    fn transactions_are_the_bytes_that_an_independent_library_signs() {
        let wallet = Wallet::development(0).unwrap();
        for (fee, expected) in BY_VIEM {
            assert_eq!(hex::encode_prefixed(call(fee).sign(&wallet).unwrap()), expected.trim(), "{fee:?}");
        }
        let creation = Unsigned { to: TxKind::Create, value: U256::ZERO, ..call(DYNAMIC) };
        let expected = include_str!("../vectors/creation.hex").trim();
        assert_eq!(hex::encode_prefixed(creation.sign(&wallet).unwrap()), expected);
    }

    #[test]
    fn the_paratime_reads_the_transactions_and_finds_their_sender() {
        let wallet = Wallet::development(3).unwrap();
        for fee in [Fee::Legacy(1), Fee::Legacy(u128::MAX), DYNAMIC] {
            let bytes = call(fee).sign(&wallet).unwrap();
            let read = Transaction::open(&bytes, 31_337).unwrap();
            assert_eq!((read.sender, read.nonce, read.gas_limit), (wallet.address(), 7, 123_456));
            assert_eq!((read.hash, read.value), (hash(&bytes), call(fee).value));
            assert!(Transaction::open(&bytes, 1).is_err(), "it is for its chain alone");
        }
    }

    #[test]
    fn the_paratime_reads_the_input_and_finds_its_sender() {
        let wallet = Wallet::development(4).unwrap();
        let (contract, user) = (Address::repeat_byte(0xc0), Address::repeat_byte(0xa1));
        let given = UnsignedInput {
            chain_id: 31_337,
            nonce: 0,
            priority: 1,
            most: 2,
            gas_limit: 500_000,
            contract,
            user,
            key: KeyId([9; 32]),
            types: FheType::ALL.to_vec(),
            list: vec![0xab; 1_000].into(),
        };
        let bytes = given.sign(&wallet).unwrap();
        let read = Input::open(&bytes, 31_337).unwrap();
        assert_eq!((read.sender, read.contract, read.user, read.key), (wallet.address(), contract, user, given.key));
        assert_eq!((read.nonce, read.gas_limit, read.max_priority_fee, read.max_fee), (0, 500_000, 1, 2));
        assert_eq!((&read.list, read.hash), (&given.list, hash(&bytes)));
        let types: Vec<u8> = read.kinds.iter().map(|kind| kind.number()).collect();
        assert_eq!(types, [0, 2, 3, 4, 5, 6, 7, 8]);
        assert!(!format!("{given:?}").contains("abab"));
    }
}
