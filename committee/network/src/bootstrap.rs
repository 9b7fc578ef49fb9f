//! Addresses to which connections are kept up, each with its pause before the next attempt.

use crate::limits::{MAX_BACKOFF, MAX_BOOTSTRAP, MIN_BACKOFF};
use libp2p::multiaddr::Protocol;
use libp2p::swarm::ConnectionId;
use libp2p::swarm::dial_opts::{DialOpts, PeerCondition};
use libp2p::{Multiaddr, PeerId};
use std::time::Duration;
use tokio::time::Instant;

#[derive(Debug)]
struct Entry {
    /// Without the peer id.
    address: Multiaddr,
    /// The peer id given with the address; nobody else is accepted there.
    required: Option<PeerId>,
    /// Who answered there last.
    peer: Option<PeerId>,
    attempt: Option<ConnectionId>,
    next: Instant,
    pause: Duration,
}

/// The addresses and where each stands.
#[derive(Debug, Default)]
pub(crate) struct Bootstrap {
    entries: Vec<Entry>,
}

impl Bootstrap {
    /// Adds an address. False if there is no room; an address that is there already counts as added.
    pub(crate) fn add(&mut self, mut address: Multiaddr, now: Instant) -> bool {
        let required = match address.iter().last() {
            Some(Protocol::P2p(peer)) => {
                address.pop();
                Some(peer)
            }
            _ => None,
        };
        if self.entries.iter().any(|e| e.address == address && e.required == required) {
            return true;
        }
        if self.entries.len() >= MAX_BOOTSTRAP {
            return false;
        }
        self.entries.push(Entry { address, required, peer: required, attempt: None, next: now, pause: MIN_BACKOFF });
        true
    }

    /// What to dial now. The port of the listener is not reused for it: two nodes of one machine that dial each other
    /// at once from their listening ports would meet in one TCP connection.
    pub(crate) fn due(&mut self, now: Instant, connected: impl Fn(&PeerId) -> bool) -> Vec<DialOpts> {
        let mut out = Vec::new();
        for entry in &mut self.entries {
            let up = entry.peer.as_ref().is_some_and(&connected);
            if up || entry.attempt.is_some() || entry.next > now {
                continue;
            }
            let options = match entry.required {
                Some(peer) => DialOpts::peer_id(peer)
                    .addresses(vec![entry.address.clone()])
                    .condition(PeerCondition::DisconnectedAndNotDialing)
                    .allocate_new_port()
                    .build(),
                None => DialOpts::unknown_peer_id().address(entry.address.clone()).allocate_new_port().build(),
            };
            entry.attempt = Some(options.connection_id());
            out.push(options);
        }
        out
    }

    /// A connection was opened.
    pub(crate) fn connected(&mut self, attempt: ConnectionId, peer: PeerId, now: Instant) {
        for entry in self.entries.iter_mut().filter(|e| e.attempt == Some(attempt)) {
            entry.attempt = None;
            entry.peer = Some(peer);
            entry.next = now + entry.pause;
        }
    }

    /// A connection could not be opened.
    pub(crate) fn failed(&mut self, attempt: ConnectionId, now: Instant) {
        for entry in self.entries.iter_mut().filter(|e| e.attempt == Some(attempt)) {
            entry.attempt = None;
            entry.next = now + entry.pause;
            entry.pause = (entry.pause * 2).min(MAX_BACKOFF);
        }
    }

    /// The address is this node's own: it is not tried again.
    pub(crate) fn own(&mut self, attempt: ConnectionId) {
        self.entries.retain(|e| e.attempt != Some(attempt));
    }

    /// A peer has shown that it is of this chain: its next loss starts with the shortest pause.
    pub(crate) fn confirmed(&mut self, peer: &PeerId) {
        for entry in self.entries.iter_mut().filter(|e| e.peer.as_ref() == Some(peer)) {
            entry.pause = MIN_BACKOFF;
        }
    }

    /// A connection ended, or the peer was refused (then the longest pause).
    pub(crate) fn lost(&mut self, peer: &PeerId, refused: bool, now: Instant) {
        for entry in self.entries.iter_mut().filter(|e| e.peer.as_ref() == Some(peer)) {
            if refused {
                entry.pause = MAX_BACKOFF;
            }
            entry.next = now + entry.pause;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(address: &str) -> (Bootstrap, Instant) {
        let (mut bootstrap, now) = (Bootstrap::default(), Instant::now());
        assert!(bootstrap.add(address.parse().unwrap(), now));
        (bootstrap, now)
    }

    #[test]
    fn pauses_double_up_to_the_longest_and_fall_back_after_success() {
        let (mut bootstrap, mut now) = one("/ip4/127.0.0.1/tcp/1");
        let mut pauses = Vec::new();
        for _ in 0..10 {
            let attempt = bootstrap.due(now, |_| false).pop().unwrap().connection_id();
            assert!(bootstrap.due(now, |_| false).is_empty(), "one attempt at a time");
            bootstrap.failed(attempt, now);
            pauses.push(bootstrap.entries[0].next - now);
            now = bootstrap.entries[0].next;
        }
        assert_eq!(pauses[..3], [MIN_BACKOFF, MIN_BACKOFF * 2, MIN_BACKOFF * 4]);
        assert_eq!(pauses[9], MAX_BACKOFF);
        let peer = PeerId::random();
        let attempt = bootstrap.due(now, |_| false).pop().unwrap().connection_id();
        bootstrap.connected(attempt, peer, now);
        bootstrap.confirmed(&peer);
        assert!(bootstrap.due(now + MAX_BACKOFF, |p| *p == peer).is_empty(), "it is connected");
        bootstrap.lost(&peer, false, now);
        assert!(bootstrap.due(now, |_| false).is_empty());
        assert_eq!(bootstrap.due(now + MIN_BACKOFF, |_| false).len(), 1);
    }

    #[test]
    fn a_refused_peer_is_tried_seldom_and_the_own_address_never() {
        let peer = PeerId::random();
        let (mut bootstrap, now) = one(&format!("/ip4/127.0.0.1/tcp/1/p2p/{peer}"));
        bootstrap.lost(&peer, true, now);
        assert!(bootstrap.due(now + MAX_BACKOFF / 2, |_| false).is_empty());
        let attempt = bootstrap.due(now + MAX_BACKOFF, |_| false).pop().unwrap();
        assert_eq!(attempt.get_peer_id(), Some(peer), "only the peer that was named is accepted");
        bootstrap.own(attempt.connection_id());
        assert!(bootstrap.due(now + MAX_BACKOFF * 10, |_| false).is_empty());
    }
}
