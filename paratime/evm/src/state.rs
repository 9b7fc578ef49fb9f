//! What stands under which key of the tree, and the EVM's view of it.
//!
//! | key | value |
//! | --- | --- |
//! | `account/` address | nonce, balance, code hash |
//! | `code/` hash | the code |
//! | `storage/` address slot | a word; zero has no entry |
//! | `cipher/` handle | a reference to the ciphertext |
//! | `block/` number | the block: header and hashes of transactions |
//! | `number/` hash | the number of the block |
//! | `receipt/` number index | the receipt and its transaction |
//! | `tx/` hash | number and index |
//! | `head` | the number of the newest block |
//! | `round` | the newest round that was executed |
//! | `clock` | what developer transactions changed about time |
//! | `impersonated/` address | anyone may send in this account's name |
//! | `control/` hash | what came of a developer transaction |
//! | `snapshots`, `undo/` id how key | live snapshots and what they keep |
//!
//! The last three, with `round`, are not taken back by a snapshot; see `journal.rs`.
//! | `params` | the rules |

use crate::clock::Clock;
use crate::evm::BlockContext;
use crate::journal::Snapshots;
use crate::params::Params;
use crate::receipt::{BlockRecord, StoredReceipt};
use borsh::{BorshDeserialize, BorshSerialize};
use parallax_primitives::limits::MAX_VALUE_BYTES;
use parallax_primitives::{DecodeError, decode, encode};
use parallax_state::{CipherRef, Overlay, StateError, StateView, Value};
use revm::database_interface::{DBErrorMarker, Database, DatabaseRef};
use revm::primitives::{Address, B256, KECCAK_EMPTY, U256};
use revm::state::{AccountInfo, Bytecode, EvmState};
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;

/// The stored form of a record.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
enum Stored<T> {
    /// The first format.
    V1(T),
}

/// An account as it is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
struct Account {
    nonce: u64,
    balance: [u8; 32],
    code_hash: [u8; 32],
}

fn join(prefix: &[u8], parts: &[&[u8]]) -> Vec<u8> {
    parts.iter().fold(prefix.to_vec(), |mut key, part| {
        key.extend_from_slice(part);
        key
    })
}

/// The key of an account.
pub fn account_key(address: &Address) -> Vec<u8> {
    join(b"account/", &[address.as_slice()])
}

/// The key of a storage slot.
pub fn storage_key(address: &Address, slot: &U256) -> Vec<u8> {
    join(b"storage/", &[address.as_slice(), &slot.to_be_bytes::<32>()])
}

/// The key of a handle's ciphertext.
pub fn cipher_key(handle: &B256) -> Vec<u8> {
    join(b"cipher/", &[handle.as_slice()])
}

/// The key of a receipt.
pub fn receipt_key(number: u64, index: u32) -> Vec<u8> {
    join(b"receipt/", &[&number.to_be_bytes(), &index.to_be_bytes()])
}

fn code_key(hash: &B256) -> Vec<u8> {
    join(b"code/", &[hash.as_slice()])
}

fn block_key(number: u64) -> Vec<u8> {
    join(b"block/", &[&number.to_be_bytes()])
}

fn number_key(hash: &B256) -> Vec<u8> {
    join(b"number/", &[hash.as_slice()])
}

fn control_key(hash: &B256) -> Vec<u8> {
    join(b"control/", &[hash.as_slice()])
}

fn impersonated_key(address: &Address) -> Vec<u8> {
    join(b"impersonated/", &[address.as_slice()])
}

/// The key of the place of a transaction.
pub fn tx_key(hash: &B256) -> Vec<u8> {
    join(b"tx/", &[hash.as_slice()])
}

const PARAMS: &[u8] = b"params";
const HEAD: &[u8] = b"head";
const ROUND: &[u8] = b"round";
const CLOCK: &[u8] = b"clock";
const SNAPSHOTS: &[u8] = b"snapshots";

fn corrupt(key: &[u8], reason: impl Into<String>) -> StateError {
    StateError::Corrupt { what: String::from_utf8_lossy(key).into_owned(), reason: reason.into() }
}

fn plain(view: &dyn StateView, key: &[u8]) -> Result<Option<Vec<u8>>, StateError> {
    match view.get(key)? {
        Some(Value::Plain(bytes)) => Ok(Some(bytes)),
        Some(Value::Cipher(_)) => Err(corrupt(key, "it is a ciphertext")),
        None => Ok(None),
    }
}

fn read<T: BorshDeserialize>(bytes: &[u8]) -> Result<T, DecodeError> {
    let Stored::V1(record) = decode("a state record", bytes, MAX_VALUE_BYTES)?;
    Ok(record)
}

/// Block and index of a transaction from the value under [`tx_key`].
///
/// # Errors
/// If the bytes are none.
pub fn read_place(bytes: &[u8]) -> Result<(u64, u32), DecodeError> {
    read(bytes)
}

/// A receipt from the value under [`receipt_key`].
///
/// # Errors
/// If the bytes are none.
pub fn read_receipt(bytes: &[u8]) -> Result<StoredReceipt, DecodeError> {
    read(bytes)
}

/// A storage slot from the value under [`storage_key`]: zero if there is none; `None` if the bytes are no word.
pub fn read_slot(value: Option<&Value>) -> Option<U256> {
    match value {
        None => Some(U256::ZERO),
        Some(Value::Plain(bytes)) => Some(U256::from_be_bytes(<[u8; 32]>::try_from(bytes.as_slice()).ok()?)),
        Some(Value::Cipher(_)) => None,
    }
}

fn get<T: BorshDeserialize>(view: &dyn StateView, key: &[u8]) -> Result<Option<T>, StateError> {
    let Some(bytes) = plain(view, key)? else { return Ok(None) };
    read(&bytes).map(Some).map_err(|e| corrupt(key, e.to_string()))
}

fn put<T: BorshSerialize>(state: &mut Overlay<'_>, key: Vec<u8>, record: &T) {
    state.put(key, encode(&Stored::V1(record)));
}

/// The rules of this ParaTime.
///
/// # Errors
/// If the state cannot be read.
pub fn params(view: &dyn StateView) -> Result<Params, StateError> {
    get(view, PARAMS)?.ok_or_else(|| corrupt(PARAMS, "there are no parameters"))
}

pub(crate) fn put_params(state: &mut Overlay<'_>, params: &Params) {
    put(state, PARAMS.to_vec(), params);
}

/// The ciphertext of a handle, if there is one.
pub fn cipher(view: &dyn StateView, handle: &B256) -> Result<Option<CipherRef>, StateError> {
    let key = cipher_key(handle);
    match view.get(&key)? {
        Some(Value::Cipher(found)) => Ok(Some(found)),
        Some(Value::Plain(_)) => Err(corrupt(&key, "it is no ciphertext")),
        None => Ok(None),
    }
}

/// The block with this number.
///
/// # Errors
/// If the state cannot be read.
pub fn block(view: &dyn StateView, number: u64) -> Result<Option<BlockRecord>, StateError> {
    get(view, &block_key(number))
}

/// Makes a block the newest one.
pub(crate) fn put_block(state: &mut Overlay<'_>, record: &BlockRecord) {
    let number = record.header.number;
    put(state, block_key(number), record);
    put(state, number_key(&B256::from(record.hash)), &number);
    put(state, HEAD.to_vec(), &number);
}

/// The number of the block with this hash.
pub(crate) fn number(view: &dyn StateView, hash: &B256) -> Result<Option<u64>, StateError> {
    get(view, &number_key(hash))
}

/// The newest block; genesis made the first one.
///
/// # Errors
/// If the state cannot be read.
pub fn head(view: &dyn StateView) -> Result<BlockRecord, StateError> {
    let number = get(view, HEAD)?.ok_or_else(|| corrupt(HEAD, "there is no block"))?;
    block(view, number)?.ok_or_else(|| corrupt(HEAD, "the newest block is not here"))
}

/// The newest round that was executed; 0 is genesis.
pub(crate) fn round(view: &dyn StateView) -> Result<u64, StateError> {
    Ok(get(view, ROUND)?.unwrap_or(0))
}

pub(crate) fn put_round(state: &mut Overlay<'_>, round: u64) {
    put(state, ROUND.to_vec(), &round);
}

/// What was changed about time.
pub(crate) fn clock(view: &dyn StateView) -> Result<Clock, StateError> {
    Ok(get(view, CLOCK)?.unwrap_or_default())
}

pub(crate) fn put_clock(state: &mut Overlay<'_>, clock: &Clock) {
    put(state, CLOCK.to_vec(), clock);
}

/// The live snapshots.
pub(crate) fn snapshots(view: &dyn StateView) -> Result<Snapshots, StateError> {
    Ok(get(view, SNAPSHOTS)?.unwrap_or_default())
}

pub(crate) fn put_snapshots(state: &mut Overlay<'_>, snapshots: &Snapshots) {
    put(state, SNAPSHOTS.to_vec(), snapshots);
}

/// Whether anyone may send in an account's name.
pub(crate) fn impersonated(view: &dyn StateView, address: &Address) -> Result<bool, StateError> {
    Ok(plain(view, &impersonated_key(address))?.is_some())
}

pub(crate) fn put_impersonated(state: &mut Overlay<'_>, address: &Address, on: bool) {
    let key = impersonated_key(address);
    if on { state.put(key, vec![1]) } else { state.delete(key) }
}

/// What came of a developer transaction.
pub(crate) fn control(view: &dyn StateView, hash: &B256) -> Result<Option<Result<Vec<u8>, String>>, StateError> {
    get(view, &control_key(hash))
}

pub(crate) fn put_control(state: &mut Overlay<'_>, hash: &B256, outcome: &Result<Vec<u8>, String>) {
    put(state, control_key(hash), outcome);
}

/// The receipt of the transaction at this place.
pub(crate) fn receipt(view: &dyn StateView, number: u64, index: u32) -> Result<Option<StoredReceipt>, StateError> {
    get(view, &receipt_key(number, index))
}

pub(crate) fn put_receipt(state: &mut Overlay<'_>, number: u64, index: u32, hash: &B256, record: &StoredReceipt) {
    put(state, receipt_key(number, index), record);
    put(state, tx_key(hash), &(number, index));
}

/// Where a transaction was executed.
pub(crate) fn place(view: &dyn StateView, hash: &B256) -> Result<Option<(u64, u32)>, StateError> {
    get(view, &tx_key(hash))
}

/// Nonce, balance and code hash of an account; `None` if there is no such account.
///
/// # Errors
/// If the state cannot be read.
pub fn account(view: &dyn StateView, address: &Address) -> Result<Option<AccountInfo>, StateError> {
    let found: Option<Account> = get(view, &account_key(address))?;
    Ok(found.map(|a| AccountInfo {
        balance: U256::from_be_bytes(a.balance),
        nonce: a.nonce,
        code_hash: B256::from(a.code_hash),
        code: None,
        account_id: None,
    }))
}

/// Writes an account; one that is empty has no entry.
pub(crate) fn set_account(state: &mut Overlay<'_>, address: &Address, info: &AccountInfo) {
    if info.is_empty() { state.delete(account_key(address)) } else { put_account(state, address, info) }
}

pub(crate) fn put_account(state: &mut Overlay<'_>, address: &Address, info: &AccountInfo) {
    let record = Account { nonce: info.nonce, balance: info.balance.to_be_bytes(), code_hash: info.code_hash.0 };
    put(state, account_key(address), &record);
}

/// A storage slot; zero if it was never written.
pub(crate) fn slot(view: &dyn StateView, address: &Address, slot: &U256) -> Result<U256, StateError> {
    let key = storage_key(address, slot);
    read_slot(view.get(&key)?.as_ref()).ok_or_else(|| corrupt(&key, "it is not a word"))
}

pub(crate) fn put_slot(state: &mut Overlay<'_>, address: &Address, slot: &U256, value: U256) {
    let key = storage_key(address, slot);
    if value.is_zero() { state.delete(key) } else { state.put(key, value.to_be_bytes::<32>().to_vec()) }
}

/// Deletes all storage of an account.
pub(crate) fn clear_slots(state: &mut Overlay<'_>, address: &Address) -> Result<(), StateError> {
    for (key, _) in state.scan(&join(b"storage/", &[address.as_slice()]))? {
        state.delete(key);
    }
    Ok(())
}

/// The code with this hash.
pub(crate) fn code(view: &dyn StateView, hash: &B256) -> Result<Vec<u8>, StateError> {
    if *hash == KECCAK_EMPTY || hash.is_zero() {
        return Ok(Vec::new());
    }
    let key = code_key(hash);
    plain(view, &key)?.ok_or_else(|| corrupt(&key, "an account has this code and it is not here"))
}

pub(crate) fn put_code(state: &mut Overlay<'_>, code: &Bytecode) -> B256 {
    let hash = code.hash_slow();
    state.put(code_key(&hash), code.original_bytes().to_vec());
    hash
}

/// A fault of the state, as revm passes it on.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(transparent)]
pub(crate) struct Fault(#[from] pub(crate) StateError);

impl DBErrorMarker for Fault {}

/// Hashes of blocks that contracts have asked for, by number: the opcode costs little, a block's record is read from the
/// disk. There are at most 256, since no other numbers have a hash for a contract.
#[derive(Clone, Debug, Default)]
pub(crate) struct Hashes(Rc<RefCell<BTreeMap<u64, B256>>>);

/// The EVM's view of a state.
pub(crate) struct Reader<'a> {
    view: &'a dyn StateView,
    /// The block being executed.
    block: &'a BlockContext,
}

impl<'a> Reader<'a> {
    pub(crate) fn new(view: &'a dyn StateView, block: &'a BlockContext) -> Self {
        Self { view, block }
    }

    fn again(&self) -> Self {
        Self::new(self.view, self.block)
    }
}

impl Database for Reader<'_> {
    type Error = Fault;

    fn basic(&mut self, address: Address) -> Result<Option<AccountInfo>, Fault> {
        Ok(account(self.view, &address)?)
    }

    fn code_by_hash(&mut self, hash: B256) -> Result<Bytecode, Fault> {
        Ok(Bytecode::new_legacy(code(self.view, &hash)?.into()))
    }

    fn storage(&mut self, address: Address, index: U256) -> Result<U256, Fault> {
        Ok(slot(self.view, &address, &index)?)
    }

    fn block_hash(&mut self, number: u64) -> Result<B256, Fault> {
        if number.checked_add(1) == Some(self.block.number) {
            return Ok(self.block.parent);
        }
        let mut known = self.block.hashes.0.borrow_mut();
        if let Some(hash) = known.get(&number) {
            return Ok(*hash);
        }
        let hash = block(self.view, number)?.map_or(B256::ZERO, |block| B256::from(block.hash));
        known.insert(number, hash);
        Ok(hash)
    }
}

/// The same without a claim to be the only reader, for tracers.
impl DatabaseRef for Reader<'_> {
    type Error = Fault;

    fn basic_ref(&self, address: Address) -> Result<Option<AccountInfo>, Fault> {
        self.again().basic(address)
    }

    fn code_by_hash_ref(&self, hash: B256) -> Result<Bytecode, Fault> {
        self.again().code_by_hash(hash)
    }

    fn storage_ref(&self, address: Address, index: U256) -> Result<U256, Fault> {
        self.again().storage(address, index)
    }

    fn block_hash_ref(&self, number: u64) -> Result<B256, Fault> {
        self.again().block_hash(number)
    }
}

/// Writes what a transaction left in the journal. In which order does not matter: every key is written once.
pub(crate) fn commit(state: &mut Overlay<'_>, changes: EvmState) -> Result<(), StateError> {
    for (address, account) in changes {
        if !account.is_touched() {
            continue;
        }
        if account.is_selfdestructed() || account.is_created() {
            clear_slots(state, &address)?;
        }
        if account.is_selfdestructed() || account.is_empty() {
            state.delete(account_key(&address));
            continue;
        }
        if let (true, Some(code)) = (account.is_created(), &account.info.code)
            && !code.is_empty()
        {
            put_code(state, code);
        }
        put_account(state, &address, &account.info);
        for (index, value) in account.storage.iter().filter(|(_, value)| value.is_changed()) {
            put_slot(state, &address, index, value.present_value);
        }
    }
    Ok(())
}
