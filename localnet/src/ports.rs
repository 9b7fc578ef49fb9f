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
}

impl Ports {
    fn each(self) -> [(&'static str, u16); 3] {
        [("RPC", self.rpc), ("consensus engine", self.engine), ("committee network", self.network)]
    }
}

fn bind(port: u16, purpose: &'static str, node: &str) -> Result<TcpListener, LocalnetError> {
    TcpListener::bind((Ipv4Addr::LOCALHOST, port)).map_err(|reason| LocalnetError::Port {
        port,
        purpose,
        node: node.to_owned(),
        reason,
    })
}

/// Ports for these nodes: from `base` on (RPC servers first, then engines, then networks), or free ones.
pub(crate) fn choose(nodes: &[String], base: Option<u16>) -> Result<Vec<Ports>, LocalnetError> {
    let count = nodes.len();
    let Some(base) = base else {
        // All are held until all are chosen, so that none is given out twice.
        let (mut held, mut ports) = (Vec::new(), Vec::new());
        for node in nodes {
            let mut free = |purpose| -> Result<u16, LocalnetError> {
                let listener = bind(0, purpose, node)?;
                let port = listener.local_addr().map_err(|reason| LocalnetError::Port {
                    port: 0,
                    purpose,
                    node: node.clone(),
                    reason,
                })?;
                held.push(listener);
                Ok(port.port())
            };
            ports.push(Ports {
                rpc: free("RPC")?,
                engine: free("consensus engine")?,
                network: free("committee network")?,
            });
        }
        return Ok(ports);
    };
    let at = |i: usize| usize::from(base).checked_add(i).and_then(|p| u16::try_from(p).ok()).filter(|p| *p > 0);
    let ports: Option<Vec<Ports>> =
        (0..count).map(|i| Some(Ports { rpc: at(i)?, engine: at(count + i)?, network: at(2 * count + i)? })).collect();
    let ports = ports.ok_or_else(|| LocalnetError::BadFixture {
        field: "--base-port",
        reason: format!("{base} is 0 or leaves no room for {} ports below 65536", 3 * count),
    })?;
    refuse_taken(nodes, &ports)?;
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
