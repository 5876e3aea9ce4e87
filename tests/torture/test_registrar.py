"""What a registrar makes of the REGISTERs among the torture messages once they carry credentials.

As they stand they are challenged. Here each is sent again with the answer to that challenge, as a client would (another
branch, one Authorization line more, nothing else), and what is registered then is what the message says: told in the
200, told again when asked, and called. One thing differs: escnull is for null-%00-null@example.com, which is no name an
account of ours can have; with that name it must be refused as not the account's own (a name cut at %00 would be that of
the account `null-`), and its contacts are registered for another account.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest

from proxy.sip.headers import parse_name_addr
from tests.e2e.net import TRANSPORTS, Net, Transport
from tests.torture.cases import Case, load
from tests.torture.rows import answer_port, header, uri_of
from tests.torture.stand import Stand, credentials
from tests.torture.wire import End, Heard

CASES = {case.name: case for case in load()}
GOOD = [case for case in CASES.values() if case.method == "REGISTER" and "process" in case.should]
CALLED = {
    "cparam01": "sip:+19725552222@gw1.example.net",
    "cparam02": "sip:+19725552222@gw1.example.net;unknownparam",
    "regescrt": "sip:user@example.com",  # RFC 3261 §19.1.1: no headers in a request line
}
"""The Request-URI of a call to what was registered."""


@pytest.fixture(scope="module")
def stand(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stand]:
    with Stand(Net(), tmp_path_factory.mktemp("registrar")) as stand:
        yield stand


def open_end(stand: Stand, case: Case, transport: Transport) -> End:
    return stand.sender(answer_port(case)) if transport == "UDP" else stand.connection()


_numbers = iter(range(1000))


def authenticated(stand: Stand, end: End, data: bytes, user: str, uri: str) -> Heard:
    """The message once as it stands, and once more with credentials: the answer to the second.

    By another Call-ID than it had: over TCP it would be a copy of what came over UDP (RFC 3261 §8.2.2.2).
    """
    data = re.sub(rb"(?im)^((?:call-id|i)[ \t]*:\s*)", rb"\g<1>n%d-" % next(_numbers), data, count=1)
    once = renamed(data)
    challenge = stand.ask_bytes(end, once)
    line = credentials(challenge, user, uri).encode()
    return stand.ask_bytes(end, renamed(data).replace(b"\r\n", b"\r\n" + line + b"\r\n", 1))


def renamed(data: bytes) -> bytes:
    """The same message as another request: the messages share some transaction identifiers."""
    return re.sub(rb"branch=z9hG4bK", b"branch=z9hG4bKn%d-" % next(_numbers), data, count=1)


def contacts_in(response: Heard) -> list[str]:
    """Contact values, without the interval that is left."""
    values = [line.partition(":")[2].strip() for line in response.all("contact")]
    return sorted(re.sub(r";expires=[0-9]+$", "", value) for value in values)


def contacts_of(case: Case) -> list[str]:
    """What the message asks to be registered, as it will be told: the URI in <>, for what follows is not its own."""
    head = case.data.partition(b"\r\n\r\n")[0].decode("latin-1")
    values = re.findall(r"^(?:contact|m)[ \t]*:[ \t]*(.*)\r?$", head, re.MULTILINE | re.IGNORECASE)
    return sorted(
        re.sub(r"^([^<;]+)", r"<\1>", value.strip()) if "<" not in value else value.strip()
        for value in values
    )


@pytest.mark.parametrize("transport", TRANSPORTS)
@pytest.mark.parametrize("case", GOOD, ids=lambda case: case.name)
@pytest.mark.rfc3261("8.2-1")
def test_with_credentials_it_registers_what_it_says(stand: Stand, case: Case, transport: Transport) -> None:
    end = open_end(stand, case, transport)
    user = "user" if case.name == "escnull" else header(case, "to").removeprefix("sip:").partition("@")[0]
    data = case.data.replace(b"To: sip:null-%00-null@", b"To: sip:user@")
    if end.stream:
        # What is behind dblreq is none of its own.
        data = data.partition(b"\r\n\r\n")[0] + b"\r\n\r\n"
    stand.register(end, user, "Contact: *", "Expires: 0")

    accepted = authenticated(stand, end, data, user, uri_of(case))
    assert accepted.status == 200
    assert contacts_in(accepted) == contacts_of(case)
    assert contacts_in(stand.register(end, user, "User-Agent: asks only")) == contacts_of(case)

    row = case.row
    if "expect_contacts" in row:
        assert len(set(contacts_in(accepted))) == row["expect_contacts"]
    if "contact_check" in row:
        (told,) = contacts_in(accepted)
        address = parse_name_addr(told)
        assert address is not None
        assert ("unknownparam" in address.uri) == (row["contact_check"] == "uriparam")
        assert ("unknownparam" in address.params) == (row["contact_check"] == "hdrparam")
        assert ("?Route=%3Csip:sip.example.com%3E" in address.uri) == (row["contact_check"] == "uriheader")
        end.send(stand.request(end, "OPTIONS", f"sip:{user}@example.com").encode(), stand.address)
        assert stand.ends.until(lambda: any(one.method == "OPTIONS" for one in end.inbox))
        (called,) = (one for one in end.inbox if one.method == "OPTIONS")
        assert called.start.split(" ")[1] == CALLED[case.name]
        end.inbox.clear()
    stand.register(end, user, "Contact: *", "Expires: 0")


def test_rows_that_ask_for_more_are_all_looked_at() -> None:
    for key in ("expect_contacts", "contact_check"):
        assert {case.name for case in CASES.values() if key in case.row} <= {case.name for case in GOOD}
    assert {case.name for case in CASES.values() if "contact_check" in case.row} == set(CALLED)
    assert {case.name for case in CASES.values() if "must_not_register" in case.row} == {"esc02"}


@pytest.mark.rfc3261("10.3-11")
def test_escnull_is_not_cut_at_its_null(stand: Stand) -> None:
    case = CASES["escnull"]
    end = open_end(stand, case, "UDP")
    assert authenticated(stand, end, case.data, "null-", uri_of(case)).status == 403
    assert contacts_in(stand.register(end, "null-", "User-Agent: asks only")) == []


def test_esc02_is_no_register(stand: Stand) -> None:
    case = CASES["esc02"]
    end = open_end(stand, case, "UDP")
    # With credentials it would be good for a REGISTER, and must not be taken for one.
    challenge = stand.ask(
        end, stand.request(end, "REGISTER", "sip:example.com", "To: <sip:resource@example.com>")
    )
    line = credentials(challenge, "resource", uri_of(case)).encode()
    for data in (case.data, case.data.replace(b"\r\n", b"\r\n" + line + b"\r\n", 1)):
        assert (
            stand.ask_bytes(
                end, re.sub(rb"branch=z9hG4bK", b"branch=z9hG4bKn%d-" % next(_numbers), data)
            ).status
            == 404
        )
    assert contacts_in(stand.register(end, "resource", "User-Agent: asks only")) == []


@pytest.mark.parametrize("name", ["unksm2", "regbadct"])
@pytest.mark.rfc3261("8.2-2")
def test_what_is_malformed_registers_nothing_with_the_best_credentials(stand: Stand, name: str) -> None:
    case = CASES[name]
    end = open_end(stand, case, "UDP")
    stand.register(end, "user", "Contact: *", "Expires: 0")
    challenge = stand.ask(
        end, stand.request(end, "REGISTER", "sip:example.com", "To: <sip:user@example.com>")
    )
    line = credentials(challenge, "user", uri_of(case)).encode()
    data = renamed(case.data).replace(b"\r\n", b"\r\n" + line + b"\r\n", 1)
    assert stand.ask_bytes(end, data).status == 400
    assert contacts_in(stand.register(end, "user", "User-Agent: asks only")) == []
