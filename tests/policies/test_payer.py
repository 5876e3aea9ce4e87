"""Who pays a leg, which Workers it may use: the rows of payers.yaml, through the loader, the catalog and `charge`."""

from __future__ import annotations

import copy
import re
from math import inf
from pathlib import Path
from typing import Any

import pytest
import yaml

from config.load import load
from config.units import instant_of
from policies.account import Limits, NoPlan
from policies.catalog import Catalog, Trunk, build
from policies.payer import Charge, charge, workers_of
from policies.resolve import owner_and_member, resolve, resolve_payer

TABLE: dict[str, Any] = yaml.load((Path(__file__).parent / "payers.yaml").read_text(), yaml.BaseLoader)
ROWS: list[dict[str, Any]] = TABLE["rows"]
NOON = "2026-06-01T12:00:00Z"
KEYS = {"name", "leg", "far", "trunk", "far trunk", "at", "change", "pays", "refused", "words", "until"}


def catalog_of(row: dict[str, Any], folder: Path) -> Catalog:
    """The table's world with the row's changes, written as the three files and loaded like them."""
    world = copy.deepcopy({name: TABLE[name] for name in ("plans", "workers", "subscribers")})
    for path, value in row.get("change", {}).items():
        *above, last = path.split(".")
        holder = world
        for name in above:
            holder = holder[name]
        holder[last] = value
        if value == "null":
            del holder[last]
    main = {"domains": ["example.com"], "listen": ["udp://127.0.0.1:0"], "workers": world["workers"]}
    (folder / "callgate.yaml").write_text(yaml.safe_dump(main))
    for name in ("plans", "subscribers"):
        (folder / f"{name}.yaml").write_text(yaml.safe_dump({name: world[name]}))
    return build(load(folder / "callgate.yaml"))


def trunk(worker: str) -> Trunk:
    return Trunk("any", (), "none", worker)


def charged(catalog: Catalog, row: dict[str, Any]) -> Charge:
    at = instant_of(row.get("at", NOON))
    own, far = catalog.by_user[row["leg"]], catalog.by_user.get(row.get("far", ""))
    workers, _ = workers_of(own, trunk(row.get("trunk", "")), far, trunk(row.get("far trunk", "")))
    return charge(catalog, own, workers, at, lambda payer, mode: resolve_payer(catalog, payer, mode, at))


@pytest.mark.parametrize("row", ROWS, ids=lambda row: re.sub(r"\W+", "-", row["name"]))
def test_row(row: dict[str, Any], tmp_path: Path) -> None:
    catalog = catalog_of(row, tmp_path)
    found = charged(catalog, row)
    assert found.payer == found.limits.payer == row["pays"]
    assert (found.refusal.value if found.refusal is not None else None) == row.get("refused")
    if "words" in row:
        assert found.limit == row["words"]
    assert found.valid_until == (instant_of(row["until"]) if "until" in row else inf)
    assert found.why


def test_every_row_is_read_whole_and_none_stands_twice() -> None:
    assert [row["name"] for row in ROWS if set(row) - KEYS] == []
    assert len({row["name"] for row in ROWS}) == len(ROWS) >= 50


def test_each_worker_of_a_call_is_named_once_the_nearest_first(tmp_path: Path) -> None:
    accounts = catalog_of({}, tmp_path).by_user
    own, far = accounts["owner-pbx"], accounts["member-paid"]
    assert workers_of(own, trunk("free"), far, trunk("open")) == (
        ("owned", "free", "paid", "open"),
        ("paid", "open", "owned", "free"),
    )
    assert workers_of(own, trunk("owned"), accounts["member-pbx"], None) == (("owned",), ("owned",))
    assert workers_of(None, trunk("free"), far, None) == (("free", "paid"), ("paid", "free"))
    assert workers_of(accounts["member"], trunk(""), accounts["owner"], None) == ((), ())


def test_the_answer_holds_until_a_plan_of_whoever_may_pay_changes(tmp_path: Path) -> None:
    row = {
        "leg": "member",
        "far trunk": "owned",
        "change": {
            "subscribers.owner.activations": [
                {"plan": "company", "since": "2026-07-01", "until": "2026-08-01"}
            ],
            "subscribers.member.activations": [
                {"plan": "wide", "since": "2026-01-01", "until": "2026-07-15"}
            ],
        },
    }
    catalog = catalog_of(row, tmp_path)
    seen = []
    for at in ("2026-06-01", "2026-07-01", "2026-07-20", "2026-08-01"):
        found = charged(catalog, {**row, "at": at})
        seen.append((found.payer, found.refusal is None, found.valid_until))
    assert seen == [
        # He pays by his own plan, until the owner's plan starts or his ends.
        ("member", True, instant_of("2026-07-01")),
        ("group:owner", True, instant_of("2026-08-01")),
        ("group:owner", True, instant_of("2026-08-01")),
        ("member", False, inf),
    ]


def test_a_payer_is_found_again_by_its_id(tmp_path: Path) -> None:
    catalog = catalog_of({}, tmp_path)
    at = instant_of(NOON)
    assert owner_and_member("owner") == ("owner", "")
    assert owner_and_member("group:owner") == ("owner", "*")
    assert owner_and_member("group:owner:second") == ("owner", "second")
    assert resolve_payer(catalog, "owner", "softphone", at) == resolve(catalog, "owner", "softphone", at)
    lent = resolve(catalog, "owner", "softphone", at, "second")
    assert resolve_payer(catalog, "group:owner", "softphone", at) == lent
    # The group has shared counters now; a call that runs on a member's own keeps them.
    kept = resolve_payer(catalog, "group:owner:second", "softphone", at)
    assert isinstance(kept, Limits)
    assert kept.payer == "group:owner:second"
    assert kept.total_duration == lent.total_duration if isinstance(lent, Limits) else False
    assert resolve_payer(catalog, "group:nobody", "softphone", at) == NoPlan("group:nobody", "softphone", inf)
