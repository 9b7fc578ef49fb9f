//! The workload: clients of the ParaTime and of the ledger.

use crate::parties::Parties;
use crate::rng::Rng;
use crate::scenario::Scenario;
use crate::world::{Event, World};
use parallax_clear::ClearCipher;
use parallax_consensus_app::tx as ledger_tx;
use parallax_primitives::{Address, Amount, ChainContext, Epoch, Nonce, ParaTimeId, SecretKey};
use parallax_runtime::ClientCipher;
use parallax_runtime::paratime::tx_digest;
use parallax_scheduler::{Call, EncryptedList, Policy, Purpose, Report, Request, TxBody, metadata};
use std::collections::{BTreeMap, VecDeque};

/// How often a client sends a transaction again before it signs anew.
const PATIENCE: u32 = 6;

struct Client {
    key: SecretKey,
    next: u64,
    registered: bool,
    waiting: VecDeque<(u64, Vec<u8>)>,
    tries: u32,
}

pub(crate) struct Clients {
    chain: ChainContext,
    paratime: ParaTimeId,
    cipher: ClearCipher,
    clients: Vec<Client>,
    rng: Rng,
    mean_ms: u64,
}

impl Clients {
    pub(crate) fn new(parties: &Parties, scenario: &Scenario, mut rng: Rng) -> Self {
        let client = |key: &SecretKey| Client {
            key: key.clone(),
            next: 0,
            registered: false,
            waiting: VecDeque::new(),
            tries: 0,
        };
        Self {
            chain: parties.chain,
            paratime: parties.paratime,
            cipher: ClearCipher::new(parties.key, rng.draw()),
            clients: parties.clients.iter().take(scenario.clients).map(client).collect(),
            rng,
            mean_ms: scenario.client_ms,
        }
    }

    fn list(&self, key: &SecretKey, purpose: Purpose, digits: &[u8], epoch: Epoch) -> Option<EncryptedList> {
        let sender = Address::of(&key.public());
        let key_id = self.cipher.key_id();
        let bound = metadata(self.chain, self.paratime, purpose, sender, key_id, epoch);
        let bytes = self.cipher.encrypt(digits, &bound).ok()?;
        Some(EncryptedList { key_id, epoch, bytes })
    }

    fn body(&self, nonce: u64, call: Call) -> TxBody {
        TxBody { chain: self.chain, paratime: self.paratime, nonce: Nonce(nonce), gas_price: Amount(1), call }
    }

    /// What a client does next.
    fn call(&mut self, client: usize, epoch: Epoch) -> Option<Call> {
        let one = self.clients.get(client)?;
        let (key, registered) = (one.key.clone(), one.registered);
        let byte = |rng: &mut Rng, most: u64| u8::try_from(rng.range(0, most)).unwrap_or(0);
        let kind = self.rng.below(10);
        if !registered && kind < 7 {
            self.clients.get_mut(client)?.registered = true;
            return Some(Call::RegisterHost {
                name: format!("host-{client}"),
                organisation: "org".to_owned(),
                zone: 1,
                peer_id: vec![1, 2, 3],
            });
        }
        match kind {
            0..=3 => {
                let rng = &mut self.rng;
                let report = Report {
                    cpu: byte(rng, 200),
                    memory: byte(rng, 200),
                    gpus: byte(rng, 8),
                    share: byte(rng, 100),
                    labels: byte(rng, 255),
                    latency: byte(rng, 15),
                    scores: BTreeMap::from([(Policy::Pack, byte(rng, 255))]),
                };
                let digits = report.digits(&[Policy::Pack]).ok()?;
                Some(Call::ReportTelemetry(self.list(&key, Purpose::Telemetry, &digits, epoch)?))
            }
            4..=6 => {
                let rng = &mut self.rng;
                let request =
                    Request { cpu: byte(rng, 100), memory: byte(rng, 100), latency: 15, ..Request::default() };
                let digits = request.digits().ok()?;
                let list = self.list(&key, Purpose::Job, &digits, epoch)?;
                Some(Call::SubmitJob {
                    request: list,
                    policy: Policy::Pack,
                    tier: byte(&mut self.rng, 2),
                    replication: Default::default(),
                    image: None,
                })
            }
            _ => {
                let to = self.rng.index(self.clients.len());
                let to = Address::of(&self.clients.get(to)?.key.public());
                Some(Call::Transfer { to, amount: Amount(u128::from(self.rng.range(1, 50))) })
            }
        }
    }
}

impl World {
    /// A client acts: sends something new, or again what no finalised round holds.
    pub(crate) fn client(&mut self) {
        let height = self.height();
        let epoch = self.chain.view(height).map_or(Epoch::ZERO, |v| v.epoch);
        if self.clients.rng.chance(70) {
            self.ledger_client();
        }
        let client = self.clients.rng.index(self.clients.clients.len());
        let again = self.clients.rng.chance(400);
        let executed = self.checks.paratime_nonce(self.clients.clients.get(client).map(|c| c.key.public()));
        let Some(one) = self.clients.clients.get_mut(client) else { return };
        while one.waiting.front().is_some_and(|(nonce, _)| *nonce < executed) {
            one.waiting.pop_front();
            one.tries = 0;
        }
        one.next = one.next.max(executed);
        if one.tries > PATIENCE && !self.quiet {
            // It gives these up and signs others with the same nonces.
            one.waiting.clear();
            (one.next, one.tries) = (executed, 0);
            self.log.count("client gave up");
        }
        let Some(one) = self.clients.clients.get_mut(client) else { return };
        if again && !one.waiting.is_empty() || one.waiting.len() >= 8 {
            one.tries = one.tries.saturating_add(1);
            let waiting: Vec<Vec<u8>> = one.waiting.iter().map(|(_, bytes)| bytes.clone()).collect();
            self.log.count("client sent again");
            for bytes in waiting {
                self.submit_to_node(bytes);
            }
        } else if !self.quiet
            && let Some(call) = self.clients.call(client, epoch)
        {
            self.client_sends(client, call);
        }
        let mean = self.clients.mean_ms;
        let delay = self.clients.rng.range(mean / 4, mean.saturating_mul(7) / 4);
        self.after(delay.max(1), Event::Client);
    }

    fn client_sends(&mut self, client: usize, call: Call) {
        let Some(one) = self.clients.clients.get(client) else { return };
        let (nonce, key) = (one.next, one.key.clone());
        let bytes = self.clients.body(nonce, call).sign(&key);
        if let Some(one) = self.clients.clients.get_mut(client) {
            one.next = nonce.saturating_add(1);
            one.waiting.push_back((nonce, bytes.clone()));
        }
        self.checks.transactions.insert(tx_digest(&bytes), bytes.clone());
        self.log.count("client transactions");
        self.submit_to_node(bytes);
    }

    /// A transfer on the ledger.
    fn ledger_client(&mut self) {
        let from = self.clients.rng.index(self.clients.clients.len());
        let to = self.clients.rng.index(self.clients.clients.len());
        let key_of = |n: usize| self.clients.clients.get(n).map(|c| c.key.clone());
        let (Some(from), Some(to)) = (key_of(from), key_of(to)) else { return };
        let address = Address::of(&from.public());
        let Ok(nonce) = self.chain.nonce(self.height(), &address) else { return };
        let call = ledger_tx::Call::Transfer {
            to: Address::of(&to.public()),
            amount: Amount(u128::from(self.clients.rng.range(1, 1_000))),
        };
        let body = ledger_tx::TxBody::priced(nonce, call, &self.chain.parameters);
        let bytes = ledger_tx::Transaction::sign(body, self.parties.chain, &from).encode();
        self.log.count("ledger transfers");
        self.after(20, Event::Submit { from: None, bytes });
    }

    /// The transaction by which progress after the faults is judged: of a client that did nothing before.
    pub(crate) fn last_wish(&mut self) {
        let (Some(key), Some(to)) = (self.parties.clients.last().cloned(), self.parties.clients.first()) else {
            return;
        };
        let call = Call::Transfer { to: Address::of(&to.public()), amount: Amount(1) };
        let bytes = self.clients.body(0, call).sign(&key);
        let digest = tx_digest(&bytes);
        self.checks.transactions.insert(digest, bytes.clone());
        self.checks.wish = Some(digest);
        // It joins the others, so that it is sent again until it is executed.
        self.clients.clients.push(Client {
            key,
            next: 1,
            registered: true,
            waiting: VecDeque::from([(0, bytes.clone())]),
            tries: 0,
        });
        self.submit_to_node(bytes);
    }
}
