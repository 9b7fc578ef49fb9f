// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.24;

/// Where contracts submit jobs to the scheduling ParaTime, at 0x506172616c6C6178000000000000000000000001.
interface IJobGateway {
    /// What is public of a job.
    struct Terms {
        /// The key that encrypts the list, and the epoch to which its proof is bound.
        bytes32 keyId;
        uint64 epoch;
        /// 0 pack, 1 spread, 2 cost, 3 in turn.
        uint8 policy;
        uint8 tier;
        /// How many hosts, whether in different zones, and whether all or none.
        uint8 replicas;
        bool zones;
        bool gang;
        /// For one unit of FHE gas, in base units of the consensus layer's token.
        uint128 gasPrice;
        /// The account at the scheduler that learns the position, deals with the host and anchors the deployment.
        address agent;
        /// What it runs; zero if it does not say.
        bytes32 image;
    }

    enum Status {
        None,
        Submitted,
        NotSent,
        Accepted,
        Refused,
        Placed,
        Unplaced
    }

    /// The message to the scheduler, and the tokens that go with it.
    event JobSubmitted(uint256 indexed request, address indexed contract_, uint256 tokens, bytes message);

    /// The value pays for three messages, and for the job. Less than that: `least` would do.
    error ValueTooLow(uint256 least);
    /// The value is not a multiple of a base unit of the consensus layer's token.
    error NotWholeTokens(uint256 unit);
    /// Too many requests are on their way; try again in a later block.
    error TooManyWaiting();
    error MessageTooLarge(uint256 bytes_);
    error NoScheduler();

    /// Submits a job. The list is encrypted for the account of the calling contract (`accountOf`). What it does not need
    /// of the value comes back to the contract's balance with the answers, without a call.
    function submitJob(Terms calldata terms, bytes calldata list, bytes32[] calldata imageProof)
        external
        payable
        returns (uint256 request);

    /// Where a request stands: who asked, the job's id, wei that came back, and why it was refused if it was.
    function jobOf(uint256 request)
        external
        view
        returns (address contract_, Status status, bytes32 job, uint256 refunded, bytes32 module, uint256 code);

    /// The anchor of a replica's deployment, and how far it has come: 0 not anchored, 1 accepted, 2 running, 3 finished,
    /// 4 failed.
    function deploymentOf(uint256 request, uint8 replica) external view returns (bytes32 anchor, uint256 progress);

    /// The account that a contract has at the scheduler.
    function accountOf(address contract_) external view returns (address);

    /// What one message costs, in wei.
    function messageFee() external view returns (uint256);

    /// The scheduling ParaTime; zero if there is none.
    function scheduler() external view returns (bytes32);

    function getVersion() external view returns (string memory);
}
