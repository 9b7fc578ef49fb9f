//! Schedulers that see everything in the clear: exact residuals, floats, every host for every job.

use parallax_scheduler::openb::{GPU_MILLI, Node, Pod};

/// How a host is chosen among those with room.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Rule {
    /// The first one.
    FirstFit,
    /// Kubernetes' NodeResourcesFit, MostAllocated: the one that is fullest afterwards.
    MostAllocated,
    /// Its LeastAllocated: the one that is emptiest afterwards.
    LeastAllocated,
}

struct Host<'a> {
    node: &'a Node,
    cpu: u64,
    memory: u64,
    gpus: Vec<u16>,
}

impl Host<'_> {
    /// The GPUs that the job would take: whole free ones, or the fullest one with its share.
    fn gpus_for(&self, pod: &Pod) -> Option<Vec<usize>> {
        if pod.gpus == 0 {
            return Some(Vec::new());
        }
        if !pod.models.is_empty() && !pod.models.contains(&self.node.model) {
            return None;
        }
        if pod.gpu_milli == GPU_MILLI {
            let free: Vec<usize> =
                (0..self.gpus.len()).filter(|i| self.gpus[*i] == GPU_MILLI).take(pod.gpus.into()).collect();
            return (free.len() == usize::from(pod.gpus)).then_some(free);
        }
        let enough = (0..self.gpus.len()).filter(|i| self.gpus[*i] >= pod.gpu_milli);
        enough.min_by_key(|i| self.gpus[*i]).map(|i| vec![i])
    }

    fn fits(&self, pod: &Pod) -> Option<Vec<usize>> {
        (self.cpu >= pod.cpu_milli && self.memory >= pod.memory_mib).then(|| self.gpus_for(pod)).flatten()
    }

    /// The mean share of CPU, memory and, where there are any, GPUs that would be free afterwards.
    fn free_after(&self, pod: &Pod) -> f64 {
        let mut parts = vec![
            (self.cpu - pod.cpu_milli) as f64 / self.node.cpu_milli as f64,
            (self.memory - pod.memory_mib) as f64 / self.node.memory_mib as f64,
        ];
        if self.node.gpus > 0 {
            let free: f64 = self.gpus.iter().map(|g| f64::from(*g)).sum();
            let asked = f64::from(pod.gpus) * f64::from(pod.gpu_milli);
            parts.push((free - asked) / (f64::from(self.node.gpus) * f64::from(GPU_MILLI)));
        }
        parts.iter().sum::<f64>() / parts.len() as f64
    }
}

/// How many jobs find no host.
pub(crate) fn rejected(nodes: &[Node], pods: &[Pod], order: &[usize], rule: Rule) -> usize {
    let mut hosts: Vec<Host<'_>> = nodes
        .iter()
        .map(|node| Host {
            node,
            cpu: node.cpu_milli,
            memory: node.memory_mib,
            gpus: vec![GPU_MILLI; node.gpus.into()],
        })
        .collect();
    let mut rejected = 0;
    for pod in order.iter().filter_map(|i| pods.get(*i)) {
        let room = hosts.iter().enumerate().filter(|(_, h)| h.fits(pod).is_some());
        let score = |h: &Host<'_>| match rule {
            Rule::FirstFit => 0.0,
            Rule::MostAllocated => h.free_after(pod),
            Rule::LeastAllocated => -h.free_after(pod),
        };
        let best = match rule {
            Rule::FirstFit => room.map(|(i, _)| i).next(),
            _ => room.min_by(|(_, a), (_, b)| score(a).total_cmp(&score(b))).map(|(i, _)| i),
        };
        match best.and_then(|i| Some((i, hosts[i].fits(pod)?))) {
            Some((i, gpus)) => {
                let host = &mut hosts[i];
                host.cpu -= pod.cpu_milli;
                host.memory -= pod.memory_mib;
                for gpu in gpus {
                    host.gpus[gpu] -= pod.gpu_milli;
                }
            }
            None => rejected += 1,
        }
    }
    rejected
}
