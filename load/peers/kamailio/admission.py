"""The three Redis trips of a call as Kamailio makes them: callgate's own scripts, keys and arguments.

ndb_redis passes texts without spaces or zero bytes, and three of the arguments have them. So all arguments but the
lease, which are the same for every call here, stand as constants at the head of each script. Redis works the same;
Kamailio has less to send.
"""

from __future__ import annotations

import dataclasses
import re
import time
from dataclasses import dataclass

from config.load import load
from load.peers import Place
from load.peers.callgate import payer, write_files
from load.processes import RunFailed
from load.sipp import account
from load.store import Store
from policies import keys
from policies.account import Limits, Mode
from policies.catalog import build
from policies.resolve import resolve
from policies.scripts import Script, shipped_scripts

MODE: Mode = "gateway"
# Kamailio renews nothing, so its leases last as long as its dialogs: else it would pay for the reaping of calls it has.
LEASE_MS = 7_200_000

OUTGOING = b"1"
NOT_AFTER = b"9999999999999"  # Kamailio knows no deadline after which a script is to do nothing
DIALOG = b"-" * 450
"""What callgate stores of a call at its answer is some 450 bytes in these runs. Nobody takes Kamailio's calls up, but
the script and its work in Redis are to be the same; that Kamailio sends nothing of it is left to its advantage."""
ACCOUNT = "$fU"  # Kamailio's pseudo-variables: the user part of From
CALL_ID = "$ci"  # … and the Call-ID, which is the lease


@dataclass(frozen=True, slots=True)
class Admission:
    """The statements of kamailio.cfg that ask Redis."""

    admit: str
    answered: str
    ended_success: str
    ended_fail: str


def admission(store: Store, place: Place) -> Admission:
    """Put the scripts into the store; the statements that run them."""
    first = unpacked(keys.limit_arguments(limits(place), 1) + keys.lease_life(LEASE_MS))
    scripts = shipped_scripts()

    payer_keys = keys.call_keys(payer(ACCOUNT), MODE)
    state, dialog = keys.state_key(payer(ACCOUNT), MODE), keys.dialog_key(payer(ACCOUNT), MODE, CALL_ID)

    def statement(script: Script, eighth: bytes, *rest: bytes) -> str:
        sha = store.load_script(bound(script.text, first, [OUTGOING, *rest, NOT_AFTER]))
        names = [key.decode() for key in unpacked(payer_keys + eighth)]
        return f'redis_cmd("store", "EVALSHA {sha} {script.keys} {" ".join(names)} {CALL_ID}", "r");'

    return Admission(
        # KEYS[8] of admit is `state` again where it is nothing else.
        admit=statement(scripts.admit, state, b"", b"0", b"0"),
        answered=statement(scripts.answered, dialog, DIALOG),
        ended_success=statement(scripts.ended, dialog, b"success"),
        ended_fail=statement(scripts.ended, dialog, b"fail"),
    )


def limits(place: Place) -> Limits:
    """What callgate would resolve for a payer of the run; all have the same plan."""
    one = dataclasses.replace(place, payers=1)
    found = resolve(build(load(write_files(one, "embedded", 1))), payer(account(0)), MODE, time.time())
    if not isinstance(found, Limits):
        raise RunFailed(f"the plan of the run does not resolve: {found}")
    return found


def bound(script: bytes, before: list[bytes], after: list[bytes]) -> bytes:
    """The script with ARGV = before, what is sent, after."""
    arguments = [*map(lua_string, before), "ARGV[1]", *map(lua_string, after)]
    return f"local ARGV = {{{', '.join(arguments)}}}\n".encode() + script


def lua_string(value: bytes) -> str:
    """The bytes as a literal of Lua 5.1: decimal escapes."""
    return '"' + "".join(f"\\{byte:03d}" for byte in value) + '"'


def unpacked(arguments: bytes) -> list[bytes]:
    """The bulk strings of the Redis protocol, one after the other, as `keys` packs them."""
    found: list[bytes] = []
    while arguments:
        head = re.match(rb"\$(\d+)\r\n", arguments)
        if head is None:
            raise ValueError(f"not a bulk string: {arguments[:20]!r}")
        end = head.end() + int(head[1])
        found.append(arguments[head.end() : end])
        arguments = arguments[end + 2 :]
    return found
