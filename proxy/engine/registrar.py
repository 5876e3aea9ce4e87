"""The registrar (RFC 3261 §10.3): an ordered tuple of steps up to the store, and the answer once the store decided.

Who is asking is known by digest alone, so an unknown user and a wrong password get the same 401, and a user who may
not touch an address of record learns by 403 nothing of whether it exists.

Not here: how many accounts may register and the order of CSeq (the store's script, in one step with the bindings);
third-party registration, which is refused; GRUU (RFC 5627). What another registrar keeps is passing.py's.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from email.utils import formatdate
from typing import TYPE_CHECKING, Final, assert_never

from policies.account import NoPlan
from policies.reasons import Reason
from policies.verdicts import Registered, RegisterOutOfOrder, RegisterRefused, Replayed, Unavailable
from proxy.engine import passing, respond
from proxy.engine.bindings import Binding, came_by, read_records
from proxy.engine.contacts import grant, knows
from proxy.engine.digest import Flaw, Missing, Stale, Verified, Wrong
from proxy.engine.effects import AskRegister, RegisterAsk
from proxy.engine.facts import real_text
from proxy.engine.merged import LOOP_DETECTED, merged
from proxy.engine.registration import Answer, Go, Registration, refusal, warning
from proxy.engine.targets import is_address
from proxy.sip.headers import parse_name_addr
from proxy.sip.uri import aor_key, parse_uri

if TYPE_CHECKING:
    from policies.verdicts import RegisterVerdict
    from proxy.engine.core import Core
    from proxy.engine.events import PlaceDecided, RegisterDecided
    from proxy.sip.flow import Flow
    from proxy.sip.transaction import ServerTransaction

EXTENSIONS: Final = ("path", "outbound")
"""Option tags that a REGISTER may require of us."""
_ROUNDING: Final = 0.001
"""Seconds: a record keeps its expiry in whole ms, so what is left of 60 s may seem to be a little more."""


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
                self._answer(registration, verdict)
            return verdict is not Go.NOT_OURS
        return True

    def on_decided(self, decided: RegisterDecided, now: float) -> None:
        """The store's verdict: answers the transaction."""
        registration = decided.ask.user
        assert isinstance(registration, Registration)
        registration.now = now
        registration.wall = now + self._core.wall_offset
        if registration.passing is None:
            self._answer(registration, self._decided(registration, decided.verdict))
            return
        answer = passing.decided(self._core, registration, decided.verdict)
        response = registration.passing.response
        if answer is not None or response is None:
            self._answer(registration, answer or Answer(500, "Server Internal Error"))
            return
        if isinstance(decided.verdict, Registered):
            self._remember(registration, read_records(decided.verdict.bindings))
        respond.pass_up(self._core, registration.txn, registration.source, response, now)

    def on_place(self, decided: PlaceDecided, now: float) -> None:
        """Whether a REGISTER that another registrar keeps may go there."""
        registration = decided.user
        assert isinstance(registration, Registration)
        registration.now = now
        answer = passing.place_decided(self._core, registration, decided.verdict)
        if answer is not None:
            self._answer(registration, answer)

    def _answer(self, registration: Registration, answer: Answer) -> None:
        if answer.status == 503:
            # RFC 3263 §4.3: the client tries the next server by "a new request, which is identical to the previous, but
            # has a different value of the Via branch ID". That may be another address of ours.
            self._core.stack.disclaim_identity(registration.txn)
        self._core.answer(registration.txn, answer.status, answer.phrase, registration.now, answer.extra)

    def flow_failed(self, flow: Flow) -> None:
        """The connection is gone: nobody is registered from it any more."""
        self._core.sources.drop(flow)
        self._core.natted.drop(flow)

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

    def _address(self, registration: Registration) -> Answer | Go:
        to = parse_name_addr(registration.request.value("to") or "")
        uri = parse_uri(to.uri) if to is not None else None
        if uri is None:
            # RFC 3261 §10.2: To "MUST be a SIP URI or SIPS URI". RFC 4475 §3.3.4.
            return Answer(400, "To Is No SIP URI")
        registration.aor = aor_key(uri)
        if uri.host in self._core.snapshot.catalog.domains:
            registration.domain = uri.host
        return Go.CONTINUE

    def _elsewhere(self, registration: Registration) -> Answer | Go:
        # Not in the RFC: an account whose registrar is another one.
        account = self._core.snapshot.catalog.accounts.get(real_text(registration.aor))
        if account is None or not account.forward:
            return Go.CONTINUE
        registration.account = account
        return passing.begin(self._core, registration)

    def _merged(self, registration: Registration) -> Answer | Go:
        # §8.2.2.2: of what comes more than once the first is processed.
        return Answer(*LOOP_DETECTED) if merged(self._core, registration.txn) else Go.CONTINUE

    def _require(self, registration: Registration) -> Answer | Go:
        # Step 2 and §8.2.2.3: extensions we do not have are named in Unsupported.
        required = registration.request.all_values("require")
        unknown = [tag for tag in required if tag.lower() not in EXTENSIONS]
        if not unknown:
            return Go.CONTINUE
        return Answer(420, "Bad Extension", [f"Unsupported: {', '.join(unknown)}"])

    def _authenticate(self, registration: Registration) -> Answer | Go:
        # Step 3.
        request = registration.request
        core = self._core
        catalog = core.snapshot.catalog
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
            if core.guard.on and not core.trunks_at(registration.source.host):
                core.guard.proved(registration.source, proof.account.aor, registration.now)
            return Go.CONTINUE
        if isinstance(proof, Stale):
            return self._challenge(registration, True)
        if isinstance(proof, Wrong) and core.guard.on and proof.flaw is Flaw.PASSWORD:
            return self._wrong_password(registration)
        if isinstance(proof, Missing | Wrong):
            return self._challenge(registration, False)
        assert_never(proof)

    def _authorise(self, registration: Registration) -> Answer | Go:
        # Step 4: an account registers for itself only.
        account = registration.account
        if account.aor != registration.aor:
            return Answer(
                403, "Forbidden", [warning(self._core, "this account may register only for itself")]
            )
        if account.disabled:
            return refusal(self._core, Reason.ACCOUNT_DISABLED, "", None)
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
            return refusal(self._core, Reason.NO_PLAN, limits.mode, None)
        registration.limits = limits
        return Go.CONTINUE

    def _contacts(self, registration: Registration) -> Answer | Go:
        # Steps 6 and 7, as far as the request alone tells.
        return grant(self._core, registration)

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

    def _decided(self, registration: Registration, verdict: RegisterVerdict) -> Answer:
        if isinstance(verdict, Registered):
            return self._registered(registration, read_records(verdict.bindings))
        if isinstance(verdict, RegisterRefused):
            return refusal(self._core, verdict.reason, verdict.limit, verdict.resets_in_ms)
        if isinstance(verdict, RegisterOutOfOrder):
            # Step 7: "the update MUST be aborted and the request fails", with 500 by its last paragraph.
            return Answer(
                500, "Request Out Of Order", [warning(self._core, "CSeq is not higher than before")]
            )
        if isinstance(verdict, Replayed):
            # The password is right and the nonce is used up: RFC 7616 §3.3, a new one without asking the user.
            return self._challenge(registration, True)
        if isinstance(verdict, Unavailable):
            return refusal(self._core, Reason.STORE_UNAVAILABLE, "", None)
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
        if registration.path and knows(registration, "path"):
            # RFC 3327 §5.3.
            extra.append(f"Path: {', '.join(registration.path)}")
        if registration.outbound:
            # RFC 5626 §6: "MUST include the outbound option-tag in a Require header field value in its response".
            extra.append("Require: outbound")
            if registration.txn.flow.reliable:
                extra.append(f"Flow-Timer: {int(self._core.snapshot.config.nat.flow_timer)}")
        if registration.contacts or registration.remove_all:
            self._remember(registration, bindings)
        return Answer(200, "OK", extra)

    def _remember(self, registration: Registration, bindings: list[Binding]) -> None:
        """Who is registered from this flow, and until when."""
        core = self._core
        if registration.source.gone:
            # Its connection broke while the store was asked: FlowFailed has come and will not come again.
            return
        hears = registration.txn.flow
        until = max((one.expires_at for one in bindings if came_by(one, hears, core.instance)), default=0.0)
        aor, now = registration.account.aor, registration.now
        core.natted.note(hears, [one for one in bindings if came_by(one, hears, core.instance)], now)
        core.sources.put(registration.source, aor, now + (until - registration.wall), now)

    def _realm(self, registration: Registration) -> str:
        return self._core.snapshot.config.auth.realm or registration.domain

    def _wrong_password(self, registration: Registration) -> Answer | Go:
        """Challenged again: at once, later, or not at all, as the guard says."""
        core, txn, now = self._core, registration.txn, registration.now
        if core.trunks_at(registration.source.host):
            return self._challenge(registration, False)
        seconds = core.guard.failed(registration.source, registration.aor, now)
        if not seconds:
            return self._challenge(registration, False)

        def answer(at: float) -> None:
            registration.now, registration.wall = at, at + core.wall_offset
            if txn.request is not None:
                self._answer(registration, self._challenge(registration, False))

        if not core.guard.later(seconds, answer, now):
            core.stack.forget(txn, now)
        return Go.ASKED

    def _challenge(self, registration: Registration, stale: bool) -> Answer:
        core = self._core
        core.counters.challenges += 1
        values = self._core.digest.challenge(self._realm(registration), stale, registration.wall, core.rng)
        return Answer(401, "Unauthorized", [f"WWW-Authenticate: {value}" for value in values])


STEPS: Final[tuple[tuple[str, Step], ...]] = (
    ("domain", Registrar._domain),
    ("address", Registrar._address),
    ("elsewhere", Registrar._elsewhere),
    ("merged", Registrar._merged),
    ("require", Registrar._require),
    ("authenticate", Registrar._authenticate),
    ("authorise", Registrar._authorise),
    ("address_of_record", Registrar._address_of_record),
    ("tariff", Registrar._tariff),
    ("contacts", Registrar._contacts),
    ("ask", Registrar._ask),
)
