"""Header-field values a proxy reads: name-addr lists, parameters, digest credentials.

Text in, values out, None = malformed. White space is SP and HT only: `str.strip()` would also eat octets of UTF-8.
"""

from __future__ import annotations

import re
from typing import Final

from proxy.sip.grammar import (
    ABSOLUTE_URI,
    NON_ASCII,
    QUOTED,
    TOKEN_CHARS,
    URI_MAX,
    remember,
)
from proxy.sip.uri import parse_uri

# RFC 3261 §25.1 display-name = *(token LWS) / quoted-string.
# We differ: bare UTF-8 octets are taken in an unquoted display name; phones of the world send them.
_NAME_ADDR: Final = re.compile(
    rf'(?:({QUOTED})|([{TOKEN_CHARS}{NON_ASCII} \t]*+))[ \t]*<([^<>"\x00-\x20]++)>(.*)', re.DOTALL
)
# RFC 8217 §3: a bare addr-spec may hold no comma, semicolon or question mark; what follows is the header's.
_ADDR_SPEC: Final = re.compile(r'([^<>",;?\x00-\x20]++)[ \t]*(;.*)?', re.DOTALL)
# RFC 3261 §25.1 generic-param. We differ: a value may hold any visible character that separates nothing
# (base64 in a tag, a bare IPv6 address in received, RFC 5118 §4.5).
_PARAM: Final = re.compile(
    rf'[ \t]*;[ \t]*([{TOKEN_CHARS}]++)[ \t]*(?:=[ \t]*({QUOTED}|[^ \t;,"<>]*+)[ \t]*)?', re.DOTALL
)
_ITEM: Final = re.compile(rf'(?:[^,"<]++|{QUOTED}|<[^>]*+>)*', re.DOTALL)
_AUTH: Final = re.compile(rf"([{TOKEN_CHARS}]++)(?:[ \t]++(.*))?", re.DOTALL)
_AUTH_PARAM: Final = re.compile(
    rf'[ \t,]*([{TOKEN_CHARS}]++)[ \t]*=[ \t]*({QUOTED}|[^ \t,"=][^ \t,"]*+)[ \t]*(?=,|$)', re.DOTALL
)
_QUOTED_PAIR: Final = re.compile(r"\\(.)", re.DOTALL)
_QVALUE: Final = re.compile(r"0(?:\.([0-9]{0,3}))?|1(?:\.0{0,3})?")
_CONTROLS: Final = dict.fromkeys((*range(0x20), 0x7F), " ")


class NameAddr:
    """One value of From, To, Contact, Route, Record-Route, Path, P-Asserted-Identity …: `display <uri>;params`."""

    __slots__ = ("display", "params", "uri")

    def __init__(self, display: str, uri: str, params: dict[str, str | None]) -> None:
        self.display = display
        """Unquoted display name, "" when absent."""
        self.uri = uri
        """The URI text, any scheme, without <>. A sip or sips one is known to parse."""
        self.params = params
        """Header parameters: lower-case name → value (unquoted), None when without a value. Shared: never change it."""

    def __repr__(self) -> str:
        return f"NameAddr({self.display!r}, {self.uri!r}, {self.params!r})"


class AuthParams:
    """A challenge or credentials: `Digest realm="…", nonce="…"`."""

    __slots__ = ("params", "scheme")

    def __init__(self, scheme: str, params: dict[str, str]) -> None:
        self.scheme = scheme
        """Lower-case."""
        self.params = params
        """Lower-case name → value, quoted-string escapes undone."""

    def __repr__(self) -> str:
        return f"AuthParams({self.scheme!r}, {sorted(self.params)!r})"


def split_list(text: str) -> list[str]:
    """The values of a comma-separated header, stripped; commas within quotes or <> do not separate.

    Empty values are left out. An unbalanced quote or < makes the rest one value, for its reader to refuse.
    """
    if "," not in text:
        text = text.strip(" \t")
        return [text] if text else []
    items: list[str] = []
    start = 0
    while start <= len(text):
        end = _item_end(text, start)
        item = text[start:end].strip(" \t")
        if item:
            items.append(item)
        start = end + 1
    return items


def first_value(text: str) -> str:
    """The first value of a comma-separated header, stripped; "" when there is none."""
    return text[: _item_end(text, 0)].strip(" \t")


def _item_end(text: str, start: int) -> int:
    match = _ITEM.match(text, start)
    end = start if match is None else match.end()
    return end if end < len(text) and text[end] == "," else len(text)


def parse_name_addr(text: str) -> NameAddr | None:
    """One name-addr or addr-spec with its header parameters; None when malformed."""
    text = text.strip(" \t")
    match = _NAME_ADDR.fullmatch(text)
    if match is not None:
        quoted, display, uri, rest = match.groups()
        display = display.strip(" \t") if quoted is None else unquote(quoted)
    else:
        match = _ADDR_SPEC.fullmatch(text)
        if match is None:
            return None
        uri, rest = match.groups()
        display = ""
    if not valid_uri(uri):
        return None
    params = parse_params(rest or "")
    return None if params is None else NameAddr(display, uri, params)


def valid_uri(text: str) -> bool:
    """Whether this is a URI: a sip or sips one that parses, or any other scheme's, not taken apart."""
    if parse_uri(text) is not None:
        return True
    if len(text) > URI_MAX or ABSOLUTE_URI.fullmatch(text) is None:
        return False
    return text.partition(":")[0].lower() not in ("sip", "sips")


_name_addrs: Final[dict[str, tuple[NameAddr, ...]]] = {}


def parse_name_addrs(text: str) -> tuple[NameAddr, ...] | None:
    """A comma-separated list of them (Contact, Route, Record-Route, Path …); None when empty or malformed. Cached.

    `Contact: *` (RFC 3261 §10.2.2) is no name-addr: None.
    """
    known = _name_addrs.get(text)
    if known is not None:
        return known
    found: list[NameAddr] = []
    for item in split_list(text):
        parsed = parse_name_addr(item)
        if parsed is None:
            return None
        found.append(parsed)
    if not found:
        return None
    # A longer list is nobody's daily Contact or Route, and large to keep.
    return remember(_name_addrs, text, tuple(found)) if len(found) <= 4 else tuple(found)


def parse_params(text: str) -> dict[str, str | None] | None:
    """`;a=b;c` → {"a": "b", "c": None}; None when malformed."""
    params: dict[str, str | None] = {}
    end = 0
    text = text.rstrip(" \t")
    while end < len(text):
        match = _PARAM.match(text, end)
        if match is None:
            return None
        name = match[1].lower()
        value: str | None = match[2]
        # RFC 3261 §7.3.1: "any given parameter-name MUST NOT appear more than once".
        if name in params:
            return None
        params[name] = value if value is None else unquote(value)
        end = match.end()
    return params


def parse_q(text: str) -> int | None:
    """A qvalue in thousandths: "0.5" → 500; None when malformed (RFC 3261 §25.1)."""
    match = _QVALUE.fullmatch(text)
    if match is None:
        return None
    return 1_000 if text[0] == "1" else int((match[1] or "").ljust(3, "0"))


def parse_delta(text: str) -> int | None:
    """delta-seconds, clipped to 2**32-1 (RFC 3261 §20.19); None when malformed."""
    # The length is looked at first: int() of a very long text is slow, and refused beyond 4,300 digits.
    if not text.isascii() or not text.isdecimal():
        return None
    digits = text.lstrip("0")
    return 2**32 - 1 if len(digits) > 10 else min(int(digits or "0"), 2**32 - 1)


def parse_retry_after(text: str) -> int | None:
    """The seconds of a Retry-After value, without its comment and parameters (RFC 3261 §20.33); None when malformed."""
    return parse_delta(text.partition("(")[0].partition(";")[0].strip())


def parse_auth(text: str) -> AuthParams | None:
    """The value of Authorization, Proxy-Authorization, WWW-Authenticate or Proxy-Authenticate; None when malformed.

    Only Digest has to have parameters; of another scheme's opaque rest (token68) none are read.
    """
    match = _AUTH.fullmatch(text.strip(" \t"))
    if match is None:
        return None
    scheme = match[1].lower()
    params = _auth_params(match[2] or "")
    if not params:
        return None if scheme == "digest" else AuthParams(scheme, {})
    return AuthParams(scheme, params)


def _auth_params(text: str) -> dict[str, str] | None:
    params: dict[str, str] = {}
    end = 0
    text = text.rstrip(" \t,")
    while end < len(text):
        match = _AUTH_PARAM.match(text, end)
        if match is None:
            return None
        name, value = match.groups()
        name = name.lower()
        # RFC 7616 §3.4: each parameter at most once. Two would let a checker and a peer read different ones.
        if name in params:
            return None
        params[name] = unquote(value)
        end = match.end()
    return params


def wire(text: str) -> str:
    """Any text as it travels: UTF-8 octets in latin-1 dress. For words of our own, never for what came in."""
    return text if text.isascii() else text.encode("utf-8", "replace").decode("latin-1")


def quote(text: str) -> str:
    """A quoted-string around `text`, which is wire text (RFC 3261 §25.1). Control characters become spaces."""
    inner = text.translate(_CONTROLS).replace("\\", "\\\\").replace('"', '\\"')
    return f'"{inner}"'


def unquote(text: str) -> str:
    """The text inside a quoted-string; anything else comes back as it is."""
    if len(text) < 2 or text[0] != '"' or text[-1] != '"':
        return text
    inner = text[1:-1]
    return _QUOTED_PAIR.sub(r"\1", inner) if "\\" in inner else inner


def place_of(keys: list[str], key: str) -> int:
    """The position of the first of `keys` that is `key`, -1 when none is: an eighth of what `in` and `index` cost."""
    for at, name in enumerate(keys):
        if name == key:
            return at
    return -1


def drop_first_value(lines: list[str], keys: list[str], key: str) -> None:
    """Take the topmost value of a list header (Via, Route) off, in place; its line goes when nothing is left of it."""
    at = place_of(keys, key)
    if at < 0:
        return
    line = lines[at]
    if "," in line:
        name, _, text = line.partition(":")
        if '"' in text or "<" in text:
            rest = text[_item_end(text, 0) + 1 :].strip(" \t,")
        else:
            rest = text.partition(",")[2].strip(" \t,")
        if rest:
            lines[at] = f"{name}: {rest}"
            return
    del lines[at]
    del keys[at]
