"""Where a request goes next: URI → flow, our own Route values, a strict-routing neighbour (RFC 3261 §16.4, §16.6)."""

from __future__ import annotations

import re
from functools import lru_cache
from ipaddress import ip_address
from typing import TYPE_CHECKING, Final

from proxy.engine.finding import Question
from proxy.engine.lines import remove_all
from proxy.engine.seal import seal_in
from proxy.sip.headers import drop_first_value, parse_name_addr, place_of, split_list
from proxy.sip.message import Request
from proxy.sip.uri import SipUri, parse_uri, request_uri, target_of, without

if TYPE_CHECKING:
    from collections.abc import Sequence

    from proxy.engine.core import Core
    from proxy.sip.flow import Flow

_TOKEN: Final = re.compile(r";([cf])=([0-9A-Za-z_\-]+)")
"""In a Route value of ours: `c` names a call, `f` a client's flow (flowtoken.py)."""
_HOPS_MAX: Final = 8192
"""URIs whose next hop is remembered: the contacts of phones and neighbours come again in every request."""


class Target:
    """One place to send a request to. `flow` is None while its host is a name that has to be looked up."""

    __slots__ = (
        "any_transport",
        "edge",
        "flow",
        "host",
        "port",
        "prefer",
        "routes",
        "secure",
        "transport",
        "uri",
        "ways",
    )

    def __init__(
        self, uri: str, flow: Flow | None, transport: str, host: str, port: int, routes: tuple[str, ...] = ()
    ) -> None:
        self.uri = uri
        """The Request-URI there."""
        self.flow = flow
        self.transport = transport
        """"" while only the look-up can say (RFC 3263 §4.1)."""
        self.host = host
        self.port = port
        """0 of a name without one: its SRV records say (RFC 3263 §4.2)."""
        self.any_transport = False
        """Its URI leaves the transport open: large requests go by TCP."""
        self.edge = False
        """A flow token named it: when it fails, its sender hears 430."""
        self.routes = routes
        """Ready `Route:` lines that go on top (RFC 3327 paths, a strict router's R-URI)."""
        self.secure = False
        """Its next hop is a sips URI that has to be looked up: no other way than what that finds."""
        self.ways: Sequence[Flow] = ()
        """Where to go when `flow` fails (RFC 3263 §4.3)."""
        self.prefer: Flow | None = None
        """Of several servers behind the name the one to try first: it has the dialog, or issued the nonce."""

    @property
    def question(self) -> Question:
        """What has to be looked up."""
        return Question(self.host, self.port, self.transport, self.secure)

    def found(self, ways: Sequence[Flow]) -> bool:
        """The look-up's answer. False: the name leads nowhere."""
        prefer = self.prefer
        if prefer is not None and (prefer in ways or not ways):
            # Not there: a Contact that only its own network can look up. The dialog came by this flow, after all.
            ways = [prefer, *(flow for flow in ways if flow is not prefer)]
        self.flow = ways[0] if ways else None
        self.ways = ways[1:]
        return bool(ways)

    def next(self) -> Target:
        """The same over the next of its ways."""
        target = Target(self.uri, self.ways[0], self.transport, self.host, self.port, self.routes)
        target.any_transport = self.any_transport
        target.ways = self.ways[1:]
        return target


def is_address(host: str) -> bool:
    """An address and no name; what only looks like one (999.1.1.1) would be looked up by the socket, blocking."""
    try:
        ip_address(host.strip("[]"))
    except ValueError:
        return False
    return True


@lru_cache(_HOPS_MAX)
def _hop(text: str) -> tuple[str, str, int, bool] | None:
    """(transport, host, port, is an address) that a sip URI asks for, transport "" when open; None: it is no URI.

    RFC 3263 §4.1, §4.2: for an address what is not given has its default; for a name that is the look-up's matter.
    """
    uri = parse_uri(text)
    if uri is None:
        return None
    host = target_of(uri)
    if host is None:
        return None
    # RFC 3261 §19.1.2: 5061 is the port of TLS.
    transport = (uri.params.get("transport") or "").upper()
    if uri.scheme == "sips":
        # RFC 3263 §4.1: what a neighbour's Route asks for so is never sent in the clear.
        transport = "TLS"
    if is_address(host):
        return transport, host.strip("[]"), uri.port or (5061 if transport == "TLS" else 5060), True
    return transport, host.rstrip("."), uri.port or 0, False


def hop_of(core: Core, hop: str, request_uri: str, routes: tuple[str, ...] = ()) -> Target | None:
    """The target whose next hop is the URI `hop`; None when that is no sip URI. Addresses get their flow at once."""
    found = _hop(hop)
    if found is None:
        return None
    asked, host, port, numeric = found
    transport = (asked or "UDP") if numeric else asked
    target = Target(
        request_uri, core.flow_to(transport, host, port) if numeric else None, transport, host, port, routes
    )
    target.any_transport = not asked
    if target.flow is None:
        target.secure = hop[:5].lower() == "sips:"
    return target


def leads_to(uri: str, target: Target) -> bool:
    """Whether the target's host and port are those that this URI asks for, by whatever transport."""
    found = _hop(uri)
    return found is not None and found[1:3] == (target.host, target.port)


def take_own_routes(core: Core, request: Request, source: Flow) -> tuple[bool, str, str, str]:
    """RFC 3261 §16.4: undo strict routing, remove a maddr and the Route values that name us.

    Returns whether there was any, and of what we wrote into them, "" where it is not there: the call token, the flow
    token, the seal.
    """
    token = flow_token = seal = ""
    routed = False
    uri = parse_uri(request.uri) if ";" in request.uri else None
    if uri is not None and "lr" in uri.params and (uri.host, uri.port or 5060) in core.own:
        # RFC 3261 §16.4: "the Request-URI … contains a value this proxy previously placed into a Record-Route":
        # a strict router sent it; the real Request-URI is the last Route value.
        found = _TOKEN.search(request.uri)
        if found is not None and found[1] == "c":
            token = found[2]
        elif found is not None:
            flow_token = found[2]
        seal = seal_in(request.uri)
        routed = True
        _restore_request_uri(request)
        uri = parse_uri(request.uri)
    if uri is not None and uri.params.get("maddr"):
        _strip_own_maddr(core, request, uri, source)
    keys = request.keys
    while (at := place_of(keys, "route")) >= 0:
        line = request.lines[at]
        value = line.partition(":")[2].lstrip()
        if not value.startswith(core.own_prefixes) and not _names_us(core, value):
            break
        found = _TOKEN.search(value.partition(">")[0])
        if found is not None and found[1] == "c":
            if token and found[2] != token:
                # Another call of ours: the request comes round by us again, as its INVITE did (a spiral).
                break
            token = found[2]
        elif found is not None and not flow_token:
            # Of two, one for each side of a dialog, the first is the one that its sender goes by.
            flow_token = found[2]
        if not token and not seal:
            seal = seal_in(value)
        routed = True
        drop_first_value(request.lines, keys, "route")
    return routed, token, flow_token, seal


def _names_us(core: Core, value: str) -> bool:
    values = split_list(value)
    route = parse_name_addr(values[0]) if values else None
    uri = parse_uri(route.uri) if route is not None else None
    return uri is not None and core.is_own(uri.host, uri.port)


def _strip_own_maddr(core: Core, request: Request, uri: SipUri, source: Flow) -> None:
    """RFC 3261 §16.4: a maddr that is us, where the request came "using the port and transport indicated (explicitly or
    by default) in the Request-URI", goes, and "any non-default port or transport parameter"."""
    found = _hop(request.uri)
    host = target_of(uri)
    if found is None or host is None:
        return
    asked, _, port, _ = found
    asked = asked or "UDP"
    default = 5061 if asked == "TLS" else 5060
    port = port or default
    local = source.local
    # RFC 7118 §5.2: in URIs WebSocket is "ws", with TLS below it or not.
    came_so = local.transport == asked or (asked == "WS" and local.transport == "WSS")
    if not came_so or local.port != port or not core.is_own(host, port):
        return
    names = ("maddr",) if asked == "UDP" else ("maddr", "transport")
    request.uri = without(request_uri(request.uri), *names, port=uri.port is None or port == default)


def _restore_request_uri(request: Request) -> None:
    routes = request.all_values("route")
    last = parse_name_addr(routes[-1]) if routes else None
    if last is None:
        return
    request.uri = request_uri(last.uri)
    remove_all(request, "route")
    if len(routes) > 1:
        request.lines.insert(0, "Route: " + ", ".join(routes[:-1]))
        request.keys.insert(0, "route")


def by_route_or_uri(core: Core, request: Request) -> Target | None:
    """RFC 3261 §16.6 steps 6 and 7: the topmost Route, else the Request-URI. None: neither is usable."""
    if not request.has("route"):
        return hop_of(core, request.uri, request.uri)
    values = request.all_values("route")
    route = parse_name_addr(values[0])
    uri = parse_uri(route.uri) if route is not None else None
    if route is None or uri is None:
        return None
    if "lr" in uri.params:
        return hop_of(core, route.uri, request.uri)
    # RFC 3261 §16.6 step 6: the next hop is a strict router: it wants itself in the Request-URI and the real one as
    # the last Route value.
    rest = [*values[1:], f"<{request.uri}>"]
    remove_all(request, "route")
    return hop_of(core, route.uri, request_uri(route.uri), ("Route: " + ", ".join(rest),))
