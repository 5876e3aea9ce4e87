"""A provider of several servers, found by name (RFC 3263) or listed: some are out of order, and they come back."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.dns import NameServer, name_server
from tests.e2e.net import Address, Net
from tests.e2e.service import Callgate, Settings, Tariff, settings_of
from tests.e2e.sipp import Sipp
from tests.e2e.stage import Provider, Stage
from tests.redis import PrivateRedis

TARIFFS = {
    name: Tariff({"fail_calls": "3 per 1h"})
    for name in ("past-the-dead", "all-dead", "rested", "healthy", "by-naptr")
} | {"by-weight": Tariff()}
CLUSTER = "cluster.test"
Start = Callable[..., Stage]


@pytest.fixture
def dns() -> Iterator[NameServer]:
    with name_server() as server:
        yield server


@pytest.fixture
def start(
    net: Net,
    redis: PrivateRedis,
    dns: NameServer,
    serve: Callable[[Settings], Callgate],
    stage_of: Callable[[Callgate], Stage],
) -> Start:
    """A callgate of the test's own, with one trunk for every number."""

    def start(host: int, **trunk: Any) -> Stage:
        settings = settings_of(net, redis.url, host=host)
        settings["resolver"] = {"servers": [dns.address], "timeout": "1s"}
        settings["trunks"]["cluster"] = trunk
        settings["routes"] = [{"match": "^cluster$", "to": "cluster"}]
        return stage_of(serve(settings))

    return start


def members(stage: Stage, count: int = 2) -> list[Address]:
    return [stage.provider().address for _ in range(count)]


def member(stage: Stage, address: Address, scenario: str = "member", contact: str = CLUSTER) -> Sipp:
    """It takes whatever comes, until the test is over."""
    return stage.callee(Provider("", address, "UDP"), scenario, calls=1000, keys={"cluster": contact})


def calls_of(sipp: Sipp, start: str) -> set[str]:
    return {message.call_id for message in sipp.received(start)}


def srv(name: str, *targets: tuple[int, int, Address]) -> list[str]:
    """SRV records (priority, weight, address) and the addresses of their targets."""
    lines = []
    for n, (priority, weight, (host, port)) in enumerate(targets):
        lines.append(f"{name}. 300 IN SRV {priority} {weight} {port} m{n}.{CLUSTER}.")
        lines.append(f"m{n}.{CLUSTER}. 300 IN A {host}")
    return lines


def trunk(stage: Stage) -> dict[str, Any]:
    """What `callgate trunks` says of the cluster."""
    program = Path(sys.executable).with_name("callgate")
    argv = [str(program), "trunks", "--json", "-c", str(stage.callgate.config)]
    shown = json.loads(subprocess.run(argv, check=True, capture_output=True, timeout=20).stdout)
    [found] = [one for one in shown if one["trunk"] == "cluster"]
    assert isinstance(found, dict)
    return found


def states(stage: Stage) -> list[str]:
    return [target["state"] for target in trunk(stage)["targets"]]


def test_srv_weights_hold_over_many_calls_and_a_dialog_stays_where_it_began(
    dns: NameServer, start: Start
) -> None:
    stage = start(20, targets=[f"sip:{CLUSTER}"])
    heavy, light, backup = members(stage, 3)
    dns.zone(*srv(f"_sip._udp.{CLUSTER}", (1, 3, heavy), (1, 1, light), (2, 9, backup)))
    sipps = [member(stage, address) for address in (heavy, light, backup)]
    caller = stage.caller(who="by-weight", number="cluster", calls=60, at_once=4, hold_s=0)
    caller.succeeds()
    shares = [len(calls_of(sipp, "INVITE ")) for sipp in sipps]
    assert sum(shares) == 60
    # 45 of 60 are to be expected; less than 30 or more than 58 come once in ten thousand runs.
    assert 30 <= shares[0] <= 58
    assert shares[2] == 0
    for sipp in sipps:
        # The Contact is the name of all of them, and chance did not decide again.
        assert calls_of(sipp, "INVITE ") == calls_of(sipp, "ACK ") == calls_of(sipp, "BYE ")
    assert dns.count(f"_sip._udp.{CLUSTER}", "SRV") == 1


def test_naptr_chooses_the_transport(dns: NameServer, start: Start) -> None:
    stage = start(21, targets=[f"sip:{CLUSTER}"])
    tcp = stage.provider("TCP")
    dns.zone(
        f'{CLUSTER}. 300 IN NAPTR 10 1 "s" "SIPS+D2T" "" _sips._tcp.{CLUSTER}.',
        f'{CLUSTER}. 300 IN NAPTR 20 1 "s" "SIP+D2T" "" _sip._tcp.elsewhere.test.',
        f'{CLUSTER}. 300 IN NAPTR 30 1 "s" "SIP+D2U" "" _sip._udp.{CLUSTER}.',
        *srv("_sip._tcp.elsewhere.test", (0, 0, tcp.address)),
    )
    callee = stage.callee(tcp)
    caller = stage.caller(who="by-naptr", number="cluster")
    caller.succeeds()
    callee.succeeds()
    assert callee.one("INVITE ").values("Via")[0].startswith("SIP/2.0/TCP ")


def test_a_server_that_is_silent_is_passed_over_and_then_tried_last(dns: NameServer, start: Start) -> None:
    stage = start(22, targets=[f"sip:{CLUSTER}"], answer_timeout="1s")
    dead, alive = members(stage)
    dns.zone(*srv(f"_sip._udp.{CLUSTER}", (1, 0, dead), (2, 0, alive)))
    sipp = member(stage, alive)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as silent:
        silent.bind(dead)
        caller = stage.caller(who="past-the-dead", number="cluster")
        caller.succeeds()
        silent.setblocking(False)
        tried = silent.recv(65535)
        took = sipp.received("INVITE ")[0].at - caller.sent("INVITE ")[0].at
        assert 0.9 < took < 5
        # A transaction of its own: another branch.
        assert sipp.received("INVITE ")[0].values("Via")[0].encode() not in tried
        assert stage.callgate.record(caller.call_id)["outcome"] == "success"
        # Whoever calls next does not wait.
        again = stage.caller(who="past-the-dead", number="cluster")
        again.succeeds()
        assert sipp.received("INVITE ")[-1].at - again.sent("INVITE ")[0].at < 0.9
    assert stage.callgate.metric("callgate_trunk_outages_total", cause="timeout") == 1


def test_when_all_are_dead_the_caller_hears_one_clean_error(dns: NameServer, start: Start) -> None:
    stage = start(23, targets=[f"sip:{CLUSTER}"])
    dns.zone(*srv(f"_sip._udp.{CLUSTER}", *((n, 0, address) for n, address in enumerate(members(stage, 3)))))
    caller = stage.caller("refused", who="all-dead", number="cluster")
    caller.succeeds()
    # Nobody has these ports, and the kernel says so at once: no Timer B for any of them.
    assert caller.one("SIP/2.0 5").status == 500
    assert caller.one("SIP/2.0 5").at - caller.sent("INVITE ")[0].at < 5
    record = stage.callgate.record(caller.call_id)
    assert (record["outcome"], record["status"]) == ("fail", 500)
    assert stage.callgate.metric("callgate_trunk_outages_total", cause="transport") == 3


def test_retry_after_keeps_a_server_out_for_as_long_as_it_says(start: Start) -> None:
    stage = start(24, targets=["sip:192.0.2.1"])
    first, second = members(stage)
    stage.callgate.settings["trunks"]["cluster"] = {
        "targets": [
            {"uri": f"sip:{first[0]}:{first[1]}", "priority": 1},
            {"uri": f"sip:{second[0]}:{second[1]}", "priority": 2},
        ]
    }
    stage.callgate.write()
    stage.callgate.reload()
    stage.callgate.until("the new trunk", lambda: states(stage) == ["up", "up"])
    resting = member(stage, first, "asks-for-a-rest")
    # Its Contact is a name that leads nowhere: the dialog goes on over the flow it began by.
    other = member(stage, second, contact="nowhere.test")
    stage.caller(who="rested", number="cluster").succeeds()
    assert (len(calls_of(resting, "INVITE ")), len(calls_of(other, "INVITE "))) == (1, 1)
    assert states(stage) == ["down", "up"]
    stage.caller(who="rested", number="cluster").succeeds()
    assert (len(calls_of(resting, "INVITE ")), len(calls_of(other, "INVITE "))) == (1, 2)
    stage.callgate.until("its rest is over", lambda: states(stage) == ["up", "up"])
    stage.caller(who="rested", number="cluster").succeeds()
    assert (len(calls_of(resting, "INVITE ")), len(calls_of(other, "INVITE "))) == (2, 3)


def test_a_server_that_does_not_answer_options_gets_no_calls_until_it_does(start: Start, net: Net) -> None:
    stage = start(25, targets=["sip:192.0.2.1"])
    (host, port), _ = members(stage)
    stage.callgate.settings["trunks"]["cluster"] = {
        "targets": [f"sip:{host}:{port}"],
        "health": {"every": "1s", "timeout": "500ms", "failures": 2},
    }
    stage.callgate.write()
    stage.callgate.reload()
    stage.callgate.until("it is found to be down", lambda: states(stage) == ["down"])
    caller = stage.caller("refused", who="healthy", number="cluster")
    caller.succeeds()
    record = stage.callgate.record(caller.call_id)
    # Refused before anything was asked of the limiter: it costs the caller none of its failed calls.
    assert (record["status"], record["reason"], record["outcome"]) == (500, "trunk_down", "refused")
    assert stage.callgate.metric("callgate_trunk_targets", trunk="cluster", state="down") == 1
    sipp = member(stage, (host, port), contact=f"{host}:{port}")
    stage.callgate.until("it is back", lambda: states(stage) == ["up"])
    stage.caller(who="healthy", number="cluster").succeeds()
    assert len(calls_of(sipp, "INVITE ")) == 1
    [address] = trunk(stage)["targets"][0]["addresses"]
    assert address["failed_checks"] == 0
    assert address["rtt_ms"] < 500
