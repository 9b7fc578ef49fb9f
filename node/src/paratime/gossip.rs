//! Transactions between the nodes of a ParaTime.
//!
//! Gossip carries the same bytes once in [`parallax_network::limits::DUPLICATE_TIME`]. A transaction that was executed may
//! be good again before that: where a developer has gone back to a snapshot, a test suite sends it a second time at once.
//! So a message is the transaction with the last round that its sender had applied when it found it good, and the same
//! transaction after another round is another message. What waits in a pool already, or is not good, goes no further,
//! whatever round stands beside it.
//!
//! A node that has not applied that round yet does so first: it would refuse what the round made good.

use super::ParaTimeHost;
use eyre::Result;
use parallax_network::limits::MAX_PARATIME_TX_MESSAGE;
use parallax_network::{Handle, Topic, VerdictSender};
use parallax_primitives::{DecodeError, Round, codec, encode};
use std::sync::Arc;
use std::time::Duration;
use tokio::task::JoinSet;

/// Most transactions that wait for a round. A further one is judged at once.
const MAX_AHEAD: usize = 64;
/// How long one waits: not so long that gossip gives up on the verdict.
const AHEAD_PATIENCE: Duration = Duration::from_secs(5);

/// A transaction as it travels; `round` is the last one that its sender had applied.
pub(crate) fn message(round: Round, tx: &[u8]) -> Vec<u8> {
    encode(&(round, tx))
}

fn open(message: &[u8]) -> Result<(Round, Vec<u8>), DecodeError> {
    codec::decode("a transaction in gossip", message, MAX_PARATIME_TX_MESSAGE)
}

/// Takes the transactions that peers gossip. Proofs were verified where they were submitted and are verified again by
/// execution.
pub(super) async fn transactions(host: Arc<ParaTimeHost>, network: Handle) -> Result<()> {
    let mut incoming = network.subscribe(Topic::ParaTimeTx(host.id)).await?;
    let mut ahead = JoinSet::new();
    while let Some(message) = incoming.recv().await {
        while ahead.try_join_next().is_some() {}
        let Ok((round, tx)) = open(&message.bytes) else {
            message.verdict.reject();
            continue;
        };
        let mut rounds = host.rounds();
        let here = rounds.borrow().applied;
        if here >= round || ahead.len() >= MAX_AHEAD {
            judge(&host, tx, message.verdict);
            continue;
        }
        let host = Arc::clone(&host);
        ahead.spawn(async move {
            // After that it is judged on what there is.
            let _ = tokio::time::timeout(AHEAD_PATIENCE, rounds.wait_for(|report| report.applied >= round)).await;
            judge(&host, tx, message.verdict);
        });
    }
    Ok(())
}

fn judge(host: &ParaTimeHost, tx: Vec<u8>, verdict: VerdictSender) {
    match host.pool.submit(tx, None) {
        Ok(_) => {
            verdict.accept();
            host.poke();
        }
        // This node's state may be behind or ahead of the sender's: nobody is blamed.
        Err(error) => {
            tracing::debug!(%error, "paratime.tx.not_taken");
            verdict.ignore();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use parallax_primitives::limits::MAX_PARATIME_TX_BYTES;

    #[test]
    fn a_transaction_after_another_round_is_another_message_and_comes_out_as_it_was() {
        let tx = vec![7; MAX_PARATIME_TX_BYTES];
        let (first, second) = (message(Round(3), &tx), message(Round(4), &tx));
        assert_ne!(first, second);
        assert_eq!(first, message(Round(3), &tx), "the same one twice is one message");
        assert!(first.len() <= MAX_PARATIME_TX_MESSAGE, "the largest transaction fits");
        assert_eq!(open(&second).unwrap(), (Round(4), tx));
    }

    #[test]
    fn bytes_that_are_no_message_are_refused() {
        let good = message(Round(3), &[1, 2, 3]);
        for end in 0..good.len() {
            assert!(open(&good[..end]).is_err(), "{end}");
        }
        assert!(open(&[&good[..], &[0]].concat()).is_err());
        let too_long = message(Round(3), &vec![0; MAX_PARATIME_TX_BYTES + 1]);
        assert!(open(&too_long).is_err());
    }
}
