"""Against scanners, guessers of passwords and floods: what a source that no trunk vouches for may ask of us.

Each source address has a bucket of requests without proof and a bucket of wrong passwords. Beyond the first it is met
with silence, beyond the second it is banned: its datagrams are dropped by the socket before anybody parses them
(effects.Shun), its connections closed. Two things protect the customer next to the culprit. A source where somebody
has *proved* a password of late (an office behind one NAT) is not shut out as a whole: only the accounts that proved
themselves there go on, everybody else there is met with silence. And an account that is guessed at from everywhere is
never locked: a source that does not know its password has fewer tries, one that does is let in at the first.

Of IPv6 an address stands for its /64 (site.py), unless a trunk or somebody exempt has one in there, too.

Everything is bounded; the source that has been quiet longest is forgotten first. A spoofed address can use up the
bucket of the real one, but ban it only while nobody has proved anything there.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from ipaddress import ip_address
from typing import TYPE_CHECKING, Any, Final

from proxy.engine.abuse import Ban, BanCause, Dropped
from proxy.engine.claimed import claimed_aors
from proxy.engine.effects import Shun, Suspicious, Unshun
from proxy.engine.site import site_of
from proxy.sip.uri import parse_uri, same_host, target_of

if TYPE_CHECKING:
    from config.guard import Rate
    from proxy.engine.core import Core
    from proxy.sip.flow import Flow
    from proxy.sip.message import Request

SOURCES_MAX: Final = 16_384
"""Addresses remembered (some 0.5 kB each)."""
ACCOUNTS_MAX: Final = 4096
"""Accounts of which wrong passwords are remembered."""
PROVED_MAX: Final = 256
"""Accounts remembered of one address: an office of phones."""
BANS_MAX: Final = 4096
"""Addresses banned at once; the oldest ban gives way."""
DOUBTED_MAX: Final = 16
"""Accounts of one address between a wrong password and the right one; there is a second between the two."""
PROVED_FOR: Final = 86_400.0
"""Seconds after its last proof that an account counts as at home at an address: phones register once an hour."""
SLOW_AFTER: Final = 3
"""Wrong passwords of one address that are answered at once; a person mistypes as often."""
SLOW_MAX: Final = 8.0
"""Seconds that the answer to a wrong password waits at most: 1, 2, 4, 8. Timer F gives up after 32."""
DELAYED_MAX: Final = 1000
"""Answers that wait at once; beyond that a wrong password gets none."""
UNDER_ATTACK_COST: Final = 7.0
"""What a wrong password for an account costs that is guessed at from everywhere: two or three tries for an address."""
SCANNER_COST: Final = 10.0
"""What a scanner's request costs its address."""
FLOOD_BAN: Final = 60.0
"""Seconds; a flood that goes on renews it."""
STRIKES_MAX: Final = 4
"""Bans after which they get no longer."""


class _Bucket:
    """Tokens that come back evenly."""

    __slots__ = ("at", "tokens")

    def __init__(self, rate: Rate, now: float) -> None:
        self.tokens = float(rate.count)
        self.at = now

    def take(self, rate: Rate, cost: float, now: float) -> bool:
        """Whether there were so many; an empty one stays empty."""
        self.tokens = min(float(rate.count), self.tokens + (now - self.at) * rate.count / rate.period)
        self.at = now
        if self.tokens < cost:
            return False
        self.tokens -= cost
        return True


class _Source:
    """One address."""

    __slots__ = (
        "closed_until",
        "doubted",
        "exempt",
        "failures",
        "over",
        "proved",
        "requests",
        "strikes",
        "told",
    )

    def __init__(self, requests: _Bucket, failures: _Bucket, exempt: bool) -> None:
        self.requests = requests
        self.failures = failures
        self.exempt = exempt
        self.over = 0
        """Requests met with silence since the bucket was last not empty."""
        self.proved: dict[str, float] = {}
        """aor → when it last proved its password here."""
        self.doubted: dict[str, float] = {}
        """aor → what its last wrong password cost, until it proves the right one."""
        self.closed_until = 0.0
        """Until then only those in `proved` are let in."""
        self.strikes = 0
        self.told = False
        """That it is a scanner."""


class Guard:
    """One for each process. `on` is looked at before anything else is done."""

    __slots__ = ("_accounts", "_core", "_delayed", "_scanner", "_sources", "_whole", "bans", "on")

    def __init__(self, core: Core) -> None:
        self._core = core
        self.bans: dict[str, Ban] = {}
        self._sources: dict[str, _Source] = {}
        self._accounts: dict[str, _Bucket] = {}
        self._delayed = 0
        self.configure()

    def configure(self) -> None:
        """After core.configure. What was counted stays, bans too."""
        settings = self._core.snapshot.config.guard
        self.on = settings.enabled
        patterns = "|".join(re.escape(pattern) for pattern in settings.scanners)
        self._scanner = re.compile(patterns, re.IGNORECASE) if patterns else None
        self._whole = self._with_neighbours()
        for host in [host for host in self.bans if host in self._whole]:
            self._lift(self.bans[host])
        for host, source in self._sources.items():
            source.exempt = self._exempt(host)

    # Requests ---------------------------------------------------------------------------------------------------------

    def lets_in(self, request: Request, flow: Flow, now: float) -> bool:
        """Whether a request that starts something, from no trunk, is looked at any further. False: silence."""
        host = flow.host
        source = self._source(host, now)
        if source.exempt:
            return True
        agent = request.value("user-agent") if self._scanner is not None else None
        if agent is not None and self._scanner is not None and self._scanner.search(agent) is not None:
            self._drop(Dropped.SCANNER)
            if not source.told:
                source.told = True
                self._core.out.append(Suspicious("scanner", flow, agent[:64]))
            self._charge(host, source, SCANNER_COST, now)
            return False
        if source.closed_until > now and not self._at_home(request, source):
            self._drop(Dropped.CLOSED)
            return False
        if self._charge(host, source, 1.0, now):
            return True
        self._drop(Dropped.RATE)
        return False

    def _at_home(self, request: Request, source: _Source) -> bool:
        """Whether all whom it names have proved themselves here: one of them must not open the door to a guess."""
        named = claimed_aors(self._core, request)
        return bool(named) and all(aor in source.proved for aor in named)

    def tolerates(self, flow: Flow, now: float) -> bool:
        """Whether something unreadable, or of a dialog nobody knows, is answered. False: silence."""
        if not self.on or self._core.trunks_at(flow.host):
            return True
        source = self._source(flow.host, now)
        if source.exempt or self._charge(flow.host, source, 1.0, now):
            return True
        self._drop(Dropped.RATE)
        return False

    def _charge(self, host: str, source: _Source, cost: float, now: float) -> bool:
        rate = self._core.snapshot.config.guard.unauthenticated
        if source.requests.take(rate, cost, now):
            source.over = 0
            return True
        source.over += 1
        if source.over >= rate.count and not source.proved:
            source.over = 0
            self._ban(host, source, BanCause.RATE, None, now)
        return False

    # Passwords --------------------------------------------------------------------------------------------------------

    def proved(self, flow: Flow, aor: str, now: float) -> None:
        """Somebody at this address knows the account's password."""
        source = self._source(flow.host, now)
        # Its challenge and this request were no abuse.
        source.requests.tokens += 2.0
        # Who mistyped, or a nonce that its registrar has forgotten and does not call stale, was no guess.
        source.failures.tokens += source.doubted.pop(aor, 0.0)
        proved = source.proved
        proved.pop(aor, None)
        if len(proved) >= PROVED_MAX:
            del proved[next(iter(proved))]
        proved[aor] = now

    def lived_at(self, host: str) -> bool:
        """Whether somebody has proved a password there."""
        source = self._sources.get(self._site(host))
        return source is not None and bool(source.proved)

    def known(self, flow: Flow) -> None:
        """The request came from somebody we know by the flow he registered from: no abuse either."""
        source = self._sources.get(self._site(flow.host))
        if source is not None:
            source.requests.tokens += 1.0

    def failed(self, flow: Flow, aor: str, now: float) -> float:
        """A wrong password. Seconds that its answer is to wait; below 0: it gets none."""
        core = self._core
        core.counters.auth_failures += 1
        source = self._source(flow.host, now)
        core.out.append(Suspicious("auth_failed", flow, aor))
        if source.exempt:
            return 0.0
        rate = core.snapshot.config.guard.failures
        cost = 1.0
        if aor not in source.proved:
            account = self._accounts.get(aor)
            if account is None:
                if len(self._accounts) >= ACCOUNTS_MAX:
                    del self._accounts[next(iter(self._accounts))]
                account = self._accounts[aor] = _Bucket(rate, now)
            if not account.take(rate, 1.0, now):
                # Guessed at from everywhere. Never locked: who knows the password is let in at the first try.
                cost = min(UNDER_ATTACK_COST, float(rate.count))
        if not source.failures.take(rate, cost, now):
            self._shut_out(flow.host, source, now)
            return -1.0
        doubted = source.doubted
        if len(doubted) >= DOUBTED_MAX and aor not in doubted:
            del doubted[next(iter(doubted))]
        doubted[aor] = cost
        wrong = rate.count - source.failures.tokens
        if wrong <= SLOW_AFTER:
            return 0.0
        return min(SLOW_MAX, 2.0 ** round(max(0.0, wrong - SLOW_AFTER - 1.0)))

    def _shut_out(self, host: str, source: _Source, now: float) -> None:
        """Too many wrong passwords."""
        proved = source.proved
        for aor in [aor for aor, at in proved.items() if now - at > PROVED_FOR]:
            del proved[aor]
        if proved:
            # Somebody lives there: nobody else is listened to for a while.
            source.closed_until = now + self._core.snapshot.config.guard.ban
            self._core.out.append(Suspicious("closed", None, host))
        else:
            self._ban(host, source, BanCause.BRUTE_FORCE, None, now)

    def later(self, seconds: float, answer: Callable[[float], None], now: float) -> bool:
        """Call `answer(now)` after so long. False: too many wait already, and it never is."""
        if seconds < 0 or self._delayed >= DELAYED_MAX:
            self._drop(Dropped.GUESSING)
            return False
        self._delayed += 1
        self._core.timers.after(seconds, self._answer, answer, 0, now)
        return True

    def _answer(self, answer: Callable[[float], None], token: int, now: float) -> None:
        self._delayed -= 1
        answer(now)

    # Bans -------------------------------------------------------------------------------------------------------------

    def flood(self, host: str, now: float) -> None:
        """events.FloodSeen: more datagrams than `guard.flood`, of whatever kind."""
        if host in self._whole or not self.on:
            # Of a site in which somebody must be heard only who floods alone is shut out.
            return
        if self._core.trunks_at(host.partition("/")[0]) or self.answers_us(host):
            return
        source = self._source(host, now)
        if not source.exempt:
            self._ban(host, source, BanCause.FLOOD, FLOOD_BAN, now)

    def answers_us(self, host: str) -> bool:
        """Whether a trunk's target is this address: 500 calls a second there bring 2,000 answers a second back."""
        uris = (
            parse_uri(text) for one in self._core.snapshot.catalog.trunks.values() for text in one.targets
        )
        return any(uri is not None and same_host(target_of(uri) or "", host) for uri in uris)

    def unban(self, host: str) -> None:
        """events.Unban: by an operator; "" = everybody. What the address did before is forgotten."""
        settings = self._core.snapshot.config.guard
        # By itself, too: what is in force may have been another when it was banned.
        named = {host, self._site(host)}
        for one in named if host else [*self.bans]:
            if one in self.bans:
                self._lift(self.bans[one])
        for one in named if host else [*self._sources]:
            source = self._sources.get(one)
            if source is not None:
                source.requests.tokens = float(settings.unauthenticated.count)
                source.failures.tokens = float(settings.failures.count)
                source.closed_until, source.over, source.strikes = 0.0, 0, 0

    def _ban(self, host: str, source: _Source, cause: BanCause, seconds: float | None, now: float) -> None:
        core = self._core
        host = self._site(host)
        old = self.bans.get(host)
        if seconds is None:
            seconds = core.snapshot.config.guard.ban * 2.0**source.strikes
            source.strikes = min(source.strikes + 1, STRIKES_MAX)
        if old is not None:
            # A flood that goes on.
            old.until = max(old.until, now + seconds)
            return
        if len(self.bans) >= BANS_MAX:
            self._lift(self.bans[next(iter(self.bans))])
        core.counters.bans[cause] += 1
        ban = self.bans[host] = Ban(host, cause, now + seconds)
        core.timers.at(ban.until, self._over, ban, 0)
        core.out.append(Shun(host, cause, seconds))

    def _over(self, ban: Ban, token: int, now: float) -> None:
        if self.bans.get(ban.host) is not ban:
            return
        if ban.until > now:
            self._core.timers.at(ban.until, self._over, ban, 0)
        else:
            self._lift(ban)

    def _lift(self, ban: Ban) -> None:
        del self.bans[ban.host]
        self._core.out.append(Unshun(ban.host))

    def shown(self, now: float) -> list[dict[str, Any]]:
        """For an operator: who is banned, and where only those are let in who have proved themselves."""
        banned = [
            {"address": ban.host, "cause": ban.cause.value, "for_s": max(0, round(ban.until - now))}
            for ban in self.bans.values()
        ]
        closed = [
            {"address": host, "cause": "closed", "for_s": round(source.closed_until - now)}
            for host, source in self._sources.items()
            if source.closed_until > now
        ]
        return banned + closed

    # Sources ----------------------------------------------------------------------------------------------------------

    def _source(self, host: str, now: float) -> _Source:
        sources = self._sources
        site = self._site(host)
        source = sources.get(site)
        if source is None:
            if len(sources) >= SOURCES_MAX:
                del sources[next(iter(sources))]
            settings = self._core.snapshot.config.guard
            source = _Source(
                _Bucket(settings.unauthenticated, now), _Bucket(settings.failures, now), self._exempt(host)
            )
        else:
            # Taken out and put in again, so that the one that was quiet longest is the first.
            del sources[site]
        sources[site] = source
        return source

    def _site(self, host: str) -> str:
        site = site_of(host)
        return host if site in self._whole else site

    def _with_neighbours(self) -> frozenset[str]:
        """Sites in which somebody must always be heard: they are never taken as a whole."""
        config, catalog = self._core.snapshot.config, self._core.snapshot.catalog
        networks = [
            *config.guard.exempt,
            *(one for trunk in config.trunks.values() for one in trunk.networks),
        ]
        hosts = [str(one.network_address) for one in networks if one.version == 6 and one.prefixlen > 64]
        for text in [text for trunk in catalog.trunks.values() for text in trunk.targets if "[" in text]:
            uri = parse_uri(text)
            hosts += [uri.host.strip("[]")] if uri is not None else []
        return frozenset(site_of(host) for host in hosts)

    def _exempt(self, host: str) -> bool:
        networks = self._core.snapshot.config.guard.exempt
        if not networks:
            return False
        address = ip_address(re.split("[%/]", host)[0])
        return any(address.version == network.version and address in network for network in networks)

    def _drop(self, cause: Dropped) -> None:
        self._core.counters.guard_dropped[cause] += 1
