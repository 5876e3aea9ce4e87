"""Who may read who calls: RFC 3323 (Privacy) and RFC 3325 (P-Asserted-Identity) as far as a proxy can keep them.

The trust domain (RFC 3325 §2.3) is callgate and the trunks that say `trusted: yes`; a trunk with `identity: pai` is
believed, but told nothing. Phones are never in it.

Not here: privacy levels header, session and user. Contact, Via and From belong to the dialog's ends, so only a back-to-
back user agent could change them; they are passed on to whoever can, and refused when the caller calls them critical.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from proxy.engine.facts import Caller, claimed_account
from proxy.engine.lines import add, remove_all
from proxy.sip.headers import wire
from proxy.sip.message import Message, Request
from proxy.sip.uri import escape_user

if TYPE_CHECKING:
    from policies.catalog import Trunk
    from proxy.engine.core import Core
    from proxy.engine.forward import Context
    from proxy.engine.validate import Objection

_ASSERTED: Final = frozenset({"p-asserted-identity", "remote-party-id"})
"""The second is what RFC 3325 took the place of (draft-ietf-sip-privacy-04); gateways read it still."""

_SUPPLIED: Final = frozenset({"none", "id", "critical"})
"""What we do or need not do."""


def asked_for(message: Message) -> set[str]:
    """The priv-values of the message, in lower case. RFC 3323 §4.2: separated by semicolons."""
    return {
        value.strip().lower()
        for text in message.values("privacy")
        for value in text.split(";")
        if value.strip()
    }


def objection(request: Request) -> Objection | None:
    """RFC 3323 §5: what is critical and cannot be done fails the request."""
    if "privacy" not in request.keys:
        return None
    asked = asked_for(request)
    # §4.4: who puts `privacy` into Proxy-Require wants nobody to pass the request on that cannot do it.
    required = any(tag.lower() == "privacy" for tag in request.all_values("proxy-require"))
    lacking = sorted(asked - _SUPPLIED)
    if not lacking or "none" in asked or ("critical" not in asked and not required):
        return None
    return 500, f"Privacy not available: {', '.join(lacking)}"[:120], ()


def believed(trunk: Trunk | None) -> bool:
    """Whether an identity asserted by this neighbour is one (RFC 3325 §5)."""
    return trunk is not None and (trunk.trusted or trunk.identity == "pai")


def asserts(message: Message) -> bool:
    """Whether somebody is said to be its sender who need not be the one in From."""
    # Their lengths: each response asks, and a length is compared at a fraction of the cost.
    return any(len(name) in (15, 19) and name in _ASSERTED for name in message.keys)


def on_request(core: Core, request: Request, caller: Caller, towards: Trunk | None) -> None:
    """A request that starts something, in place. `towards`: None = an account of ours, a phone."""
    trusted = towards is not None and towards.trusted
    _between(request, believed(caller.trunk), trusted)
    account = caller.account
    if "p-preferred-identity" in request.keys:
        # RFC 3325 §7: a hint which of the identities that the caller proved to have is meant; it goes no further.
        if account is not None:
            for text in request.all_values("p-preferred-identity"):
                preferred = claimed_account(core, text)
                if preferred is not None and preferred.subscriber == account.subscriber:
                    account = preferred
                    break
        remove_all(request, "p-preferred-identity")
    if trusted and account is not None and "p-asserted-identity" not in request.keys:
        # RFC 3325 §5: the caller is authenticated by now, and the next hop is in the trust domain.
        identity = f"P-Asserted-Identity: <sip:{escape_user(wire(account.user))}@{account.domain}>"
        add(request, "p-asserted-identity", identity)


def in_dialog(context: Context, message: Message) -> None:
    """A request or response of a context that `asserts` something, in place (RFC 5876 §4: in any of them)."""
    call = context.call or context.call_of_dialog
    if call is None:
        _remove(message)
        return
    upwards = isinstance(message, Request) is not context.from_caller
    sender, receiver = (
        (call.route_trunk, call.caller_trunk) if upwards else (call.caller_trunk, call.route_trunk)
    )
    _between(message, believed(sender), receiver is not None and receiver.trusted)


def _between(message: Message, from_trusted: bool, to_trusted: bool) -> None:
    # RFC 3325 §5: what somebody we do not trust asserts is nothing. §7: with Privacy `id` it leaves the trust domain
    # for nobody. We differ from RFC 3323 §5 in leaving `id` itself: gateways read it as the caller's wish for CLIR.
    if asserts(message) and (not from_trusted or (not to_trusted and _withheld(message))):
        _remove(message)


def _withheld(message: Message) -> bool:
    # draft-ietf-sip-privacy-04: Remote-Party-ID says for itself what of it is to be hidden, "off" is nothing.
    for text in message.values("remote-party-id"):
        _, said, level = text.lower().partition(";privacy=")
        if said and not level.startswith("off"):
            return True
    return "id" in asked_for(message)


def _remove(message: Message) -> None:
    for key in _ASSERTED:
        remove_all(message, key)
