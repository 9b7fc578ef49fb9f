//! Acknowledgements, anchors and disputes.

use super::hostile::refused;
use super::network::{CHAIN, Net, address, client, paratime};
use crate::anchors::{Acknowledgement, Countersigned, Deployment, Progress, SignedAcknowledgement};
use crate::error::Code;
use crate::records::get;
use crate::tx::Call;
use crate::{Policy, Replication, Request, Spread, job_id, keys};
use parallax_primitives::{ChainContext, Digest, ImageDigest, ParaTimeId, Round, SecretKey};
use parallax_runtime::{ParaTime, gas};

/// A cluster with one job of client 10, placed on one of the clients 0..=3.
struct Placed {
    net: Net,
    job: Digest,
    host: SecretKey,
    round: Round,
}

fn placed() -> Placed {
    let (mut net, _, _) = Net::with_sample(|_| ());
    let tx = net.job(&client(10), &Request { latency: 15, ..Request::default() }, 0);
    net.run_ok(&[tx]);
    net.run(&[]);
    net.answer_decided();
    let job = job_id(CHAIN, paratime(), address(&client(10)), 0);
    let chosen = net.placed_on(&job).expect("the sample has room");
    let host = (0..4).map(client).find(|key| address(key) == chosen).expect("one of the four");
    let round = net.job_record(&job).decision.expect("it was decided").round;
    Placed { net, job, host, round }
}

impl Placed {
    fn says(&self, status: Progress) -> Acknowledgement {
        Acknowledgement {
            chain: CHAIN,
            paratime: paratime(),
            job: self.job,
            replica: 0,
            round: self.round,
            image: ImageDigest([9; 32]),
            host: address(&self.host),
            salt: Digest([0x5a; 32]),
            status,
        }
    }

    fn signed(&self, said: Acknowledgement) -> Countersigned {
        Countersigned::sign(SignedAcknowledgement::sign(said, &self.host), &client(10))
    }

    fn anchored(mut self) -> Self {
        let anchor = self.says(Progress::Accepted).anchor();
        let tx = self.net.tx(&client(10), Call::AnchorDeployment { job: self.job, replica: 0, anchor });
        self.net.run_ok(&[tx]);
        self
    }

    fn update(&mut self, status: Progress) -> Vec<u8> {
        self.net.tx(&client(10), Call::UpdateStatus { job: self.job, replica: 0, status })
    }

    fn open(&mut self, by: &SecretKey, shown: Countersigned) -> Vec<u8> {
        self.net.tx(by, Call::OpenAnchor(Box::new(shown)))
    }

    fn record(&self) -> Deployment {
        get(&self.net.state, &keys::deployment(&self.job, 0)).expect("readable").expect("it is anchored")
    }
}

#[test]
fn an_anchor_hides_the_host_and_its_status_moves_forward_only() {
    let mut p = placed().anchored();
    let record = p.record();
    assert_eq!((record.anchor, record.status), (p.says(Progress::Finished).anchor(), Progress::Accepted));
    let bytes = borsh::to_vec(&record).expect("plain data");
    let host = address(&p.host).0;
    assert!(!bytes.windows(20).any(|w| w == host), "the record does not name the host");
    let salted = Acknowledgement { salt: Digest([1; 32]), ..p.says(Progress::Accepted) };
    assert_ne!(salted.anchor(), record.anchor, "nobody who lacks the salt can try the hosts one by one");
    let tx = p.update(Progress::Running);
    p.net.run_ok(&[tx]);
    for back in [Progress::Accepted, Progress::Running] {
        let tx = p.update(back);
        refused(&mut p.net, &client(10), tx, Code::StatusNotNext, gas::TRANSACTION);
    }
    let tx = p.update(Progress::Finished);
    p.net.run_ok(&[tx]);
    let tx = p.update(Progress::Failed);
    refused(&mut p.net, &client(10), tx, Code::StatusNotNext, gas::TRANSACTION);
    let shown = p.net.scheduler.query(&p.net.state, "deployment", &serde_json::json!({ "job": p.job }));
    let shown = shown.expect("it is public");
    assert_eq!((&shown["status"], &shown["opened"]), (&serde_json::json!("finished"), &serde_json::Value::Null));
}

#[test]
fn a_host_opens_the_anchor_when_the_owner_denies_what_both_signed() {
    let mut p = placed().anchored();
    let tx = p.update(Progress::Failed);
    p.net.run_ok(&[tx]);
    let (host, shown) = (p.host.clone(), p.signed(p.says(Progress::Finished)));
    let tx = p.open(&host, shown.clone());
    let done = p.net.run_ok(std::slice::from_ref(&tx));
    assert_eq!(done.events[0].name, "scheduler.anchor_opened");
    let record = p.record();
    let opened = record.opened.expect("it is open");
    assert_eq!(
        (record.status, opened.status, opened.claimed),
        (Progress::Finished, Progress::Finished, Progress::Failed)
    );
    assert_eq!((opened.host, opened.by), (address(&host), address(&host)));
    // The same again, by either side, changes nothing; nor does an older one.
    let tx = p.open(&client(10), shown);
    refused(&mut p.net, &client(10), tx, Code::StatusNotNext, gas::TRANSACTION);
    let old = p.signed(p.says(Progress::Accepted));
    let tx = p.open(&client(10), old);
    refused(&mut p.net, &client(10), tx, Code::StatusNotNext, gas::TRANSACTION);
}

#[test]
fn an_owner_opens_the_anchor_of_a_host_that_goes_silent_and_an_old_word_sets_nothing_back() {
    let mut p = placed().anchored();
    let tx = p.update(Progress::Running);
    p.net.run_ok(&[tx]);
    let accepted = p.signed(p.says(Progress::Accepted));
    let tx = p.open(&client(10), accepted);
    p.net.run_ok(&[tx]);
    let record = p.record();
    assert_eq!((record.status, record.opened.map(|o| o.status)), (Progress::Running, Some(Progress::Accepted)));
    // What both sign later still counts.
    let failed = p.signed(p.says(Progress::Failed));
    let tx = p.open(&client(10), failed);
    p.net.run_ok(&[tx]);
    assert_eq!(p.record().status, Progress::Failed);
}

#[test]
fn what_one_side_makes_up_opens_nothing() {
    let mut p = placed().anchored();
    let (owner, host, other) = (client(10), p.host.clone(), client(60));
    let good = p.signed(p.says(Progress::Finished));
    let refuse = |p: &mut Placed, by: &SecretKey, shown: Countersigned, code: Code| {
        let tx = p.open(by, shown);
        refused(&mut p.net, by, tx, code, gas::TRANSACTION);
    };
    // The owner signs for the host, the host for the owner.
    let forged = Countersigned::sign(SignedAcknowledgement::sign(p.says(Progress::Failed), &owner), &owner);
    refuse(&mut p, &owner, forged, Code::BadAcknowledgement);
    let forged = Countersigned::sign(SignedAcknowledgement::sign(p.says(Progress::Finished), &host), &host);
    refuse(&mut p, &host, forged, Code::BadAcknowledgement);
    // A status that was changed after it was signed.
    let mut altered = good.clone();
    altered.host.acknowledgement.status = Progress::Failed;
    refuse(&mut p, &owner, altered, Code::BadAcknowledgement);
    // Another host's word, with its own signature: it is not what was anchored.
    let (innocent, said) = (client(0), p.says(Progress::Finished));
    let said = Acknowledgement { host: address(&innocent), ..said };
    if address(&innocent) != address(&host) {
        let shifted = Countersigned::sign(SignedAcknowledgement::sign(said, &innocent), &owner);
        refuse(&mut p, &owner, shifted, Code::BadAcknowledgement);
    }
    // Another salt, image, decision, chain or ParaTime.
    let changes: [fn(&mut Acknowledgement); 5] = [
        |a| a.salt = Digest([1; 32]),
        |a| a.image = ImageDigest([1; 32]),
        |a| a.round = a.round.next(),
        |a| a.chain = ChainContext(Digest([2; 32])),
        |a| a.paratime = ParaTimeId::named("other"),
    ];
    for change in changes {
        let mut said = p.says(Progress::Finished);
        change(&mut said);
        let shown = p.signed(said);
        refuse(&mut p, &owner, shown, Code::BadAcknowledgement);
    }
    // Right, but shown by a third party.
    refuse(&mut p, &other, good.clone(), Code::NotTheOwner);
    let tx = p.open(&host, good);
    p.net.run_ok(&[tx]);
}

#[test]
fn an_acknowledgement_of_one_job_says_nothing_about_another() {
    let mut p = placed().anchored();
    let said = p.signed(p.says(Progress::Finished));
    // A second job of the same owner, which goes to whom it goes.
    let tx = p.net.job(&client(10), &Request { latency: 15, ..Request::default() }, 0);
    p.net.run_ok(&[tx]);
    let nonce = p.net.account(&client(10)).nonce.0 - 1;
    let second = job_id(CHAIN, paratime(), address(&client(10)), nonce);
    p.net.run(&[]);
    p.net.answer_decided();
    let anchor = p.says(Progress::Accepted).anchor();
    let tx = p.net.tx(&client(10), Call::AnchorDeployment { job: second, replica: 0, anchor });
    p.net.run_ok(&[tx]);
    let mut moved = said.host.acknowledgement.clone();
    moved.job = second;
    let replayed = Countersigned { host: SignedAcknowledgement { acknowledgement: moved, ..said.host }, ..said };
    let tx = p.open(&client(10), replayed);
    refused(&mut p.net, &client(10), tx, Code::BadAcknowledgement, gas::TRANSACTION);
}

#[test]
fn only_the_owner_of_a_placed_job_anchors_it_and_only_once() {
    let mut p = placed();
    let anchor = Digest([3; 32]);
    let tx = p.net.tx(&client(11), Call::AnchorDeployment { job: p.job, replica: 0, anchor });
    refused(&mut p.net, &client(11), tx, Code::NotTheOwner, gas::TRANSACTION);
    let host = p.host.clone();
    let tx = p.net.tx(&host, Call::AnchorDeployment { job: p.job, replica: 0, anchor });
    refused(&mut p.net, &host, tx, Code::NotTheOwner, gas::TRANSACTION);
    let tx = p.net.tx(&client(10), Call::AnchorDeployment { job: Digest([4; 32]), replica: 0, anchor });
    refused(&mut p.net, &client(10), tx, Code::UnknownJob, gas::TRANSACTION);
    let tx = p.update(Progress::Running);
    refused(&mut p.net, &client(10), tx, Code::NotAnchored, gas::TRANSACTION);
    let shown = p.signed(p.says(Progress::Accepted));
    let tx = p.open(&client(10), shown);
    refused(&mut p.net, &client(10), tx, Code::NotAnchored, gas::TRANSACTION);
    let mut p = p.anchored();
    let tx = p.net.tx(&client(10), Call::AnchorDeployment { job: p.job, replica: 0, anchor });
    refused(&mut p.net, &client(10), tx, Code::AlreadyAnchored, gas::TRANSACTION);
    let tx = p.net.tx(&client(11), Call::UpdateStatus { job: p.job, replica: 0, status: Progress::Failed });
    refused(&mut p.net, &client(11), tx, Code::NotTheOwner, gas::TRANSACTION);
    // A job that waits has no deployment.
    let impossible = Request { cpu: 255, gpus: 8, latency: 15, ..Request::default() };
    let tx = p.net.job(&client(12), &impossible, 0);
    p.net.run_ok(&[tx]);
    p.net.run(&[]);
    let waiting = job_id(CHAIN, paratime(), address(&client(12)), 0);
    let tx = p.net.tx(&client(12), Call::AnchorDeployment { job: waiting, replica: 0, anchor });
    refused(&mut p.net, &client(12), tx, Code::NotPlaced, gas::TRANSACTION);
}

#[test]
fn every_replica_has_an_anchor_of_its_own() {
    let (mut net, _, _) = Net::with_sample(|_| ());
    let two = Replication { count: 2, spread: Spread::None, gang: true };
    let tx = net.job_of(&client(10), &Request { latency: 15, ..Request::default() }, Policy::Pack, two);
    net.run_ok(&[tx]);
    net.run(&[]);
    net.answer_decided();
    let job = job_id(CHAIN, paratime(), address(&client(10)), 0);
    let anchors = [Digest([1; 32]), Digest([2; 32])];
    for (replica, anchor) in (0u8..).zip(anchors) {
        let tx = net.tx(&client(10), Call::AnchorDeployment { job, replica, anchor });
        net.run_ok(&[tx]);
    }
    let tx = net.tx(&client(10), Call::UpdateStatus { job, replica: 1, status: Progress::Failed });
    net.run_ok(&[tx]);
    for (replica, status) in [(0, "accepted"), (1, "failed")] {
        let asked = serde_json::json!({ "job": job, "replica": replica });
        let shown = net.scheduler.query(&net.state, "deployment", &asked).expect("it is public");
        assert_eq!(shown["status"], status);
    }
    let tx = net.tx(&client(10), Call::AnchorDeployment { job, replica: 2, anchor: anchors[0] });
    refused(&mut net, &client(10), tx, Code::BadField, gas::TRANSACTION);
}

#[test]
fn no_debug_output_names_the_host_or_the_salt() {
    let p = placed();
    let shown = format!("{:?}", p.signed(p.says(Progress::Running)).host.acknowledgement);
    assert!(!shown.contains(&address(&p.host).to_string()) && !shown.contains("5a5a"), "{shown}");
    assert!(shown.contains("Running"));
}
