"""register-3.lua, bindings-1.lua and the digest's nonce count: SPEC §2 sip_accounts, RFC 3261 §10.3, RFC 7616 §3.4."""

from __future__ import annotations

from typing import Any

import pytest
from redis import Redis

from policies import keys
from tests.policies.scripted import NONCE_LIFE_MS, SCRIPTS, Payer, limits, unpacked

ACCOUNTS, REPLAYED, ORDER, CONTACTS = range(1, 5)
REFUSED_CALLEE = 6

Contact = tuple[str, int, str]


class Registrar:
    """REGISTERs of one payer's accounts, in gateway mode."""

    def __init__(self, client: Redis, accounts_max: int = 0, contacts_max: int = 3) -> None:
        self.payer = Payer(client, limits(accounts=accounts_max or None))
        self.accounts_max = accounts_max
        self.contacts_max = contacts_max
        self._cseq = 0

    def register(
        self,
        account: str,
        *contacts: Contact,
        call_id: str = "call-1",
        cseq: int | None = None,
        remove_all: bool = False,
        nonce: str = "",
        nc: int = 0,
    ) -> Any:
        """The sorted records when it is granted, else the number that says why not."""
        self._cseq = self._cseq + 1 if cseq is None else cseq
        flat: list[str | int] = [part for key, life, record in contacts for part in (key, life, record)]
        payer, mode = self.payer.limits.payer, self.payer.limits.mode
        names = (
            keys.accounts_key(payer, mode),
            keys.bindings_key(payer, account),
            keys.nonce_key(payer, nonce),
        )
        reply: Any = self.payer.client.evalsha(
            SCRIPTS.register.sha,
            3,
            *(unpacked(name)[0] for name in names),
            self.accounts_max,
            account,
            call_id,
            self._cseq,
            nc,
            NONCE_LIFE_MS,
            self.contacts_max,
            int(remove_all),
            *flat,
            self.payer.now,
        )
        return sorted(record.decode() for record in reply[1:]) if reply[0] == 0 else reply[0]

    def bindings(self, account: str) -> list[str]:
        key = unpacked(keys.bindings_key(self.payer.limits.payer, account))[0]
        reply: Any = self.payer.client.evalsha(SCRIPTS.bindings.sha, 1, key, self.payer.now)
        return sorted(record.decode() for record in reply)


class TestBindings:
    @pytest.mark.rfc3261("8.2-1")
    def test_several_contacts_each_with_its_own_expiry(self, redis_client: Redis) -> None:
        registrar = Registrar(redis_client)
        assert registrar.register("a@x", ("k1", 1_000, "desk"), ("k2", 5_000, "mobile\nline two")) == [
            "desk",
            "mobile\nline two",
        ]
        registrar.payer.pass_time(1_000)
        assert registrar.bindings("a@x") == ["mobile\nline two"]
        assert registrar.register("a@x") == ["mobile\nline two"]
        registrar.payer.pass_time(4_000)
        assert registrar.register("a@x") == []

    @pytest.mark.rfc3261("10.3-22")
    def test_refresh_replaces_and_zero_removes(self, redis_client: Redis) -> None:
        registrar = Registrar(redis_client)
        registrar.register("a@x", ("k1", 1_000, "old"), ("k2", 1_000, "other"))
        assert registrar.register("a@x", ("k1", 9_000, "new")) == ["new", "other"]
        assert registrar.register("a@x", ("k2", 0, "other")) == ["new"]

    @pytest.mark.rfc3261("10.3-17")
    def test_star_removes_all(self, redis_client: Redis) -> None:
        registrar = Registrar(redis_client, accounts_max=1)
        registrar.register("a@x", ("k1", 1_000, "one"), ("k2", 1_000, "two"))
        assert registrar.register("a@x", remove_all=True) == []
        assert registrar.register("b@x", ("k1", 1_000, "one")) == ["one"]

    @pytest.mark.parametrize("cseq", [6, 7])
    @pytest.mark.rfc3261("8.2-2", "10.3-5", "10.3-17", "10.3-18", "10.3-23", "10.3-24")
    def test_out_of_order_changes_nothing(self, redis_client: Redis, cseq: int) -> None:
        registrar = Registrar(redis_client)
        registrar.register("a@x", ("k1", 1_000, "one"), cseq=7)
        later = ("k2", 1_000, "two")
        assert registrar.register("a@x", later, ("k1", 1_000, "late"), cseq=cseq) == ORDER
        assert registrar.register("a@x", ("k1", 0, ""), cseq=cseq) == ORDER
        assert registrar.register("a@x", remove_all=True, cseq=cseq) == ORDER
        assert registrar.bindings("a@x") == ["one"]
        assert registrar.register("a@x", ("k1", 1_000, "next"), cseq=8) == ["next"]

    @pytest.mark.rfc3261("10.3-16", "10.3-21")
    def test_another_call_id_starts_its_own_order(self, redis_client: Redis) -> None:
        registrar = Registrar(redis_client)
        registrar.register("a@x", ("k1", 1_000, "one"), cseq=7)
        assert registrar.register("a@x", ("k1", 1_000, "rebooted"), call_id="call-2", cseq=1) == ["rebooted"]
        assert registrar.register("a@x", ("k1", 0, ""), call_id="call-3", cseq=1) == []
        registrar.register("a@x", ("k1", 1_000, "one"), ("k2", 1_000, "two"), cseq=7)
        assert registrar.register("a@x", remove_all=True, call_id="call-4", cseq=1) == []

    @pytest.mark.rfc3261("8.2-2", "10.3-5", "10.3-24")
    def test_a_bound_on_contacts(self, redis_client: Redis) -> None:
        registrar = Registrar(redis_client, contacts_max=2)
        registrar.register("a@x", ("k1", 1_000, "one"), ("k2", 1_000, "two"))
        assert registrar.register("a@x", ("k3", 1_000, "three")) == CONTACTS
        assert registrar.bindings("a@x") == ["one", "two"]
        assert registrar.register("a@x", ("k1", 0, ""), ("k3", 1_000, "three")) == ["three", "two"]

    def test_the_flows_of_a_device_are_one_contact(self, redis_client: Redis) -> None:
        registrar = Registrar(redis_client, contacts_max=1)
        registrar.register("a@x", ("<urn:1>|1", 1_000, "one"))
        assert registrar.register("a@x", ("<urn:1>|2", 1_000, "two")) == ["one", "two"]
        assert registrar.register("a@x", ("<urn:2>|1", 1_000, "another device")) == CONTACTS
        # But not without end.
        for number in (3, 4):
            registrar.register("a@x", (f"<urn:1>|{number}", 1_000, "more"))
        assert registrar.register("a@x", ("<urn:1>|5", 1_000, "too many")) == CONTACTS


class TestSipAccounts:
    def test_no_more_accounts_than_the_limit_and_a_refresh_is_never_refused(
        self, redis_client: Redis
    ) -> None:
        registrar = Registrar(redis_client, accounts_max=2)
        for account in ("a@x", "b@x"):
            assert registrar.register(account, ("k", 1_000, account)) == [account]
        assert registrar.register("c@x", ("k", 1_000, "c")) == ACCOUNTS
        assert registrar.bindings("c@x") == []
        registrar.accounts_max = 1
        assert registrar.register("a@x", ("k", 1_000, "again")) == ["again"]
        assert registrar.register("a@x", ("k2", 1_000, "second")) == ["again", "second"]

    def test_an_account_that_lapses_or_leaves_frees_its_place(self, redis_client: Redis) -> None:
        registrar = Registrar(redis_client, accounts_max=1)
        registrar.register("a@x", ("k", 1_000, "a"))
        registrar.payer.pass_time(1_000)
        assert registrar.register("b@x", ("k", 1_000, "b")) == ["b"]
        assert registrar.register("a@x", ("k", 1_000, "a")) == ACCOUNTS
        registrar.register("b@x", ("k", 0, "b"))
        assert registrar.register("a@x", ("k", 1_000, "a")) == ["a"]

    def test_an_account_counts_until_its_last_contact_expires(self, redis_client: Redis) -> None:
        registrar = Registrar(redis_client, accounts_max=1)
        registrar.register("a@x", ("k1", 1_000, "one"), ("k2", 5_000, "two"))
        registrar.payer.pass_time(4_999)
        assert registrar.register("b@x", ("k", 1_000, "b")) == ACCOUNTS
        registrar.payer.pass_time(1)
        assert registrar.register("b@x", ("k", 1_000, "b")) == ["b"]

    def test_looking_and_leaving_are_never_refused(self, redis_client: Redis) -> None:
        registrar = Registrar(redis_client, accounts_max=1)
        registrar.register("a@x", ("k", 1_000, "a"))
        assert registrar.register("b@x") == []
        assert registrar.register("b@x", ("k", 0, "b")) == []
        assert registrar.register("b@x", remove_all=True) == []
        assert registrar.register("b@x", ("k", 1_000, "b")) == ACCOUNTS


class TestReplay:
    def test_a_nonce_count_is_good_once(self, redis_client: Redis) -> None:
        payer = Payer(redis_client, limits(lines=2))
        assert payer.admit("a", nonce="n", nc=1) == 0
        assert payer.admit("b", nonce="n", nc=1) == (5, -1)
        assert payer.admit("b", nonce="n", nc=3) == 0
        assert payer.admit("c", nonce="n", nc=2) == (5, -1)
        assert payer.admit("c", nonce="m", nc=1) == (4, -1)
        assert payer.lines() == 2

    def test_a_count_goes_on_from_register_to_invite(self, redis_client: Redis) -> None:
        registrar = Registrar(redis_client)
        assert registrar.register("a@x", ("k", 1_000, "a"), nonce="n", nc=1) == ["a"]
        assert registrar.register("a@x", ("k", 1_000, "again"), nonce="n", nc=1) == REPLAYED
        assert registrar.bindings("a@x") == ["a"]
        assert registrar.payer.admit("l", nonce="n", nc=1) == (5, -1)
        assert registrar.payer.admit("l", nonce="n", nc=2) == 0

    def test_a_nonce_is_forgotten_after_its_life(self, redis_client: Redis) -> None:
        payer = Payer(redis_client, limits())
        payer.admit("a", nonce="n", nc=1)
        left = int(redis_client.pttl(unpacked(keys.nonce_key("alice", "n"))[0]))
        assert 0 < left <= NONCE_LIFE_MS


class TestCalleesLeg:
    def test_admission_brings_the_live_contacts(self, redis_client: Redis) -> None:
        registrar = Registrar(redis_client)
        registrar.register("a@x", ("k1", 1_000, "one"), ("k2", 5_000, "two"))
        assert sorted(registrar.payer.admit("l", "in", aor="a@x")) == ["one", "two"]
        registrar.payer.pass_time(1_000)
        assert registrar.payer.admit("m", "in", aor="a@x") == ["two"]

    def test_nobody_there_takes_nothing(self, redis_client: Redis) -> None:
        registrar = Registrar(redis_client)
        assert registrar.payer.admit("l", "in", aor="a@x") == (REFUSED_CALLEE, -1)
        assert registrar.payer.lines() == 0
