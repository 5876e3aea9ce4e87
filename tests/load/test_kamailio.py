"""The peer does what callgate does: calls go through, and each asks the same three scripts of the same keys."""

from __future__ import annotations

import pytest
import redis

from load.bench import bench
from load.peers.callgate import payer
from load.peers.kamailio import Kamailio, fill
from load.peers.kamailio.admission import bound, lua_string, unpacked
from load.sipp import account
from policies.keys import bulk, mode_prefix
from tests.tools import require

CALLS = 20


@pytest.fixture
def tools() -> None:
    for program in ("sipp", "kamailio", "redis-server"):
        require(program)


@pytest.mark.usefixtures("tools")
def test_calls_pass_and_are_counted_by_callgates_own_scripts() -> None:
    with bench(Kamailio(children=1), payers=CALLS) as up:
        caller = up.call(rate=100, calls=CALLS, hold_s=0.1)
        assert caller.child.wait(20) == 0, caller.child.tail()
        assert (caller.counts().succeeded, caller.counts().failed) == (CALLS, 0)
        assert up.store.script_calls() == 3 * CALLS

        store = redis.Redis(unix_socket_path=str(up.store.socket))
        prefixes = [mode_prefix(payer(account(number)), "gateway") for number in range(CALLS)]
        assert set(store.scan_iter()) == {f"{prefix}state".encode() for prefix in prefixes}
        # Nothing but each payer's state is left: every lease was given back. Its counters are those of the plan.
        for prefix in prefixes:
            state = store.get(f"{prefix}state")
            assert isinstance(state, bytes)
            assert b"load@" in state


def test_constants_reach_lua_byte_by_byte() -> None:
    assert lua_string(b"\x00a\n") == r'"\000\097\010"'
    assert bound(b"return ARGV[2]", [b"1"], [b""]) == b'local ARGV = {"\\049", ARGV[1], ""}\nreturn ARGV[2]'


def test_packed_arguments_come_apart_again() -> None:
    values = [b"", b"a\r\n$1\r\nb", bytes(range(256))]
    assert unpacked(b"".join(map(bulk, values))) == values
    with pytest.raises(ValueError, match="not a bulk string"):
        unpacked(b"*1\r\n")


def test_a_template_with_an_unknown_name_is_an_error() -> None:
    assert fill("listen=@host@:@port@", {"host": "h", "port": "1"}) == "listen=h:1"
    with pytest.raises(KeyError):
        fill("@nothing@", {})
