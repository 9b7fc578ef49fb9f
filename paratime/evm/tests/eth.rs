//! Ethereum's JSON-RPC methods, as far as they are questions about the state.

mod support;

use parallax_evm::host::{ACL, EXECUTOR};
use revm::primitives::{Address, B256, TxKind, U256, hex, keccak256};
use serde_json::{Value as Json, json};
use support::wallet::Wallet;
use support::{Net, calldata, creation, word};

const PURSE: &str = include_str!("../contracts/Purse.hex");

struct Client {
    net: Net,
    alice: Wallet,
    purse: Address,
    mint: Vec<u8>,
}

impl Client {
    /// A contract in block 1, and one call of it in block 2.
    fn new() -> Self {
        let (mut net, alice) = (Net::default(), Wallet::development(0));
        let purse = net.deploy(&alice, hex::decode(PURSE.trim()).expect("it is hexadecimal"));
        let data = calldata("mint(address,uint64)", &[alice.address().into_word(), word(5)]);
        let mint = net.tx(&alice, TxKind::Call(purse), data);
        net.round(std::slice::from_ref(&mint));
        Self { net, alice, purse, mint }
    }

    fn ask(&self, method: &str, parameters: Json) -> Json {
        self.net.eth(method, parameters)
    }

    fn error(&self, method: &str, parameters: Json) -> Json {
        self.net.ask(method, parameters)["error"].clone()
    }
}

fn number(value: &Json) -> U256 {
    value.as_str().expect("it is text").parse().expect("it is a number")
}

#[test]
fn accounts_code_and_storage_are_those_of_the_newest_block() {
    let client = Client::new();
    let (alice, purse) = (client.alice.address().to_string(), client.purse.to_string());
    assert_eq!(client.ask("eth_chainId", json!([])), "0x7a69");
    assert_eq!(client.ask("net_version", json!([])), "31337");
    assert_eq!(client.ask("eth_blockNumber", json!([])), "0x2");
    assert_eq!(client.ask("eth_getTransactionCount", json!([alice, "latest"])), "0x2");
    assert_eq!(
        number(&client.ask("eth_getBalance", json!([alice, "0x2"]))),
        client.net.balance(client.alice.address())
    );
    assert!(client.ask("eth_getCode", json!([purse])).as_str().is_some_and(|code| code.len() > 1_000));
    assert_eq!(client.ask("eth_getCode", json!([ACL.to_string(), "pending"])), "0xfe", "host contracts have code");
    let owner = "0x9016d09d72d40fdae2fd8ceac6b6234c7706214fd39c1cd1e609a0528c199300";
    let slot = client.ask("eth_getStorageAt", json!([ACL.to_string(), owner, "latest"]));
    assert_eq!(slot, client.alice.address().into_word().to_string());
    let past = client.error("eth_getBalance", json!([alice, "0x1"]));
    assert_eq!(past["code"], -32_000, "one state alone has no other");
    assert_eq!(client.error("eth_getBalance", json!(["nobody"]))["code"], -32_602);
    assert_eq!(client.error("eth_mine", json!([]))["code"], -32_601);
}

#[test]
fn calls_return_data_and_reverts_carry_theirs() {
    let client = Client::new();
    let alice = client.alice.address();
    let call = |to: Address, data: Vec<u8>| json!([{ "from": alice.to_string(), "to": to.to_string(), "data": hex::encode_prefixed(data) }, "latest"]);
    let handle = client.ask("eth_call", call(client.purse, calldata("balanceOf(address)", &[alice.into_word()])));
    assert_eq!(
        client.net.decrypt(handle.as_str().expect("it is text").parse().expect("it is a handle")),
        U256::from(5)
    );
    let add = calldata("fheAdd(bytes32,bytes32,bytes1)", &[word(5 << 8), word(1), B256::right_padding_from(&[1])]);
    let error = client.error("eth_call", call(EXECUTOR, add));
    assert_eq!((error["code"].clone(), error["message"].clone()), (json!(3), json!("execution reverted")));
    let expected = hex::encode_prefixed(&keccak256("ACLNotAllowed(bytes32,address)")[..4]);
    assert!(error["data"].as_str().is_some_and(|data| data.starts_with(&expected)), "{error}");
}

#[test]
fn an_estimate_is_enough_and_not_much_more() {
    let mut client = Client::new();
    let alice = Wallet::development(0);
    let data = calldata("transfer(address,uint64)", &[Address::repeat_byte(7).into_word(), word(1)]);
    let request = json!([{ "from": alice.address().to_string(), "to": client.purse.to_string(), "input": hex::encode_prefixed(&data) }]);
    let estimate: u64 = number(&client.ask("eth_estimateGas", request)).to();
    let mut tx = client.net.unsigned(&alice, TxKind::Call(client.purse), data);
    tx.gas_limit = estimate;
    let tx = alice.transaction(&tx);
    client.net.round(std::slice::from_ref(&tx));
    let receipt = client.ask("eth_getTransactionReceipt", json!([keccak256(&tx).to_string()]));
    assert_eq!(receipt["status"], "0x1", "{receipt}");
    let used: u64 = number(&receipt["gasUsed"]).to();
    assert!(estimate >= used && estimate < used * 2, "{used} used, {estimate} estimated");
    let plain =
        json!([{ "from": alice.address().to_string(), "to": Address::repeat_byte(9).to_string(), "value": "0x1" }]);
    assert_eq!(client.ask("eth_estimateGas", plain), "0x5208");
}

#[test]
fn blocks_transactions_and_receipts_name_each_other() {
    let client = Client::new();
    let hash = keccak256(&client.mint).to_string();
    let block = client.ask("eth_getBlockByNumber", json!(["latest", false]));
    assert_eq!(block["number"], "0x2");
    assert_eq!(block["transactions"], json!([hash]));
    assert_eq!(client.ask("eth_getBlockByHash", json!([block["hash"], false])), block);
    let before = client.ask("eth_getBlockByNumber", json!(["0x1", true]));
    assert_eq!(before["hash"], block["parentHash"]);
    assert_eq!(before["transactions"][0]["to"], Json::Null, "it made the contract");
    assert_eq!(client.ask("eth_getBlockByNumber", json!(["earliest", false]))["hash"], before["parentHash"]);
    assert_eq!(client.ask("eth_getBlockByNumber", json!(["0x3", false])), Json::Null);
    let tx = client.ask("eth_getTransactionByHash", json!([hash]));
    assert_eq!(tx["blockHash"], block["hash"]);
    assert_eq!(
        (tx["type"].clone(), tx["nonce"].clone(), tx["from"].clone()),
        (json!("0x2"), json!("0x1"), json!(client.alice.address().to_string()))
    );
    assert_eq!(client.ask("eth_getBlockByNumber", json!(["latest", true]))["transactions"][0], tx);
    let receipt = client.ask("eth_getTransactionReceipt", json!([hash]));
    assert_eq!(
        (receipt["blockHash"].clone(), receipt["transactionHash"].clone()),
        (block["hash"].clone(), json!(hash))
    );
    assert_eq!(client.ask("eth_getBlockReceipts", json!(["latest"])), json!([receipt]));
    assert_eq!(block["gasUsed"], receipt["gasUsed"]);
    assert_eq!(client.ask("eth_getTransactionReceipt", json!([word(1).to_string()])), Json::Null);
    let history = client.ask("eth_feeHistory", json!(["0x2", "latest", [50]]));
    assert_eq!(history["oldestBlock"], "0x1");
    assert_eq!(history["baseFeePerGas"].as_array().map(Vec::len), Some(3));
    assert_eq!(history["gasUsedRatio"].as_array().map(Vec::len), Some(2));
}

#[test]
fn logs_are_found_by_block_address_and_topic() {
    let client = Client::new();
    let allowed = keccak256("Allowed(address,address,bytes32)").to_string();
    let all = client.ask("eth_getLogs", json!([{ "fromBlock": "earliest", "toBlock": "latest" }]));
    let receipt = client.ask("eth_getTransactionReceipt", json!([keccak256(&client.mint).to_string()]));
    assert_eq!(all, receipt["logs"], "all logs are of the one call");
    let of = |filter: Json| client.ask("eth_getLogs", json!([filter])).as_array().map(Vec::len);
    assert_eq!(of(json!({ "fromBlock": "0x0", "topics": [allowed] })), Some(2), "to the contract and to the account");
    let account = client.alice.address().into_word().to_string();
    assert_eq!(of(json!({ "fromBlock": "0x0", "topics": [allowed, null, [account]] })), Some(1));
    assert_eq!(of(json!({ "fromBlock": "0x0", "address": ACL.to_string() })), Some(2));
    assert_eq!(of(json!({ "fromBlock": "0x0", "address": [client.purse.to_string()] })), Some(0));
    assert_eq!(
        of(json!({ "blockHash": receipt["blockHash"], "address": EXECUTOR.to_string() })),
        all.as_array().map(|l| l.len() - 2)
    );
    assert_eq!(of(json!({ "fromBlock": "0x0", "toBlock": "0x1" })), Some(0));
    let far = client.error("eth_getLogs", json!([{ "blockHash": word(9).to_string() }]));
    assert_eq!(far["code"], -32_000);
}

#[test]
fn an_older_block_answers_with_the_state_after_it() {
    let client = Client::new();
    let (alice, purse) = (client.alice.address().to_string(), client.purse.to_string());
    let ask = |method: &str, parameters: Json| client.net.past(method, parameters).expect("it has an answer");
    let tags = ["earliest", "0x1", "latest"];
    let nonces = tags.map(|tag| ask("eth_getTransactionCount", json!([alice, tag])));
    assert_eq!(nonces, ["0x0", "0x1", "0x2"]);
    let balances = tags.map(|tag| number(&ask("eth_getBalance", json!([alice, tag]))));
    assert!(balances[0] > balances[1] && balances[1] > balances[2], "{balances:?}");
    assert_eq!(ask("eth_getCode", json!([purse, "earliest"])), "0x", "block 1 made it");
    assert_ne!(ask("eth_getCode", json!([purse, "0x1"])), "0x");
    let balance_of = calldata("balanceOf(address)", &[client.alice.address().into_word()]);
    let call = json!({ "to": purse, "data": hex::encode_prefixed(balance_of) });
    assert_eq!(ask("eth_call", json!([call, "0x1"])), word(0).to_string(), "nothing was minted");
    assert_ne!(ask("eth_call", json!([call, "0x2"])), word(0).to_string());
    assert_eq!(ask("eth_call", json!([call, "earliest"])), "0x", "there is no contract");
    assert!(number(&ask("eth_estimateGas", json!([call, "0x1"]))) > U256::from(21_000));
    // EIP-1898: by number or hash in an object.
    let hash = ask("eth_getBlockByNumber", json!(["0x1", false]))["hash"].clone();
    for block in [json!({ "blockNumber": "0x1" }), json!({ "blockHash": hash, "requireCanonical": true })] {
        assert_eq!(ask("eth_getTransactionCount", json!([alice, block])), "0x1");
    }
    let unknown = client.net.past("eth_call", json!([call, "0x9"])).expect_err("there is none");
    assert_eq!((unknown.code, unknown.message.starts_with("header not found")), (-32_000, true), "{unknown}");
    let both = json!([alice, { "blockNumber": "0x1", "blockHash": hash }]);
    assert_eq!(client.net.past("eth_getBalance", both).expect_err("it is ambiguous").code, -32_602);
}

#[test]
fn a_state_that_is_no_longer_kept_is_named_in_the_error() {
    let client = Client::new();
    client.net.tree().prune(1, usize::MAX).expect("it can be pruned");
    let alice = client.alice.address().to_string();
    let error = client.net.past("eth_getBalance", json!([alice, "0x1"])).expect_err("it is gone");
    assert_eq!((error.code, error.message.contains("block 1 is no longer kept")), (-32_000, true), "{error}");
    assert!(client.net.past("eth_getBlockByNumber", json!(["0x1", true])).is_ok(), "blocks stay");
    assert!(client.net.past("eth_getBalance", json!([alice, "0x2"])).is_ok());
}

#[test]
fn pending_counts_what_waits_in_the_pool() {
    let mut client = Client::new();
    let alice = Wallet::development(0);
    client.net.unsigned(&alice, TxKind::Call(client.purse), vec![]);
    let count = |tag| client.net.past("eth_getTransactionCount", json!([alice.address().to_string(), tag]));
    assert_eq!((count("latest"), count("pending")), (Ok(json!("0x2")), Ok(json!("0x3"))));
}

#[test]
fn accounts_and_slots_are_proven_by_the_tree_of_the_round() {
    use parallax_state::StateProof;
    let client = Client::new();
    let owner = "0x9016d09d72d40fdae2fd8ceac6b6234c7706214fd39c1cd1e609a0528c199300";
    for (tag, round) in [("latest", 2), ("0x1", 1), ("earliest", 0)] {
        let asked = json!([ACL.to_string(), [owner, "0x0"], tag]);
        let answer = client.net.past("eth_getProof", asked).expect("it can be proven");
        assert_eq!(answer["round"], format!("{round:#x}"));
        let root = client.net.tree().root_at(round).expect("it is kept");
        let verified = |proof: &Json| -> StateProof {
            let proof: StateProof = proof.as_str().expect("it is text").parse().expect("it is a proof");
            proof.verify(&root).expect("it leads to the root");
            proof
        };
        assert_eq!(verified(&answer["accountProof"][0]).key(), parallax_evm::state::account_key(&ACL));
        assert!(verified(&answer["storageProof"][0]["proof"][0]).value().is_some());
        assert_eq!(verified(&answer["storageProof"][1]["proof"][0]).value(), None, "an empty slot");
        assert_eq!(answer["storageProof"][1]["value"], "0x0");
        let alice = Wallet::development(0).address();
        assert_eq!(answer["storageProof"][0]["value"], format!("{:#x}", U256::from_be_slice(alice.as_slice())));
    }
    let slots: Vec<&str> = vec!["0x0"; 257];
    let many = client.net.past("eth_getProof", json!([ACL.to_string(), slots, "latest"]));
    assert_eq!(many.expect_err("they are too many").code, -32_602);
}

#[test]
fn a_call_may_override_what_it_finds() {
    let client = Client::new();
    let nobody = Address::repeat_byte(0x77).to_string();
    // Returns the number of the block, its time, its own balance and slot 1.
    let code = "0x435f52426020524760405260015460605260805ff3";
    let overrides = json!({ nobody.clone(): { "code": code, "balance": "0x5", "stateDiff": { word(1).to_string(): word(9).to_string() } } });
    let call = |overrides: Json, block: Json| {
        client.net.past("eth_call", json!([{ "to": nobody }, "latest", overrides, block]))
    };
    let words = [7u64, 8, 5, 9].map(|n| word(n).0).concat();
    let answer = call(overrides.clone(), json!({ "number": "0x7", "time": "0x8" }));
    assert_eq!(answer, Ok(json!(hex::encode_prefixed(words))));
    assert_eq!(client.ask("eth_getCode", json!([nobody])), "0x", "nothing stays");
    assert_eq!(call(json!({ nobody.clone(): { "colour": "0x1" } }), Json::Null).expect_err("it is none").code, -32_602);
    // `state` replaces all storage.
    let purse = client.purse.to_string();
    let balance_of = calldata("balanceOf(address)", &[client.alice.address().into_word()]);
    let call = json!([{ "to": purse, "data": hex::encode_prefixed(balance_of) }, "latest", { purse.clone(): { "state": {} } }]);
    assert_eq!(client.net.past("eth_call", call), Ok(json!(word(0).to_string())));
}

#[test]
fn a_call_sees_the_block_that_its_tag_names_and_an_estimate_the_time_now() {
    let mut client = Client::new();
    let head = client.ask("eth_getBlockByNumber", json!(["latest", false]));
    let (block, made) = (number(&head["number"]), number(&head["timestamp"]));
    let now = made + U256::from(60);
    client.net.now = Some(now.to());
    let nobody = Address::repeat_byte(0x77).to_string();
    // Returns the number of the block and its time.
    let overrides = json!({ nobody.clone(): { "code": "0x435f524260205260405ff3" } });
    let call = |tag: Json| client.net.past("eth_call", json!([{ "to": nobody }, tag, overrides]));
    let seen = |number: U256, time: U256| {
        Ok(json!(hex::encode_prefixed([number.to_be_bytes::<32>(), time.to_be_bytes::<32>()].concat())))
    };
    assert_eq!(call(json!("latest")), seen(block, made));
    assert_eq!(call(head["number"].clone()), seen(block, made));
    assert_eq!(call(json!("pending")), seen(block + U256::ONE, now));
    // Reverts until a minute after the last block.
    let code = format!("0x63{:08x}4210600b57005b5f5ffd", now.to::<u32>());
    let overrides = json!({ nobody.clone(): { "code": code } });
    let estimate = |net: &Net| net.past("eth_estimateGas", json!([{ "to": nobody }, "latest", overrides]));
    assert!(estimate(&client.net).is_ok(), "a transaction would succeed");
    client.net.now = Some((now - U256::ONE).to());
    assert_eq!(estimate(&client.net).expect_err("it is too early").code, 3);
}

#[test]
fn logs_of_one_answer_are_bounded_in_bytes() {
    let mut client = Client::new();
    // Logs 240,000 zeros.
    let code = creation(&hex::decode("6203a9805fa000").expect("it is hexadecimal"));
    let contract = client.net.deploy(&client.alice, code);
    for _ in 0..3 {
        let batch: Vec<Vec<u8>> =
            (0..12).map(|_| client.net.tx(&client.alice, TxKind::Call(contract), vec![])).collect();
        client.net.round(&batch);
    }
    let head = number(&client.ask("eth_blockNumber", json!([])));
    let logs = |from: u64| {
        let from = format!("{:#x}", head - U256::from(from));
        client.net.past("eth_getLogs", json!([{ "fromBlock": from, "address": contract.to_string() }]))
    };
    assert_eq!(logs(1).expect("they fit").as_array().map(Vec::len), Some(24));
    let error = logs(2).expect_err("they are too many");
    assert!(error.message.contains("ask for fewer blocks"), "{error}");
}

#[test]
fn what_tools_ask_before_anything_else_is_answered() {
    let client = Client::new();
    let version = client.ask("web3_clientVersion", json!([]));
    assert!(version.as_str().is_some_and(|text| text.contains("parallax/")), "{version}");
    let empty = "0xc5d2460186f7233c927e7db2dcc703c0e500b653ca82273b7bfad8045d85a470";
    assert_eq!(client.ask("web3_sha3", json!(["0x"])), empty);
    assert_eq!(client.ask("eth_syncing", json!([])), false);
    let hash = client.ask("eth_getBlockByNumber", json!(["latest", false]))["hash"].clone();
    let tx = client.ask("eth_getTransactionByHash", json!([keccak256(&client.mint).to_string()]));
    assert_eq!(client.ask("eth_getTransactionByBlockHashAndIndex", json!([hash, "0x0"])), tx);
    assert_eq!(client.ask("eth_getTransactionByBlockNumberAndIndex", json!(["latest", "0x0"])), tx);
    assert_eq!(client.ask("eth_getTransactionByBlockNumberAndIndex", json!(["latest", "0x1"])), Json::Null);
    assert_eq!(client.ask("eth_getBlockTransactionCountByHash", json!([hash])), "0x1");
    assert_eq!(client.ask("eth_getBlockReceipts", json!([hash])), client.ask("eth_getBlockReceipts", json!(["0x2"])));
    let raw = client.ask("eth_getRawTransactionByHash", json!([tx["hash"]]));
    assert_eq!(raw, hex::encode_prefixed(&client.mint));
    let reverted = json!([{ "to": client.purse.to_string(), "data": "0x12345678" }, "latest"]);
    let error = client.net.past("eth_call", reverted).expect_err("there is no such function");
    assert_eq!((error.code, error.message.as_str(), error.data.as_deref()), (3, "execution reverted", Some("0x")));
}

#[test]
fn a_chain_says_of_itself_what_hardhat_and_anvil_say() {
    let client = Client::new();
    let block = client.ask("eth_getBlockByNumber", json!(["latest", false]));
    let genesis = client.ask("eth_getBlockByNumber", json!(["earliest", false]));
    let metadata = client.ask("hardhat_metadata", json!([]));
    assert_eq!(client.ask("anvil_metadata", json!([])), metadata);
    assert_eq!((&metadata["chainId"], &metadata["latestBlockNumber"]), (&json!(31_337), &json!(2)));
    assert_eq!((&metadata["latestBlockHash"], &metadata["instanceId"]), (&block["hash"], &genesis["hash"]));
    let info = client.ask("anvil_nodeInfo", json!([]));
    assert_eq!((&info["currentBlockNumber"], &info["currentBlockHash"]), (&json!("0x2"), &block["hash"]));
    assert_eq!(U256::from(info["currentBlockTimestamp"].as_u64().expect("it is one")), number(&block["timestamp"]));
    let environment = &info["environment"];
    assert_eq!((&environment["chainId"], &environment["baseFee"]), (&json!(31_337), &block["baseFeePerGas"]));
    assert_eq!((&environment["gasLimit"], &environment["gasPrice"]), (&block["gasLimit"], &block["baseFeePerGas"]));
    assert_eq!(info["forkConfig"]["forkUrl"], Json::Null);
    assert_eq!(client.ask("eth_coinbase", json!([])), block["miner"]);
    assert_eq!(client.ask("eth_networkId", json!([])), client.ask("net_version", json!([])));
    assert_eq!(client.ask("eth_hashrate", json!([])), "0x0");
    // The price of a blob is what a contract sees: BLOBBASEFEE, PUSH0, MSTORE, and the word is returned.
    let code = json!({ nowhere(): { "code": "0x4a5f5260205ff3" } });
    let seen = client.net.past("eth_call", json!([{ "to": nowhere() }, "latest", code])).expect("it returns");
    assert_eq!(number(&client.ask("eth_blobBaseFee", json!([]))), number(&seen));
    for (method, block) in [
        ("eth_getRawTransactionByBlockNumberAndIndex", json!("0x2")),
        ("eth_getRawTransactionByBlockHashAndIndex", block["hash"].clone()),
    ] {
        assert_eq!(client.ask(method, json!([block, "0x0"])), hex::encode_prefixed(&client.mint), "{method}");
        assert_eq!(client.ask(method, json!([block, "0x1"])), Json::Null, "{method}");
    }
}

/// An address at which nothing is.
fn nowhere() -> String {
    Address::repeat_byte(0x5f).to_string()
}

#[test]
fn a_node_reads_the_logs_and_the_head_of_one_block_by_themselves() {
    use parallax_evm::eth::{LogFilter, header, logs_of};
    let client = Client::new();
    let filter = LogFilter::new(&json!({ "address": ACL.to_string() })).expect("it is one");
    let of = |number| logs_of(&client.net.state, number, &filter).expect("it can be read");
    assert_eq!((of(0).len(), of(1).len(), of(2).len(), of(3).len()), (0, 0, 2, 0));
    assert_eq!(Json::Array(of(2)), client.ask("eth_getLogs", json!([{ "address": ACL.to_string() }])));
    let head = header(&client.net.state, 2).expect("it can be read").expect("it is there");
    let block = client.ask("eth_getBlockByNumber", json!(["0x2", false]));
    for field in ["number", "hash", "parentHash", "logsBloom", "timestamp", "gasUsed", "baseFeePerGas"] {
        assert_eq!(head[field], block[field], "{field}");
    }
    assert_eq!(header(&client.net.state, 3), Ok(None));
    for bad in [json!("x"), json!({ "topics": "0x1" }), json!({ "topics": [[1]] }), json!({ "address": "0x1" })] {
        assert_eq!(LogFilter::new(&bad).expect_err("it is none").code, -32_602, "{bad}");
    }
}
