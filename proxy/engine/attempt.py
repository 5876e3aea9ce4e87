"""One account registered elsewhere, and one REGISTER of ours for it (RFC 3261 §10.2): how it is written, where it goes,
and what its answer asks for. When, says registrations.py."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from proxy.engine.bindings import contact_key
from proxy.engine.contacts import HOUR, expires_of
from proxy.engine.digest import answer as digest_answer
from proxy.engine.digest import is_stale
from proxy.engine.facts import real_text
from proxy.engine.finding import find
from proxy.engine.results import Result, State
from proxy.engine.targets import hop_of
from proxy.sip.headers import parse_delta, parse_name_addrs
from proxy.sip.serialise import render
from proxy.sip.uri import escape_user, parse_uri, unescape

if TYPE_CHECKING:
    from collections.abc import Sequence

    from policies.catalog import Account, Registering
    from proxy.engine.core import Core, LocalText
    from proxy.sip.flow import Flow
    from proxy.sip.message import Response
    from proxy.sip.timers import TimerHandle

ANSWERS_MAX = 3
"""Challenges answered in one go: one is the rule, a stale nonce makes another."""
EXPIRES_MAX = 604_800
"""Seconds of Min-Expires that we go along with."""


class Registration:
    """One account's."""

    __slots__ = (
        "account",
        "attempt",
        "call_id",
        "challenge",
        "cseq",
        "expires",
        "expires_at",
        "failures",
        "handle",
        "home",
        "home_target",
        "nc",
        "reason",
        "state",
        "status",
        "tag",
        "targets",
        "unsure",
    )

    def __init__(self, account: Account, call_id: str, tag: str) -> None:
        self.account = account
        self.state = State.STANDBY
        self.call_id = call_id
        """RFC 3261 §10.2: one for all REGISTERs of a client to a registrar, until it is started anew."""
        self.tag = tag
        self.cseq = 0
        self.expires = self.registering.expires
        """Seconds asked for: as configured, or more if the registrar wants more (423)."""
        self.expires_at = 0.0
        """When the registrar forgets us; 0 = it has not registered us."""
        self.failures = 0
        self.status = 0
        """Of the last answer; 408 none at all, 503 no way to send."""
        self.reason = ""
        self.handle: TimerHandle | None = None
        self.attempt: Attempt | None = None
        self.challenge: tuple[str, bool] | None = None
        """The last challenge and whether a proxy's: answered ahead while it holds (RFC 7616 §3.3)."""
        self.nc = 0
        self.targets: Sequence[str] = ()
        """The trunk's that are left to try, the one it is sent to first."""
        self.unsure = False
        """A server that was tried in this go may have registered us: it did not answer, or not with a refusal."""
        self.home: Flow | None = None
        self.home_target = ""
        """The server that registered us, and the trunk's target that led there."""

    @property
    def registering(self) -> Registering:
        register = self.account.register
        assert register is not None
        return register


class Attempt:
    """One REGISTER, and what was tried before it in the same go."""

    __slots__ = ("answers", "expires", "flow", "lengthened", "target", "user", "ways")

    def __init__(self, expires: int, flow: Flow | None = None, answers: int = 0) -> None:
        self.expires = expires
        """Seconds asked for; 0 takes the registration back."""
        self.flow = flow
        """The server that it goes to; None = to one of `target`, and not sent yet."""
        self.target = ""
        """The trunk's target that it goes to."""
        self.ways: Sequence[Flow] = ()
        """Other servers behind the same name, for when this one fails (RFC 3263 §4.3)."""
        self.answers = answers
        """Challenges answered."""
        self.lengthened = False
        """It has been refused as too brief."""
        self.user: object = None
        """The Registration."""


def contact_of(registration: Registration, text: LocalText) -> str:
    """The URI that calls to the account come to: its user name there, at our socket."""
    local = text.local
    parameter = "" if local.transport == "UDP" else f";transport={local.transport.lower()}"
    return f"sip:{escape_user(registration.registering.username)}@{local.host}:{local.port}{parameter}"


def send(
    core: Core,
    registration: Registration,
    attempt: Attempt,
    unsent: Callable[[float], None],
    now: float,
) -> None:
    """Send it, after looking the registrar up if need be. `unsent`: no flow leads there."""

    def found(ways: Sequence[Flow], at: float) -> None:
        home = _home(core, registration)
        first = home if home in ways else ways[0] if ways else None
        attempt.ways = [way for way in ways if way != first]
        reached(first, at)

    def reached(flow: Flow | None, at: float) -> None:
        if registration.attempt is not attempt:
            return
        if flow is None:
            unsent(at)
        else:
            _transmit(core, registration, attempt, flow, at)

    if attempt.flow is not None:
        reached(attempt.flow, now)
        return
    if not registration.targets:
        unsent(now)
        return
    attempt.target = registration.targets[0]
    target = hop_of(core, attempt.target, f"sip:{registration.registering.domain}")
    if target is None:
        unsent(now)
    elif target.flow is not None:
        reached(target.flow, now)
    else:
        find(core, target.question, found, now)


def targets_of(core: Core, registration: Registration) -> Sequence[str]:
    """The trunk's targets, in the order in which they are to be tried."""
    trunk = core.snapshot.catalog.trunks.get(registration.registering.trunk)
    if trunk is None:
        return ()
    texts = trunk.targets
    # RFC 3261 §10.2.4: "The UA SHOULD send registration refreshes to the same network address as the original
    # registration, unless redirected."
    if _home(core, registration) is None or registration.home_target not in texts:
        return texts
    return (registration.home_target, *(text for text in texts if text != registration.home_target))


def _home(core: Core, registration: Registration) -> Flow | None:
    """The server that registered us last, unless it is out of order."""
    home = registration.home
    return home if home is not None and home not in core.reach.outages else None


def _transmit(core: Core, registration: Registration, attempt: Attempt, flow: Flow, now: float) -> None:
    register = registration.registering
    text = core.texts[flow.local]
    attempt.flow = flow
    registration.cseq += 1
    uri = f"sip:{register.domain}"
    address = f"<sip:{escape_user(register.username)}@{register.domain}>"
    branch = core.ids.branch(0)
    lines = [
        text.via + branch,
        "Max-Forwards: 70",
        f"From: {address};tag={registration.tag}",
        f"To: {address}",
        f"Call-ID: {registration.call_id}",
        f"CSeq: {registration.cseq} REGISTER",
        f"Contact: <{contact_of(registration, text)}>;expires={attempt.expires}",
        f"Expires: {attempt.expires}",
        "User-Agent: callgate",
    ]
    if registration.challenge is not None:
        challenge, by_proxy = registration.challenge
        registration.nc += 1
        value = digest_answer(
            challenge,
            register.username,
            register.password,
            "REGISTER",
            uri,
            core.ids.tag(),
            registration.nc,
        )
        lines.append(f"{'Proxy-' if by_proxy else ''}Authorization: {value}")
    lines.append("Content-Length: 0")
    core.stack.send("REGISTER", render(f"REGISTER {uri} SIP/2.0", lines, b""), branch, flow, attempt, now)


def outcome_of(
    core: Core, registration: Registration, attempt: Attempt, response: Response, flow: Flow
) -> tuple[Attempt | None, Result]:
    """What follows a final response: another REGISTER at once, or what came of it."""
    status = response.status
    if status < 300:
        return None, Result.OK
    following = Attempt(attempt.expires, flow, attempt.answers)
    following.lengthened, following.target, following.ways = attempt.lengthened, attempt.target, attempt.ways
    if status in (401, 407) and _answerable(core, registration, attempt, response):
        following.answers += 1
        return following, Result.REJECTED
    if status == 423 and not attempt.lengthened and attempt.expires:
        # RFC 3261 §10.2.8: the registrar names the shortest interval it takes.
        least = parse_delta(response.value("min-expires") or "")
        if least is not None and attempt.expires < least <= EXPIRES_MAX:
            registration.expires = following.expires = least
            following.lengthened = True
            return following, Result.REJECTED
    return None, Result.UNREACHABLE if status in (408, 500, 502, 503, 504) else Result.REJECTED


def _answerable(core: Core, registration: Registration, attempt: Attempt, response: Response) -> bool:
    """Whether we have an answer to the challenge, which is remembered then.

    An answer ahead, made for the nonce of last time, may be refused: the new nonce is answered. One made for the nonce
    just told is refused only for a wrong password, unless the registrar calls the nonce stale.
    """
    by_proxy = response.status == 407
    register = registration.registering
    for challenge in response.values("proxy-authenticate" if by_proxy else "www-authenticate"):
        if attempt.answers and not is_stale(challenge):
            continue
        # RFC 8760 §2.4: the topmost that we can answer.
        found = digest_answer(
            challenge, register.username, register.password, "REGISTER", f"sip:{register.domain}", "0"
        )
        if found is not None and attempt.answers < ANSWERS_MAX:
            registration.challenge, registration.nc = (challenge, by_proxy), 0
            return True
    registration.challenge, registration.nc = None, 0
    return False


def granted_by(core: Core, registration: Registration, attempt: Attempt, response: Response) -> int:
    """Seconds that the registrar keeps us registered for; 0 = it lists other contacts and not ours."""
    header = response.value("expires")
    assert attempt.flow is not None
    key = contact_key(contact_of(registration, core.texts[attempt.flow.local]))
    listed = [contact for line in response.values("contact") for contact in parse_name_addrs(line) or ()]
    for contact in listed:
        if contact_key(contact.uri) == key:
            return expires_of(contact, header, attempt.expires)
    # Asterisk (rewrite_contact) and SBCs list us by where we come from.
    user = registration.registering.username
    ours = [one for one in listed if real_text(unescape(_user_of(one.uri))) == user]
    if listed:
        return max((expires_of(one, header, attempt.expires) for one in ours), default=0)
    found = parse_delta(header) if header is not None else None
    return min(attempt.expires if found is None else found, 24 * HOUR)


def _user_of(text: str) -> str:
    uri = parse_uri(text)
    return (uri.user if uri is not None else None) or ""
