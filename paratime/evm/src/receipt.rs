//! Receipts, logs and their bloom filters: what a transaction did, as Ethereum's tools read it.

use borsh::{BorshDeserialize, BorshSerialize};
use parallax_primitives::encode;
use revm::primitives::{Address, B256, Log, LogData, keccak256};

/// Bytes of a bloom filter.
pub const BLOOM_BYTES: usize = 256;

/// One log.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct StoredLog {
    /// Who emitted it.
    pub address: [u8; 20],
    /// Its topics.
    pub topics: Vec<[u8; 32]>,
    /// Its data.
    pub data: Vec<u8>,
}

impl From<&Log> for StoredLog {
    fn from(log: &Log) -> Self {
        let topics = log.topics().iter().map(|t| t.0).collect();
        Self { address: log.address.into_array(), topics, data: log.data.data.to_vec() }
    }
}

impl From<&StoredLog> for Log {
    fn from(log: &StoredLog) -> Self {
        let topics = log.topics.iter().map(|t| B256::from(*t)).collect();
        let data = LogData::new_unchecked(topics, log.data.clone().into());
        Self { address: Address::from(log.address), data }
    }
}

/// Why a transaction that was included failed.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub enum Failure {
    /// It reverted, with this data.
    Revert(Vec<u8>),
    /// The EVM stopped it; in words.
    Halt(String),
    /// Its operations on ciphertexts cost more FHE gas than a transaction may use, or take what is not there.
    Fhe(String),
}

/// What a transaction did, with the transaction.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct StoredReceipt {
    /// The transaction's bytes; of an input what [`crate::input::Input::kept`] keeps.
    pub transaction: Vec<u8>,
    /// Who sent it.
    pub from: [u8; 20],
    /// EVM gas that it used.
    pub gas_used: u64,
    /// EVM gas of the block up to and with it.
    pub cumulative_gas_used: u64,
    /// What a unit cost, in wei.
    pub effective_gas_price: u128,
    /// FHE gas of the programs that its operations became.
    pub fhe_gas: u64,
    /// The contract that it created.
    pub contract: Option<[u8; 20]>,
    /// What it returned, or why it failed.
    pub outcome: Result<Vec<u8>, Failure>,
    /// Its logs; none if it failed.
    pub logs: Vec<StoredLog>,
}

/// A block: what one executed round did.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct BlockRecord {
    /// The hash that names it.
    pub hash: [u8; 32],
    /// What it is hashed from.
    pub header: Header,
    /// Its transactions, by hash; those that were refused are not among them.
    pub transactions: Vec<[u8; 32]>,
    /// What was deposited before them: to whom, and how much wei (big-endian).
    pub deposits: Vec<Deposit>,
    /// What was written before them into the storage of [`crate::host::JOBS`]: slot and word.
    pub answers: Vec<([u8; 32], [u8; 32])>,
}

/// An account, and wei that came from the consensus layer (big-endian).
pub type Deposit = ([u8; 20], [u8; 32]);

/// The header of a block.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Header {
    /// Its number: one more than the block before.
    pub number: u64,
    /// The round that executed it.
    pub round: u64,
    /// The round executed before, after which the state was that it was executed on.
    pub base: u64,
    /// The hash of the block before.
    pub parent: [u8; 32],
    /// The hash of the ParaTime's own block before the round.
    pub paratime_parent: [u8; 32],
    /// Seconds since the Unix epoch.
    pub timestamp: u64,
    /// What `PREVRANDAO` gave.
    pub randomness: [u8; 32],
    /// Who received what was paid beyond the base fee.
    pub beneficiary: [u8; 20],
    /// The most EVM gas that it may use.
    pub gas_limit: u64,
    /// EVM gas of all its transactions.
    pub gas_used: u64,
    /// The base fee, in wei.
    pub base_fee: u64,
    /// Keccak-256 over the hashes of its transactions, one after the other.
    pub transactions: [u8; 32],
    /// The bloom filter of its logs.
    pub bloom: [u8; BLOOM_BYTES],
}

impl BlockRecord {
    /// The block of these transactions; the header's digest of them is filled in.
    pub fn new(mut header: Header, transactions: Vec<[u8; 32]>) -> Self {
        header.transactions = keccak256(transactions.concat()).0;
        let hash = keccak256(encode(&header)).0;
        Self { hash, header, transactions, deposits: Vec::new(), answers: Vec::new() }
    }
}

/// The places of an address or a topic in a bloom filter: three bits, each by eleven bits of the hash (yellow paper,
/// 4.4.3), as bytes and bits in them.
fn places(item: &[u8]) -> [(usize, u8); 3] {
    let hash = keccak256(item);
    [0, 2, 4].map(|at| {
        let bit = usize::from(u16::from_be_bytes([hash[at], hash[at + 1]]) & 0x7ff);
        (BLOOM_BYTES - 1 - bit / 8, 1 << (bit % 8))
    })
}

fn accrue(bloom: &mut [u8; BLOOM_BYTES], item: &[u8]) {
    for (byte, bit) in places(item) {
        bloom.get_mut(byte).into_iter().for_each(|byte| *byte |= bit);
    }
}

/// Whether a bloom filter may contain an address or a topic; if not, it does not.
pub fn may_contain(bloom: &[u8; BLOOM_BYTES], item: &[u8]) -> bool {
    places(item).iter().all(|(byte, bit)| bloom.get(*byte).is_some_and(|byte| byte & bit != 0))
}

/// The bloom filter of some logs.
pub fn bloom<'a>(logs: impl IntoIterator<Item = &'a StoredLog>) -> [u8; BLOOM_BYTES] {
    let mut out = [0; BLOOM_BYTES];
    for log in logs {
        accrue(&mut out, &log.address);
        log.topics.iter().for_each(|topic| accrue(&mut out, topic));
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bloom_filter_sets_the_bits_that_the_yellow_paper_says() {
        // keccak256(0x...00) of twenty zero bytes begins 5380 c7b7 ae81: bits 0x380, 0x7b7 and 0x681.
        let log = StoredLog { address: [0; 20], topics: vec![], data: vec![] };
        let filter = bloom([&log]);
        let hash = keccak256([0; 20]);
        let bits: Vec<usize> =
            hash[..6].chunks(2).map(|p| usize::from(u16::from_be_bytes([p[0], p[1]]) & 0x7ff)).collect();
        assert_eq!(bits, [0x380, 0x7b7, 0x681]);
        for bit in &bits {
            assert_eq!(filter[255 - bit / 8] >> (bit % 8) & 1, 1);
        }
        assert_eq!(filter.iter().map(|b| b.count_ones()).sum::<u32>(), 3);
    }
}
