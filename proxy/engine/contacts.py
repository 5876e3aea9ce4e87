"""The contacts of a REGISTER (RFC 3261 §10.3 steps 6 and 7), as far as the request alone tells."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final

from policies.reasons import Reason
from proxy.engine.bindings import Binding, contact_key, registered_contact, to_record
from proxy.engine.registration import Answer, Go, Registration, refusal
from proxy.sip.headers import NameAddr, parse_delta, parse_name_addr, parse_q
from proxy.sip.uri import request_uri

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


def read_contacts(core: Core, registration: Registration) -> list[Asked] | Answer:
    """What is asked for each contact; `registration.remove_all` is set for `*`."""
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
        key = contact_key(contact.uri)
        # The same contact twice is one binding; the later value holds.
        found[key] = Asked(key, value, contact, expires_of(contact, header, default))
    return list(found.values())


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
    asked = read_contacts(core, registration)
    if isinstance(asked, Answer):
        return asked
    settings = core.snapshot.config.registrar
    for one in asked:
        if 0 < one.expires < settings.expires_min and one.expires < HOUR:
            return Answer(423, "Interval Too Brief", [f"Min-Expires: {math.ceil(settings.expires_min)}"])
        expires = min(one.expires, int(settings.expires_max))
        registration.contacts.append((one.key, expires, record_of(core, registration, one, expires)))
    return Go.CONTINUE


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
            agent=(registration.request.value("user-agent") or "")[:AGENT_MAX],
        )
    )
