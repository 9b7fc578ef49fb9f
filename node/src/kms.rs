//! The key manager's services: they find what waits for decryption or is asked for, fetch proofs and ciphertexts from
//! compute nodes, and let the pure key managers decide. There is one service for each ParaTime, with a key set of its
//! own; what they share is the way to the nodes and the light client. No engine runs here.

mod contracts;
mod desk;
mod follower;
mod grants;
mod memory;
mod pace;
mod trail;

pub use contracts::{Busy, ContractService};
pub use follower::Follower;
pub use grants::GrantService;

use parallax_primitives::{Height, KeyId, ParaTimeId};
use parallax_runtime::decryption::KeyManagers;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// How old the newest trusted header may be when something is decrypted: far longer than a chain that lives is silent,
/// far shorter than stake is locked. Validators answer for what they signed within it.
pub const TRUST_PERIOD: Duration = Duration::from_secs(24 * 60 * 60);

/// What became of requests since the process started.
#[derive(Debug, Default)]
pub struct Counters {
    /// Answered.
    pub answered: AtomicU64,
    /// Refused.
    pub refused: AtomicU64,
    /// Grants seen in the last poll and not yet answered on chain.
    pub pending: AtomicU64,
}

impl Counters {
    fn count(&self, answered: bool) {
        let counter = if answered { &self.answered } else { &self.refused };
        counter.fetch_add(1, Ordering::Relaxed);
    }
}

/// The service of one ParaTime.
#[derive(Clone)]
pub enum Service {
    /// Of a ParaTime that takes answers on chain.
    Grants(Arc<GrantService>),
    /// Of an EVM.
    Contracts(Arc<ContractService>),
}

impl Service {
    /// What became of requests.
    pub fn counters(&self) -> &Counters {
        match self {
            Self::Grants(service) => &service.counters,
            Self::Contracts(service) => &service.counters,
        }
    }
}

/// A ParaTime that the process serves.
#[derive(Clone)]
pub struct Served {
    /// Its service.
    pub service: Service,
    /// Who decrypts for it.
    pub managers: KeyManagers,
    /// The key under which it decrypts.
    pub key_id: KeyId,
}

/// All ParaTimes of the process.
#[derive(Clone)]
pub struct KmsService {
    /// By id.
    pub served: BTreeMap<ParaTimeId, Served>,
    /// The way to the nodes.
    pub follower: Arc<Follower>,
}

impl KmsService {
    /// The height of the newest header that has been verified.
    pub fn height(&self) -> Height {
        self.follower.height()
    }

    /// The service of an EVM.
    pub fn contracts(&self, id: &ParaTimeId) -> Option<&Arc<ContractService>> {
        match &self.served.get(id)?.service {
            Service::Contracts(service) => Some(service),
            Service::Grants(_) => None,
        }
    }

    /// The service of a ParaTime that takes answers on chain.
    pub fn grants(&self, id: &ParaTimeId) -> Option<&Arc<GrantService>> {
        match &self.served.get(id)?.service {
            Service::Grants(service) => Some(service),
            Service::Contracts(_) => None,
        }
    }
}
