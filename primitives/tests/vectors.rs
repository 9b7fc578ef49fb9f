//! Formats pinned by a committed file: a change of any of them shows as a change of `vectors.json`.
//! After an intended change run `PARALLAX_BLESS=1 cargo test -p parallax-primitives --test vectors`.

use parallax_primitives::seal::OpeningKey;
use parallax_primitives::vrf::VrfSecretKey;
use parallax_primitives::{
    Address, ChainContext, Digest, Domain, ParaTimeId, SecretKey, SigningContext, encode, merkle,
};
use std::collections::BTreeMap;

fn current() -> BTreeMap<String, String> {
    let key = SecretKey::from_seed([7; 32]);
    let chain = ChainContext(Digest::of_bytes(Domain::ChainContext, b"vectors"));
    let context = SigningContext::in_paratime(Domain::RoundProposal, chain, ParaTimeId::named("scheduler"));
    let items: Vec<Digest> = (0..5u64).map(|i| Digest::of_value(Domain::Simulation, &i)).collect();
    let mut all = BTreeMap::new();
    let mut put = |name: &str, value: String| all.insert(name.to_owned(), value);
    put("digest.blob.abc", Digest::of_bytes(Domain::Blob, b"abc").to_string());
    put("codec.tuple", hex::encode(encode(&(1u8, 2u64, "three", vec![4u32], Some(Digest::ZERO)))));
    put("key.public", key.public().to_string());
    put("key.address", Address::of(&key.public()).to_string());
    put("signing.digest", context.digest("message").to_string());
    put("signing.signature", hex::encode(key.sign(&context, "message").0));
    put("merkle.root.0", merkle::root(&[]).to_string());
    put("merkle.root.1", merkle::root(&items[..1]).to_string());
    put("merkle.root.5", merkle::root(&items).to_string());
    put("paratime.scheduler", ParaTimeId::named("scheduler").to_string());
    put("seal.public", format!("{:?}", OpeningKey::from_seed(&[9; 32]).1));
    let vrf = VrfSecretKey::from_seed([3; 32]);
    let value = vrf.public().verify(&Digest::ZERO, &vrf.evaluate(&Digest::ZERO));
    put("vrf.value", value.map_or_else(|| "does not verify".into(), |v| v.to_string()));
    all
}

#[test]
fn formats_are_those_of_the_committed_vectors() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/vectors.json");
    let now = current();
    if std::env::var_os("PARALLAX_BLESS").is_some() {
        std::fs::write(path, serde_json::to_string_pretty(&now).unwrap() + "\n").unwrap();
    }
    let committed: BTreeMap<String, String> =
        serde_json::from_str(&std::fs::read_to_string(path).expect("vectors.json is committed")).unwrap();
    assert_eq!(now, committed, "a wire or storage format changed");
}
