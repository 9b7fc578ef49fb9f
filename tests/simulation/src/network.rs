//! Who reaches whom, when, and how often.

use crate::rng::Rng;
use crate::scenario::{Links, Scenario};
use parallax_rounds::SignedProposal;
use parallax_worker::{PeerRequest, PeerResponse};

/// What travels between nodes.
#[derive(Clone, Debug)]
pub(crate) enum Message {
    /// A gossiped proposal.
    Proposal(SignedProposal),
    /// A gossiped transaction of the ParaTime.
    Transaction(Vec<u8>),
    /// A question; the answer goes to this life of the asking node.
    Request { from: usize, life: u64, id: u64, request: PeerRequest },
    /// Its answer; `None` if it could not be decoded.
    Response { life: u64, id: u64, response: Option<PeerResponse> },
}

/// One end of a link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    Node(usize),
    /// The validators, or clients: whatever is no compute node.
    Outside,
}

/// The network's state.
pub(crate) struct Network {
    links: Links,
    quiet: bool,
}

/// The network once faults have stopped.
const QUIET: Links = Links { least_ms: 2, most_ms: 20, lost_permille: 0, doubled_permille: 0 };

impl Network {
    pub(crate) fn new(links: Links) -> Self {
        Self { links, quiet: false }
    }

    pub(crate) fn calm_down(&mut self) {
        self.quiet = true;
        self.links = QUIET;
    }

    /// Whether a partition lies between two ends.
    pub(crate) fn cut(&self, scenario: &Scenario, now: u64, a: End, b: End) -> bool {
        if self.quiet {
            return false;
        }
        let side = |end: End, group: u64| match end {
            End::Node(n) => group & (1 << n) != 0,
            End::Outside => false,
        };
        let outside = a == End::Outside || b == End::Outside;
        scenario.partitions.iter().any(|p| {
            (p.from_ms..p.until_ms).contains(&now) && side(a, p.group) != side(b, p.group) && (!outside || p.from_chain)
        })
    }

    /// After which delays a message arrives: none if it is lost, two if it comes twice.
    pub(crate) fn delays(&self, rng: &mut Rng) -> Vec<u64> {
        let links = &self.links;
        let mut delay = || rng.range(links.least_ms, links.most_ms);
        let (first, second) = (delay(), delay());
        if rng.chance(links.lost_permille) {
            return Vec::new();
        }
        if rng.chance(links.doubled_permille) { vec![first, second] } else { vec![first] }
    }
}
