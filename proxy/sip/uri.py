"""SIP and SIPS URIs (RFC 3261 §19.1): parse, compare, and the key of an address of record.

Other schemes are not taken apart: `scheme_of` names them and the text travels on unchanged.
"""

from __future__ import annotations

import ipaddress
import re
from typing import Final

from proxy.sip.grammar import (
    ALNUM,
    ESCAPED,
    HOST,
    HOST_MAX,
    NON_ASCII,
    UNRESERVED,
    URI_MAX,
    remember,
)

# RFC 3261 §25.1 user-unreserved. We differ: `#` and bare UTF-8 octets are taken too, phones dial and display them.
_USER: Final = rf"(?:[{UNRESERVED}&=+$,;?/#{NON_ASCII}]|{ESCAPED})+"
_PASSWORD: Final = rf"(?:[{UNRESERVED}&=+$,]|{ESCAPED})*"
_PARAM: Final = rf"(?:[{UNRESERVED}\[\]/:&+$]|{ESCAPED})"
_SIP_URI: Final = re.compile(
    rf"(sips?):(?:({_USER})(?::({_PASSWORD}))?@)?({HOST})(?::([0-9]{{1,5}}))?"
    rf"((?:;{_PARAM}++(?:={_PARAM}*+)?)*)"
    rf"(?:\?((?:[{UNRESERVED}\[\]/?:+$=&]|{ESCAPED})+))?",
    re.IGNORECASE,
)
_HOST: Final = re.compile(HOST)
_SCHEME: Final = re.compile(rf"([A-Za-z][{ALNUM}+.\-]*+):")
_ESCAPE: Final = re.compile("%([0-9A-Fa-f]{2})")
_UNRESERVED: Final = re.compile(f"[{UNRESERVED}]")
_IN_USER: Final = re.compile(rf"[{UNRESERVED}&=+$,;?/]")
_USER_ESCAPES: Final = {code: f"%{code:02X}" for code in range(256) if not _IN_USER.match(chr(code))}


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

    def __repr__(self) -> str:
        return f"SipUri({self.text!r})"


_parsed: Final[dict[str, SipUri]] = {}


def parse_uri(text: str) -> SipUri | None:
    """Parse a sip or sips URI. None: malformed, or another scheme (`scheme_of` tells). Cached."""
    uri = _parsed.get(text)
    if uri is None:
        uri = _parse(text)
        if uri is not None:
            remember(_parsed, text, uri)
    return uri


def _parse(text: str) -> SipUri | None:
    if len(text) > URI_MAX:
        return None
    match = _SIP_URI.fullmatch(text)
    if match is None:
        return None
    scheme, user, password, host, port_text, params_text, headers = match.groups()
    port = None if port_text is None else int(port_text)
    if len(host) > HOST_MAX or (port is not None and port > 65_535):
        return None
    params: dict[str, str | None] = {}
    if params_text:
        for param in params_text[1:].split(";"):
            name, equals, value = param.partition("=")
            name = name.lower()
            # RFC 3261 §19.1.1: "any given parameter-name MUST NOT appear more than once".
            if name in params:
                return None
            params[name] = value if equals else None
    return SipUri(scheme.lower(), user, password, host.lower(), port, params, headers or "", text)


def scheme_of(text: str) -> str:
    """The lower-case scheme ("sip", "sips", "tel", …), "" when there is none."""
    match = _SCHEME.match(text)
    return "" if match is None else match[1].lower()


def same_uri(left: SipUri, right: SipUri) -> bool:
    """Equality of RFC 3261 §19.1.4. Not transitive, so no key can stand for it."""
    if left is right:
        return True
    if left.scheme != right.scheme or left.port != right.port:
        return False
    if _normal(left.user) != _normal(right.user) or _normal(left.password) != _normal(right.password):
        return False
    return (
        same_host(left.host, right.host)
        and _same_params(left.params, right.params)
        and _header_set(left.headers) == _header_set(right.headers)
    )


# RFC 3261 §19.1.4: these never match a URI that lacks them, not even with their default value.
_NEVER_IGNORED: Final = ("transport", "user", "ttl", "method", "maddr")


def _same_params(left: dict[str, str | None], right: dict[str, str | None]) -> bool:
    if not left and not right:
        return True
    mine = {_fold(name): _fold(value) for name, value in left.items()}
    theirs = {_fold(name): _fold(value) for name, value in right.items()}
    for name in _NEVER_IGNORED:
        if (name in mine) != (name in theirs):
            return False
    return all(theirs[name] == value for name, value in mine.items() if name in theirs)


def _header_set(text: str) -> list[tuple[str, str]]:
    # RFC 3261 §19.1.4: header components are never ignored; their order is.
    # We differ: values compare by octet, not by the rules of each header field, which only a UA would know.
    parts = [part.partition("=") for part in text.split("&")]
    return sorted((_fold(name), _normal(value) or "") for name, _, value in parts)


def _fold(text: str | None) -> str:
    return (_normal(text) or "").lower()


def _normal(text: str | None) -> str | None:
    """Escapes of unreserved characters undone, the others in upper case: equal texts are equal URI parts."""
    if text is None or "%" not in text:
        return text
    return _ESCAPE.sub(_normal_escape, text)


def _normal_escape(match: re.Match[str]) -> str:
    char = chr(int(match[1], 16))
    return char if _UNRESERVED.match(char) else match[0].upper()


def canonical_host(host: str) -> str:
    """A host for comparison: lower-case, IPv6 in its one short form (RFC 5954 §4.2), without brackets."""
    if ":" not in host:
        return host.lower()
    try:
        # RFC 5118 §4.10: the third colon is a slip of the old grammar and means nothing.
        return ipaddress.IPv6Address(host.strip("[]").replace(":::", "::")).compressed
    except ValueError:
        return host.lower()


def same_host(left: str, right: str) -> bool:
    """Whether two hosts, with or without brackets, are the same name or the same address. No look-up."""
    return left == right or canonical_host(left) == canonical_host(right)


def aor_key(uri: SipUri) -> str:
    """`user@host`, canonical: escapes normalised once, user case kept, host lower-case, no port, no parameters.

    RFC 3261 §10.3 step 5. A URI without user gives the host alone.
    """
    user = uri.user
    if user is None:
        return uri.host
    if "%" in user or "#" in user or not user.isascii():
        user = escape_user(unescape(user))
    return f"{user}@{uri.host}"


def request_uri(text: str) -> str:
    """A URI as it may stand in a request line: without headers and `method` (RFC 3261 §19.1.1, Table 1).

    RFC 4475 §3.3.14: a registered contact may have them.
    """
    uri = parse_uri(text)
    if uri is None:
        return text
    if uri.headers:
        text = text[: -len(uri.headers) - 1]
    return without(text, "method") if "method" in uri.params else text


def without(text: str, *names: str, port: bool = True) -> str:
    """A sip URI that parses and has no headers, without the parameters of these names; not `port`: nor its port."""
    # What looks like a parameter may also stand in the user part.
    start = text.rfind("@") + 1
    host, *params = text[start:].split(";")
    if not port and not host.endswith("]"):
        host = host.rpartition(":")[0] or host
    kept = [param for param in params if param.partition("=")[0].lower() not in names]
    return text[:start] + ";".join([host, *kept])


def target_of(uri: SipUri) -> str | None:
    """Where it leads, RFC 3263 §4: "the value of the maddr parameter of the URI, if present", else its host.

    Lower-case, an IPv6 reference in brackets; None: its maddr is no host.
    """
    maddr = uri.params.get("maddr")
    if not maddr:
        return uri.host
    return maddr.lower() if len(maddr) <= HOST_MAX and _HOST.fullmatch(maddr) else None


def unescape(text: str) -> str:
    """Undo %-escapes once, never again on the result; octets come out as latin-1 characters."""
    if "%" not in text:
        return text
    return _ESCAPE.sub(_unescape_one, text)


def _unescape_one(match: re.Match[str]) -> str:
    return chr(int(match[1], 16))


def escape_user(text: str) -> str:
    """Escape what may not stand unescaped in the user part; `text` is latin-1 dressed octets."""
    return text.translate(_USER_ESCAPES)
