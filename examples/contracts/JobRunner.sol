// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.24;

import {IJobGateway} from "./IJobGateway.sol";

/// Submits encrypted jobs to the scheduling ParaTime, reads what became of them, and gives back what they did not cost.
contract JobRunner {
    IJobGateway public constant GATEWAY = IJobGateway(0x506172616c6C6178000000000000000000000001);

    mapping(uint256 => address) public sponsor;
    mapping(uint256 => uint256) public claimed;

    event Ran(uint256 indexed request, bytes32 anchor);

    error NotTheSponsor();
    error NotFinished();
    error NotPaid();

    /// Passes on a list that its client encrypted for this contract, with all that was sent for it.
    function run(IJobGateway.Terms calldata terms, bytes calldata list) external payable returns (uint256 request) {
        request = GATEWAY.submitJob{value: msg.value}(terms, list, new bytes32[](0));
        sponsor[request] = msg.sender;
    }

    /// Whether the chain knows that a job was placed, and the anchor of its first replica.
    function result(uint256 request) public view returns (bool placed, bytes32 anchor, uint256 progress) {
        (, IJobGateway.Status status,,,,) = GATEWAY.jobOf(request);
        placed = status == IJobGateway.Status.Placed;
        (anchor, progress) = GATEWAY.deploymentOf(request, 0);
    }

    /// Says so in an event once the host has finished: what other contracts and front ends wait for.
    function finish(uint256 request) external {
        (, bytes32 anchor, uint256 progress) = result(request);
        if (progress != 3) revert NotFinished();
        emit Ran(request, anchor);
    }

    /// What came back of a request's value, to who paid it.
    function reclaim(uint256 request) external {
        if (msg.sender != sponsor[request]) revert NotTheSponsor();
        (,,, uint256 refunded,,) = GATEWAY.jobOf(request);
        uint256 amount = refunded - claimed[request];
        claimed[request] = refunded;
        (bool paid,) = msg.sender.call{value: amount}("");
        if (!paid) revert NotPaid();
    }
}
