//! What stands under the keys of the state, and how it is read and written. Every record is a version enum.

use crate::keys;
use crate::model::{Policy, Replication};
use crate::params::Params;
use borsh::{BorshDeserialize, BorshSerialize};
use parallax_primitives::limits::MAX_VALUE_BYTES;
use parallax_primitives::{
    Address, Amount, Digest, Epoch, Height, ImageDigest, KeyId, Nonce, ParaTimeId, Round, decode, encode,
};
use parallax_state::{CipherRef, Overlay, StateError, StateView, Value};

/// The stored form of a record.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
enum Stored<T> {
    /// The first format.
    V1(T),
}

/// An account inside the ParaTime.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Account {
    /// Free tokens.
    pub balance: Amount,
    /// The next transaction's nonce.
    pub nonce: Nonce,
}

/// A host, as everyone may know it.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Host {
    /// Its name.
    pub name: String,
    /// Who owns it.
    pub organisation: String,
    /// Its zone.
    pub zone: u16,
    /// The bytes of its libp2p peer id.
    pub peer_id: Vec<u8>,
    /// What it has locked.
    pub stake: Amount,
    /// Its newest report.
    pub report: Option<ReportInfo>,
}

/// What is public of a report.
#[derive(Clone, Copy, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct ReportInfo {
    /// How many reports of this host there have been, this one included.
    pub number: u64,
    /// The round that took it.
    pub round: Round,
    /// The key that encrypts it.
    pub key_id: KeyId,
    /// How many flags its exclusion has: one of the report, and one of each decision since, until they are merged.
    pub flags: u8,
}

/// A candidate of a decision.
#[derive(Clone, Copy, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Candidate {
    /// Which host.
    pub host: Address,
    /// The number of the report that was compared.
    pub report: u64,
}

/// One attempt to place a job.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Decision {
    /// The round that decided.
    pub round: Round,
    /// Position among the decisions of the round.
    pub index: u32,
    /// The candidates in the order of the decision, in which positions count: the beacon's, from the pointer on if the
    /// policy is in turn.
    pub candidates: Vec<Candidate>,
    /// Whether a host was found, encrypted; of a gang, whether all were.
    pub placed: CipherRef,
    /// The winners' positions, encrypted, one ciphertext a replica: low digit, high digit and, of several that are no
    /// gang, whether there is one.
    pub positions: Vec<CipherRef>,
    /// Bootstraps spent.
    pub pbs: u64,
}

impl Decision {
    /// The host at a decrypted position: low digit, high digit and, of several replicas that are no gang, whether there
    /// is one.
    pub fn host_at(&self, digits: &[u8]) -> Option<Address> {
        let position = match digits {
            [low, high] | [low, high, 1] => usize::from(*high).checked_mul(16)?.checked_add(usize::from(*low))?,
            _ => return None,
        };
        self.candidates.get(position).map(|c| c.host)
    }
}

/// Where a job stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub enum Status {
    /// Waits for a decision, not before this round.
    Pending {
        /// The first round that may decide it.
        not_before: Round,
    },
    /// Decided; the key managers have not yet said whether it was placed.
    Decided,
    /// Placed: its owner may have the position decrypted.
    Placed,
    /// Not placed in any of its attempts.
    Unplaced,
}

impl Status {
    /// The name in queries and events.
    pub fn name(self) -> &'static str {
        match self {
            Self::Pending { .. } => "pending",
            Self::Decided => "decided",
            Self::Placed => "placed",
            Self::Unplaced => "unplaced",
        }
    }
}

/// Where a job comes from that no account of this ParaTime has sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Origin {
    /// The ParaTime of the contract.
    pub paratime: ParaTimeId,
    /// The contract.
    pub contract: Address,
    /// The number by which it knows the job.
    pub request: u64,
    /// Who acts for it: may have positions decrypted, and anchors deployments.
    pub agent: Address,
    /// What an answer to it pays.
    pub answer: Amount,
}

/// A job, as everyone may know it.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Job {
    /// Who asks.
    pub owner: Address,
    /// The contract that asked, if it was one.
    pub origin: Option<Origin>,
    /// The key that encrypts the request.
    pub key_id: KeyId,
    /// How the winner is chosen.
    pub policy: Policy,
    /// Its tier; 0 goes first.
    pub tier: u8,
    /// How many hosts it wants.
    pub replication: Replication,
    /// What it runs, if it says so; on the list of images, if there is one.
    pub image: Option<ImageDigest>,
    /// The round that took it.
    pub submitted: Round,
    /// The consensus height that its round followed.
    pub height: Height,
    /// Position in that round's batch.
    pub index: u64,
    /// Hash of the first consensus block after its inclusion, once known.
    pub anchor: Option<Digest>,
    /// Attempts made.
    pub attempts: u32,
    /// What it pays for one unit of FHE gas.
    pub gas_price: Amount,
    /// What is left of what it paid in advance.
    pub escrow: Amount,
    /// Where it stands.
    pub status: Status,
    /// The last attempt.
    pub decision: Option<Decision>,
}

impl Job {
    /// Who signs for the job's owner: the owner, or the agent of a contract, which has no key.
    pub fn agent(&self) -> Address {
        self.origin.map_or(self.owner, |origin| origin.agent)
    }
}

/// What the last executed round left.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Meta {
    /// Its number.
    pub round: Round,
    /// Its epoch.
    pub epoch: Epoch,
    /// The keys in force.
    pub key_ids: Vec<KeyId>,
}

fn corrupt(key: &[u8], reason: String) -> StateError {
    StateError::Corrupt { what: format!("scheduler key {:?}", String::from_utf8_lossy(key)), reason }
}

/// Decodes a record.
pub(crate) fn open<T: BorshDeserialize>(key: &[u8], value: &Value) -> Result<T, StateError> {
    let Value::Plain(bytes) = value else {
        return Err(corrupt(key, "a ciphertext stands where a record belongs".to_owned()));
    };
    let Stored::V1(record) = decode("a record", bytes, MAX_VALUE_BYTES).map_err(|e| corrupt(key, e.to_string()))?;
    Ok(record)
}

/// The record under a key.
pub(crate) fn get<T: BorshDeserialize>(view: &dyn StateView, key: &[u8]) -> Result<Option<T>, StateError> {
    view.get(key)?.map(|value| open(key, &value)).transpose()
}

/// The record under a key that must be there.
pub(crate) fn need<T: BorshDeserialize>(view: &dyn StateView, key: &[u8]) -> Result<T, StateError> {
    get(view, key)?.ok_or_else(|| corrupt(key, "it is missing".to_owned()))
}

/// Writes a record.
pub(crate) fn put<T: BorshSerialize>(state: &mut Overlay<'_>, key: Vec<u8>, record: &T) {
    state.put(key, encode(&Stored::V1(record)));
}

/// The parameters.
pub(crate) fn params(view: &dyn StateView) -> Result<Params, StateError> {
    need(view, &keys::params())
}

/// An account; one that never had anything is empty.
pub(crate) fn account(view: &dyn StateView, address: &Address) -> Result<Account, StateError> {
    Ok(get(view, &keys::account(address))?.unwrap_or_default())
}

/// The nonce of the account whose record these bytes are, for whoever has it from a proof.
///
/// # Errors
/// If the bytes are no account.
pub fn account_nonce(bytes: &[u8]) -> Result<Nonce, StateError> {
    let account: Account = open(b"account", &Value::Plain(bytes.to_vec()))?;
    Ok(account.nonce)
}

/// The job whose record this value is, for whoever has it from a proof.
///
/// # Errors
/// If the value is no job.
pub fn read_job(value: &Value) -> Result<Job, StateError> {
    open(keys::JOBS, value)
}

/// The parameters that this value is, for whoever has them from a proof.
///
/// # Errors
/// If the value is no parameters.
pub fn read_params(value: &Value) -> Result<Params, StateError> {
    open(&keys::params(), value)
}

/// Writes an account.
pub(crate) fn put_account(state: &mut Overlay<'_>, address: &Address, account: &Account) {
    put(state, keys::account(address), account);
}

/// A ciphertext: its reference and its bytes.
pub(crate) fn cipher(view: &dyn StateView, key: &[u8]) -> Result<(CipherRef, Vec<u8>), StateError> {
    match view.get(key)? {
        Some(Value::Cipher(reference)) => {
            let bytes = view.blob(&reference.digest)?;
            Ok((
                reference,
                bytes.ok_or_else(|| corrupt(key, format!("the bytes of {} are missing", reference.digest)))?,
            ))
        }
        Some(Value::Plain(_)) => Err(corrupt(key, "a record stands where a ciphertext belongs".to_owned())),
        None => Err(corrupt(key, "it is missing".to_owned())),
    }
}

/// The last 20 or 32 bytes of a key, after its prefix.
pub(crate) fn suffix<const N: usize>(key: &[u8], prefix: &[u8]) -> Result<[u8; N], StateError> {
    let rest = key.strip_prefix(prefix).and_then(|rest| rest.try_into().ok());
    rest.ok_or_else(|| corrupt(key, format!("{N} bytes are expected after the prefix")))
}
