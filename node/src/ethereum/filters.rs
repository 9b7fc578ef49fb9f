//! Filters: what a client that cannot be told asks for again and again. One that is not asked for a while is forgotten.

use super::chain::EvmChain;
use super::{Answer, Service, invalid, limits, refused};
use parallax_evm::eth::{self, Chain as _, LogFilter};
use parallax_evm::state;
use parallax_state::StateView;
use rand::RngCore as _;
use rand::rngs::OsRng;
use revm::primitives::B256;
use serde_json::{Value as Json, json};
use std::collections::BTreeMap;
use std::sync::{MutexGuard, PoisonError};
use std::time::Instant;

/// What a filter tells of.
#[derive(Clone)]
enum What {
    /// Logs, with the question as it was asked.
    Logs(LogFilter, Json),
    Blocks,
    Transactions,
}

/// A filter of a client.
#[derive(Clone)]
struct Filter {
    what: What,
    /// The first block, or arrival, that it has not told of.
    next: u64,
    asked: Instant,
}

/// The filters that are open.
#[derive(Default)]
pub(super) struct Filters(BTreeMap<String, Filter>);

impl Filters {
    fn forget_old(&mut self, now: Instant) {
        self.0.retain(|_, filter| now.saturating_duration_since(filter.asked) < limits::FILTER_LIFE);
    }

    /// Opens a filter. Its name cannot be guessed, so no other client closes it.
    fn open(&mut self, what: What, next: u64, now: Instant) -> Result<String, eth::Error> {
        self.forget_old(now);
        if self.0.len() >= limits::MAX_FILTERS {
            let text = format!("{} filters are open already; uninstall some, or subscribe", limits::MAX_FILTERS);
            return Err(refused(text));
        }
        let mut name = [0; 16];
        OsRng.fill_bytes(&mut name);
        let name = format!("0x{}", hex::encode(name));
        self.0.insert(name.clone(), Filter { what, next, asked: now });
        Ok(name)
    }

    fn find(&mut self, name: &str, now: Instant) -> Result<&mut Filter, eth::Error> {
        self.forget_old(now);
        let found = self.0.get_mut(name).ok_or_else(|| refused("filter not found"))?;
        found.asked = now;
        Ok(found)
    }

    fn close(&mut self, name: &str) -> bool {
        self.0.remove(name).is_some()
    }
}

fn name(parameters: &Json) -> Result<&str, eth::Error> {
    let given = parameters.get(0).and_then(Json::as_str);
    given.ok_or_else(|| invalid("the filter's id is missing; give it as text"))
}

impl Service {
    fn filters(&self) -> MutexGuard<'_, Filters> {
        // Every change is complete by itself, so a panic elsewhere leaves it sound.
        self.filters.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Answers the methods of filters; `None`: it is none of them.
    pub(super) fn filter(&self, method: &str, parameters: &Json) -> Option<Answer> {
        Some(match method {
            "eth_newFilter" => self.new_log_filter(parameters),
            "eth_newBlockFilter" => self.after_head().and_then(|next| self.open(What::Blocks, next)),
            "eth_newPendingTransactionFilter" => {
                let next = self.pending().next();
                self.open(What::Transactions, next)
            }
            "eth_uninstallFilter" => name(parameters).map(|name| json!(self.filters().close(name))),
            "eth_getFilterChanges" => name(parameters).and_then(|name| self.changes(name)),
            "eth_getFilterLogs" => name(parameters).and_then(|name| self.all_logs(name)),
            _ => return None,
        })
    }

    fn open(&self, what: What, next: u64) -> Answer {
        Ok(json!(self.filters().open(what, next, Instant::now())?))
    }

    fn after_head(&self) -> Result<u64, eth::Error> {
        let chain = EvmChain(&self.host);
        Ok(state::head(&*chain.newest()?)?.header.number.saturating_add(1))
    }

    fn new_log_filter(&self, parameters: &Json) -> Answer {
        let asked = parameters.get(0).cloned().unwrap_or_else(|| json!({}));
        let filter = LogFilter::new(&asked)?;
        let next = self.after_head()?;
        self.open(What::Logs(filter, asked), next)
    }

    /// What a filter has not told of yet.
    fn changes(&self, name: &str) -> Answer {
        let Filter { what, next, .. } = self.filters().find(name, Instant::now())?.clone();
        let (told, next) = match &what {
            What::Transactions => {
                let pending = self.pending();
                (pending.since(next).iter().map(|hash| json!(hash.to_string())).collect(), pending.next())
            }
            What::Blocks | What::Logs(..) => {
                let chain = EvmChain(&self.host);
                blocks(&*chain.newest()?, &what, next)?
            }
        };
        self.filters().find(name, Instant::now())?.next = next;
        Ok(Json::Array(told))
    }

    fn all_logs(&self, name: &str) -> Answer {
        let Filter { what, .. } = self.filters().find(name, Instant::now())?.clone();
        match what {
            What::Logs(_, asked) => eth::answer(&EvmChain(&self.host), "eth_getLogs", &json!([asked])),
            What::Blocks | What::Transactions => Err(refused("filter not found: this one is not of logs")),
        }
    }
}

/// What blocks from `next` on tell, and the first block that is not told of.
fn blocks(view: &dyn StateView, what: &What, next: u64) -> Result<(Vec<Json>, u64), eth::Error> {
    let newest = state::head(view)?.header.number;
    // A developer's method may have gone back in the chain: what is new since is the newest block.
    let first = if next > newest.saturating_add(1) { newest } else { next };
    let after = newest.saturating_add(1);
    if after.saturating_sub(first) > eth::MAX_LOG_BLOCKS {
        return Err(refused(format!("more than {} blocks have passed; open a new filter", eth::MAX_LOG_BLOCKS)));
    }
    let (mut told, mut bytes) = (Vec::new(), 0usize);
    for number in first..after {
        match what {
            What::Logs(filter, _) => {
                let logs = eth::logs_of(view, number, filter)?;
                bytes = bytes.saturating_add(eth::log_bytes(&logs));
                told.extend(logs);
            }
            _ => told.extend(state::block(view, number)?.map(|block| json!(B256::from(block.hash).to_string()))),
        }
        if told.len() > eth::MAX_LOGS || bytes > eth::MAX_LOG_BYTES {
            // The rest is told of the next time.
            return Ok((told, number.saturating_add(1)));
        }
    }
    Ok((told, after))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn a_filter_that_is_not_asked_for_its_life_is_forgotten_and_asking_keeps_it() {
        let (mut filters, start) = (Filters::default(), Instant::now());
        let asked = filters.open(What::Blocks, 1, start).unwrap();
        let left = filters.open(What::Transactions, 0, start).unwrap();
        let almost = start + limits::FILTER_LIFE - Duration::from_secs(1);
        filters.find(&asked, almost).unwrap();
        let later = start + limits::FILTER_LIFE;
        assert_eq!(filters.find(&left, later).err().map(|e| e.message), Some("filter not found".to_owned()));
        assert!(filters.find(&asked, later).is_ok());
        assert!(filters.close(&asked) && !filters.close(&asked));
    }

    #[test]
    fn the_number_of_open_filters_is_bounded_and_old_ones_make_room() {
        let (mut filters, start) = (Filters::default(), Instant::now());
        for _ in 0..limits::MAX_FILTERS {
            filters.open(What::Blocks, 1, start).unwrap();
        }
        let error = filters.open(What::Blocks, 1, start).unwrap_err();
        assert!(error.message.contains("filters are open already"), "{}", error.message);
        filters.open(What::Blocks, 1, start + limits::FILTER_LIFE).unwrap();
        assert_eq!(filters.0.len(), 1);
    }
}
