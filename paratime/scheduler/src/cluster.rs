//! What a host client keeps in the clear: its machine's residual capacity, and the report that follows from it; and the
//! request that follows from a job. Also a small cluster of our own, to try things with.

use crate::audit::{Capacity, score};
use crate::model::{CPU_UNIT_MILLI, MAX_SHARE, MEMORY_UNIT_MIB, Policy, QuantityError, Report, Request};
use crate::openb::{GPU_MILLI, Node, Pod};
use std::collections::BTreeMap;
use std::fmt;

/// Most GPU models that labels tell apart.
pub const MAX_MODELS: usize = 8;
/// Weights of latency and price in the COST score.
pub const COST_WEIGHTS: (u64, u64) = (8, 1);

/// The GPU models of a cluster, one label a model. Label `k` says "not model `k`": a job that accepts some models needs
/// the labels of all others, so one mask also says "this or that".
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Models(Vec<String>);

impl Models {
    /// The models of these machines, in alphabetical order.
    ///
    /// # Errors
    /// If there are more than eight.
    pub fn of(nodes: &[Node]) -> Result<Self, String> {
        let names: Vec<String> = nodes.iter().map(|n| n.model.clone()).collect();
        Self::from_names(&names)
    }

    /// These models, in alphabetical order; empty names and repetitions do not count.
    ///
    /// # Errors
    /// If there are more than eight.
    pub fn from_names(names: &[String]) -> Result<Self, String> {
        let mut names: Vec<String> = names.iter().filter(|m| !m.is_empty()).cloned().collect();
        names.sort();
        names.dedup();
        if names.len() > MAX_MODELS {
            return Err(format!("{} GPU models, labels tell {MAX_MODELS} apart; choose fewer nodes", names.len()));
        }
        Ok(Self(names))
    }

    fn mask(&self, has: impl Fn(&str) -> bool) -> u8 {
        self.0.iter().enumerate().filter(|(_, name)| has(name)).fold(0, |mask, (k, _)| mask | (1 << k))
    }

    /// What a machine with this model offers.
    pub fn labels(&self, model: &str) -> u8 {
        !self.mask(|name| name == model)
    }

    /// What a job needs that accepts these models; none means any.
    pub fn need(&self, accepted: &[String]) -> u8 {
        if accepted.is_empty() { 0 } else { self.mask(|name| !accepted.iter().any(|a| a == name)) }
    }
}

/// What a job asks for, in the units that are encrypted; rounded up.
///
/// # Errors
/// [`QuantityError`] if it is over what one host can report.
pub fn request(pod: &Pod, models: &Models) -> Result<Request, QuantityError> {
    let units = |field: &'static str, value: u64, unit: u64, name: &'static str| {
        let error = QuantityError::OutOfRange { field, max: u8::MAX.into(), unit: name };
        u8::try_from(value.div_ceil(unit)).map_err(|_| error)
    };
    let whole = pod.gpu_milli == GPU_MILLI;
    let share = pod.gpu_milli.div_ceil(GPU_MILLI / u16::from(MAX_SHARE));
    let request = Request {
        cpu: units("CPU", pod.cpu_milli, CPU_UNIT_MILLI, "units of 500 milli-cores")?,
        memory: units("memory", pod.memory_mib, MEMORY_UNIT_MIB, "units of 4 GiB")?,
        gpus: if whole { pod.gpus } else { 0 },
        share: if whole { 0 } else { u8::try_from(share).unwrap_or(u8::MAX) },
        need: if pod.gpus > 0 { models.need(&pod.models) } else { 0 },
        latency: crate::model::MAX_LATENCY,
    };
    request.digits()?;
    Ok(request)
}

/// Free and total of one resource.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Free {
    /// What is free.
    pub free: u64,
    /// What there is.
    pub total: u64,
}

/// `floor(255 * sum(weight_i * free_i / total_i) / divisor)`, exact: over the common denominator. A resource that there
/// is none of counts as 0.
fn ratio(parts: &[(u128, Free)], divisor: u128) -> u8 {
    let present: Vec<_> = parts.iter().filter(|(_, r)| r.total > 0).collect();
    let denominator: u128 = present.iter().map(|(_, r)| u128::from(r.total)).product();
    let numerator: u128 = present
        .iter()
        .map(|(weight, r)| weight * u128::from(r.free.min(r.total)) * (denominator / u128::from(r.total)))
        .sum();
    u8::try_from(255 * numerator / (divisor * denominator)).unwrap_or(u8::MAX)
}

/// PACK: `floor(255 * (cpu + memory + 16 * gpu) / 18)` of the free shares; the GPU term is 0 without GPUs.
pub fn pack_score(cpu: Free, memory: Free, gpu: Free) -> u8 {
    ratio(&[(1, cpu), (1, memory), (16, gpu)], 18)
}

/// SPREAD: `255 - floor(255 * (cpu + memory + gpu) / k)` of the free shares, with `k` the number of resources that the
/// host has.
pub fn spread_score(cpu: Free, memory: Free, gpu: Free) -> u8 {
    let parts = [(1, cpu), (1, memory), (1, gpu)];
    let kinds = parts.iter().filter(|(_, r)| r.total > 0).count().max(1) as u128;
    255 - ratio(&parts, kinds)
}

/// COST: `min(255, 8 * latency + price)`. The price is the one that is charged.
pub fn cost_score(latency: u8, price: u8) -> u8 {
    let (wl, wp) = COST_WEIGHTS;
    u8::try_from(wl * u64::from(latency) + wp * u64::from(price)).unwrap_or(u8::MAX)
}

/// What a placed job occupies; give it back with [`Machine::release`].
#[derive(Clone, PartialEq, Eq)]
pub struct Placement {
    cpu_milli: u64,
    memory_mib: u64,
    /// GPU and thousandths of it.
    gpus: Vec<(usize, u16)>,
}

impl fmt::Debug for Placement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Placement(…)")
    }
}

/// A machine and what is free of it. Its `Debug` shows no quantity.
#[derive(Clone, PartialEq, Eq)]
pub struct Machine {
    node: Node,
    latency: u8,
    price: u8,
    free_cpu: u64,
    free_memory: u64,
    /// Free thousandths of each GPU.
    free_gpus: Vec<u16>,
}

impl fmt::Debug for Machine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Machine({})", self.node.name)
    }
}

impl Machine {
    /// An empty machine with a latency class (0..=15) and a price.
    pub fn new(node: Node, latency: u8, price: u8) -> Self {
        let (free_cpu, free_memory) = (node.cpu_milli, node.memory_mib);
        let free_gpus = vec![GPU_MILLI; node.gpus.into()];
        Self { node, latency, price, free_cpu, free_memory, free_gpus }
    }

    /// The machine's name.
    pub fn name(&self) -> &str {
        &self.node.name
    }

    /// The report of its residual capacity; rounded down, held at the largest value of a field. The scores follow from
    /// these quantities and from [`Machine::capacity`], so an audit finds them right.
    pub fn report(&self, models: &Models) -> Report {
        let units = |free: u64, unit: u64| u8::try_from(free / unit).unwrap_or(u8::MAX);
        let whole = self.free_gpus.iter().filter(|free| **free == GPU_MILLI).count();
        let largest = self.free_gpus.iter().max().copied().unwrap_or(0);
        let mut report = Report {
            cpu: units(self.free_cpu, CPU_UNIT_MILLI),
            memory: units(self.free_memory, MEMORY_UNIT_MIB),
            gpus: u8::try_from(whole).unwrap_or(u8::MAX),
            share: u8::try_from(largest / (GPU_MILLI / u16::from(MAX_SHARE))).unwrap_or(u8::MAX),
            labels: models.labels(&self.node.model),
            latency: self.latency,
            scores: BTreeMap::new(),
        };
        let (capacity, scored) = (self.capacity(), [Policy::Pack, Policy::Spread, Policy::Cost]);
        let scores = scored.map(|policy| score(policy, &report, &capacity, self.price).map(|value| (policy, value)));
        report.scores = scores.into_iter().flatten().collect();
        report
    }

    /// What the machine has, in the units of reports; rounded down, held at the largest value of a field.
    pub fn capacity(&self) -> Capacity {
        let units = |total: u64, unit: u64| u8::try_from(total / unit).unwrap_or(u8::MAX);
        Capacity {
            cpu: units(self.node.cpu_milli, CPU_UNIT_MILLI),
            memory: units(self.node.memory_mib, MEMORY_UNIT_MIB),
            gpus: self.node.gpus,
        }
    }

    /// Takes a job, or returns `None` and changes nothing if it does not fit. Whole GPUs: the first free ones; a share:
    /// the fullest GPU that still has it.
    pub fn place(&mut self, pod: &Pod) -> Option<Placement> {
        let gpus: Vec<(usize, u16)> = if pod.gpus == 0 {
            Vec::new()
        } else if pod.gpu_milli == GPU_MILLI {
            let free = self.free_gpus.iter().enumerate().filter(|(_, free)| **free == GPU_MILLI);
            free.map(|(i, _)| (i, GPU_MILLI)).take(pod.gpus.into()).collect()
        } else {
            let enough = self.free_gpus.iter().enumerate().filter(|(_, free)| **free >= pod.gpu_milli);
            enough.min_by_key(|(i, free)| (**free, *i)).map(|(i, _)| (i, pod.gpu_milli)).into_iter().collect()
        };
        if gpus.len() < usize::from(pod.gpus) {
            return None;
        }
        let (cpu, memory) = (self.free_cpu.checked_sub(pod.cpu_milli)?, self.free_memory.checked_sub(pod.memory_mib)?);
        (self.free_cpu, self.free_memory) = (cpu, memory);
        for (gpu, milli) in &gpus {
            if let Some(free) = self.free_gpus.get_mut(*gpu) {
                *free = free.saturating_sub(*milli);
            }
        }
        Some(Placement { cpu_milli: pod.cpu_milli, memory_mib: pod.memory_mib, gpus })
    }

    /// Gives back what a job occupied.
    pub fn release(&mut self, placement: Placement) {
        self.free_cpu = self.free_cpu.saturating_add(placement.cpu_milli).min(self.node.cpu_milli);
        self.free_memory = self.free_memory.saturating_add(placement.memory_mib).min(self.node.memory_mib);
        for (gpu, milli) in placement.gpus {
            if let Some(free) = self.free_gpus.get_mut(gpu) {
                *free = free.saturating_add(milli).min(GPU_MILLI);
            }
        }
    }
}

/// A cluster of our own to try things with: four hosts of two organisations' usual kinds, three jobs.
pub fn sample() -> (Vec<Node>, Vec<Pod>) {
    let node = |name: &str, cores: u64, gib: u64, gpus: u8, model: &str| Node {
        name: name.to_owned(),
        cpu_milli: cores * 1_000,
        memory_mib: gib * 1_024,
        gpus,
        model: model.to_owned(),
    };
    let pod = |name: &str, cores: u64, gib: u64, gpus: u8, gpu_milli: u16, models: &[&str]| Pod {
        name: name.to_owned(),
        cpu_milli: cores * 1_000,
        memory_mib: gib * 1_024,
        gpus,
        gpu_milli,
        models: models.iter().map(|m| (*m).to_owned()).collect(),
    };
    let nodes = vec![
        node("north-1", 32, 128, 0, ""),
        node("north-2", 64, 256, 2, "T4"),
        node("south-1", 96, 384, 8, "V100M32"),
        node("south-2", 64, 512, 4, "T4"),
    ];
    let pods = vec![
        pod("web", 4, 16, 0, 0, &[]),
        pod("inference", 8, 32, 1, 500, &["T4"]),
        pod("training", 16, 64, 4, GPU_MILLI, &[]),
    ];
    (nodes, pods)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reference::is_feasible;
    use proptest::prelude::*;

    fn free(free: u64, total: u64) -> Free {
        Free { free, total }
    }

    #[test]
    fn scores_are_the_stated_ones() {
        let (all, none, no_gpu) = (free(4, 4), free(0, 4), free(0, 0));
        assert_eq!(pack_score(all, all, all), 255);
        assert_eq!(pack_score(none, none, none), 0);
        assert_eq!(pack_score(all, all, no_gpu), 28, "floor(255 * 2 / 18)");
        assert_eq!(pack_score(free(1, 3), free(1, 7), free(500, 8_000)), 20, "floor(255 * (1/3 + 1/7 + 1) / 18)");
        assert_eq!(spread_score(all, all, no_gpu), 0);
        assert_eq!(spread_score(none, all, no_gpu), 128, "255 - floor(255 / 2)");
        assert_eq!(cost_score(2, 100), 116);
        assert_eq!(cost_score(15, 200), 255);
    }

    #[test]
    fn a_job_may_accept_several_models() {
        let (nodes, _) = sample();
        let models = Models::of(&nodes).expect("two models");
        let needs = |accepted: &[&str]| models.need(&accepted.iter().map(|a| (*a).to_owned()).collect::<Vec<_>>());
        let fits = |need: u8, model: &str| need & !models.labels(model) == 0;
        assert!(fits(needs(&["T4"]), "T4") && !fits(needs(&["T4"]), "V100M32"));
        assert!(fits(needs(&["T4", "V100M32"]), "T4") && fits(needs(&["T4", "V100M32"]), "V100M32"));
        assert!(fits(needs(&[]), "T4") && fits(needs(&[]), ""));
    }

    #[test]
    fn what_exceeds_a_field_is_refused_for_jobs_and_held_for_hosts() {
        let (_, pods) = sample();
        let huge = Pod { cpu_milli: 127_501, ..pods[0].clone() };
        let error = request(&huge, &Models::default()).expect_err("it is over 255 units");
        assert!(error.to_string().contains("CPU"));
        let node =
            Node { name: "huge".into(), cpu_milli: 1_000_000, memory_mib: 1 << 21, gpus: 0, model: String::new() };
        let report = Machine::new(node, 0, 0).report(&Models::default());
        assert_eq!((report.cpu, report.memory), (255, 255));
    }

    #[test]
    fn the_sample_cluster_takes_all_its_jobs() {
        let (nodes, pods) = sample();
        let models = Models::of(&nodes).expect("two models");
        for pod in &pods {
            let request = request(pod, &models).expect("it fits the fields");
            let takers =
                nodes.iter().filter(|n| is_feasible(&Machine::new((*n).clone(), 0, 0).report(&models), &request));
            assert!(takers.count() >= 1, "{}", pod.name);
        }
    }

    fn pods() -> impl Strategy<Value = Pod> {
        let gpu =
            prop_oneof![Just((0u8, 0u16)), (1u8..=8).prop_map(|n| (n, GPU_MILLI)), (1u16..1_000).prop_map(|m| (1, m))];
        (0u64..40_000, 0u64..100_000, gpu).prop_map(|(cpu_milli, memory_mib, (gpus, gpu_milli))| Pod {
            name: "p".into(),
            cpu_milli,
            memory_mib,
            gpus,
            gpu_milli,
            models: vec![],
        })
    }

    proptest! {
        #[test]
        fn a_feasible_report_means_that_the_job_fits(jobs in prop::collection::vec(pods(), 1..20)) {
            let node = Node { name: "n".into(), cpu_milli: 96_000, memory_mib: 393_216, gpus: 8, model: "T4".into() };
            let models = Models::of(std::slice::from_ref(&node)).expect("one model");
            let mut machine = Machine::new(node, 0, 0);
            let empty = machine.clone();
            let mut placed = Vec::new();
            for job in &jobs {
                let report = machine.report(&models);
                prop_assert!(report.is_valid());
                let before = machine.clone();
                match machine.place(job) {
                    Some(placement) => placed.push(placement),
                    None => {
                        prop_assert!(!is_feasible(&report, &request(job, &models).expect("in range")));
                        prop_assert!(before == machine, "a refused job changes nothing");
                    }
                }
            }
            for placement in placed {
                machine.release(placement);
            }
            prop_assert!(machine == empty);
        }
    }
}
