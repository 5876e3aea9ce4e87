"""The registrar (RFC 3261 §10.3): an ordered tuple of steps up to the store, and the answer once the store decided.

Who is asking is known by digest alone, so an unknown user and a wrong password get the same 401, and a user who may
not touch an address of record learns by 403 nothing of whether it exists.

Not here: how many accounts may register and the order of CSeq (the store's script, in one step with the bindings);
Path (RFC 3327), outbound (RFC 5626) and GRUU (RFC 5627); third-party registration, which is refused.
"""

from __future__ import annotations

import enum
import math
from collections.abc import Callable, Sequence
from email.utils import formatdate
from typing import TYPE_CHECKING, assert_never

from policies.account import Limits, NoPlan
from policies.reasons import Reason
from policies.verdicts import Registered, RegisterOutOfOrder, RegisterRefused, Replayed, Unavailable
from proxy.engine.bindings import (
    Binding,
    came_by,
    contact_key,
    read_records,
    registered_contact,
    to_record,
)
from proxy.engine.digest import Missing, Stale, Verified, Wrong
from proxy.engine.effects import AskRegister, RegisterAsk
from proxy.engine.targets import is_address
from proxy.sip.headers import NameAddr, parse_delta, parse_name_addr, parse_q
from proxy.sip.uri import aor_key, parse_uri, request_uri

if TYPE_CHECKING:
    from policies.catalog import Account
    from policies.verdicts import RegisterVerdict
    from proxy.engine.core import Core
    from proxy.engine.events import RegisterDecided
    from proxy.sip.flow import Flow
    from proxy.sip.message import Request
    from proxy.sip.transaction import ServerTransaction

CONTACT_MAX = 2048
"""Characters of one Contact value: ten of them make a 200 that still fits a datagram. Kamailio's column has 512."""
AGENT_MAX = 128
"""Characters kept of User-Agent."""
HOUR = 3600
"""RFC 3261 §10.2: what a malformed `expires` means. §10.3 step 7: an interval that is never too brief."""
_ROUNDING = 0.001
"""Seconds: a record keeps its expiry in whole ms, so what is left of 60 s may seem to be a little more."""


class Answer:
    """A step's verdict: this is the final response, skip the remaining steps."""

    __slots__ = ("extra", "phrase", "status")

    def __init__(self, status: int, phrase: str, extra: Sequence[str] = ()) -> None:
        self.status = status
        self.phrase = phrase
        self.extra = extra
        """Ready header lines."""


class Go(enum.Enum):
    """A step's other verdicts."""

    CONTINUE = "continue"
    NOT_OURS = "not ours"
    ASKED = "asked"


class Registration:
    """One REGISTER on its way through the steps, and the context of its RegisterAsk."""

    __slots__ = (
        "account",
        "aor",
        "contacts",
        "domain",
        "limits",
        "nc",
        "nonce",
        "now",
        "remove_all",
        "request",
        "request_domain",
        "source",
        "txn",
        "wall",
    )

    account: Account
    limits: Limits

    def __init__(
        self, txn: ServerTransaction, request: Request, source: Flow, now: float, wall: float
    ) -> None:
        self.txn = txn
        self.request = request
        self.source = source
        self.now = now
        self.wall = wall
        """Unix seconds."""
        self.request_domain = ""
        """The domain in the Request-URI; "" when it names us and no domain: then the user's own is meant."""
        self.domain = ""
        """The address of record's domain when it is one of ours, else the Request-URI's (our first for an address):
        whose users may answer."""
        self.aor = ""
        """The address of record in To, canonical."""
        self.nonce = ""
        self.nc = 0
        self.contacts: list[tuple[str, int, str]] = []
        """As in RegisterAsk."""
        self.remove_all = False


Step = Callable[["Registrar", Registration], "Answer | Go"]


class Registrar:
    """Takes REGISTER requests for our own domains."""

    __slots__ = ("_core",)

    def __init__(self, core: Core) -> None:
        self._core = core

    def on_register(self, txn: ServerTransaction, now: float, source: Flow | None = None) -> bool:
        """A new REGISTER. False: its domain is not ours and nothing was done (RFC 3261 §10.3 step 1: forward it).

        Else it is answered, now or by `on_decided` after the effect AskRegister. `source`: the flow it came by, where
        that is not `txn.flow`: without rport responses go to another port (RFC 3261 §18.2.2). The account is known by
        where it sends from; it is called where it hears us, as it just has (it got our challenge there).
        """
        request = txn.request
        if request is None:
            return True
        registration = Registration(txn, request, source or txn.flow, now, now + self._core.wall_offset)
        for _, step in STEPS:
            verdict = step(self, registration)
            if verdict is Go.CONTINUE:
                continue
            if isinstance(verdict, Answer):
                self._core.answer(txn, verdict.status, verdict.phrase, now, verdict.extra)
            return verdict is not Go.NOT_OURS
        return True

    def on_decided(self, decided: RegisterDecided, now: float) -> None:
        """The store's verdict: answers the transaction."""
        registration = decided.ask.user
        assert isinstance(registration, Registration)
        registration.now = now
        registration.wall = now + self._core.wall_offset
        answer = self._decided(registration, decided.verdict)
        self._core.answer(registration.txn, answer.status, answer.phrase, now, answer.extra)

    def flow_failed(self, flow: Flow) -> None:
        """The connection is gone: nobody is registered from it any more."""
        self._core.sources.drop(flow)

    # The steps, in the order of RFC 3261 §10.3 -----------------------------------------------------------------------

    def _domain(self, registration: Registration) -> Answer | Go:
        # Step 1: "whether it has access to bindings for the domain identified in the Request-URI".
        core = self._core
        uri = parse_uri(registration.request.uri)
        if uri is None or not core.is_own(uri.host, uri.port):
            return Go.NOT_OURS
        if uri.host in core.snapshot.catalog.domains:
            registration.domain = uri.host
            # An address is no domain, though it be listed as one: a phone set to it means this host.
            registration.request_domain = "" if is_address(uri.host) else uri.host
        else:
            registration.domain = core.snapshot.config.domains[0]
        return Go.CONTINUE

    def _require(self, registration: Registration) -> Answer | Go:
        # Step 2 and §8.2.2.3: extensions we do not have are named in Unsupported.
        required = registration.request.all_values("require")
        if not required:
            return Go.CONTINUE
        return Answer(420, "Bad Extension", [f"Unsupported: {', '.join(required)}"])

    def _authenticate(self, registration: Registration) -> Answer | Go:
        # Step 3.
        request = registration.request
        core = self._core
        catalog = core.snapshot.catalog
        to = parse_name_addr(request.value("to") or "")
        uri = parse_uri(to.uri) if to is not None else None
        if uri is None:
            # RFC 3261 §10.2: To "MUST be a SIP URI or SIPS URI". RFC 4475 §3.3.4.
            return Answer(400, "To Is No SIP URI")
        registration.aor = aor_key(uri)
        if uri.host in catalog.domains:
            registration.domain = uri.host
        proof = self._core.digest.verify(
            request.values("authorization"),
            "REGISTER",
            request.uri,
            self._realm(registration),
            registration.domain,
            catalog.accounts.get,
            registration.wall,
        )
        if isinstance(proof, Verified):
            registration.account, registration.nonce, registration.nc = proof.account, proof.nonce, proof.nc
            return Go.CONTINUE
        if isinstance(proof, Stale):
            return self._challenge(registration, True)
        if isinstance(proof, Missing | Wrong):
            return self._challenge(registration, False)
        assert_never(proof)

    def _authorise(self, registration: Registration) -> Answer | Go:
        # Step 4: an account registers for itself only.
        account = registration.account
        if account.aor != registration.aor:
            return Answer(403, "Forbidden", [self._warning("this account may register only for itself")])
        if account.disabled:
            return self._refusal(Reason.ACCOUNT_DISABLED, "", None)
        return Go.CONTINUE

    def _address_of_record(self, registration: Registration) -> Answer | Go:
        # Step 5: "if the address-of-record is not valid for the domain in the Request-URI".
        if registration.request_domain not in ("", registration.domain):
            return Answer(404, "Not Found")
        return Go.CONTINUE

    def _tariff(self, registration: Registration) -> Answer | Go:
        # Not in the RFC: SPEC §2, a mode in no active plan is a service that was not bought.
        limits = self._core.limits_of(registration.account, registration.now)
        if isinstance(limits, NoPlan):
            return self._refusal(Reason.NO_PLAN, limits.mode, None)
        registration.limits = limits
        return Go.CONTINUE

    def _contacts(self, registration: Registration) -> Answer | Go:
        # Steps 6 and 7, as far as the request alone tells.
        request = registration.request
        values = request.all_values("contact")
        header = request.value("expires")
        if "*" in values:
            # Step 6; §10.2.2: "the Expires header field with a value of 0", and alone.
            if len(values) > 1 or header is None or parse_delta(header) != 0:
                return Answer(400, "Contact * Wants Expires 0 And No Other Contact")
            registration.remove_all = True
            return Go.CONTINUE
        most = self._core.snapshot.config.limits.contacts_max
        if len(values) > most:
            return self._refusal(Reason.CONTACTS, str(most), None)
        found: dict[str, tuple[str, int, str]] = {}
        for value in values:
            contact = parse_name_addr(value)
            if contact is None or len(value) > CONTACT_MAX:
                return Answer(400, "Bad Contact")
            expires = self._expires(contact, header)
            if isinstance(expires, Answer):
                return expires
            key = contact_key(contact.uri)
            # The same contact twice is one binding; the later value holds.
            found[key] = (key, expires, to_record(self._binding(registration, value, contact, expires)))
        registration.contacts = list(found.values())
        return Go.CONTINUE

    def _ask(self, registration: Registration) -> Answer | Go:
        # Steps 6 to 8 go on in the store: "processed atomically … either processed completely or not at all".
        request = registration.request
        self._core.out.append(
            AskRegister(
                RegisterAsk(
                    aor=registration.aor,
                    account=registration.account.aor,
                    limits=registration.limits,
                    call_id=request.call_id,
                    cseq=request.cseq,
                    contacts=registration.contacts,
                    remove_all=registration.remove_all,
                    nonce=registration.nonce,
                    nc=registration.nc,
                    user=registration,
                )
            )
        )
        return Go.ASKED

    # What the steps are made of --------------------------------------------------------------------------------------

    def _expires(self, contact: NameAddr, header: str | None) -> int | Answer:
        """Seconds granted to one contact, 0 = to be removed."""
        settings = self._core.snapshot.config.registrar
        # Step 7: the parameter, else the header field, else our default.
        if "expires" in contact.params:
            asked = parse_delta(contact.params["expires"] or "")
        elif header is not None:
            asked = parse_delta(header)
        else:
            return int(settings.expires_default)
        if asked is None:
            asked = HOUR
        if 0 < asked < settings.expires_min and asked < HOUR:
            return Answer(423, "Interval Too Brief", [f"Min-Expires: {math.ceil(settings.expires_min)}"])
        return min(asked, int(settings.expires_max))

    def _binding(self, registration: Registration, value: str, contact: NameAddr, expires: int) -> Binding:
        flow = registration.txn.flow
        q = parse_q(contact.params.get("q") or "1")
        return Binding(
            uri=request_uri(contact.uri),
            contact=registered_contact(value),
            q=1000 if q is None else q,
            expires_at=registration.wall + expires,
            updated_at=registration.wall,
            transport=flow.transport,
            host=flow.host,
            port=flow.port,
            conn=flow.conn,
            local_host=flow.local.host,
            local_port=flow.local.port,
            instance=self._core.instance,
            sip_instance=contact.params.get("+sip.instance") or "",
            reg_id=contact.params.get("reg-id") or "",
            agent=(registration.request.value("user-agent") or "")[:AGENT_MAX],
        )

    def _decided(self, registration: Registration, verdict: RegisterVerdict) -> Answer:
        if isinstance(verdict, Registered):
            return self._registered(registration, read_records(verdict.bindings))
        if isinstance(verdict, RegisterRefused):
            return self._refusal(verdict.reason, verdict.limit, verdict.resets_in_ms)
        if isinstance(verdict, RegisterOutOfOrder):
            # Step 7: "the update MUST be aborted and the request fails", with 500 by its last paragraph.
            return Answer(500, "Request Out Of Order", [self._warning("CSeq is not higher than before")])
        if isinstance(verdict, Replayed):
            # The password is right and the nonce is used up: RFC 7616 §3.3, a new one without asking the user.
            return self._challenge(registration, True)
        if isinstance(verdict, Unavailable):
            return self._refusal(Reason.STORE_UNAVAILABLE, "", None)
        assert_never(verdict)

    def _registered(self, registration: Registration, bindings: list[Binding]) -> Answer:
        # Step 8: all current bindings, each with the interval that is left of it.
        wall = registration.wall
        extra = [
            f"Contact: {binding.contact};expires={max(1, math.ceil(binding.expires_at - wall - _ROUNDING))}"
            for binding in bindings
        ]
        # "SHOULD include a Date header field": phones set their clocks by it.
        extra.append(f"Date: {formatdate(wall, usegmt=True)}")
        if registration.contacts or registration.remove_all:
            self._remember(registration, bindings)
        return Answer(200, "OK", extra)

    def _remember(self, registration: Registration, bindings: list[Binding]) -> None:
        """Who is registered from this flow, and until when."""
        core = self._core
        hears = registration.txn.flow
        until = max((one.expires_at for one in bindings if came_by(one, hears, core.instance)), default=0.0)
        aor, now = registration.account.aor, registration.now
        core.sources.put(registration.source, aor, now + (until - registration.wall), now)

    def _realm(self, registration: Registration) -> str:
        return self._core.snapshot.config.auth.realm or registration.domain

    def _challenge(self, registration: Registration, stale: bool) -> Answer:
        core = self._core
        core.counters.challenges += 1
        values = self._core.digest.challenge(self._realm(registration), stale, registration.wall, core.rng)
        return Answer(401, "Unauthorized", [f"WWW-Authenticate: {value}" for value in values])

    def _refusal(self, reason: Reason, limit: str, resets_in_ms: int | None) -> Answer:
        row, extra = self._core.refusal(reason, limit, resets_in_ms)
        return Answer(row.status, row.phrase, extra)

    def _warning(self, words: str) -> str:
        return f'Warning: 399 {self._core.server_name} "{words}"'


STEPS: tuple[tuple[str, Step], ...] = (
    ("domain", Registrar._domain),
    ("require", Registrar._require),
    ("authenticate", Registrar._authenticate),
    ("authorise", Registrar._authorise),
    ("address_of_record", Registrar._address_of_record),
    ("tariff", Registrar._tariff),
    ("contacts", Registrar._contacts),
    ("ask", Registrar._ask),
)
