"""Digest authentication (RFC 3261 §22 as updated by RFC 8760, RFC 7616): challenge, verify, answer. Pure.

A nonce is stateless: its issue time, 64 random bits, and a signature over both and the realm made with a secret that
all instances share. So each instance accepts what any of them issued and none keeps a table. What has to be shared
state, the highest nonce count seen, is checked by the store's scripts in the trip that a request makes anyway.

Text is latin-1 as everywhere in sip/; realms and passwords are real text and are hashed and sent as UTF-8.

Not here: that replay check; as a server also auth-int, -sess and user hashing, which we never offer.
"""

from __future__ import annotations

import enum
import hashlib
import hmac
import random
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from proxy.sip.headers import parse_auth, quote
from proxy.sip.uri import parse_uri, unescape

if TYPE_CHECKING:
    from policies.catalog import Account

CREDENTIALS_MAX = 4
"""Credentials of our realm looked at in one request, for each is a guess at a password. RFC 8760 has one an algorithm."""
HA1_MAX = 16_384
"""H(A1) values remembered, some 0.4 kB each; when that many are, all are forgotten and computed anew (1 µs each)."""
CLOCK_SKEW_MAX = 60.0
"""Seconds by which the clock of the instance that issued a nonce may be ahead of ours."""

_NONCE_LENGTH = 8 + 16 + 32  # hex digits of: issue time in Unix seconds, random, signature


class Flaw(enum.Enum):
    """Why credentials of our realm do not hold. For logs: the peer is told nothing but the next challenge."""

    MALFORMED = "malformed"  # a parameter is missing or not as RFC 7616 §3.4 has it, or no qop=auth
    ALGORITHM = "algorithm"  # none that we offer
    PASSWORD = "password"  # wrong password or unknown user: one case, on purpose
    URI = "uri"  # the right password, but made for another resource


class Verified:
    """The peer knows the account's password. Whether its nonce count is a new one is for the store to say."""

    __slots__ = ("account", "nc", "nonce")

    def __init__(self, account: Account, nonce: str, nc: int) -> None:
        self.account = account
        self.nonce = nonce
        self.nc = nc


class Stale:
    """The peer knows the password, but the nonce is too old or not ours: challenge with stale=true."""

    __slots__ = ()


class Missing:
    """No Digest credentials of our realm."""

    __slots__ = ()


class Wrong:
    """Credentials of our realm that do not hold."""

    __slots__ = ("flaw",)

    def __init__(self, flaw: Flaw) -> None:
        self.flaw = flaw


Proof = Verified | Stale | Missing | Wrong
Lookup = Callable[[str], "Account | None"]
"""From `user@domain` (domain in lower case) to the account, None when there is none or it has no secret."""


class Digest:
    """The server's side: issues challenges and checks what comes back."""

    __slots__ = ("_decoys", "_ha1", "_hashes", "_key", "_life")

    def __init__(self, secret: bytes, nonce_life_s: float = 300.0, algorithms: Sequence[str] = ("SHA-256", "MD5")) -> None:
        """`secret` is shared by all instances. `algorithms`, most wanted first: keys of ALGORITHMS."""
        raise NotImplementedError

    def challenge(self, realm: str, stale: bool, wall_now: float, rng: random.Random) -> list[str]:
        """Values for one WWW-Authenticate (or Proxy-Authenticate) line each, in this order."""
        raise NotImplementedError

    def verify(
        self,
        values: Sequence[str],
        method: str,
        request_uri: str,
        realm: str,
        domain: str,
        lookup: Lookup,
        wall_now: float,
    ) -> Proof:
        """Check the `values` of Authorization (or Proxy-Authorization), one a line.

        `domain` completes a username that is a bare user part. `wall_now`: Unix seconds.
        """
        raise NotImplementedError


def answer(
    challenge: str, username: str, password: str, method: str, uri: str, cnonce: str, nc: int = 1, body: bytes = b""
) -> str | None:
    """The client's side: the value of Authorization (Proxy-Authorization) for one challenge value.

    None when it cannot be answered (another scheme, algorithm or qop): then try the next one (RFC 8760 §2.4).
    """
    raise NotImplementedError
