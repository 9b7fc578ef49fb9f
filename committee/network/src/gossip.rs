//! Received messages, the verdicts on them, and messages that wait for a first peer.

use crate::limits::{MAX_OUTBOX, PUBLISH_PATIENCE, VERDICT_DEADLINE};
use crate::topic::Topic;
use libp2p::PeerId;
use libp2p::gossipsub::MessageId;
use std::collections::{BTreeMap, VecDeque};
use tokio::sync::mpsc;
use tokio::time::Instant;

/// What the subscriber found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Valid: it travels on.
    Accept,
    /// Invalid, and an honest peer would have known: it does not travel on, and who passed it on loses points.
    Reject,
    /// Not useful or not decidable here: it does not travel on, and nobody is blamed.
    Ignore,
}

/// A message from the network, with the place for the verdict on it.
#[derive(Debug)]
pub struct Incoming {
    /// Who passed it on; not necessarily who made it.
    pub peer: PeerId,
    /// The content, within the size of its topic.
    pub bytes: Vec<u8>,
    /// To be told the verdict within [`VERDICT_DEADLINE`].
    pub verdict: VerdictSender,
}

/// Takes the verdict on one message. Dropped without one, the message is ignored.
#[derive(Debug)]
pub struct VerdictSender {
    number: u64,
    sender: Option<mpsc::Sender<(u64, Verdict)>>,
}

impl VerdictSender {
    pub(crate) fn new(number: u64, sender: mpsc::Sender<(u64, Verdict)>) -> Self {
        Self { number, sender: Some(sender) }
    }

    /// Gives the verdict.
    pub fn report(mut self, verdict: Verdict) {
        self.send(verdict);
    }

    /// Valid.
    pub fn accept(self) {
        self.report(Verdict::Accept);
    }

    /// Invalid.
    pub fn reject(self) {
        self.report(Verdict::Reject);
    }

    /// Neither.
    pub fn ignore(self) {
        self.report(Verdict::Ignore);
    }

    fn send(&mut self, verdict: Verdict) {
        if let Some(sender) = self.sender.take() {
            // A full queue means that this one is overdue; its deadline has the last word.
            let _ = sender.try_send((self.number, verdict));
        }
    }
}

impl Drop for VerdictSender {
    fn drop(&mut self) {
        self.send(Verdict::Ignore);
    }
}

/// A message that waits for its verdict.
#[derive(Debug)]
pub(crate) struct Pending {
    pub(crate) id: MessageId,
    pub(crate) peer: PeerId,
    pub(crate) topic: Topic,
    deadline: Instant,
}

/// Messages that wait for verdicts, in the order in which they came.
#[derive(Debug, Default)]
pub(crate) struct PendingVerdicts {
    next: u64,
    waiting: BTreeMap<u64, Pending>,
}

impl PendingVerdicts {
    pub(crate) fn len(&self) -> usize {
        self.waiting.len()
    }

    pub(crate) fn add(&mut self, id: MessageId, peer: PeerId, topic: Topic, now: Instant) -> u64 {
        let number = self.next;
        self.next = self.next.wrapping_add(1);
        self.waiting.insert(number, Pending { id, peer, topic, deadline: now + VERDICT_DEADLINE });
        number
    }

    pub(crate) fn take(&mut self, number: u64) -> Option<Pending> {
        self.waiting.remove(&number)
    }

    /// Those whose deadline has passed. They are numbered in the order of their deadlines.
    pub(crate) fn overdue(&mut self, now: Instant) -> Vec<Pending> {
        let mut out = Vec::new();
        while let Some(entry) = self.waiting.first_entry() {
            if entry.get().deadline > now {
                break;
            }
            out.push(entry.remove());
        }
        out
    }
}

/// Published messages for which no peer is there yet.
#[derive(Debug, Default)]
pub(crate) struct Outbox {
    waiting: VecDeque<(Topic, Vec<u8>, Instant)>,
}

impl Outbox {
    /// Keeps a message. Returns the topic of the one that had to go for it.
    pub(crate) fn keep(&mut self, topic: Topic, bytes: Vec<u8>, now: Instant) -> Option<Topic> {
        self.waiting.push_back((topic, bytes, now + PUBLISH_PATIENCE));
        if self.waiting.len() > MAX_OUTBOX { self.waiting.pop_front().map(|(topic, ..)| topic) } else { None }
    }

    /// Tries every message again; `publish` gives the bytes back if it must wait on. Returns how many ran out of time.
    pub(crate) fn retry(&mut self, now: Instant, mut publish: impl FnMut(Topic, Vec<u8>) -> Option<Vec<u8>>) -> usize {
        let mut expired = 0;
        for (topic, bytes, until) in std::mem::take(&mut self.waiting) {
            if until <= now {
                expired += 1;
            } else if let Some(bytes) = publish(topic, bytes) {
                self.waiting.push_back((topic, bytes, until));
            }
        }
        expired
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_verdict_is_sent_once_and_a_forgotten_message_is_ignored() {
        let (sender, mut receiver) = mpsc::channel(4);
        VerdictSender::new(1, sender.clone()).accept();
        VerdictSender::new(2, sender.clone()).reject();
        drop(VerdictSender::new(3, sender));
        let got: Vec<_> = std::iter::from_fn(|| receiver.try_recv().ok()).collect();
        assert_eq!(got, [(1, Verdict::Accept), (2, Verdict::Reject), (3, Verdict::Ignore)]);
    }

    #[test]
    fn overdue_messages_leave_in_order_and_the_others_stay() {
        let (mut pending, now) = (PendingVerdicts::default(), Instant::now());
        let peer = PeerId::random();
        let first = pending.add(MessageId::new(b"1"), peer, Topic::ConsensusTx, now);
        let later = now + VERDICT_DEADLINE / 2;
        let second = pending.add(MessageId::new(b"2"), peer, Topic::ConsensusTx, later);
        assert!(pending.overdue(later).is_empty());
        let overdue = pending.overdue(now + VERDICT_DEADLINE);
        assert_eq!(overdue.iter().map(|p| p.id.clone()).collect::<Vec<_>>(), [MessageId::new(b"1")]);
        assert!(pending.take(first).is_none(), "a late verdict finds nothing");
        assert!(pending.take(second).is_some());
    }

    #[test]
    fn the_outbox_keeps_messages_until_a_peer_comes_or_time_runs_out() {
        let (mut outbox, now) = (Outbox::default(), Instant::now());
        for n in 0..=MAX_OUTBOX {
            let dropped = outbox.keep(Topic::ConsensusTx, vec![u8::try_from(n % 256).unwrap()], now);
            assert_eq!(dropped.is_some(), n == MAX_OUTBOX, "only the one too many pushes one out");
        }
        let mut sent = 0;
        let expired = outbox.retry(now, |_, bytes| {
            if bytes == [7] {
                sent += 1;
                None
            } else {
                Some(bytes)
            }
        });
        assert_eq!((expired, sent, outbox.waiting.len()), (0, 2, MAX_OUTBOX - 2));
        assert_eq!(outbox.retry(now + PUBLISH_PATIENCE, |_, b| Some(b)), MAX_OUTBOX - 2);
        assert!(outbox.is_empty());
    }
}
