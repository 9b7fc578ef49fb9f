//! The organisations of the demonstration: their machines, their jobs, and the plaintext reference beside the network.
//!
//! The reference does not see what the network decides. It replays the order that the rounds recorded, which host
//! reported when and which job was decided among which candidates, on the plaintexts that only these clients know.

use super::{OWNERS, bar};
use crate::client::SchedulerClient;
use eyre::{Result, bail, eyre};
use parallax_fhe::TfheClientCipher;
use parallax_genesis::AccountKey;
use parallax_network::peer_id_of;
use parallax_primitives::{Address, Digest, Nonce, Round};
use parallax_rpc::Client;
use parallax_rpc::types::RoundEvent;
use parallax_scheduler::cluster::{Machine, Models, request};
use parallax_scheduler::openb::{Node, Pod};
use parallax_scheduler::reference;
use parallax_scheduler::{Call, Policy, Purpose, Replication, Report, Request};
use rand::SeedableRng as _;
use rand::seq::SliceRandom as _;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How long a round may take; rounds of many bootstraps on a busy machine take minutes.
const ROUND_LIMIT: Duration = Duration::from_secs(900);
/// How long a grant may take from its round to a final header.
const GRANT_LIMIT: Duration = Duration::from_secs(60);
/// The policy of the demonstration's jobs.
const POLICY: Policy = Policy::Pack;
/// Names of the organisations that own the machines.
const ORGANISATIONS: [&str; 3] = ["Aldebaran Labs", "Bellatrix AG", "Capella Coop"];

/// `count` of these, at random but the same for a seed, in their original order.
pub(super) fn pick<T>(all: Vec<T>, count: usize, seed: u64) -> Vec<T> {
    let mut indices: Vec<usize> = (0..all.len()).collect();
    indices.shuffle(&mut rand::rngs::StdRng::seed_from_u64(seed));
    indices.truncate(count);
    indices.sort_unstable();
    let mut all: Vec<Option<T>> = all.into_iter().map(Some).collect();
    indices.into_iter().filter_map(|i| all.get_mut(i).and_then(Option::take)).collect()
}

/// What became of one job.
pub(super) struct Outcome {
    /// Its name.
    pub(super) job: String,
    /// The round of the last attempt.
    pub(super) round: Round,
    /// Attempts made.
    pub(super) attempts: u32,
    /// Candidates of the last attempt.
    pub(super) candidates: usize,
    /// Bootstraps of the last attempt.
    pub(super) pbs: u64,
    /// From submission to the owner's knowledge.
    pub(super) seconds: f64,
    /// The ParaTime's state root after the deciding round.
    pub(super) state_root: Digest,
    /// The host, as its owner decrypted it.
    pub(super) host: Option<String>,
    /// The host that the plaintext reference chose.
    pub(super) reference: Option<String>,
    /// Whether every attempt was what the reference decides.
    pub(super) agrees: bool,
    decided: bool,
}

impl Outcome {
    /// Whether the network came to a decision at all.
    pub(super) fn is_decided(&self) -> bool {
        self.decided
    }
}

struct Host {
    key: AccountKey,
    organisation: &'static str,
    zone: u16,
    machine: Machine,
    /// Every report made, in order: number `n` stands at `n - 1`.
    reports: Vec<Report>,
}

/// One attempt as the rounds recorded it, and what the reference decides on it.
struct Attempt {
    round: Round,
    reference: Option<Address>,
}

/// The demonstration's cluster.
pub(super) struct Cluster {
    client: SchedulerClient,
    kms: Client,
    cipher: Arc<TfheClientCipher>,
    models: Models,
    hosts: Vec<Host>,
    owners: Vec<AccountKey>,
    /// Jobs whose request these clients know.
    requests: BTreeMap<Digest, Request>,
    reference: reference::Cluster<Address>,
    replayed: Round,
    attempts: BTreeMap<Digest, Vec<Attempt>>,
}

impl Cluster {
    /// A cluster of these machines. The first accounts own jobs, the rest are hosts.
    pub(super) fn new(
        client: SchedulerClient,
        kms: Client,
        cipher: Arc<TfheClientCipher>,
        accounts: Vec<AccountKey>,
        nodes: Vec<Node>,
    ) -> Result<Self> {
        let models = Models::of(&nodes).map_err(|e| eyre!("--hosts-count: {e}"))?;
        let mut accounts = accounts.into_iter();
        let owners: Vec<AccountKey> = accounts.by_ref().take(OWNERS).collect();
        let hosts: Vec<Host> = nodes
            .into_iter()
            .zip(accounts)
            .enumerate()
            .map(|(i, (node, key))| Host {
                key,
                organisation: ORGANISATIONS[i % ORGANISATIONS.len()],
                zone: (i % 2) as u16,
                machine: Machine::new(node, 0, 0),
                reports: Vec::new(),
            })
            .collect();
        Ok(Self {
            client,
            kms,
            cipher,
            models,
            hosts,
            owners,
            requests: BTreeMap::new(),
            reference: reference::Cluster::new(),
            replayed: Round::ZERO,
            attempts: BTreeMap::new(),
        })
    }

    /// The way to the ParaTime.
    pub(super) fn client(&self) -> &SchedulerClient {
        &self.client
    }

    /// How many hosts.
    pub(super) fn len(&self) -> usize {
        self.hosts.len()
    }

    /// How many jobs a round decides.
    pub(super) fn jobs_per_round(&self) -> u32 {
        self.client.params().max_jobs_per_round
    }

    /// Registers every host.
    pub(super) async fn register(&mut self) -> Result<()> {
        let mut sent = Vec::new();
        for host in &self.hosts {
            let peer_id = peer_id_of(&host.key.public())?.to_bytes();
            self.reference.register(host.key.address(), host.zone);
            let call = Call::RegisterHost {
                name: host.machine.name().to_owned(),
                organisation: host.organisation.to_owned(),
                zone: host.zone,
                peer_id,
            };
            sent.push(self.client.send(&host.key, call).await?);
        }
        let bar = bar(sent.len(), "registering hosts");
        for tx in sent {
            self.client.wait(tx, ROUND_LIMIT).await?;
            bar.inc(1);
        }
        bar.finish_and_clear();
        Ok(())
    }

    /// Every host reports what it has free, encrypted, with a proof.
    pub(super) async fn report_all(&mut self) -> Result<()> {
        let proving = bar(self.hosts.len(), "encrypting and proving");
        let mut sent = Vec::new();
        for i in 0..self.hosts.len() {
            let (report, address) = {
                let host = &self.hosts[i];
                (host.machine.report(&self.models), host.key.address())
            };
            let digits = report.digits(&self.client.params().policies)?;
            let list = self.client.encrypt(self.cipher.clone(), Purpose::Telemetry, address, digits).await?;
            let host = &mut self.hosts[i];
            host.reports.push(report);
            sent.push(self.client.send(&host.key, Call::ReportTelemetry(list)).await?);
            proving.inc(1);
        }
        proving.finish_and_clear();
        let taking = bar(sent.len(), "evaluating reports");
        for tx in sent {
            self.client.wait(tx, ROUND_LIMIT).await?;
            taking.inc(1);
        }
        taking.finish_and_clear();
        Ok(())
    }

    /// Hosts report again at a fixed cadence, chosen or not, so that reporting reveals nothing. A host is chosen at
    /// most once a report: the cadence is such that at most half of them can be used up in between.
    pub(super) async fn report_on_cadence(&mut self, wave: usize) -> Result<()> {
        let per_wave = usize::try_from(self.jobs_per_round())?.max(1);
        let cadence = (self.hosts.len() / (2 * per_wave)).max(1);
        if (wave + 1).is_multiple_of(cadence) { self.report_all().await } else { Ok(()) }
    }

    /// Submits jobs together and follows them until their owner knows where they went.
    pub(super) async fn place(&mut self, pods: &[Pod]) -> Result<Vec<Outcome>> {
        let begun = Instant::now();
        let owner = self.owners.first().ok_or_else(|| eyre!("the demonstration has no owner account"))?.clone();
        let mut nonce: Nonce = self.client.nonce(owner.address()).await?;
        let mut sent = Vec::new();
        let encrypting = bar(pods.len(), "encrypting jobs");
        for pod in pods {
            let request = request(pod, &self.models).map_err(|e| eyre!("job {}: {e}", pod.name))?;
            let list =
                self.client.encrypt(self.cipher.clone(), Purpose::Job, owner.address(), request.digits()?).await?;
            let (policy, replication) = (POLICY, Replication::default());
            let call = Call::SubmitJob { request: list, policy, tier: 0, replication, image: None };
            let tx = self.client.submit(self.client.sign(&owner, nonce, call)).await?;
            nonce = nonce.next();
            sent.push((pod, request, tx));
            encrypting.inc(1);
        }
        encrypting.finish_and_clear();
        let evaluating = bar(pods.len(), "placing jobs");
        let mut jobs = Vec::new();
        for (pod, request, tx) in sent {
            let result = self.client.wait(tx, ROUND_LIMIT).await?;
            let output = result.output.ok_or_else(|| eyre!("job {}: the round returned no id", pod.name))?;
            let id: Digest = parallax_primitives::decode("job id", &output.0, 32)?;
            self.requests.insert(id, request);
            jobs.push((pod, id));
        }
        let mut outcomes = Vec::new();
        for (pod, id) in jobs {
            outcomes.push(self.follow(pod, id, &owner, begun).await?);
            evaluating.inc(1);
        }
        evaluating.finish_and_clear();
        Ok(outcomes)
    }

    async fn follow(&mut self, pod: &Pod, id: Digest, owner: &AccountKey, begun: Instant) -> Result<Outcome> {
        let job = self.client.wait_job(id, ROUND_LIMIT).await?;
        let decision = job.decision.clone().ok_or_else(|| eyre!("job {} was never decided", pod.name))?;
        let chosen = if job.status == "placed" {
            let positions = self.client.wait_positions(&self.kms, owner, &job, GRANT_LIMIT).await?;
            let [position] = positions[..] else { bail!("job {}: {} positions, not one", pod.name, positions.len()) };
            let candidate = decision.candidates.get(position);
            Some(candidate.ok_or_else(|| eyre!("job {}: position {position} is no candidate", pod.name))?.host)
        } else {
            None
        };
        let seconds = begun.elapsed().as_secs_f64();
        let state_root = self.client.block(decision.round).await?.state_root;
        self.replay(decision.round).await?;
        let attempts = self.attempts.get(&id).map(Vec::as_slice).unwrap_or_default();
        let last = attempts.last().filter(|a| a.round == decision.round);
        let reference = last.and_then(|a| a.reference);
        // An attempt before the last one placed nothing; so must the reference.
        let earlier = attempts.iter().rev().skip(1).all(|a| a.reference.is_none());
        let complete = u32::try_from(attempts.len()).is_ok_and(|n| n == job.attempts);
        let agrees = last.is_some() && complete && earlier && reference == chosen;
        if let Some(host) = chosen.and_then(|address| self.hosts.iter_mut().find(|h| h.key.address() == address)) {
            // The owner tells its host, and the host takes the job.
            if host.machine.place(pod).is_none() {
                bail!("job {} was placed on {}, where it does not fit", pod.name, host.machine.name());
            }
        }
        Ok(Outcome {
            job: pod.name.clone(),
            round: decision.round,
            attempts: job.attempts,
            candidates: decision.candidates.len(),
            pbs: decision.pbs,
            seconds,
            state_root,
            host: chosen.map(|a| self.name_of(&a)),
            reference: reference.map(|a| self.name_of(&a)),
            agrees,
            decided: job.status != "decided",
        })
    }

    fn name_of(&self, address: &Address) -> String {
        let host = self.hosts.iter().find(|h| h.key.address() == *address);
        host.map_or_else(|| address.to_string(), |h| h.machine.name().to_owned())
    }

    /// Brings the reference up to a round.
    async fn replay(&mut self, to: Round) -> Result<()> {
        if to <= self.replayed {
            return Ok(());
        }
        for event in self.client.events(self.replayed.next(), to).await? {
            self.step(&event)?;
        }
        self.replayed = to;
        Ok(())
    }

    fn step(&mut self, event: &RoundEvent) -> Result<()> {
        let attribute = |name: &str| {
            event.event.get(name).ok_or_else(|| eyre!("an event {} has no attribute {name}", event.event.name))
        };
        match event.event.name.as_str() {
            "scheduler.telemetry_reported" => {
                let address: Address = attribute("host")?.parse().map_err(|e: String| eyre!(e))?;
                let number: usize = attribute("report")?.parse()?;
                let host = self.hosts.iter().find(|h| h.key.address() == address);
                let report = host.and_then(|h| h.reports.get(number.checked_sub(1)?));
                let report = report.ok_or_else(|| eyre!("report {number} of {address} is none of ours"))?;
                self.reference.report(address, report.clone());
            }
            "scheduler.decided" => {
                let id: Digest = attribute("job")?.parse().map_err(|e: String| eyre!(e))?;
                let request = *self.requests.get(&id).ok_or_else(|| eyre!("job {id} is none of ours"))?;
                let hosts = attribute("hosts")?.split(',').filter(|t| !t.is_empty());
                let candidates =
                    hosts.map(str::parse).collect::<Result<Vec<Address>, String>>().map_err(|e| eyre!(e))?;
                let winners = self.reference.decide(&candidates, &request, POLICY, Replication::default());
                let reference = winners.first().copied();
                self.attempts.entry(id).or_default().push(Attempt { round: event.round, reference });
            }
            _ => {}
        }
        Ok(())
    }
}
