"""Splices on a message's header lines that more than one room needs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from proxy.sip.headers import drop_first_value, parse_auth, wire
from proxy.sip.message import Message, Request

if TYPE_CHECKING:
    from proxy.engine.core import Core
    from proxy.engine.facts import Caller


def top_via_off(message: Message) -> None:
    """RFC 3261 §16.7 step 3: our own Via, the topmost value, goes."""
    drop_first_value(message.lines, message.keys, "via")


def raw_value(message: Message, key: str) -> str:
    """The text after the colon of the first line with this key, "" when there is none."""
    return message.value(key) or ""


def remove_all(message: Message, key: str) -> None:
    """Take every line of this header out."""
    keys = message.keys
    while key in keys:
        i = keys.index(key)
        del keys[i], message.lines[i]


def add(message: Message, key: str, line: str) -> None:
    """Put a line below the others; `key` is its name in lower case."""
    message.lines.append(line)
    message.keys.append(key)


def strip_untrusted(core: Core, request: Request, caller: Caller) -> None:
    """What a request that starts something may not carry any further, in place."""
    if caller.account is not None and caller.account.forward:
        # Its credentials are for its registrar's proxy, and so is the Service-Route it was given (RFC 3608 §5).
        return
    if request.has("proxy-authorization"):
        take_own_credentials(core, request)
    if request.has("route"):
        # We differ: RFC 3261 §16.6 step 6 would follow it; where a call goes is for the routes to say, or a caller
        # would choose its own provider.
        remove_all(request, "route")


def take_own_credentials(core: Core, request: Request) -> None:
    """RFC 3261 §22.3: those of our own realm were meant for us; a caller's answer to its provider goes on to it.

    Within a dialog too: phones repeat them there, and a callee that got a re-INVITE's could call on with them as its
    caller, for they are signed for the contact it chose itself.
    """
    realm = core.snapshot.config.auth.realm
    ours = core.snapshot.catalog.domains if realm is None else (wire(realm),)
    keys = request.keys
    for i in reversed(range(len(keys))):
        if keys[i] != "proxy-authorization":
            continue
        credentials = parse_auth(request.lines[i].partition(":")[2])
        named = credentials.params.get("realm") if credentials is not None else None
        # What nobody can read is of no use to anybody.
        if named is None or named in ours:
            del keys[i], request.lines[i]
