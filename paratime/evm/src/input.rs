//! Encrypted inputs: how a client's ciphertexts come into the state.
//!
//! A client encrypts its values in one compact list with a zero-knowledge proof that it knows them, bound to the
//! contract that may use them, the user on whose behalf, the values' types, the access control list, and the chain. The
//! types are bound because they say where in the list a value begins: the same list cut elsewhere would hand out parts
//! of a secret as values of their own. Anyone may bring the list: the bytes are `0x50` and the RLP list of chain id, nonce, priority fee, fee, gas limit, contract, user, key id,
//! types (one byte each, numbered as in handles), list, parity, r and s, signed as EIP-1559 transactions are. Every
//! replica checks the proof, so a bad one costs its sender the fee.
//!
//! The handles exist from the next round on, and a handle that has its ciphertext keeps it, whoever brings the list
//! again. Whoever attests inputs to contracts reads them there and signs them
//! ([`attestation`]); a contract that is given handles and attestation may then use them.

use crate::circuit;
use crate::error::{Code, refuse};
use crate::handle::{self, FheType};
use crate::host::{self, ACL, INPUT_DOMAIN, Verifier, signers::typed_data_digest};
use crate::transaction::{MAX_TRANSACTION_BYTES, Signature, chain, end, list, malformed, read, signed_part};
use parallax_primitives::{ChainContext, Digest, Domain, Gas, KeyId, ParaTimeId};
use parallax_runtime::{InputKind, Program, ProgramBuilder, ProgramError, TxError, gas};
use revm::primitives::{Address, B256, Bytes, U256, keccak256};

/// The first byte of an input.
pub const TYPE: u8 = 0x50;
/// Most bits of the values of one list.
pub const MAX_BITS: u32 = 2_048;
/// EVM gas of a byte of the list, of a handle, and of four units of FHE gas.
const GAS_BYTE: u64 = 16;
const GAS_HANDLE: u64 = 25_000;
const FHE_GAS_PER_GAS: u64 = 4;
/// EVM gas of any transaction.
const GAS_BASE: u64 = 21_000;

/// A list with its proof, whose bringer's signature has been checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Input {
    /// The digest that names the transaction.
    pub hash: B256,
    /// Who pays.
    pub sender: Address,
    /// Its position among the sender's.
    pub nonce: u64,
    /// The most that it pays beyond the base fee for a unit of gas, in wei.
    pub max_priority_fee: u128,
    /// The most that it pays for a unit of gas, in wei.
    pub max_fee: u128,
    /// The most gas that it uses.
    pub gas_limit: u64,
    /// The contract that may use the values.
    pub contract: Address,
    /// On whose behalf.
    pub user: Address,
    /// The key under which the list is encrypted.
    pub key: KeyId,
    /// The types of the values, in their order.
    pub kinds: Vec<FheType>,
    /// The list with its proof.
    pub list: Bytes,
}

/// The type as the program builder names it. [`Input::open`] lets no other in.
fn computable(kind: FheType) -> Option<parallax_runtime::FheType> {
    parallax_runtime::FheType::from_code(kind.number())
}

impl Input {
    /// Decodes an input for this chain and recovers who brings it.
    ///
    /// # Errors
    /// [`TxError`]: too large, malformed, another chain, types that are none, a signature that is none.
    pub fn open(bytes: &[u8], chain_id: u64) -> Result<Self, TxError> {
        if bytes.len() > MAX_TRANSACTION_BYTES {
            let text = format!("it is {} bytes long, the limit is {MAX_TRANSACTION_BYTES}", bytes.len());
            return Err(refuse(Code::TooLarge, text));
        }
        let mut payload = bytes.get(1..).unwrap_or_default();
        let fields = list(&mut payload)?;
        let mut rest = fields;
        chain(read(&mut rest, "chainId")?, chain_id)?;
        let nonce = read(&mut rest, "nonce")?;
        let (max_priority_fee, max_fee) = (read(&mut rest, "maxPriorityFeePerGas")?, read(&mut rest, "maxFeePerGas")?);
        let gas_limit = read(&mut rest, "gasLimit")?;
        let (contract, user) = (read(&mut rest, "contract")?, read(&mut rest, "user")?);
        let key: B256 = read(&mut rest, "key")?;
        let types: Bytes = read(&mut rest, "types")?;
        let ciphertexts: Bytes = read(&mut rest, "list")?;
        let signed = fields.split_at(fields.len().saturating_sub(rest.len())).0;
        let odd = read(&mut rest, "yParity")?;
        let (r, s) = (read(&mut rest, "r")?, read(&mut rest, "s")?);
        end(rest)?;
        let kinds: Option<Vec<FheType>> =
            types.iter().map(|n| FheType::new(*n).filter(|kind| computable(*kind).is_some())).collect();
        let kinds = kinds.ok_or_else(|| malformed("a value has a type that cannot be computed with"))?;
        let bits: u32 = kinds.iter().filter_map(|kind| kind.bits()).map(u32::from).sum();
        if kinds.is_empty() || kinds.len() > usize::from(handle::COMPUTED) || bits > MAX_BITS {
            let text = format!("{} values of {bits} bits; a list has 1 to 255 values of {MAX_BITS} bits", kinds.len());
            return Err(malformed(text));
        }
        let sender = Signature { r, s, odd }.sender(signed_part(signed, &[TYPE], &[]))?;
        let (hash, key, list) = (keccak256(bytes), KeyId(key.0), ciphertexts);
        Ok(Self { hash, sender, nonce, max_priority_fee, max_fee, gas_limit, contract, user, key, kinds, list })
    }

    /// What its receipt keeps of it: type, contract and user, without the list. Whoever attests the values reads them there.
    pub fn kept(&self) -> Vec<u8> {
        [&[TYPE], self.contract.as_slice(), self.user.as_slice()].concat()
    }

    /// What a unit of gas costs in a block with this base fee.
    pub fn effective_price(&self, base_fee: u64) -> u128 {
        self.max_fee.min(self.max_priority_fee.saturating_add(base_fee.into()))
    }

    /// The handles of the values: the hash binds list, place, access control list, chain, and the types of all values,
    /// so another cut of the list names nothing that this one names.
    pub fn handles(&self, chain_id: u64) -> Vec<B256> {
        let list = keccak256(&self.list);
        let types: Vec<u8> = self.kinds.iter().map(|kind| kind.number()).collect();
        let chain = B256::left_padding_from(&chain_id.to_be_bytes());
        (0u8..)
            .zip(&self.kinds)
            .map(|(index, kind)| {
                let preimage = [list.as_slice(), &[index], ACL.as_slice(), chain.as_slice(), &types].concat();
                handle::compose(keccak256(preimage), index, chain_id, *kind)
            })
            .collect()
    }

    /// What the proof is bound to.
    pub fn bound(&self, chain: ChainContext, paratime: ParaTimeId) -> Bound {
        let (contract, user, kinds) = (self.contract, self.user, self.kinds.clone());
        Bound { chain, paratime, key: self.key, contract, user, kinds }
    }

    /// How many numbers of four bits the list holds.
    pub fn blocks(&self) -> u16 {
        self.kinds.iter().filter_map(|kind| computable(*kind)).map(|kind| kind.packed_blocks()).sum()
    }

    /// The program that makes each value's ciphertext from the list. It depends on the types alone.
    ///
    /// # Errors
    /// [`ProgramError`], which no types that [`Input::open`] takes lead to.
    pub fn program(&self) -> Result<Program, ProgramError> {
        let mut builder = ProgramBuilder::new();
        let numbers = builder.input(InputKind::Proven { blocks: self.blocks() });
        let mut rest = numbers.as_slice();
        for kind in self.kinds.iter().filter_map(|kind| computable(*kind)) {
            let (mine, others) = rest.split_at(usize::from(kind.packed_blocks()).min(rest.len()));
            let value = builder.unpack(kind, mine);
            builder.output(value);
            rest = others;
        }
        builder.build()
    }

    /// FHE gas: the check of the proof, the program, and the ciphertexts that it makes.
    pub fn fhe_gas(&self, program: &Program) -> Gas {
        Gas(gas::PROOF.saturating_add(circuit::gas(program).0))
    }

    /// EVM gas: bytes, handles and work.
    pub fn gas(&self, fhe: Gas) -> u64 {
        let bytes = (self.list.len() as u64).saturating_mul(GAS_BYTE);
        let handles = (self.kinds.len() as u64).saturating_mul(GAS_HANDLE);
        GAS_BASE.saturating_add(bytes).saturating_add(handles).saturating_add(fhe.0 / FHE_GAS_PER_GAS)
    }
}

/// Contract and user from what a receipt keeps of an input; `None` if it is the receipt of something else.
pub fn kept(transaction: &[u8]) -> Option<(Address, Address)> {
    let (contract, user) = transaction.strip_prefix(&[TYPE])?.split_first_chunk::<20>()?;
    Some((Address::from(*contract), Address::from(<[u8; 20]>::try_from(user).ok()?)))
}

/// What a client's proof is bound to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bound {
    /// The chain.
    pub chain: ChainContext,
    /// The ParaTime.
    pub paratime: ParaTimeId,
    /// The key under which the list is encrypted.
    pub key: KeyId,
    /// The contract that may use the values.
    pub contract: Address,
    /// On whose behalf.
    pub user: Address,
    /// The types of the values, in their order: they say where in the list each value begins.
    pub kinds: Vec<FheType>,
}

impl Bound {
    /// The metadata of the proof. The access control list is part of it too.
    pub fn metadata(&self) -> Digest {
        let addresses = [ACL, self.contract, self.user].map(Address::into_array);
        let types: Vec<u8> = self.kinds.iter().map(|kind| kind.number()).collect();
        Digest::of_value(Domain::InputMetadata, &("evm", self.chain, self.paratime, self.key, addresses, types))
    }
}

/// The digest that attesters sign so that a contract may use these handles on behalf of a user (EIP-712).
pub fn attestation(
    verifier: &Verifier,
    handles: &[B256],
    user: Address,
    contract: Address,
    chain_id: u64,
    extra: &[u8],
) -> B256 {
    let structure = host::input_structure(handles, user, contract, U256::from(chain_id), extra);
    typed_data_digest(INPUT_DOMAIN.as_bytes(), b"1", verifier.chain_id, verifier.contract, structure)
}

/// The proof that a contract takes: the counts, the handles, the signatures, and extra data.
pub fn proof(handles: &[B256], signatures: &[Vec<u8>], extra: &[u8]) -> Vec<u8> {
    let count = |n: usize| u8::try_from(n).unwrap_or(u8::MAX);
    let mut out = vec![count(handles.len()), count(signatures.len())];
    handles.iter().for_each(|handle| out.extend_from_slice(handle.as_slice()));
    signatures.iter().for_each(|signature| out.extend_from_slice(signature));
    out.extend_from_slice(extra);
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    fn input(types: &[u8]) -> Input {
        Input {
            hash: B256::ZERO,
            sender: Address::ZERO,
            nonce: 0,
            max_priority_fee: 0,
            max_fee: 0,
            gas_limit: 0,
            contract: Address::repeat_byte(1),
            user: Address::repeat_byte(2),
            key: KeyId([3; 32]),
            kinds: types.iter().filter_map(|kind| FheType::new(*kind)).collect(),
            list: vec![7; 100].into(),
        }
    }

    #[test]
    fn another_cut_of_a_list_has_another_proof_and_no_handle_in_common() {
        // A number of 64 bits and one of 8 are 18 blocks, and so are all the others.
        let cuts: [&[u8]; 4] = [&[5, 2], &[2, 2, 4, 3, 2], &[2, 5], &[5, 0, 0]];
        let inputs = cuts.map(input);
        assert_eq!(inputs.each_ref().map(Input::blocks), [18; 4]);
        let handles: Vec<B256> = inputs.iter().flat_map(|input| input.handles(31_337)).collect();
        assert_eq!(handles.iter().collect::<BTreeSet<_>>().len(), handles.len(), "no two values share a handle");
        let hashes: BTreeSet<&[u8]> = handles.iter().map(|handle| &handle[..21]).collect();
        assert_eq!(hashes.len(), handles.len(), "nor a hash: byte 30 alone would be a thin difference");
        let metadata = |input: &Input| input.bound(ChainContext(Digest([1; 32])), ParaTimeId::named("evm")).metadata();
        assert_eq!(inputs.iter().map(metadata).collect::<BTreeSet<_>>().len(), 4);
    }
}
