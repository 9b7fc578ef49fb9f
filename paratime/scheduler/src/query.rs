//! Read-only questions, answered in JSON. Amounts are decimal strings: they do not fit a JSON number.

use crate::anchors::Deployment;
use crate::audit::HostAudit;
use crate::audit::state::standing;
use crate::costs::{Programs, fee};
use crate::decisions;
use crate::keys;
use crate::model::{MAX_REPLICAS, Policy, Replication};
use crate::policy::ClusterPolicy;
use crate::records::{self, Host, Job, Meta, get, open, suffix};
use parallax_primitives::{Address, Amount, Digest};
use parallax_runtime::Abort;
use parallax_state::{StateError, StateView};
use serde::de::DeserializeOwned;
use serde_json::{Value as Json, json};

/// The questions there are.
const METHODS: [&str; 10] =
    ["params", "policy", "price", "account", "host", "hosts", "job", "jobs", "deployment", "pending_decryptions"];
/// Most jobs in one answer.
const MAX_PAGE: usize = 1_000;

fn parameter<T: DeserializeOwned>(parameters: &Json, name: &str) -> Result<T, String> {
    let value = parameters.get(name).ok_or_else(|| format!("parameter {name} is missing"))?;
    T::deserialize(value).map_err(|e| format!("parameter {name}: {e}"))
}

/// A parameter that may be left out.
fn optional<T: DeserializeOwned>(parameters: &Json, name: &str) -> Result<Option<T>, String> {
    let given = parameters.get(name).is_some_and(|v| !v.is_null());
    given.then(|| parameter(parameters, name)).transpose()
}

fn text(error: StateError) -> String {
    error.to_string()
}

/// Answers one question.
pub(crate) fn answer(
    programs: &Programs,
    view: &dyn StateView,
    method: &str,
    parameters: &Json,
) -> Result<Json, String> {
    match method {
        "params" => {
            let params = records::params(view).map_err(text)?;
            let meta: Option<Meta> = get(view, &keys::meta()).map_err(text)?;
            let fees: Amount = get(view, &keys::fees()).map_err(text)?.unwrap_or_default();
            let (round, epoch) = meta.map_or((0, 0), |m| (m.round.0, m.epoch.0));
            Ok(json!({ "params": params, "round": round, "epoch": epoch, "fees": fees.to_string() }))
        }
        "policy" => {
            let (params, policy) = (records::params(view).map_err(text)?, ClusterPolicy::of(view).map_err(text)?);
            Ok(json!({
                "version": policy.version,
                "governance": params.governance,
                "images": policy.images,
                "submitters": policy.submitters,
                "policies": params.policies,
                "tiers": params.tiers,
                "freshness_rounds": params.freshness_rounds,
                "candidates_per_decision": params.candidates_per_decision,
                "host_stake": params.host_stake.to_string(),
                "audits": params.audits,
            }))
        }
        "price" => price(programs, view, parameters),
        "account" => {
            let address: Address = parameter(parameters, "address")?;
            let account = records::account(view, &address).map_err(text)?;
            let (balance, nonce) = (account.balance.to_string(), account.nonce);
            Ok(json!({ "address": address, "balance": balance, "nonce": nonce }))
        }
        "host" => {
            let address: Address = parameter(parameters, "address")?;
            let host: Option<Host> = get(view, &keys::host(&address)).map_err(text)?;
            let audits = standing(view, &address).map_err(text)?;
            Ok(host.map_or(Json::Null, |host| host_json(&address, &host, &audits)))
        }
        "hosts" => {
            let hosts = decisions::hosts(view).map_err(text)?;
            let shown = |(address, host)| Ok(host_json(address, host, &standing(view, address).map_err(text)?));
            hosts.iter().map(|(address, host)| (address, host)).map(shown).collect()
        }
        "job" => {
            let id: Digest = parameter(parameters, "id")?;
            let job: Option<Job> = get(view, &keys::job(&id)).map_err(text)?;
            Ok(job.map_or(Json::Null, |job| job_json(&id, &job)))
        }
        "jobs" => jobs(view, parameters),
        "deployment" => {
            let id: Digest = parameter(parameters, "job")?;
            let replica: u8 = optional(parameters, "replica")?.unwrap_or(0);
            let found: Option<Deployment> = get(view, &keys::deployment(&id, replica)).map_err(text)?;
            Ok(found.map_or(Json::Null, |found| deployment_json((&id, replica), &found)))
        }
        "pending_decryptions" => {
            let mut out = Vec::new();
            for (key, value) in view.scan(keys::AWAITING).map_err(text)? {
                let cipher = Digest(suffix(&key, keys::AWAITING).map_err(text)?);
                let job: Digest = open(&key, &value).map_err(text)?;
                out.push(json!({ "cipher": cipher, "job": job }));
            }
            Ok(Json::Array(out))
        }
        other => Err(format!("the scheduler has no method {other:?}; there are {}", METHODS.join(", "))),
    }
}

/// What a job costs before it is submitted: the fee of its submission, which is spent, and the escrow for all attempts at
/// their largest, of which what was not needed comes back.
fn price(programs: &Programs, view: &dyn StateView, parameters: &Json) -> Result<Json, String> {
    let params = records::params(view).map_err(text)?;
    let policy: Policy = parameter(parameters, "policy")?;
    if !params.policies.contains(&policy) {
        let enabled: Vec<&str> = params.policies.iter().map(|p| p.name()).collect();
        return Err(format!("policy {} is not enabled here; this ParaTime has {}", policy.name(), enabled.join(", ")));
    }
    let replication = Replication {
        count: optional(parameters, "replicas")?.unwrap_or(1),
        spread: optional(parameters, "spread")?.unwrap_or_default(),
        gang: optional(parameters, "gang")?.unwrap_or(false),
    };
    if !(1..=MAX_REPLICAS).contains(&replication.count) {
        return Err(format!("number of replicas: {} is outside 1..={MAX_REPLICAS}", replication.count));
    }
    let gas_price = match optional::<String>(parameters, "gas_price")? {
        Some(text) => text.parse().map_err(|e| format!("parameter gas_price: {e}"))?,
        None => params.min_gas_price,
    };
    if gas_price < params.min_gas_price {
        return Err(format!("gas_price {gas_price} is too low, the least is {}", params.min_gas_price));
    }
    let failed = |abort: Abort| abort.to_string();
    let submission = programs.submission().map_err(failed)?;
    let attempt = programs.decision_gas(params.candidates_per_decision, policy, replication).map_err(failed)?;
    let escrow = programs.escrow(&params, policy, replication, gas_price).map_err(failed)?;
    let total = fee(submission, gas_price)
        .zip(escrow)
        .and_then(|(fee, escrow)| Some((fee, escrow, fee.0.checked_add(escrow.0)?)));
    let (fee, escrow, total) = total
        .ok_or_else(|| format!("the price at {gas_price} per unit of FHE gas exceeds 128 bits; lower gas_price"))?;
    Ok(json!({
        "gas_price": gas_price.to_string(),
        "submission_gas": submission,
        "attempt_gas": attempt,
        "attempts": params.max_attempts,
        "fee": fee.to_string(),
        "escrow": escrow.to_string(),
        "total": total.to_string(),
    }))
}

/// Jobs in the order of their ids, after `after`, at most `limit`.
fn jobs(view: &dyn StateView, parameters: &Json) -> Result<Json, String> {
    let limit = optional::<usize>(parameters, "limit")?.map_or(MAX_PAGE, |limit| limit.min(MAX_PAGE));
    let after: Option<Digest> = optional(parameters, "after")?;
    let mut out = Vec::new();
    for (key, value) in view.scan(keys::JOBS).map_err(text)? {
        let id = Digest(suffix(&key, keys::JOBS).map_err(text)?);
        if after.is_some_and(|after| id <= after) {
            continue;
        }
        if out.len() >= limit {
            break;
        }
        out.push(job_json(&id, &open(&key, &value).map_err(text)?));
    }
    Ok(Json::Array(out))
}

fn host_json(address: &Address, host: &Host, audits: &HostAudit) -> Json {
    json!({
        "address": address,
        "name": host.name,
        "organisation": host.organisation,
        "zone": host.zone,
        "peer_id": host.peer_id,
        "stake": host.stake.to_string(),
        "audits": {
            "capacity": audits.capacity.map(|c| json!({ "round": c.round, "key_id": c.key_id, "price": c.price })),
            "audited": audits.audits,
            "false_reports": audits.false_reports,
            "slashed": audits.slashed.to_string(),
            "pending": audits.pending,
        },
        "report": host.report.map(|r| json!({ "number": r.number, "round": r.round, "key_id": r.key_id })),
    })
}

fn deployment_json((job, replica): (&Digest, u8), found: &Deployment) -> Json {
    let opened = found.opened.map(|o| {
        json!({
            "host": o.host,
            "image": o.image,
            "status": o.status,
            "by": o.by,
            "round": o.round,
            "claimed": o.claimed,
        })
    });
    json!({
        "job": job,
        "replica": replica,
        "anchor": found.anchor,
        "anchored": found.anchored,
        "status": found.status,
        "updated": found.updated,
        "opened": opened,
    })
}

fn job_json(id: &Digest, job: &Job) -> Json {
    let decision = job.decision.as_ref().map(|d| {
        let candidates: Vec<Json> =
            d.candidates.iter().map(|c| json!({ "host": c.host, "report": c.report })).collect();
        json!({
            "round": d.round,
            "index": d.index,
            "candidates": candidates,
            "placed": d.placed.digest,
            "positions": d.positions.iter().map(|p| p.digest).collect::<Vec<_>>(),
            "pbs": d.pbs,
        })
    });
    json!({
        "id": id,
        "owner": job.owner,
        "agent": job.agent(),
        "contract": job.origin.map(|o| json!({ "paratime": o.paratime, "address": o.contract, "request": o.request })),
        "key_id": job.key_id,
        "policy": job.policy,
        "tier": job.tier,
        "replicas": job.replication.count,
        "spread": job.replication.spread,
        "gang": job.replication.gang,
        "image": job.image,
        "status": job.status.name(),
        "submitted": job.submitted,
        "attempts": job.attempts,
        "escrow": job.escrow.to_string(),
        "decision": decision,
    })
}
