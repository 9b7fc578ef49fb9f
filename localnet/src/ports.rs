//! Ports on loopback: stated ones are tried, free ones are taken from the system.

use crate::error::LocalnetError;
use serde::{Deserialize, Serialize};
use std::net::{Ipv4Addr, TcpListener};

/// The ports of one node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Ports {
    pub(crate) rpc: u16,
    pub(crate) engine: u16,
    pub(crate) network: u16,
    /// Of nodes that serve Ethereum's JSON-RPC.
    #[serde(default)]
    pub(crate) ethereum: Option<u16>,
}

const RPC: &str = "RPC";
const ENGINE: &str = "consensus engine";
const NETWORK: &str = "committee network";
const ETHEREUM: &str = "Ethereum RPC";

impl Ports {
    fn each(self) -> impl Iterator<Item = (&'static str, u16)> {
        let usual = [(RPC, self.rpc), (ENGINE, self.engine), (NETWORK, self.network)];
        usual.into_iter().chain(self.ethereum.map(|port| (ETHEREUM, port)))
    }
}

/// A node that needs ports.
pub(crate) struct Wanted {
    pub(crate) node: String,
    /// Whether it serves Ethereum's JSON-RPC.
    pub(crate) ethereum: bool,
}

fn bind(port: u16, purpose: &'static str, node: &str) -> Result<TcpListener, LocalnetError> {
    TcpListener::bind((Ipv4Addr::LOCALHOST, port)).map_err(|reason| LocalnetError::Port {
        port,
        purpose,
        node: node.to_owned(),
        reason,
    })
}

/// The `i`-th port from one on.
fn after(first: u16, i: usize) -> Option<u16> {
    usize::from(first).checked_add(i).and_then(|p| u16::try_from(p).ok()).filter(|p| *p > 0)
}

/// The Ethereum port of each node that has one: from `first` on.
fn stated(nodes: &[Wanted], first: u16, flag: &'static str) -> Result<Vec<Option<u16>>, LocalnetError> {
    let mut next = 0..;
    let mut port = |wanted: &Wanted| {
        let Some(i) = wanted.ethereum.then(|| next.next()).flatten() else { return Ok(None) };
        let reason = || format!("{first} is 0 or leaves no room for a port for each compute node below 65536");
        after(first, i).map(Some).ok_or_else(|| LocalnetError::BadFixture { field: flag, reason: reason() })
    };
    nodes.iter().map(&mut port).collect()
}

/// Ports for these nodes: from `base` on (RPC servers first, then engines, networks and Ethereum's servers), or free
/// ones. Ethereum's servers are from `ethereum` on if that is given.
pub(crate) fn choose(nodes: &[Wanted], base: Option<u16>, ethereum: Option<u16>) -> Result<Vec<Ports>, LocalnetError> {
    let of_ethereum = match ethereum {
        Some(first) => Some(stated(nodes, first, "--ethereum-port")?),
        None => None,
    };
    let ports = match base {
        Some(base) => numbered(nodes, base, of_ethereum)?,
        None => return free(nodes, of_ethereum),
    };
    let names: Vec<String> = nodes.iter().map(|n| n.node.clone()).collect();
    refuse_taken(&names, &ports)?;
    Ok(ports)
}

fn numbered(nodes: &[Wanted], base: u16, ethereum: Option<Vec<Option<u16>>>) -> Result<Vec<Ports>, LocalnetError> {
    let count = nodes.len();
    let room = || LocalnetError::BadFixture {
        field: "--base-port",
        reason: format!("{base} is 0 or leaves no room for {} ports below 65536", 3 * count),
    };
    let ethereum = match ethereum {
        Some(stated) => stated,
        None => stated(nodes, after(base, 3 * count).ok_or_else(room)?, "--base-port")?,
    };
    let at = |i: usize| after(base, i).ok_or_else(room);
    let ports = ethereum.into_iter().enumerate();
    ports
        .map(|(i, ethereum)| Ok(Ports { rpc: at(i)?, engine: at(count + i)?, network: at(2 * count + i)?, ethereum }))
        .collect()
}

/// All are held until all are chosen, so that none is given out twice.
fn free(nodes: &[Wanted], ethereum: Option<Vec<Option<u16>>>) -> Result<Vec<Ports>, LocalnetError> {
    let mut held = Vec::new();
    for (wanted, port) in nodes.iter().zip(ethereum.iter().flatten()) {
        if let Some(port) = port {
            held.push(bind(*port, ETHEREUM, &wanted.node)?);
        }
    }
    let mut free = |purpose, node: &str| -> Result<u16, LocalnetError> {
        let listener = bind(0, purpose, node)?;
        let port = listener.local_addr().map_err(|reason| LocalnetError::Port {
            port: 0,
            purpose,
            node: node.to_owned(),
            reason,
        })?;
        held.push(listener);
        Ok(port.port())
    };
    let mut ports = Vec::new();
    for (i, Wanted { node, ethereum: serves }) in nodes.iter().enumerate() {
        let stated = ethereum.as_ref().and_then(|stated| stated.get(i).copied().flatten());
        ports.push(Ports {
            rpc: free(RPC, node)?,
            engine: free(ENGINE, node)?,
            network: free(NETWORK, node)?,
            ethereum: match stated {
                None if *serves => Some(free(ETHEREUM, node)?),
                stated => stated,
            },
        });
    }
    Ok(ports)
}

/// Refuses ports that another process has now.
pub(crate) fn refuse_taken(nodes: &[String], ports: &[Ports]) -> Result<(), LocalnetError> {
    for (node, ports) in nodes.iter().zip(ports) {
        for (purpose, port) in ports.each() {
            bind(port, purpose, node)?;
        }
    }
    Ok(())
}
