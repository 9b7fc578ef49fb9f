//! Links between nodes that can be cut: a partition of real processes, without privileges and without a line about it
//! in the node.
//!
//! With them, a node does not dial another's port but a relay of its own for it, at `127.(1 + from).(1 + to).1` and the
//! same port; all of `127.0.0.0/8` is this machine on Linux. The relay passes bytes on. While the nodes named by
//! [`Links::isolate`] are cut off, links between one of them and any other node carry nothing: what is open is closed,
//! and nothing new is let through. Links among them, and among the others, go on. A relay is in the supervisor's
//! process and adds no delay worth naming.

use crate::error::{LocalnetError, io};
use crate::plan::PlannedNode;
use std::collections::BTreeSet;
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
use std::path::Path;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;

/// Most nodes of a localnet with links: a node has one byte of an address.
pub(crate) const MAX_NODES: usize = 250;
/// A pause after a connection that could not be taken, which would otherwise be asked for again at once.
const PAUSE: Duration = Duration::from_millis(50);

/// Where node number `from` dials node number `to`.
pub(crate) fn address(from: usize, to: usize, port: u16) -> SocketAddrV4 {
    let byte = |number: usize| u8::try_from(number.saturating_add(1)).unwrap_or(u8::MAX);
    SocketAddrV4::new(Ipv4Addr::new(127, byte(from), byte(to), 1), port)
}

/// The links of a running localnet.
pub(crate) struct Links {
    isolated: watch::Sender<BTreeSet<String>>,
    /// Ends with this.
    _relays: JoinSet<()>,
}

impl Links {
    /// Starts a relay for each way between two nodes, for consensus and for the committee network.
    pub(crate) async fn start(nodes: &[PlannedNode]) -> Result<Self, LocalnetError> {
        let (isolated, cut) = watch::channel(BTreeSet::new());
        let mut relays = JoinSet::new();
        for (i, from) in nodes.iter().enumerate() {
            for (j, to) in nodes.iter().enumerate().filter(|(j, _)| *j != i) {
                for port in to.peer_ports() {
                    let at = address(i, j, port);
                    let listener =
                        TcpListener::bind(at).await.map_err(io("listen for a link at", Path::new(&at.to_string())))?;
                    let link = Link { ends: [from.name.clone(), to.name.clone()], cut: cut.clone() };
                    relays.spawn(link.run(listener, (Ipv4Addr::LOCALHOST, port).into()));
                }
            }
        }
        Ok(Self { isolated, _relays: relays })
    }

    /// Cuts these nodes off from all others, and nobody else; none: heals.
    pub(crate) fn isolate(&self, nodes: BTreeSet<String>) {
        self.isolated.send_replace(nodes);
    }
}

#[derive(Clone)]
struct Link {
    ends: [String; 2],
    cut: watch::Receiver<BTreeSet<String>>,
}

impl Link {
    async fn run(self, listener: TcpListener, target: SocketAddr) {
        let mut streams = JoinSet::new();
        loop {
            tokio::select! {
                accepted = listener.accept() => match accepted {
                    Ok((stream, _)) => { streams.spawn(self.clone().pass(stream, target)); }
                    Err(_) => tokio::time::sleep(PAUSE).await,
                },
                Some(_) = streams.join_next() => {}
            }
        }
    }

    /// Passes bytes on both ways until an end closes or the link is cut.
    async fn pass(mut self, mut near: TcpStream, target: SocketAddr) {
        let ends = self.ends;
        let is_cut = |isolated: &BTreeSet<String>| isolated.contains(&ends[0]) != isolated.contains(&ends[1]);
        if is_cut(&self.cut.borrow()) {
            return;
        }
        let Ok(mut far) = TcpStream::connect(target).await else { return };
        // Small messages must not wait for each other twice.
        let _ = (near.set_nodelay(true), far.set_nodelay(true));
        tokio::select! {
            _ = tokio::io::copy_bidirectional(&mut near, &mut far) => {}
            _ = self.cut.wait_for(is_cut) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    #[tokio::test]
    async fn a_link_carries_bytes_until_one_of_its_ends_is_cut_off_and_again_afterwards() {
        let server = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let target = server.local_addr().unwrap();
        let echo = tokio::spawn(async move {
            while let Ok((mut stream, _)) = server.accept().await {
                tokio::spawn(async move {
                    let (mut read, mut write) = stream.split();
                    let _ = tokio::io::copy(&mut read, &mut write).await;
                });
            }
        });
        let (isolated, cut) = watch::channel(BTreeSet::new());
        let relay = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let at = relay.local_addr().unwrap();
        let link = tokio::spawn(Link { ends: ["a".into(), "b".into()], cut }.run(relay, target));
        let set = |names: &[&str]| names.iter().map(|n| (*n).to_owned()).collect::<BTreeSet<_>>();

        let mut stream = TcpStream::connect(at).await.unwrap();
        let mut byte = [0];
        stream.write_all(&[7]).await.unwrap();
        stream.read_exact(&mut byte).await.unwrap();
        assert_eq!(byte, [7]);
        isolated.send_replace(set(&["a", "b"]));
        stream.write_all(&[8]).await.unwrap();
        stream.read_exact(&mut byte).await.unwrap();
        assert_eq!(byte, [8], "both are on one side");

        isolated.send_replace(set(&["b", "c"]));
        assert_eq!(stream.read(&mut byte).await.unwrap_or(0), 0, "what is open is closed");
        let mut refused = TcpStream::connect(at).await.unwrap();
        assert_eq!(refused.read(&mut byte).await.unwrap_or(0), 0, "nothing new is let through");

        isolated.send_replace(set(&[]));
        let mut healed = TcpStream::connect(at).await.unwrap();
        healed.write_all(&[9]).await.unwrap();
        healed.read_exact(&mut byte).await.unwrap();
        assert_eq!(byte, [9]);
        link.abort();
        echo.abort();
    }

    #[test]
    fn every_way_between_two_nodes_has_an_address_of_its_own_on_this_machine() {
        let all: BTreeSet<_> = (0..9).flat_map(|i| (0..9).map(move |j| address(i, j, 9_000))).collect();
        assert_eq!(all.len(), 81);
        assert!(all.iter().all(|a| a.ip().is_loopback() && *a.ip() != Ipv4Addr::LOCALHOST));
    }
}
