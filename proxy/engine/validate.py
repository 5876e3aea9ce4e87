"""RFC 3261 §16.3: is this request one that a proxy forwards? Ordered steps; the first that objects answers.

Step 1 (syntax) is the parser's; step 6 (Proxy-Authorization) is facts.py's, for it needs to know who calls.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from proxy.engine.forward import loop_hash_of
from proxy.sip.ids import loop_hash_of as hash_in_branch
from proxy.sip.uri import scheme_of

if TYPE_CHECKING:
    from proxy.engine.core import Core
    from proxy.sip.message import Request

PROXY_EXTENSIONS: Final[frozenset[str]] = frozenset({"privacy"})
"""Option tags we accept in Proxy-Require. What `privacy` asks for is looked at in privacy.py."""

Objection = tuple[int, str, tuple[str, ...]]
"""status, phrase, extra header lines"""


def _scheme(core: Core, request: Request) -> Objection | None:
    # RFC 3261 §16.3 step 2. We differ from §26.3.1 (a proxy "SHOULD" know sips): it wants TLS on every hop up to the
    # last one (RFC 5630 §5.3), and half of that would be a false promise.
    if request.uri.startswith("sip:") or scheme_of(request.uri) == "sip":
        return None
    return 416, "Unsupported URI Scheme", ()


def _max_forwards(core: Core, request: Request) -> Objection | None:
    # RFC 3261 §16.3 step 3. An OPTIONS with none left could be answered by us; we say 483 to all.
    if request.hops == 0:
        return 483, "Too Many Hops", ()
    return None


def _loop(core: Core, request: Request) -> Objection | None:
    # RFC 3261 §16.3 step 4 as sharpened by RFC 5393 §4.2: our own sent-by further down and the same routing fields is
    # a loop; other fields are a spiral and fine.
    if not request.more_vias():
        return None
    if request.to_tag:
        # Within a dialog the route set decides; nothing here can fork or send it round again. Max-Forwards bounds it.
        return None
    expected = -1
    for text in core.texts.values():
        for value in request.all_values("via")[1:]:
            if text.sent_by not in value + ";":
                continue
            branch = value.partition(";branch=")[2].partition(";")[0]
            if expected < 0:
                expected = loop_hash_of(request)
            if hash_in_branch(branch) == expected:
                return 482, "Loop Detected", ()
    return None


def _proxy_require(core: Core, request: Request) -> Objection | None:
    # RFC 3261 §16.3 step 5.
    if not request.has("proxy-require"):
        return None
    unknown = [tag for tag in request.all_values("proxy-require") if tag.lower() not in PROXY_EXTENSIONS]
    if not unknown:
        return None
    return 420, "Bad Extension", (f"Unsupported: {', '.join(unknown)}",)


def validate(core: Core, request: Request) -> Objection | None:
    """The first objection, None when the request may be forwarded."""
    return (
        _scheme(core, request)
        or _max_forwards(core, request)
        or _loop(core, request)
        or _proxy_require(core, request)
    )
