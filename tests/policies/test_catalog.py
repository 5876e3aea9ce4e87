"""The catalog: who has an address, whose a source address is, where a number goes."""

from __future__ import annotations

import hashlib
from dataclasses import FrozenInstanceError
from math import inf
from pathlib import Path

import pytest

from config.load import load
from config.patterns import ROUTE_USER_MAX
from policies.catalog import Catalog, build

FILES = {
    "callgate.yaml": """
domains: [example.com, sip.example.net]
listen: [udp://127.0.0.1:0]
trunks:
  wide: {targets: ["sip:192.0.2.1"], from: [192.0.2.0/24, "2001:db8::/32"]}
  narrow:
    targets: ["sip:192.0.2.2", "sip:192.0.2.3"]
    from: [192.0.2.128/25, 192.0.2.7, "2001:db8:1::/48"]
    worker: w1
  any: {targets: ["sip:192.0.2.9"], identity: pai, credentials: {username: us, password: s4}}
  world: {from: [0.0.0.0/0]}
routes:
  - {match: "^00", to: wide}
  - {match: "^[0-9]+$", to: narrow}
  - {match: "x$", to: any}
workers:
  w1: {kind: official, free: yes}
  w2: {kind: private, owner: alice, granted_to: [bob, group alice]}
""",
    "plans.yaml": """
plans:
  free: {auto_activate: yes, categories: {softphone: {}}}
  gift: {auto_activate: yes, categories: {gateway: {}}}
  office: {categories: {gateway: {lines: 2}}}
""",
    "subscribers.yaml": """
subscribers:
  alice:
    accounts:
      - {user: alice, password: secret, mode: softphone, domain: SIP.example.NET}
      - {user: pbx, password: s3, mode: gateway, worker: w2, template: siptel, users: [bob]}
    activations: [{plan: office, since: 2026-01-01}]
    group: {members: [bob], counters: per_member}
    templates: {siptel: {domain: op.example, worker: w1}}
  bob:
    accounts:
      - {user: alice, password: other, mode: softphone}
      - {user: bob, ha1: {SHA-256: HASH, MD5: HASH5}, mode: softphone, disabled: yes}
      - {user: tel, password: t, mode: gateway, template: siptel}
    templates: {siptel: {domain: op.example, worker: w1}}
""".replace("HASH5", "0" * 32).replace("HASH", "1" * 64),
}


@pytest.fixture
def catalog(tmp_path: Path) -> Catalog:
    for name, text in FILES.items():
        (tmp_path / name).write_text(text)
    return build(load(tmp_path / "callgate.yaml"))


def test_accounts_by_address_of_record(catalog: Catalog) -> None:
    assert set(catalog.accounts) == {
        "alice@sip.example.net",
        "pbx@example.com",
        "alice@example.com",
        "bob@example.com",
        "tel@example.com",
    }
    pbx = catalog.accounts["pbx@example.com"]
    assert (pbx.subscriber, pbx.mode, pbx.realm, pbx.disabled) == ("alice", "gateway", "example.com", False)
    assert (pbx.worker, pbx.template_worker, pbx.users) == ("w2", "w1", ("bob",))
    assert catalog.accounts["tel@example.com"].worker == "w1"
    assert catalog.accounts["alice@example.com"].worker == ""
    assert catalog.accounts["bob@example.com"].disabled


def test_a_user_part_alone_means_the_account_of_the_first_domain(catalog: Catalog) -> None:
    assert catalog.by_user["alice"].subscriber == "bob"
    assert catalog.by_user["pbx"].aor == "pbx@example.com"
    assert "zoe" not in catalog.by_user


def test_passwords_become_digests_of_the_accounts_own_realm(catalog: Catalog) -> None:
    account = catalog.accounts["alice@sip.example.net"]
    text = b"alice:sip.example.net:secret"
    assert dict(account.ha1) == {
        "SHA-256": hashlib.sha256(text).hexdigest(),
        "MD5": hashlib.md5(text).hexdigest(),
    }
    assert dict(catalog.accounts["bob@example.com"].ha1) == {"SHA-256": "1" * 64, "MD5": "0" * 32}


def test_a_realm_for_all_and_fewer_algorithms(tmp_path: Path) -> None:
    for name, text in FILES.items():
        (tmp_path / name).write_text(text)
    with (tmp_path / "callgate.yaml").open("a") as file:
        file.write("auth: {realm: callgate, algorithms: [MD5]}\n")
    account = build(load(tmp_path / "callgate.yaml")).accounts["alice@sip.example.net"]
    assert account.realm == "callgate"
    assert dict(account.ha1) == {"MD5": hashlib.md5(b"alice:callgate:secret").hexdigest()}


@pytest.mark.parametrize(
    ("host", "trunk"),
    [
        ("192.0.2.1", "wide"),
        ("192.0.2.127", "wide"),
        ("192.0.2.128", "narrow"),
        ("192.0.2.255", "narrow"),
        ("192.0.2.7", "narrow"),
        ("192.0.3.0", "world"),
        ("::ffff:192.0.2.7", "narrow"),
        ("2001:db8::7", "wide"),
        ("2001:db8:1::7", "narrow"),
        ("2001:db9::7", None),
        ("fe80::1%eth0", None),
        ("provider.example.com", None),
        ("", None),
    ],
)
def test_the_narrowest_range_tells_whose_an_address_is(
    catalog: Catalog, host: str, trunk: str | None
) -> None:
    assert [found.name for found in catalog.trunks_at(host)] == ([trunk] if trunk else [])


@pytest.mark.parametrize(
    ("user", "trunk"),
    [
        ("0049", "wide"),
        ("49", "narrow"),
        ("ax", "any"),
        ("alice", None),
        ("", None),
        ("1" * ROUTE_USER_MAX, "narrow"),
        ("1" * (ROUTE_USER_MAX + 1), None),
        ("1\n", None),  # `$` also matches before a last line break
        ("１", None),  # digits are ASCII
    ],
)
def test_the_first_route_that_matches(catalog: Catalog, user: str, trunk: str | None) -> None:
    found = catalog.route(user)
    assert (found.name if found else None) == trunk


def test_targets_keep_their_order(catalog: Catalog) -> None:
    assert catalog.trunks["narrow"].targets == ("sip:192.0.2.2", "sip:192.0.2.3")
    assert (catalog.trunks["narrow"].worker, catalog.trunks["any"].identity) == ("w1", "pai")
    assert catalog.trunks["world"].targets == ()
    assert {name: one.username for name, one in catalog.credentials.items()} == {"any": "us"}


def test_workers_and_groups_are_kept_for_those_who_will_enforce_them(catalog: Catalog) -> None:
    assert catalog.workers["w1"].free
    private = catalog.workers["w2"]
    assert (private.owner, set(private.granted_to), set(private.granted_groups)) == (
        "alice",
        {"bob"},
        {"alice"},
    )
    group = catalog.subscribers["alice"].group
    assert group is not None
    assert (set(group.members), group.per_member) == ({"bob"}, True)
    assert catalog.subscribers["bob"].group is None


def test_every_subscriber_has_the_plans_that_activate_by_themselves(catalog: Catalog) -> None:
    alice, bob = catalog.subscribers["alice"].activations, catalog.subscribers["bob"].activations
    assert [one.id for one in alice] == ["office@20260101T000000Z", "free@auto", "gift@auto"]
    assert [one.id for one in bob] == ["free@auto", "gift@auto"]
    assert {(one.since, one.until) for one in bob} == {(0.0, inf)}


def test_nothing_in_it_can_be_changed(catalog: Catalog) -> None:
    with pytest.raises(TypeError):
        catalog.accounts["zoe@example.com"] = catalog.accounts["bob@example.com"]  # type: ignore[index]
    with pytest.raises(FrozenInstanceError):
        catalog.accounts["bob@example.com"].disabled = False  # type: ignore[misc]
    with pytest.raises(TypeError):
        catalog.subscribers["bob"].activations[0].values["softphone", "lines"] = None  # type: ignore[index]
