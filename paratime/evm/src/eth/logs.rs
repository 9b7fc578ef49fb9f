//! Logs by filter.

use super::blocks::{log_json, receipts};
use super::given::{field, number, parsed};
use super::{Answer, Error, Question};
use crate::receipt::{StoredLog, may_contain};
use crate::state;
use parallax_state::StateView;
use revm::primitives::{Address, B256};
use serde_json::Value as Json;
use std::str::FromStr;

/// Most blocks that one question for logs may cover.
pub const MAX_LOG_BLOCKS: u64 = 10_000;
/// Most logs in one answer.
pub const MAX_LOGS: usize = 10_000;
/// Most bytes of the logs in one answer, as [`log_bytes`] counts them.
pub const MAX_LOG_BYTES: usize = 16 * 1024 * 1024;
/// What a log shows beside its data, in bytes: four topics and its place.
const LOG_BYTES: usize = 800;
/// Most places of topics in a filter, and most alternatives at one place or for the address.
const MAX_TOPICS: usize = 4;
const MAX_ALTERNATIVES: usize = 1_000;

/// One of several values, or any if there are none.
#[derive(Clone, Debug, PartialEq, Eq)]
struct OneOf<T>(Vec<T>);

impl<T: FromStr + PartialEq> OneOf<T> {
    fn of(value: &Json, what: &str) -> Result<Self, Error> {
        match value {
            Json::Null => Ok(Self(Vec::new())),
            Json::Array(list) if list.len() > MAX_ALTERNATIVES => {
                Err(Error::invalid(format!("{what}: {} alternatives, {MAX_ALTERNATIVES} are the most", list.len())))
            }
            Json::Array(list) => list.iter().map(|v| parsed(v, what)).collect::<Result<_, _>>().map(Self),
            one => Ok(Self(vec![parsed(one, what)?])),
        }
    }

    fn takes(&self, value: &T) -> bool {
        self.0.is_empty() || self.0.contains(value)
    }
}

/// Which logs are wanted: addresses and topics of a filter as clients give it. Blocks are not part of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogFilter {
    addresses: OneOf<Address>,
    topics: Vec<OneOf<B256>>,
}

impl LogFilter {
    /// Reads `address` and `topics` of a filter; other fields are left alone.
    ///
    /// # Errors
    /// If they are malformed.
    pub fn new(filter: &Json) -> Result<Self, Error> {
        if !filter.is_object() {
            return Err(Error::invalid("the filter is no object; give {} for all logs of the newest block"));
        }
        let topics = match field(filter, "topics") {
            Json::Null => &[],
            Json::Array(topics) if topics.len() <= MAX_TOPICS => topics.as_slice(),
            _ => return Err(Error::invalid(format!("topics is no list of at most {MAX_TOPICS} places"))),
        };
        let topics = topics.iter().map(|t| OneOf::of(t, "topic")).collect::<Result<_, _>>()?;
        Ok(Self { addresses: OneOf::of(field(filter, "address"), "address")?, topics })
    }

    fn takes(&self, log: &StoredLog) -> bool {
        let fits =
            |(at, one_of): (usize, &OneOf<B256>)| log.topics.get(at).is_some_and(|t| one_of.takes(&B256::from(*t)));
        self.addresses.takes(&Address::from(log.address)) && self.topics.iter().enumerate().all(fits)
    }

    fn may_be_in(&self, bloom: &[u8; crate::receipt::BLOOM_BYTES]) -> bool {
        let addresses = &self.addresses.0;
        addresses.is_empty() || addresses.iter().any(|a| may_contain(bloom, &a[..]))
    }
}

/// The logs of one block that a filter takes, in order; none if there is no such block.
///
/// # Errors
/// If the state cannot be read.
pub fn logs_of(view: &dyn StateView, number: u64, filter: &LogFilter) -> Result<Vec<Json>, Error> {
    let mut out = Vec::new();
    let Some(block) = state::block(view, number)?.filter(|b| filter.may_be_in(&b.header.bloom)) else {
        return Ok(out);
    };
    let mut position = 0usize;
    for (index, receipt) in (0u32..).zip(receipts(view, &block)?) {
        for log in &receipt.logs {
            if filter.takes(log) {
                out.push(log_json(&block, index, log, position));
            }
            position = position.saturating_add(1);
        }
    }
    Ok(out)
}

/// About how many bytes logs have in an answer: their data in hexadecimal, and what else each shows.
pub fn log_bytes(logs: &[Json]) -> usize {
    let of = |log: &Json| field(log, "data").as_str().map_or(0, str::len).saturating_add(LOG_BYTES);
    logs.iter().map(of).fold(0, usize::saturating_add)
}

impl Question<'_> {
    pub(super) fn logs(&self) -> Answer {
        let given = self.parameter(0);
        let filter = LogFilter::new(given)?;
        let newest = state::head(self.newest)?.header.number;
        let (first, last) = match field(given, "blockHash") {
            Json::Null => {
                let number = |tag| -> Result<u64, Error> {
                    match self.block(tag)? {
                        Some(block) => Ok(block.header.number),
                        // A number beyond the newest block.
                        None => number(tag, "block").map(|n| n.saturating_to()),
                    }
                };
                (number(field(given, "fromBlock"))?, number(field(given, "toBlock"))?.min(newest))
            }
            hash => {
                let unknown = || Error::server(format!("unknown block: there is none with hash {hash}"));
                let block = self.block_by_hash(hash)?.ok_or_else(unknown)?;
                (block.header.number, block.header.number)
            }
        };
        if last.saturating_sub(first) >= MAX_LOG_BLOCKS {
            return Err(Error::server(format!("it covers more than {MAX_LOG_BLOCKS} blocks; ask for fewer")));
        }
        let (mut out, mut bytes) = (Vec::new(), 0usize);
        for number in first..=last {
            let found = logs_of(self.newest, number, &filter)?;
            bytes = bytes.saturating_add(log_bytes(&found));
            out.extend(found);
            if out.len() > MAX_LOGS {
                return Err(Error::server(format!("there are more than {MAX_LOGS} such logs; ask for fewer blocks")));
            }
            if bytes > MAX_LOG_BYTES {
                return Err(Error::server(format!(
                    "such logs have more than {MAX_LOG_BYTES} bytes; ask for fewer blocks"
                )));
            }
        }
        Ok(Json::Array(out))
    }
}
