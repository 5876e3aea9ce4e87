"""The contacts of a REGISTER (RFC 3261 §10.3 steps 6 and 7), as far as the request alone tells."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final

from policies.reasons import Reason
from proxy.engine.bindings import Binding, contact_key, registered_contact, to_record
from proxy.engine.registration import Answer, Go, Registration, refusal
from proxy.sip.headers import NameAddr, parse_delta, parse_name_addr, parse_q
from proxy.sip.uri import parse_uri, request_uri

if TYPE_CHECKING:
    from proxy.engine.core import Core

CONTACT_MAX: Final = 2048
"""Characters of one Contact value: ten of them make a 200 that still fits a datagram. Kamailio's column has 512."""
AGENT_MAX: Final = 128
"""Characters kept of User-Agent."""
HOUR: Final = 3600
"""RFC 3261 §10.2: what a malformed `expires` means. §10.3 step 7: an interval that is never too brief."""


class Asked:
    """One Contact value of a REGISTER."""

    __slots__ = ("contact", "expires", "key", "value")

    def __init__(self, key: str, value: str, contact: NameAddr, expires: int) -> None:
        self.key = key
        self.value = value
        self.contact = contact
        self.expires = expires
        """Seconds asked for, 0 = to be removed."""


def read_contacts(core: Core, registration: Registration, flows: bool) -> list[Asked] | Answer:
    """What is asked for each contact; `registration.remove_all` is set for `*`.

    `flows`: reg-id counts (RFC 5626 §6): a binding is a flow of a device then, whatever contact it has.
    """
    request = registration.request
    values = request.all_values("contact")
    header = request.value("expires")
    if "*" in values:
        # Step 6; §10.2.2: "the Expires header field with a value of 0", and alone.
        if len(values) > 1 or header is None or parse_delta(header) != 0:
            return Answer(400, "Contact * Wants Expires 0 And No Other Contact")
        registration.remove_all = True
        return []
    most = core.snapshot.config.limits.contacts_max
    if len(values) > most:
        return refusal(core, Reason.CONTACTS, str(most), None)
    default = int(core.snapshot.config.registrar.expires_default)
    found: dict[str, Asked] = {}
    for value in values:
        contact = parse_name_addr(value)
        if contact is None or len(value) > CONTACT_MAX:
            return Answer(400, "Bad Contact")
        if contact.uri[:5].lower() == "sips:":
            # RFC 5630 §5.2: not under a Request-URI that is none, and we take no other (validate.py).
            return Answer(400, "sips Contact Wants sips Request-URI")
        key = (flow_key(contact) if flows else "") or contact_key(contact.uri)
        # The same contact twice is one binding; the later value holds.
        found[key] = Asked(key, value, contact, expires_of(contact, header, default))
    asked = list(found.values())
    if flows and sum(one.expires > 0 for one in asked) > 1 and any("|" in one.key for one in asked):
        # RFC 5626 §6: a registration is of one flow.
        return Answer(400, "One Contact With reg-id At A Time")
    return asked


def flow_key(contact: NameAddr) -> str:
    """What tells flows of devices apart: instance and reg-id (RFC 5626 §6); "" for a contact that is none.

    register-3.lua counts what stands before the last `|` as one device.
    """
    instance, number = contact.params.get("+sip.instance") or "", contact.params.get("reg-id") or ""
    if not instance or not number.isascii() or not number.isdecimal() or len(number) > 10 or not int(number):
        # §6: a reg-id without an instance is ignored; §11.1: a number from 1 up.
        return ""
    return f"{instance}|{int(number)}"


def is_first_hop(registration: Registration) -> bool:
    """Whether the client sent it to us itself: RFC 5626 §6 has the Via header say so."""
    return not registration.request.more_vias()


def knows(registration: Registration, tag: str) -> bool:
    """Whether the client's Supported has this option tag."""
    return any(value.lower() == tag for value in registration.request.all_values("supported"))


def expires_of(contact: NameAddr, header: str | None, default: int) -> int:
    """Seconds said of one contact. Step 7: the parameter, else the header field, else `default`."""
    if "expires" in contact.params:
        said = parse_delta(contact.params["expires"] or "")
    elif header is not None:
        said = parse_delta(header)
    else:
        return default
    return HOUR if said is None else said


def grant(core: Core, registration: Registration) -> Answer | Go:
    """Our own registrar's part: no interval is too brief, none too long."""
    request = registration.request
    registration.path = request.all_values("path") if "path" in request.keys else []
    for value in registration.path:
        hop = parse_name_addr(value)
        uri = parse_uri(hop.uri) if hop is not None and "<" in value else None
        if uri is None:
            return Answer(400, "Bad Path")
        if "lr" not in uri.params:
            # RFC 3327 §4: "such values MUST include the loose-routing indicator parameter ";lr"". RFC 3261 §16.6 step
            # 6: whom a request is made to visit has to be a loose router.
            return Answer(400, "Path Wants lr")
    flows = is_first_hop(registration) or _has_ob(registration.path)
    asked = read_contacts(core, registration, flows)
    if isinstance(asked, Answer):
        return asked
    if not flows and knows(registration, "outbound") and any(flow_key(one.contact) for one in asked):
        # RFC 5626 §6, §11.6: the client may register without reg-id then.
        return Answer(439, "First Hop Lacks Outbound Support")
    registration.outbound = knows(registration, "outbound") and any("|" in one.key for one in asked)
    settings = core.snapshot.config.registrar
    for one in asked:
        if 0 < one.expires < settings.expires_min and one.expires < HOUR:
            return Answer(423, "Interval Too Brief", [f"Min-Expires: {math.ceil(settings.expires_min)}"])
        expires = min(one.expires, int(settings.expires_max))
        registration.contacts.append((one.key, expires, record_of(core, registration, one, expires)))
    return Go.CONTINUE


def _has_ob(path: list[str]) -> bool:
    """RFC 5626 §6: whether the proxy nearest to the client (the last value, RFC 3327 §5.2) keeps its flow."""
    nearest = parse_name_addr(path[-1]) if path else None
    uri = parse_uri(nearest.uri) if nearest is not None else None
    return uri is not None and "ob" in uri.params


def record_of(core: Core, registration: Registration, asked: Asked, expires: int) -> str:
    """The text of the binding that the store keeps."""
    flow = registration.txn.flow
    contact = asked.contact
    q = parse_q(contact.params.get("q") or "1")
    return to_record(
        Binding(
            uri=request_uri(contact.uri),
            contact=registered_contact(asked.value),
            q=1000 if q is None else q,
            expires_at=registration.wall + expires,
            updated_at=registration.wall,
            transport=flow.transport,
            host=flow.host,
            port=flow.port,
            conn=flow.conn,
            local_host=flow.local.host,
            local_port=flow.local.port,
            instance=core.instance,
            sip_instance=contact.params.get("+sip.instance") or "",
            reg_id=contact.params.get("reg-id") or "",
            path=", ".join(registration.path),
            agent=(registration.request.value("user-agent") or "")[:AGENT_MAX],
        )
    )
