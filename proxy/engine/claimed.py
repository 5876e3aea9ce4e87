"""Who a request says it comes from, before anything is proved: what the guard goes by."""

from __future__ import annotations

from typing import TYPE_CHECKING

from proxy.sip.headers import parse_auth, parse_name_addr
from proxy.sip.uri import parse_uri

if TYPE_CHECKING:
    from proxy.engine.core import Core
    from proxy.sip.message import Request


def claimed_aor(core: Core, request: Request) -> str:
    """The account of ours that a request says it comes from, "" when it is none: of its credentials, else its From."""
    return next(iter(claimed_aors(core, request)), "")


def claimed_aors(core: Core, request: Request) -> list[str]:
    """Each account of ours that its credentials name, in whatever header and for whatever realm; else that in From."""
    catalog = core.snapshot.catalog
    # As who checks the credentials completes their user name: by To, or by From.
    identity = parse_name_addr(request.value("to" if request.method == "REGISTER" else "from") or "")
    uri = parse_uri(identity.uri) if identity is not None else None
    domain = uri.host if uri is not None and uri.host in catalog.domains else ""
    users = [
        credentials.params.get("username")
        for key in ("authorization", "proxy-authorization")
        for value in request.values(key)
        if (credentials := parse_auth(value)) is not None
    ]
    found = [_aor(core, user, domain) for user in users if user]
    if not any(found) and uri is not None and uri.user:
        found = [_aor(core, uri.user, domain)]
    return [aor for aor in found if aor]


def _aor(core: Core, user: str, domain: str) -> str:
    catalog = core.snapshot.catalog
    account = catalog.accounts.get(f"{user}@{domain}") or catalog.by_user.get(user)
    return account.aor if account is not None else ""
