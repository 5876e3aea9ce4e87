"""URLs of several servers, and what is made of them. What is wrong with one: tests/config/bad/store-*.yaml."""

from __future__ import annotations

import pytest

from config.store_url import check_store_url, servers_of, shown_store_url


def test_a_master_that_sentinels_know() -> None:
    found = servers_of(
        "rediss+sentinel://us%40er:p%2Cw@h1:26380,h2,[::1]:26381/my%2Fmaster/3"
        "?sentinel_password=s%40w&ssl_ca_certs=/etc/ca.pem"
    )
    assert found is not None
    assert (found.kind, found.tls, found.master, found.db) == ("sentinel", True, "my/master", 3)
    assert found.hosts == (("h1", 26380), ("h2", 26379), ("::1", 26381))
    assert found.server("::2", 6379) == "rediss://us%40er:p%2Cw@[::2]:6379/3?ssl_ca_certs=%2Fetc%2Fca.pem"
    assert found.sentinel("h2", 26379) == "rediss://:s%40w@h2:26379/0?ssl_ca_certs=%2Fetc%2Fca.pem"


def test_nodes_of_a_cluster() -> None:
    found = servers_of("redis+cluster://:pw@h1:7000,[::1]:7001/0")
    assert found is not None
    assert (found.kind, found.tls, found.master, found.db) == ("cluster", False, "", 0)
    assert found.hosts == (("h1", 7000), ("::1", 7001))
    assert found.server("h1", 7000) == "redis://:pw@h1:7000/0"


@pytest.mark.parametrize("url", ["redis://h/0", "rediss://h", "unix:///s", "embedded"])
def test_one_server_is_none_of_these(url: str) -> None:
    assert servers_of(url) is None
    assert check_store_url(url) == url


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("redis://user:secret@h:6379/1", "redis://h:6379/1"),
        ("rediss+cluster://:secret@h1,[::1]:2?ssl_certfile=c", "rediss+cluster://h1,[::1]:2"),
        ("redis+sentinel://u:secret@h1/m/0?sentinel_password=secret", "redis+sentinel://h1/m/0"),
    ],
)
def test_no_password_is_shown(url: str, shown: str) -> None:
    assert shown_store_url(url) == shown
