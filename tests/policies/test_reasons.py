"""One row for each reason, and everything that names reasons names the same."""

from __future__ import annotations

from typing import get_args

import pytest

from config.schema import ReasonName
from policies.account import Limits
from policies.reasons import TABLE, Reason, cut_text, rows

SPEC_ROWS = {
    Reason.TOTAL_DURATION: (402, "Total calls duration is exceeded"),
    Reason.SUCCESS_CALLS: (402, "Amount of success calls is exceeded"),
    Reason.FAIL_CALLS: (402, "Amount of fail calls is exceeded"),
    Reason.NO_PLAN: (402, "SIP account has disallowed settings"),
    Reason.WORKER: (402, "SIP account has disallowed settings"),
    Reason.SIP_ACCOUNTS: (402, "SIP account has disallowed settings"),
    Reason.LINES: (486, "No lines for call"),
}
FORBIDDEN = {Reason.GROUP_DISABLED, Reason.ACCOUNT_DISABLED, Reason.UNKNOWN_CALLER}
OF_OURS = {Reason.STORE_UNAVAILABLE, Reason.OVERLOAD, Reason.DRAINING}


def test_every_reason_has_a_row_and_the_schema_knows_them_all() -> None:
    assert set(TABLE) == set(Reason)
    assert {reason.value for reason in Reason} == set(get_args(ReasonName))


def test_every_limit_on_calls_has_its_reason() -> None:
    limits = set(Limits.__dataclass_fields__) - {"payer", "mode", "all_workers", "valid_until"}
    assert limits <= {reason.value for reason in Reason}


@pytest.mark.parametrize("reason", SPEC_ROWS)
def test_status_and_phrase_are_those_people_know_from_their_logs(reason: Reason) -> None:
    assert (TABLE[reason].status, TABLE[reason].phrase) == SPEC_ROWS[reason]


def test_statuses_of_the_others() -> None:
    assert {reason for reason in Reason if TABLE[reason].status == 503} == OF_OURS
    assert {reason for reason in Reason if TABLE[reason].retry_after} == OF_OURS
    assert {TABLE[reason].status for reason in FORBIDDEN} == {403}


@pytest.mark.parametrize("reason", list(Reason))
def test_texts_can_stand_in_a_header(reason: Reason) -> None:
    row = TABLE[reason]
    for text in (row.phrase, row.warning("30m per 1d", 90_000), cut_text(reason)):
        assert text.isascii()
        assert text.isprintable()
        assert '"' not in text
        assert "\\" not in text
    assert row.text.startswith(reason.value)
    assert row.label == reason.value


def test_a_warning_tells_which_limit_its_value_and_when_it_resets() -> None:
    warning = TABLE[Reason.FAIL_CALLS].warning("5 per 1h", 1_799_001)
    assert warning == "fail_calls reached: the limit on failed calls is 5 per 1h; resets in 1800 s (30m)"
    assert TABLE[Reason.LINES].warning("1", None) == "lines reached: the limit on simultaneous calls is 1"


def test_a_reset_is_never_told_too_early() -> None:
    assert "resets in 1 s" in TABLE[Reason.FAIL_CALLS].warning("5 per 1h", 0)
    assert "resets in 2 s" in TABLE[Reason.FAIL_CALLS].warning("5 per 1h", 1_001)


def test_the_status_alone_can_be_changed() -> None:
    changed = rows({"lines": 480})
    assert changed[Reason.LINES].status == 480
    assert changed[Reason.LINES].phrase == TABLE[Reason.LINES].phrase
    assert {reason: row for reason, row in changed.items() if reason is not Reason.LINES} == {
        reason: row for reason, row in TABLE.items() if reason is not Reason.LINES
    }


def test_cuts_say_what_was_reached() -> None:
    assert cut_text(Reason.TOTAL_DURATION) == "total_duration reached"
    assert cut_text(Reason.CALL_DURATION) == "call_duration reached"
    assert cut_text(Reason.HANGUP) == "ended by the operator"
