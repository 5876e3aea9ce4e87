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
import re
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Final

from proxy.sip.headers import parse_auth, quote, wire
from proxy.sip.uri import parse_uri, unescape

if TYPE_CHECKING:
    from config.tariffs import Algorithm
    from policies.catalog import Account

CREDENTIALS_MAX: Final = 4
"""Credentials of our realm looked at in one request: each is a guess at a password, and one an algorithm is enough."""
CLOCK_SKEW_MAX: Final = 60.0
"""Seconds by which the clock of the instance that issued a nonce may be ahead of ours."""

_NONCE_LENGTH: Final = 8 + 16 + 32
"""Hexadecimal digits: issue time in Unix seconds, random, signature."""
_SIGNED: Final = 8 + 16
_NC: Final = re.compile(r"[0-9A-Fa-f]{8}")  # RFC 7616 §3.4: 8LHEX; upper case does no harm

Hash = Callable[[bytes], str]


def _md5(data: bytes) -> str:
    return hashlib.md5(data, usedforsecurity=False).hexdigest()


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def _sha512_256(data: bytes) -> str:
    return hashlib.new("sha512_256", data).hexdigest()


ALGORITHMS: Final[dict[str, Hash]] = {"SHA-256": _sha256, "MD5": _md5}
"""By their names in RFC 7616 §6.1."""
if "sha512_256" in hashlib.algorithms_available:  # OpenSSL's, not Python's own
    ALGORITHMS["SHA-512-256"] = _sha512_256


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
"""From `user@domain` to the account."""


_STALE: Final = Stale()
_MISSING: Final = Missing()
_WRONG: Final = {flaw: Wrong(flaw) for flaw in Flaw}


class Digest:
    """The server's side: issues challenges and checks what comes back."""

    __slots__ = ("_decoys", "_hashes", "_key", "_life", "_names")

    def __init__(
        self,
        secret: bytes,
        nonce_life_s: float = 300.0,
        algorithms: Sequence[Algorithm] = ("SHA-256", "MD5"),
    ) -> None:
        """`secret` is shared by all instances; `algorithms`: most wanted first. All as in config's `auth`."""
        self._key = secret
        self._life = nonce_life_s
        self._names = tuple(algorithms)
        self._hashes: dict[str, tuple[Algorithm, Hash]] = {
            name.upper(): (name, ALGORITHMS[name]) for name in algorithms
        }
        # What an unknown user's answer is compared with. Nobody can know its pre-image.
        self._decoys = {name: ALGORITHMS[name](b"decoy:" + secret) for name in algorithms}

    def challenge(self, realm: str, stale: bool, wall_now: float, rng: random.Random) -> list[str]:
        """Values of WWW-Authenticate (or Proxy-Authenticate), one a line, in this order. `wall_now`: Unix seconds."""
        realm = wire(realm)
        signed = f"{int(wall_now) & 0xFFFFFFFF:08x}{rng.getrandbits(64):016x}"
        # RFC 7616 §3.3: realm, nonce and qop are quoted, algorithm and stale are not.
        head = f'Digest realm={quote(realm)}, nonce="{signed}{self._signature(signed, realm)}", algorithm='
        tail = ', qop="auth", stale=true' if stale else ', qop="auth"'
        # RFC 8760 §2.3: one header field an algorithm, the most preferred at the top. One nonce serves them all.
        return [head + name + tail for name in self._names]

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
        """Check the `values` of Authorization (or Proxy-Authorization), one a line. The first that holds counts.

        A request speaks for one user: answers for a second one are not looked at. Of those that do not hold a wrong
        password is told before any other flaw, or the guard would not hear of it.

        `lookup`: Catalog.accounts.get. The username is a bare user part, in its own case (RFC 3261 §19.1.4), and
        `domain`, in lower case, completes it. `wall_now`: Unix seconds.
        """
        realm = wire(realm)
        worst: Proof = _MISSING
        guesses = 0
        username: str | None = None
        for value in values:
            params = _digest_params(value)
            # RFC 3261 §22.3: credentials of other realms are for others; RFC 4475 §3.3.7: so are unknown schemes.
            if params is None or params.get("realm") != realm:
                continue
            guesses += 1
            if guesses > CREDENTIALS_MAX:
                break
            if guesses == 1:
                username = params.get("username")
            elif params.get("username") != username:
                continue
            proof = self._check(params, method, request_uri, realm, domain, lookup, wall_now)
            if isinstance(proof, Verified):
                return proof
            if proof is _STALE or (worst is not _STALE and worst is not _WRONG[Flaw.PASSWORD]):
                worst = proof
        return worst

    def _check(
        self,
        params: dict[str, str],
        method: str,
        request_uri: str,
        realm: str,
        domain: str,
        lookup: Lookup,
        wall_now: float,
    ) -> Proof:
        username = params.get("username")
        nonce = params.get("nonce")
        uri = params.get("uri")
        response = params.get("response")
        cnonce = params.get("cnonce")
        nc = params.get("nc", "")
        qop = params.get("qop", "")
        # We differ: RFC 3261 §22.4 item 8 would take credentials without qop (RFC 2069). Without a nonce count a replay
        # cannot be told, and RFC 8760 §2.6 item 8 obliges the client to send qop, since we always do.
        if not username or not nonce or not uri or not response or not cnonce or qop.lower() != "auth":
            return _WRONG[Flaw.MALFORMED]
        if not _NC.fullmatch(nc) or nc == "00000000":
            return _WRONG[Flaw.MALFORMED]
        algorithm = self._hashes.get(params.get("algorithm", "MD5").upper())
        if algorithm is None:
            return _WRONG[Flaw.ALGORITHM]
        name, hashed = algorithm
        account = lookup(f"{username}@{domain}")
        # H(A1) was computed when the catalog was loaded. Nobody's is the decoy, so that an unknown user takes the same
        # work and gets the same answer as a wrong password.
        ha1 = None if account is None else account.ha1.get(name)
        # RFC 7616 §3.4.1 and §3.4.3. What was hashed is the `uri` as written, wherever the request went since.
        ha2 = hashed(f"{method}:{uri}".encode("latin-1"))
        expected = hashed(f"{ha1 or self._decoys[name]}:{nonce}:{nc}:{cnonce}:{qop}:{ha2}".encode("latin-1"))
        right = hmac.compare_digest(expected.encode(), response.lower().encode("latin-1"))
        if account is None or ha1 is None or not right:
            return _WRONG[Flaw.PASSWORD]
        if uri != request_uri and not _same_resource(uri, request_uri):
            return _WRONG[Flaw.URI]
        # RFC 7616 §3.3: stale=true tells the client to try again without asking its user. It is earned by the password
        # alone, so a nonce of a former secret is no dead end and a wrong password is not asked for twice.
        if not self._fresh(nonce, realm, wall_now):
            return _STALE
        return Verified(account, nonce, int(nc, 16))

    def _fresh(self, nonce: str, realm: str, wall_now: float) -> bool:
        """Whether one of our instances issued the nonce, not too long ago."""
        if len(nonce) != _NONCE_LENGTH:
            return False
        signed = nonce[:_SIGNED]
        signature = self._signature(signed, realm).encode()
        if not hmac.compare_digest(signature, nonce[_SIGNED:].encode("latin-1")):
            return False
        return -CLOCK_SKEW_MAX <= wall_now - int(signed[:8], 16) <= self._life

    def _signature(self, signed: str, realm: str) -> str:
        whole = hmac.digest(self._key, f"{signed}:{realm}".encode("latin-1"), "sha256").hex()
        return whole[: _NONCE_LENGTH - _SIGNED]


def answer(
    challenge: str,
    username: str,
    password: str,
    method: str,
    uri: str,
    cnonce: str,
    nc: int = 1,
    body: bytes = b"",
) -> str | None:
    """The client's side: the value of Authorization (Proxy-Authorization) for one challenge value.

    None when it cannot be answered (another scheme, algorithm or qop): then try the next one (RFC 8760 §2.4).
    """
    params = _digest_params(challenge)
    if params is None or "realm" not in params or "nonce" not in params:
        return None
    name, session, rest = params.get("algorithm", "MD5").upper().partition("-SESS")
    hashed = ALGORITHMS.get(name)
    offered = [token.strip().lower() for token in params.get("qop", "").split(",") if token.strip()]
    qop = next((token for token in ("auth", "auth-int") if token in offered), "")
    if hashed is None or rest or (offered and not qop):
        return None
    realm, nonce = params["realm"], params["nonce"]
    username, count = wire(username), f"{nc:08x}"
    ha1 = _ha1(username, realm, password, hashed)
    if session:
        ha1 = hashed(f"{ha1}:{nonce}:{cnonce}".encode("latin-1"))
    a2 = f"{method}:{uri}:{hashed(body)}" if qop == "auth-int" else f"{method}:{uri}"
    # RFC 7616 §3.4.1; without qop in the challenge RFC 2069's form (RFC 3261 §22.4 item 8).
    middle = f"{nonce}:{count}:{cnonce}:{qop}" if qop else nonce
    response = hashed(f"{ha1}:{middle}:{hashed(a2.encode('latin-1'))}".encode("latin-1"))
    said = [
        f"Digest username={quote(username)}, realm={quote(realm)}, nonce={quote(nonce)}, uri={quote(uri)}"
    ]
    said.append(f'response="{response}"')
    if "algorithm" in params:
        said.append(f"algorithm={params['algorithm']}")
    if qop or session:
        said.append(f"cnonce={quote(cnonce)}")
    if qop:
        said.append(f"qop={qop}, nc={count}")
    if "opaque" in params:
        said.append(f"opaque={quote(params['opaque'])}")
    return ", ".join(said)


def is_stale(challenge: str) -> bool:
    """Whether the challenge says that only the nonce was too old (RFC 7616 §3.3)."""
    params = _digest_params(challenge)
    return params is not None and params.get("stale", "").lower() == "true"


def _digest_params(value: str) -> dict[str, str] | None:
    """The parameters of a Digest challenge or of Digest credentials; None for anything else."""
    auth = parse_auth(value)
    return auth.params if auth is not None and auth.scheme == "digest" else None


def _ha1(username: str, realm: str, password: str, hashed: Hash) -> str:
    return hashed(f"{username}:{realm}:".encode("latin-1") + password.encode())


def _same_resource(written: str, request_uri: str) -> bool:
    """Whether `uri` still names what the request is for, though the texts differ.

    RFC 8760 §2.6 item 6 (RFC 3261 §22.4 item 6): both must be for somebody we serve, they need not be equivalent.
    On its way a proxy may have rewritten host and port (outbound proxy, alias, address for name) and parameters
    (transport, lr), which clients themselves often leave out. The user part says who is called or registered, so that
    one must be the same; the realm in the digest already ties it to us.
    """
    left, right = parse_uri(written), parse_uri(request_uri)
    return left is not None and right is not None and unescape(left.user or "") == unescape(right.user or "")
