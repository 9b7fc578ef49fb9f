//! Ethereum transactions as they come over the wire: legacy with a chain (EIP-155), with an access list (EIP-2930) and
//! with a priority fee (EIP-1559). The sender is recovered from the signature.
//!
//! Not taken: legacy transactions that name no chain, because anyone could repeat them on another one; blobs
//! (EIP-4844) and delegations of accounts (EIP-7702).

use crate::error::{Code, refuse};
use crate::signature::recover;
use alloy_rlp::{Decodable, Encodable, Header};
use parallax_runtime::TxError;
use revm::context::TxEnv;
use revm::context::transaction::AccessList;
use revm::primitives::{Address, B256, Bytes, TxKind, U256, keccak256, uint};

/// Half of the order of secp256k1 (EIP-2).
const HALF_ORDER: U256 = uint!(0x7fffffffffffffffffffffffffffffff5d576e7357a4501ddfe92f46681b20a0_U256);

/// Largest transaction, in bytes: what Ethereum's pools take. With its receipt it fits a value of the tree.
pub const MAX_TRANSACTION_BYTES: usize = 128 * 1024;

/// A transaction whose signature has been checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Transaction {
    /// The digest that names it.
    pub hash: B256,
    /// Who signed it.
    pub sender: Address,
    /// 0, 1 or 2.
    pub kind: u8,
    /// Its position among the sender's.
    pub nonce: u64,
    /// The most that it pays for a unit of gas, in wei.
    pub max_fee: u128,
    /// The most that it pays beyond the base fee; `None` before EIP-1559.
    pub max_priority_fee: Option<u128>,
    /// The most gas that it uses.
    pub gas_limit: u64,
    /// Whom it calls, or that it creates.
    pub to: TxKind,
    /// Wei that it carries.
    pub value: U256,
    /// Calldata, or the code that creates.
    pub input: Bytes,
    /// What it announces to touch.
    pub access_list: AccessList,
    /// Its signature: r.
    pub r: U256,
    /// Its signature: s.
    pub s: U256,
    /// Its signature: whether y is odd.
    pub odd: bool,
}

pub(crate) fn malformed(reason: impl std::fmt::Display) -> TxError {
    refuse(Code::Malformed, format!("the bytes are not an Ethereum transaction: {reason}"))
}

pub(crate) fn read<T: Decodable>(from: &mut &[u8], field: &str) -> Result<T, TxError> {
    T::decode(from).map_err(|e| malformed(format!("field {field}: {e}")))
}

/// The list that a payload is, whole and without more.
pub(crate) fn list<'a>(from: &mut &'a [u8]) -> Result<&'a [u8], TxError> {
    let header = Header::decode(from).map_err(malformed)?;
    if !header.list {
        return Err(malformed("it is not a list"));
    }
    match from.len().cmp(&header.payload_length) {
        std::cmp::Ordering::Equal => Ok(from),
        std::cmp::Ordering::Less => Err(malformed("it ends too early")),
        std::cmp::Ordering::Greater => Err(refuse(Code::TrailingBytes, "more bytes follow the transaction")),
    }
}

/// The fields of a payload as far as they are signed, as a list of its own.
pub(crate) fn signed_part(fields: &[u8], prefix: &[u8], suffix: &[u8]) -> B256 {
    let mut out = prefix.to_vec();
    Header { list: true, payload_length: fields.len().saturating_add(suffix.len()) }.encode(&mut out);
    out.extend_from_slice(fields);
    out.extend_from_slice(suffix);
    keccak256(out)
}

/// What follows the signed fields.
pub(crate) struct Signature {
    pub(crate) r: U256,
    pub(crate) s: U256,
    pub(crate) odd: bool,
}

impl Signature {
    pub(crate) fn sender(&self, digest: B256) -> Result<Address, TxError> {
        let bad = |why: &str| refuse(Code::BadSignature, format!("the signature is not valid: {why}"));
        if self.s > HALF_ORDER {
            return Err(bad("its s is in the upper half of the order; use the other one"));
        }
        recover(&digest, &B256::from(self.r), &B256::from(self.s), self.odd).ok_or_else(|| bad("no key made it"))
    }
}

pub(crate) fn chain(given: u64, expected: u64) -> Result<(), TxError> {
    if given == expected {
        return Ok(());
    }
    Err(refuse(Code::WrongChain, format!("it is for chain {given}, this is chain {expected}")))
}

impl Transaction {
    /// Decodes a transaction for this chain and recovers its sender.
    ///
    /// # Errors
    /// [`TxError`]: too large, malformed, another chain, a signature that is none.
    pub fn open(bytes: &[u8], chain_id: u64) -> Result<Self, TxError> {
        if bytes.len() > MAX_TRANSACTION_BYTES {
            let text = format!("it is {} bytes long, the limit is {MAX_TRANSACTION_BYTES}", bytes.len());
            return Err(refuse(Code::TooLarge, text));
        }
        match bytes.split_first() {
            Some((kind @ (1 | 2), mut rest)) => Self::typed(*kind, bytes, list(&mut rest)?, chain_id),
            Some((first, _)) if *first >= 0xc0 => {
                let mut rest = bytes;
                Self::legacy(bytes, list(&mut rest)?, chain_id)
            }
            Some((kind, _)) => {
                let text = format!("transactions of type {kind} are not taken; use type 0, 1 or 2");
                Err(refuse(Code::UnsupportedType, text))
            }
            None => Err(malformed("there are none")),
        }
    }

    fn legacy(bytes: &[u8], fields: &[u8], chain_id: u64) -> Result<Self, TxError> {
        let mut rest = fields;
        let nonce = read(&mut rest, "nonce")?;
        let max_fee = read(&mut rest, "gasPrice")?;
        let gas_limit = read(&mut rest, "gasLimit")?;
        let (to, value) = (read(&mut rest, "to")?, read(&mut rest, "value")?);
        let input = read(&mut rest, "data")?;
        let signed = fields.split_at(fields.len().saturating_sub(rest.len())).0;
        let v: u64 = read(&mut rest, "v")?;
        let (r, s) = (read(&mut rest, "r")?, read(&mut rest, "s")?);
        end(rest)?;
        let Some(bound) = v.checked_sub(35) else {
            return Err(refuse(Code::WrongChain, "its signature names no chain; sign it as EIP-155 says"));
        };
        chain(bound / 2, chain_id)?;
        let mut suffix = Vec::new();
        chain_id.encode(&mut suffix);
        suffix.extend_from_slice(&[0x80, 0x80]);
        let odd = bound % 2 == 1;
        let sender = Signature { r, s, odd }.sender(signed_part(signed, &[], &suffix))?;
        let (max_priority_fee, access_list) = (None, AccessList::default());
        let hash = keccak256(bytes);
        Ok(Self {
            hash,
            sender,
            kind: 0,
            nonce,
            max_fee,
            max_priority_fee,
            gas_limit,
            to,
            value,
            input,
            access_list,
            r,
            s,
            odd,
        })
    }

    fn typed(kind: u8, bytes: &[u8], fields: &[u8], chain_id: u64) -> Result<Self, TxError> {
        let mut rest = fields;
        chain(read(&mut rest, "chainId")?, chain_id)?;
        let nonce = read(&mut rest, "nonce")?;
        let max_priority_fee = if kind == 2 { Some(read(&mut rest, "maxPriorityFeePerGas")?) } else { None };
        let max_fee = read(&mut rest, if kind == 2 { "maxFeePerGas" } else { "gasPrice" })?;
        let gas_limit = read(&mut rest, "gasLimit")?;
        let (to, value) = (read(&mut rest, "to")?, read(&mut rest, "value")?);
        let input = read(&mut rest, "data")?;
        let access_list = read(&mut rest, "accessList")?;
        let signed = fields.split_at(fields.len().saturating_sub(rest.len())).0;
        let odd = read(&mut rest, "yParity")?;
        let (r, s) = (read(&mut rest, "r")?, read(&mut rest, "s")?);
        end(rest)?;
        let sender = Signature { r, s, odd }.sender(signed_part(signed, &[kind], &[]))?;
        let hash = keccak256(bytes);
        Ok(Self {
            hash,
            sender,
            kind,
            nonce,
            max_fee,
            max_priority_fee,
            gas_limit,
            to,
            value,
            input,
            access_list,
            r,
            s,
            odd,
        })
    }

    /// Whether a signature was checked; a developer's transaction in another's name has none.
    pub fn is_signed(&self) -> bool {
        !self.s.is_zero()
    }

    /// As revm takes it.
    pub(crate) fn env(&self, chain_id: u64) -> TxEnv {
        TxEnv {
            tx_type: self.kind,
            caller: self.sender,
            gas_limit: self.gas_limit,
            gas_price: self.max_fee,
            kind: self.to,
            value: self.value,
            data: self.input.clone(),
            nonce: self.nonce,
            chain_id: Some(chain_id),
            access_list: self.access_list.clone(),
            gas_priority_fee: self.max_priority_fee,
            ..TxEnv::default()
        }
    }

    /// What a unit of gas costs its sender in a block with this base fee.
    pub fn effective_price(&self, base_fee: u64) -> u128 {
        let priority = self.max_priority_fee.unwrap_or(u128::MAX);
        self.max_fee.min(priority.saturating_add(base_fee.into()))
    }
}

pub(crate) fn end(rest: &[u8]) -> Result<(), TxError> {
    if rest.is_empty() { Ok(()) } else { Err(malformed("the list has more fields")) }
}
