//! Every key of the ParaTime's state. Integers are big-endian, so a scan meets them in order.

use crate::model::Policy;
use parallax_primitives::{Address, Digest, Round};

/// The parameters.
pub fn params() -> Vec<u8> {
    b"params".to_vec()
}

/// What governance may change beside the parameters.
pub fn policy() -> Vec<u8> {
    b"policy".to_vec()
}

/// What the last round left: its number, epoch, keys.
pub fn meta() -> Vec<u8> {
    b"meta".to_vec()
}

/// How many decisions in turn there have been: where the next one starts.
pub fn pointer() -> Vec<u8> {
    b"pointer".to_vec()
}

/// Fees collected.
pub fn fees() -> Vec<u8> {
    b"fees".to_vec()
}

/// Prefix of all accounts.
pub const ACCOUNTS: &[u8] = b"account/";
/// Prefix of all hosts' records.
pub const HOSTS: &[u8] = b"host/";
/// Prefix of all jobs' records.
pub const JOBS: &[u8] = b"job/";
/// Prefix of the queue of jobs that wait for a decision, in the order of decision.
pub const PENDING: &[u8] = b"pending/";
/// Prefix of decisions that wait for the decryption of `placed`, by ciphertext digest.
pub const AWAITING: &[u8] = b"awaiting/";

/// Prefix of the anchors of placed jobs.
pub const DEPLOYMENTS: &[u8] = b"deployment/";

/// An account.
pub fn account(address: &Address) -> Vec<u8> {
    [ACCOUNTS, &address.0].concat()
}

/// A host's public record.
pub fn host(address: &Address) -> Vec<u8> {
    [HOSTS, &address.0].concat()
}

/// A host's encrypted numbers.
pub fn host_numbers(address: &Address) -> Vec<u8> {
    [b"telemetry/".as_slice(), &address.0, b"/numbers"].concat()
}

/// A host's encrypted labels, as the bits that it lacks.
pub fn host_labels(address: &Address) -> Vec<u8> {
    [b"telemetry/".as_slice(), &address.0, b"/labels"].concat()
}

/// A host's encrypted score for a policy, in bits.
pub fn host_score(address: &Address, policy: Policy) -> Vec<u8> {
    [b"telemetry/".as_slice(), &address.0, b"/score/", policy.name().as_bytes()].concat()
}

/// The n-th flag of a host's exclusion until its next report, encrypted; at most one of them is 1.
pub fn host_flag(address: &Address, flag: u8) -> Vec<u8> {
    [b"telemetry/".as_slice(), &address.0, b"/excluded/", &[flag]].concat()
}

/// A job's public record.
pub fn job(id: &Digest) -> Vec<u8> {
    [JOBS, &id.0].concat()
}

/// A job's encrypted numbers.
pub fn job_numbers(id: &Digest) -> Vec<u8> {
    [b"request/".as_slice(), &id.0, b"/numbers"].concat()
}

/// A job's encrypted need of labels.
pub fn job_labels(id: &Digest) -> Vec<u8> {
    [b"request/".as_slice(), &id.0, b"/labels"].concat()
}

/// Whether the job's last attempt placed it, encrypted.
pub fn decision_placed(id: &Digest) -> Vec<u8> {
    [b"decision/".as_slice(), &id.0, b"/placed"].concat()
}

/// The position of a replica among the candidates of the job's last attempt, encrypted.
pub fn decision_position(id: &Digest, replica: u8) -> Vec<u8> {
    [b"decision/".as_slice(), &id.0, b"/position/", &[replica]].concat()
}

/// The anchor and status of a placed job's replica.
pub fn deployment(id: &Digest, replica: u8) -> Vec<u8> {
    [DEPLOYMENTS, &id.0, b"/", &[replica]].concat()
}

/// A host's standing with audits.
pub fn audit(host: &Address) -> Vec<u8> {
    [b"audit/host/".as_slice(), &host.0].concat()
}

/// A part of a host's encrypted capacity.
pub fn audit_capacity(host: &Address, part: u8) -> Vec<u8> {
    [b"audit/capacity/".as_slice(), &host.0, b"/", &[part]].concat()
}

/// A host's newest report as it came, if there are audits.
pub fn audit_report(host: &Address) -> Vec<u8> {
    [b"audit/report/".as_slice(), &host.0].concat()
}

/// Whether a host's audited report is consistent, encrypted.
pub fn audit_verdict(host: &Address) -> Vec<u8> {
    [b"audit/verdict/".as_slice(), &host.0].concat()
}

/// An audit that waits for its decryption.
pub fn audit_awaiting(cipher: &Digest) -> Vec<u8> {
    [b"audit/awaiting/".as_slice(), &cipher.0].concat()
}

/// A place in the queue: by tier, then first come first served.
pub fn pending(tier: u8, round: Round, index: u64) -> Vec<u8> {
    [PENDING, &[tier], &round.0.to_be_bytes(), &index.to_be_bytes()].concat()
}

/// A decision that waits for its decryption.
pub fn awaiting(cipher: &Digest) -> Vec<u8> {
    [AWAITING, &cipher.0].concat()
}
