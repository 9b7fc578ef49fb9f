//! Signs transactions as wallets do. The keys are those of the public development mnemonic.

use alloy_rlp::{Encodable, Header};
use k256::ecdsa::SigningKey;
use revm::context::transaction::AccessList;
use revm::primitives::{Address, B256, Bytes, TxKind, U256, keccak256};

/// Keys of the first three development accounts.
const KEYS: [&str; 3] = [
    "ac0974bec39a17e36ba4a6b4d238ff944bacb478cbed5efcae784d7bf4f2ff80",
    "59c6995e998f97a5a0044966f0945389dc9e86dae88c7a8412f4603b6b78690d",
    "5de4111afa1a4b94908f83103eb1f1706367c2e68ca870fc3fb9a804cdab365a",
];

pub struct Wallet(SigningKey);

/// A transaction to be signed. `chain_id` `None`: before EIP-155.
#[derive(Clone)]
pub struct Unsigned {
    pub kind: u8,
    pub chain_id: Option<u64>,
    pub nonce: u64,
    pub max_priority_fee: u128,
    pub max_fee: u128,
    pub gas_limit: u64,
    pub to: TxKind,
    pub value: U256,
    pub input: Bytes,
}

/// An encrypted input to be signed.
#[derive(Clone)]
pub struct UnsignedInput {
    pub chain_id: u64,
    pub nonce: u64,
    pub gas_limit: u64,
    pub contract: Address,
    pub user: Address,
    pub key: [u8; 32],
    pub types: Vec<u8>,
    pub list: Vec<u8>,
}

fn list(fields: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    Header { list: true, payload_length: fields.len() }.encode(&mut out);
    out.extend_from_slice(fields);
    out
}

impl Wallet {
    /// The n-th development account.
    pub fn development(n: usize) -> Self {
        let bytes = hex::decode(KEYS[n]).expect("it is hexadecimal");
        Self(SigningKey::from_slice(&bytes).expect("it is a key"))
    }

    /// A key of a test's own.
    pub fn seeded(byte: u8) -> Self {
        Self(SigningKey::from_slice(&[byte; 32]).expect("it is a key"))
    }

    pub fn address(&self) -> Address {
        let point = self.0.verifying_key().to_encoded_point(false);
        Address::from_slice(&keccak256(&point.as_bytes()[1..])[12..])
    }

    /// r, s, and whether y is odd.
    pub fn sign(&self, digest: B256) -> (U256, U256, bool) {
        let (signature, id) = self.0.sign_prehash_recoverable(digest.as_slice()).expect("it signs");
        let (r, s) = signature.split_bytes();
        (U256::from_be_slice(&r), U256::from_be_slice(&s), id.is_y_odd())
    }

    /// The 65 bytes that contracts take.
    pub fn sign_bytes(&self, digest: B256) -> Vec<u8> {
        let (r, s, odd) = self.sign(digest);
        [&r.to_be_bytes::<32>()[..], &s.to_be_bytes::<32>(), &[27 + u8::from(odd)]].concat()
    }

    /// An encrypted input: the fields of the envelope up to the list, then list and signature.
    pub fn input(&self, input: &UnsignedInput) -> Vec<u8> {
        let mut fields = Vec::new();
        input.chain_id.encode(&mut fields);
        input.nonce.encode(&mut fields);
        1u128.encode(&mut fields);
        3_000_000_000u128.encode(&mut fields);
        input.gas_limit.encode(&mut fields);
        input.contract.encode(&mut fields);
        input.user.encode(&mut fields);
        B256::from(input.key).encode(&mut fields);
        Bytes::from(input.types.clone()).encode(&mut fields);
        Bytes::from(input.list.clone()).encode(&mut fields);
        let (r, s, odd) = self.sign(keccak256([vec![0x50], list(&fields)].concat()));
        odd.encode(&mut fields);
        r.encode(&mut fields);
        s.encode(&mut fields);
        [vec![0x50], list(&fields)].concat()
    }

    pub fn transaction(&self, tx: &Unsigned) -> Vec<u8> {
        let mut fields = Vec::new();
        if tx.kind > 0 {
            tx.chain_id.unwrap_or(0).encode(&mut fields);
        }
        tx.nonce.encode(&mut fields);
        if tx.kind == 2 {
            tx.max_priority_fee.encode(&mut fields);
        }
        tx.max_fee.encode(&mut fields);
        tx.gas_limit.encode(&mut fields);
        tx.to.encode(&mut fields);
        tx.value.encode(&mut fields);
        tx.input.encode(&mut fields);
        if tx.kind > 0 {
            AccessList::default().encode(&mut fields);
            let mut signed = vec![tx.kind];
            signed.extend(list(&fields));
            let (r, s, odd) = self.sign(keccak256(signed));
            odd.encode(&mut fields);
            r.encode(&mut fields);
            s.encode(&mut fields);
            let mut out = vec![tx.kind];
            out.extend(list(&fields));
            return out;
        }
        let mut signed = fields.clone();
        if let Some(chain) = tx.chain_id {
            chain.encode(&mut signed);
            signed.extend([0x80, 0x80]);
        }
        let (r, s, odd) = self.sign(keccak256(list(&signed)));
        let v = tx.chain_id.map_or(27, |chain| 35 + 2 * chain) + u64::from(odd);
        v.encode(&mut fields);
        r.encode(&mut fields);
        s.encode(&mut fields);
        list(&fields)
    }
}
