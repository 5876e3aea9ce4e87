"""The table of options and the schema of plans.yaml say the same."""

from __future__ import annotations

from typing import get_args

import pytest

from config.model import Model
from config.tariffs import Gateway, Lending, Overrides, Plan, Softphone
from policies.account import Limits
from policies.options import BY_NAME, MODE_OPTIONS, OPTIONS, PLAN_WIDE, value_text

HOLDERS: dict[str, type[Model]] = {"": Plan, "softphone": Softphone, "gateway": Gateway}
NO_OPTIONS = {"auto_activate", "categories"}


def test_the_schema_of_each_category_has_the_tables_options() -> None:
    for category, holder in HOLDERS.items():
        assert {option.name for option in OPTIONS if category in option.categories} == (
            set(holder.model_fields) - NO_OPTIONS
        )
    assert set(Lending.model_fields) == set()


def test_every_option_can_be_chosen_at_activation() -> None:
    keys = {f"{category}.{option.name}".lstrip(".") for option in OPTIONS for category in option.categories}
    assert {field.alias or name for name, field in Overrides.model_fields.items()} == keys


def test_limits_hold_every_option_of_a_mode() -> None:
    assert {option.name for option in MODE_OPTIONS} | {"payer", "mode", "all_workers", "valid_until"} == set(
        Limits.__dataclass_fields__
    )


@pytest.mark.parametrize("option", [option for option in OPTIONS if option.categories != (PLAN_WIDE,)])
def test_counter_options_and_only_they_take_a_period(option: object) -> None:
    name = getattr(option, "name", "")
    model = get_args(Gateway.model_fields[name].annotation)[0]
    written = {"duration": "30m", "count": "5"}[BY_NAME[name].quantity]
    periodic = f"{written} per 1h"
    right, wrong = (periodic, written) if BY_NAME[name].counter else (written, periodic)
    assert model.model_validate(right).value.period_ms == (3_600_000 if BY_NAME[name].counter else 0)
    with pytest.raises(ValueError, match="period"):
        model.model_validate(wrong)


def test_only_success_and_fail_calls_count_outgoing_by_default() -> None:
    defaults = {
        name: get_args(field.annotation)[0].model_fields["counts"].default
        for name, field in Gateway.model_fields.items()
        if "counts" in get_args(field.annotation)[0].model_fields
    }
    assert defaults == {
        "call_duration": "both",
        "total_duration": "both",
        "success_calls": "outgoing",
        "fail_calls": "outgoing",
        "lines": "both",
    }


def test_values_are_written_as_the_plan_file_does() -> None:
    assert value_text("total_duration", 1_800_000, 86_400_000) == "30m per 1d"
    assert value_text("fail_calls", 5, 3_600_000) == "5 per 1h"
    assert value_text("lines", 10) == "10"
    assert value_text("call_duration", None) == "unlimited"
    assert value_text("all_workers", 1) == "yes"
