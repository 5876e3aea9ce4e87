"""TLS 1.3 lets a peer ask for new keys at any time: what comes of one that does little else and reads nothing."""

from __future__ import annotations

import _ssl
import asyncio
import ctypes
import socket

import pytest

from config.listen import Tls
from proxy.net import tls as module
from tests.net.tools import Net, run

HOST = "127.0.0.1"


def ask_for_keys(address: tuple[str, int]) -> int:
    """KeyUpdate(update_requested) for as long as it goes; how often. Python's ssl cannot, the library below it can."""
    library = ctypes.CDLL(_ssl.__file__)
    pointer = ctypes.c_void_p
    for maker in (library.TLS_client_method, library.SSL_CTX_new, library.SSL_new):
        maker.restype = pointer
    context = pointer(library.SSL_CTX_new(pointer(library.TLS_client_method())))
    connection = pointer(library.SSL_new(context))
    asked = 0
    with socket.create_connection(address) as sock:
        library.SSL_set_fd(connection, sock.fileno())
        assert library.SSL_connect(connection) == 1
        while asked < 500_000:
            library.SSL_key_update(connection, 1)
            if library.SSL_do_handshake(connection) != 1:
                break
            asked += 1
    library.SSL_free(connection)
    library.SSL_CTX_free(context)
    return asked


@pytest.mark.parametrize(("own", "unread"), [(module.OWN_WORDS_MAX, 1 << 30), (1 << 30, 50_000)])
def test_who_wants_new_keys_and_reads_nothing_is_given_up(
    own: int, unread: int, tls: Tls, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each is answered: the answers piled up for as long as he went on."""
    monkeypatch.setattr(module, "OWN_WORDS_MAX", own)
    monkeypatch.setattr(module, "WRITE_BUFFER_MAX", unread)

    async def main() -> None:
        async with Net(("TLS", HOST), tls=tls) as net:
            net.bound[0].sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
            asked = await asyncio.to_thread(ask_for_keys, net.address())
            assert 30 < asked < 500_000
            await net.sink.until(lambda: bool(net.sink.failed))

    run(main())
