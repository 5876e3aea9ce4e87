"""Files that are right: the sample that ships, and one where every kind of value is used."""

from __future__ import annotations

import re
from ipaddress import ip_network
from pathlib import Path

import pytest
from pydantic import BaseModel

from config import schema, tariffs
from config.document import ConfigErrors
from config.listen import Endpoint, HostPort, Listen
from config.load import assemble, load
from config.reaching import Target
from config.schema import Config, Trunk
from config.tariffs import Account, Plan, Subscriber
from config.units import Amount

HERE = Path(__file__).parent
SAMPLE = HERE.parents[1] / "config" / "callgate.yaml"


def test_the_sample_runs_as_it_is() -> None:
    loaded = load(SAMPLE)
    assert loaded.config.store.url == "embedded"
    assert {one.address.transport for one in loaded.config.listen} == {"UDP", "TCP"}
    assert set(loaded.plans) >= {"free", "office"}
    assert loaded.plans["free"].auto_activate
    free = loaded.plans["free"].categories
    assert free.softphone is not None
    assert free.gateway is not None
    for category in (free.softphone, free.gateway):  # SPEC §2, the free plan
        assert category.call_duration is not None
        assert category.total_duration is not None
        assert category.fail_calls is not None
        assert category.sip_accounts is not None
        assert category.call_duration.value == Amount(120_000)
        assert category.total_duration.value == Amount(1_800_000, 86_400_000)
        assert category.fail_calls.value == Amount(5, 3_600_000)
        assert category.sip_accounts.value == Amount(1)
    assert free.gateway.lines is not None
    assert free.gateway.lines.value == Amount(1)


def test_the_example_of_the_contract_loads_word_for_word() -> None:
    """The three files of SPEC §6."""
    loaded = load(HERE / "contract" / "callgate.yaml")
    assert loaded.config.auth.invite == "digest"
    assert loaded.config.store.url == "redis://127.0.0.1:6379/0"
    assert [str(network) for network in loaded.config.trunks["provider"].networks] == ["127.0.0.1/32"]
    assert set(loaded.config.workers) == {"w1", "w2"}
    assert loaded.subscribers["alice"].activations[0].options.chosen() == {"gateway.lines": Amount(20)}


def test_what_the_sample_says_of_a_default_is_true() -> None:
    """Sections that the sample spells out hold the schema's defaults, except what makes it runnable."""
    said = load(SAMPLE).config
    default = Config(domains=("example.com",), listen=(Listen(address=Endpoint("UDP", "127.0.0.1", 0)),))
    for section in (
        "auth",
        "registrar",
        "timers",
        "limits",
        "log",
        "metrics",
        "refusals",
        "tls",
        "websocket",
    ):
        assert getattr(said, section) == getattr(default, section), section
    for key in ("url", "on_store_failure", "deadline", "lease"):
        assert getattr(said.store, key) == getattr(default.store, key), key


def keys_of(model: type[BaseModel]) -> set[str]:
    """Every key of a section and of the sections in it."""
    found: set[str] = set()
    for name, field in model.model_fields.items():
        found.add(field.alias or name)
        for inner in re.findall(r"config\.\w+\.(\w+)", str(field.annotation)):
            nested = getattr(schema, inner, None) or getattr(tariffs, inner, None)
            if isinstance(nested, type) and issubclass(nested, BaseModel):
                found |= keys_of(nested)
    return found


@pytest.mark.parametrize(
    ("file", "model"), [("callgate.yaml", Config), ("plans.yaml", Plan), ("subscribers.yaml", Subscriber)]
)
def test_every_key_is_explained_in_the_sample(file: str, model: type[BaseModel]) -> None:
    text = (SAMPLE.parent / file).read_text(encoding="utf-8")
    by_pattern = keys_of(tariffs.Overrides)  # explained as <category>.<option>
    keys = keys_of(model) - by_pattern
    assert len(keys) > 10
    assert {key for key in keys if not re.search(rf"(?<![\w.]){re.escape(key)}:", text)} == set()


def test_paths_hold_from_the_folder_of_the_file(tmp_path: Path) -> None:
    (tmp_path / "callgate.yaml").write_text(
        "domains: [example.com]\nlisten: [udp://127.0.0.1:0]\nplans: tariffs/p.yaml\nsubscribers: /dev/null\n"
        "cdr: {file: ../cdr.jsonl}\nstore:\n"
    )
    (tmp_path / "tariffs").mkdir()
    (tmp_path / "tariffs" / "p.yaml").write_text("plans:\n")
    with pytest.raises(ConfigErrors, match="/dev/null:1: subscribers: is missing"):
        load(tmp_path / "callgate.yaml")
    (tmp_path / "subscribers.yaml").write_text("subscribers: {}")
    text = (tmp_path / "callgate.yaml").read_text().replace("/dev/null", "subscribers.yaml")
    (tmp_path / "callgate.yaml").write_text(text)
    config = load(tmp_path / "callgate.yaml").config
    assert config.plans == tmp_path / "tariffs" / "p.yaml"
    assert config.cdr.file == tmp_path.parent / "cdr.jsonl"
    assert config.store.data == tmp_path / "var" / "store"
    assert config.store.spool.path == tmp_path / "var" / "spool"
    assert config.admin.socket == tmp_path / "var" / "callgate.sock"


def test_yaml_1_1_reads_nothing_into_scalars(tmp_path: Path) -> None:
    """00:02:00 is two minutes and not 120, 0123 a password and not 83, no a user, and a date a date."""
    (tmp_path / "callgate.yaml").write_text("domains: [example.com]\nlisten: [udp://127.0.0.1:0]\n")
    (tmp_path / "plans.yaml").write_text(
        "plans:\n  on: {all_workers: no, categories: {softphone: {call_duration: 00:02:00, sip_accounts: 010}}}\n"
    )
    (tmp_path / "subscribers.yaml").write_text(
        "subscribers:\n  123:\n    accounts: [{user: no, password: 0123, mode: softphone}]\n"
        "    activations: [{plan: on, since: 2026-01-01, until: 2026-01-01T00:00:01Z}]\n"
    )
    loaded = load(tmp_path / "callgate.yaml")
    plan = loaded.plans["on"]
    assert plan.all_workers is not None
    assert plan.all_workers.value is False
    assert plan.categories.softphone is not None
    assert plan.categories.softphone.call_duration is not None
    assert plan.categories.softphone.call_duration.value == Amount(120_000)
    assert plan.categories.softphone.sip_accounts is not None
    assert plan.categories.softphone.sip_accounts.value == Amount(10)
    subscriber = loaded.subscribers["123"]
    assert (subscriber.accounts[0].user, subscriber.accounts[0].password) == ("no", "0123")
    assert subscriber.activations[0].since == 1_767_225_600
    assert subscriber.activations[0].until == 1_767_225_601


def test_every_kind_of_value_in_use() -> None:
    loaded = load(HERE / "full" / "callgate.yaml")
    config = loaded.config
    assert config.listen[2].address == Endpoint("UDP", "::1", 5062)
    assert config.listen[2].advertise == HostPort("2001:db8::7", 5060)
    assert config.advertise == HostPort("198.51.100.7", 0)
    assert config.trunks["caller-only"].networks == (ip_network("192.0.2.0/24"), ip_network("2001:db8::/32"))
    assert config.refusals == {"lines": 480, "overload": 503}
    assert config.store.deadline == 0.05
    assert loaded.subscribers["alice"].activations[0].options.chosen() == {
        "gateway.lines": Amount(20),
        "group_size": Amount(None),
    }


def test_passwords_stay_out_of_what_is_printed() -> None:
    assert "secret" not in repr(load(SAMPLE))
    config = Config.model_validate(
        {
            "domains": ["example.com"],
            "listen": ["udp://127.0.0.1:0"],
            "store": {"url": "redis://:hunter2@localhost:6379/0"},
            "auth": {"nonce_secret": "hunter2"},
            "trunks": {
                "p": {"targets": ["sip:192.0.2.1"], "credentials": {"username": "a", "password": "hunter2"}}
            },
        }
    )
    assert "hunter2" not in repr(config)


def test_a_group_member_who_is_no_subscriber_yet_is_a_warning(tmp_path: Path) -> None:
    (tmp_path / "callgate.yaml").write_text("domains: [example.com]\nlisten: [udp://127.0.0.1:0]\n")
    (tmp_path / "plans.yaml").write_text("plans: {}")
    path = tmp_path / "subscribers.yaml"
    path.write_text("subscribers:\n  alice:\n    group:\n      members: [zoe]\n")
    warnings = [str(problem) for problem in load(tmp_path / "callgate.yaml").warnings]
    assert warnings == [
        f"{path}:4: subscribers.alice.group.members[0]: there is no subscriber zoe (there is: alice)"
    ]
    assert load(SAMPLE).warnings == ()


def test_configuration_made_in_python_is_held_to_the_same_rules() -> None:
    config = Config(
        domains=("example.com",),
        listen=(Listen(address=Endpoint("UDP", "127.0.0.1", 0)),),
        trunks={"provider": Trunk(targets=(Target(uri="sip:127.0.0.1"),))},
    )
    account = Account(user="alice", password="secret", mode="softphone")
    assert assemble(config, {}, {"alice": Subscriber(accounts=(account,))}).subscribers["alice"].accounts == (
        account,
    )
    twice = {"alice": Subscriber(accounts=(account,)), "bob": Subscriber(accounts=(account,))}
    with pytest.raises(ConfigErrors) as raised:
        assemble(config, {}, twice)
    assert (
        str(raised.value) == "subscribers.bob.accounts[0]: alice@example.com is an account of alice already"
    )
