"""Header-field values a proxy reads: name-addr lists, parameters, digest credentials.

Text in, values out, None = malformed.
"""

from __future__ import annotations


class NameAddr:
    """One value of From, To, Contact, Route, Record-Route, Path, P-Asserted-Identity …: `display <uri>;params`."""

    __slots__ = ("display", "params", "uri")

    def __init__(self, display: str, uri: str, params: dict[str, str | None]) -> None:
        self.display = display
        """Unquoted display name, "" when absent."""
        self.uri = uri
        """The URI text, any scheme, without <>."""
        self.params = params
        """Header parameters: lower-case name → value (unquoted), None when without a value. Shared: never change it."""


class AuthParams:
    """A challenge or credentials: `Digest realm="…", nonce="…"`."""

    __slots__ = ("params", "scheme")

    def __init__(self, scheme: str, params: dict[str, str]) -> None:
        self.scheme = scheme
        """Lower-case."""
        self.params = params
        """Lower-case name → value, quoted-string escapes undone."""


def split_list(text: str) -> list[str]:
    """The values of a comma-separated header, stripped; commas within quotes or <> do not separate."""
    raise NotImplementedError


def parse_name_addr(text: str) -> NameAddr | None:
    """One name-addr or addr-spec with its header parameters; None when malformed."""
    raise NotImplementedError


def parse_name_addrs(text: str) -> tuple[NameAddr, ...] | None:
    """A comma-separated list of them (Contact, Route, Record-Route, Path …); None when any is malformed. Cached."""
    raise NotImplementedError


def parse_params(text: str) -> dict[str, str | None] | None:
    """`;a=b;c` → {"a": "b", "c": None}; None when malformed."""
    raise NotImplementedError


def parse_q(text: str) -> int | None:
    """A qvalue in thousandths: "0.5" → 500; None when malformed."""
    raise NotImplementedError


def parse_delta(text: str) -> int | None:
    """delta-seconds, clipped to 2**32-1 (RFC 3261 §20.19); None when malformed."""
    raise NotImplementedError


def parse_auth(text: str) -> AuthParams | None:
    """The value of Authorization, Proxy-Authorization, WWW-Authenticate or Proxy-Authenticate; None when malformed."""
    raise NotImplementedError


def quote(text: str) -> str:
    """A quoted-string with `text` inside (RFC 3261 §25.1)."""
    raise NotImplementedError


def unquote(text: str) -> str:
    """The text inside a quoted-string; anything else comes back as it is."""
    raise NotImplementedError


def drop_first_value(lines: list[str], keys: list[str], key: str) -> None:
    """Take the topmost value of a list header (Via, Route) off, in place; its line goes when nothing is left of it."""
    raise NotImplementedError
