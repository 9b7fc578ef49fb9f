//! `ProtocolConfig`, which tells who decrypts.

mod support;

use parallax_evm::host::{KMS_VERIFIER, PROTOCOL_CONFIG};
use revm::primitives::{Address, B256, Bytes, U256, hex, keccak256, uint};
use serde_json::json;
use support::wallet::Wallet;
use support::{Net, calldata, calldata_with_bytes, word};

const CONTEXT: U256 = uint!(0x0700000000000000000000000000000000000000000000000000000000000001_U256);

#[test]
fn it_tells_of_one_context_with_the_signers_of_the_verifier() {
    let mut net = Net::default();
    let signer = Wallet::seeded(72).address();
    let ask = |net: &Net, signature: &str, words: &[B256]| -> Bytes {
        net.call(Address::ZERO, PROTOCOL_CONFIG, &calldata(signature, words))
    };
    let context = B256::from(CONTEXT);
    assert_eq!(net.eth("eth_getCode", json!([PROTOCOL_CONFIG.to_string(), "latest"])), "0xfe");
    assert_eq!(ask(&net, "getCurrentKmsContextId()", &[])[..], context[..]);
    assert_eq!(ask(&net, "isValidKmsContext(uint256)", &[context])[..], word(1)[..]);
    assert_eq!(ask(&net, "isValidKmsContext(uint256)", &[word(1)])[..], word(0)[..]);
    let of_verifier = net.call(Address::ZERO, KMS_VERIFIER, &calldata("getKmsSigners()", &[]));
    assert_eq!(ask(&net, "getKmsSigners()", &[]), of_verifier);
    assert_eq!(ask(&net, "getKmsSignersForContext(uint256)", &[context]), of_verifier);
    assert_eq!(ask(&net, "isKmsSigner(address)", &[signer.into_word()])[..], word(1)[..]);
    assert_eq!(ask(&net, "isKmsSignerForContext(uint256,address)", &[context, word(5)])[..], word(0)[..]);
    for name in ["PublicDecryption", "UserDecryption", "KmsGen", "Mpc"] {
        assert_eq!(ask(&net, &format!("get{name}Threshold()"), &[])[..], word(1)[..], "{name}");
        assert_eq!(ask(&net, &format!("get{name}ThresholdForContext(uint256)"), &[context])[..], word(1)[..], "{name}");
    }
    // Who signs is changed at the verifier, by the owner of the host contracts.
    let other = Address::repeat_byte(9);
    let words = [word(64), word(2), word(2), signer.into_word(), other.into_word()];
    let define = calldata("defineNewContext(address[],uint256)", &words);
    assert_eq!(net.send(&Wallet::development(0), KMS_VERIFIER, define)["status"], "0x1");
    assert_eq!(ask(&net, "getMpcThreshold()", &[])[..], word(2)[..]);
    assert_eq!(ask(&net, "isKmsSigner(address)", &[other.into_word()])[..], word(1)[..]);
}

#[test]
fn an_unknown_context_and_whatever_would_change_it_revert() {
    let mut net = Net::default();
    let refused = |net: &Net, data: Vec<u8>| {
        let call = json!([{ "to": PROTOCOL_CONFIG.to_string(), "data": hex::encode_prefixed(data) }, "latest"]);
        let error = net.past("eth_call", call).expect_err("it reverts");
        assert_eq!(error.code, 3);
        error.data.expect("a revert has data")
    };
    let unknown = [&keccak256("InvalidKmsContext(uint256)")[..4], &word(7)[..]].concat();
    for name in ["getKmsSignersForContext(uint256)", "getPublicDecryptionThresholdForContext(uint256)"] {
        assert_eq!(refused(&net, calldata(name, &[word(7)])), hex::encode_prefixed(&unknown));
    }
    assert_eq!(refused(&net, calldata("destroyKmsContext(uint256)", &[word(7)])), "0x");
    assert_eq!(refused(&net, calldata("isKmsSigner(address)", &[B256::repeat_byte(0xff)])), "0x");
    assert_eq!(refused(&net, calldata("getKmsSignersForContext(uint256)", &[])), "0x");
    let upgrade = calldata_with_bytes("upgradeToAndCall(address,bytes)", &[word(1)], &[]);
    let receipt = net.send(&Wallet::development(0), PROTOCOL_CONFIG, upgrade);
    assert_eq!(receipt["status"], "0x0", "not even by the owner");
}
