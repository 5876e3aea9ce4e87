"""What we answer ourselves (RFC 3261 §8.2): OPTIONS and others to callgate itself, and how the answer is made."""

from __future__ import annotations

from pathlib import Path

import pytest

from proxy.engine.effects import AskBindings
from proxy.engine.events import BindingsFound
from proxy.sip.message import Response
from tests.engine.test_cancel import phones
from tests.engine.world import CALLGATE, Phone, World, bound, ringing

OURS = "sip:192.0.2.1:5060"


@pytest.fixture
def asker(world: World) -> Phone:
    return Phone(world, "192.0.2.10", "alice")


def ask(asker: Phone, method: str, uri: str, *extra: str, to_tag: str = "", cseq: int = 1) -> Response:
    """The one message that comes back."""
    to = f"<{OURS}>;tag={to_tag}" if to_tag else f"<{OURS}>"
    asker.request(method, uri, "o1", cseq, "<sip:alice@example.com>;tag=1", to, *extra)
    [answer] = asker.got()
    assert isinstance(answer, Response)
    return answer


@pytest.mark.rfc3261("8.2.1-1", "8.2.1-2", "8.2.1-3")
@pytest.mark.parametrize("method", ["MESSAGE", "SUBSCRIBE", "PUBLISH"])
def test_a_method_that_is_not_for_us_is_told_which_are(asker: Phone, method: str) -> None:
    answer = ask(asker, method, OURS)
    assert answer.status == 405
    assert "OPTIONS" in answer.all_values("allow")


@pytest.mark.rfc3261("8.2.2-1", "8.2.2-2")
@pytest.mark.parametrize(
    "line", ["X-Nobody-Knows: this", "Date: soon", "Timestamp: early", "Priority: ;;", "Expires: never"]
)
def test_what_is_unknown_or_malformed_and_not_needed_is_ignored(asker: Phone, line: str) -> None:
    assert ask(asker, "OPTIONS", OURS, line).status == 200


@pytest.mark.rfc3261("8.2.2.3-1", "8.2.2.3-2")
def test_extensions_that_an_options_requires_are_named_as_unsupported(asker: Phone) -> None:
    answer = ask(asker, "OPTIONS", "sip:example.com", "Require: 100rel, telepathy")
    assert answer.status == 420
    assert answer.all_values("unsupported") == ["100rel", "telepathy"]
    assert ask(asker, "OPTIONS", "sip:example.com", cseq=2).status == 200


@pytest.mark.rfc3261("8.2.2.1-2")
def test_a_scheme_we_do_not_have(asker: Phone) -> None:
    assert ask(asker, "OPTIONS", "nobodyknowsthis:totallyopaquecontent").status == 416


@pytest.mark.rfc3261("8.2.2.1-3")
def test_nobody_of_ours_is_called_by_our_own_address(world: World, asker: Phone) -> None:
    assert ask(asker, "INVITE", OURS, f"Contact: <sip:alice@{asker.address}>").status == 404
    assert not world.asked


@pytest.mark.rfc3261("8.2.2.3-4")
def test_a_cancel_is_not_asked_for_extensions(world: World) -> None:
    caller, callee = phones(world)
    ringing(caller, callee)
    caller.cancel("sip:4930@example.com", "c1", "Require: nobody-has-this", "Proxy-Require: nor-this")
    assert caller.statuses() == [200]
    [cancel] = callee.requests()
    assert cancel.method == "CANCEL"
    assert "require" not in cancel.keys
    assert "proxy-require" not in cancel.keys


@pytest.mark.rfc3261("8.2.6.1-1", "8.2.6.1-2", "8.2.6.2-1", "8.2.6.2-2", "8.2.6.2-3", "8.2.6.2-6")
def test_the_one_answer_to_a_non_invite_is_final_and_names_its_request(world: World, asker: Phone) -> None:
    answer = ask(asker, "OPTIONS", OURS)
    assert answer.status == 200
    assert answer.value("from") == "<sip:alice@example.com>;tag=1"
    assert (answer.call_id, answer.value("cseq")) == ("o1", "1 OPTIONS")
    assert answer.to_tag
    assert answer.value("to") == f"<{OURS}>;tag={answer.to_tag}"
    world.advance(40)
    assert not asker.got()


@pytest.mark.rfc3261("8.2.6.2-7")
def test_a_repeated_request_gets_the_same_tag(asker: Phone) -> None:
    tags = set()
    for _ in range(3):
        asker.request(
            "OPTIONS", OURS, "o1", 1, "<sip:alice@example.com>;tag=1", f"<{OURS}>", branch="z9hG4bK-same"
        )
        [answer] = asker.got()
        assert isinstance(answer, Response)
        tags.add(answer.to_tag)
    assert len(tags) == 1


@pytest.mark.rfc3261("8.2.6.1-4", "8.2.6.1-5")
def test_a_100_says_how_long_it_took_where_the_store_was_asked_first(tmp_path: Path) -> None:
    world = World(tmp_path, CALLGATE + "auth: {invite: registered_source}\n")
    phone = Phone(world, "203.0.113.9", "bob")
    phone.invite("sip:4930@example.com", "c1", "Timestamp: 54.2")
    world.advance(0.25)
    world.handle(BindingsFound(bound((phone.flow.host, "1000")), world.of(AskBindings)[-1].user))
    [trying] = phone.got()
    assert isinstance(trying, Response)
    assert (trying.status, trying.value("timestamp")) == (100, "54.2 0.250")
    # Now it is known where he registered: nobody is asked, and nothing is added.
    phone.invite("sip:4930@example.com", "c2", "Timestamp: 54.2")
    [trying] = phone.got()
    assert trying.value("timestamp") == "54.2"


@pytest.mark.rfc3261("8.2.7-1")
def test_an_answer_without_a_transaction_has_the_same_tag_each_time(tmp_path: Path) -> None:
    full = World(tmp_path, CALLGATE + "limits: {transactions_max: 1}\n")
    caller = Phone(full, "192.0.2.10", "alice")
    ask(caller, "OPTIONS", OURS)

    def tags(call_id: str, status: int, *extra: str) -> set[str]:
        for _ in range(3):
            caller.invite("sip:4930@example.com", call_id, *extra)
        # What ends it is for nobody, and no answer goes out again.
        caller.request("ACK", "sip:4930@example.com", call_id, 1, "<sip:a@b>;tag=1", "<sip:c@d>;tag=2")
        full.advance(5)
        answers = caller.got()
        assert [answer.status for answer in answers if isinstance(answer, Response)] == [status] * 3
        return {answer.to_tag for answer in answers}

    no_room, unreadable = tags("c1", 503), tags("c2", 400, "Max-Forwards: many")
    assert len(no_room) == len(unreadable) == 1
    assert no_room != unreadable
    assert tags("c3", 503) != no_room


@pytest.mark.rfc3261("12.2.2-1")
@pytest.mark.parametrize("method", ["INVITE", "INFO", "BYE"])
def test_a_dialog_that_is_not_there_is_not_made_anew(asker: Phone, method: str) -> None:
    assert ask(asker, method, OURS, to_tag="made-up").status == 481
