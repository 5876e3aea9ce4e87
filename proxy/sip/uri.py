"""SIP and SIPS URIs (RFC 3261 §19.1): parse, compare, and the key of an address of record."""

from __future__ import annotations


class SipUri:
    """A parsed sip or sips URI. Immutable by convention: parsed URIs are cached and shared."""

    __slots__ = ("headers", "host", "params", "password", "port", "scheme", "text", "user")

    def __init__(
        self,
        scheme: str,
        user: str | None,
        password: str | None,
        host: str,
        port: int | None,
        params: dict[str, str | None],
        headers: str,
        text: str,
    ) -> None:
        self.scheme = scheme
        """"sip" or "sips"."""
        self.user = user
        """As written, escapes kept; None when there is no user part."""
        self.password = password
        self.host = host
        """Lower-case; an IPv6 reference keeps its brackets."""
        self.port = port
        self.params = params
        """Lower-case name → value as written, None when without a value."""
        self.headers = headers
        """What follows `?`, raw; "" when absent."""
        self.text = text
        """The URI as written."""


def parse_uri(text: str) -> SipUri | None:
    """Parse a sip or sips URI. None: malformed, or another scheme (`scheme_of` tells). Cached."""
    raise NotImplementedError


def scheme_of(text: str) -> str:
    """The lower-case scheme ("sip", "sips", "tel", …), "" when there is none."""
    raise NotImplementedError


def same_uri(left: SipUri, right: SipUri) -> bool:
    """Equality of RFC 3261 §19.1.4."""
    raise NotImplementedError


def aor_key(uri: SipUri) -> str:
    """`user@host`, canonical: escapes normalised once, user case kept, host lower-case, no port, no parameters."""
    raise NotImplementedError


def unescape(text: str) -> str:
    """Undo %-escapes once, never again on the result; octets come out as latin-1 characters."""
    raise NotImplementedError


def escape_user(text: str) -> str:
    """Escape what may not stand unescaped in the user part."""
    raise NotImplementedError
