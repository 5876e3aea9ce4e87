"""Certificates: ours change while a call is up, clients' are asked for, a provider's must have its name."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.certificates import authority
from tests.e2e.channel import SERVER_NAME, accept
from tests.e2e.net import Net, free_port
from tests.e2e.phone import Phone, call, register
from tests.e2e.service import Callgate, Settings, Tariff, settings_of
from tests.e2e.stage import Stage
from tests.redis import PrivateRedis

TARIFFS = {"certified": Tariff(accounts=("certified-a", "certified-b"))}


def shown(callgate: Callgate) -> str:
    """The serial number of the certificate that a new connection is shown."""
    context = ssl.create_default_context(cafile=str(authority().path))
    with (
        socket.create_connection(callgate.address(transport="TLS")) as sock,
        context.wrap_socket(sock, server_hostname=SERVER_NAME) as peer,
    ):
        certificate = peer.getpeercert()
    assert certificate is not None
    return str(certificate["serialNumber"])


def test_a_new_certificate_while_a_call_is_up(
    net: Net,
    redis: PrivateRedis,
    serve: Callable[[Settings], Callgate],
    stage_of: Callable[[Callgate], Stage],
) -> None:
    settings = settings_of(net, redis.url, host=9)
    callgate = serve(settings)
    stage = stage_of(callgate)

    def logged(event: str) -> int:
        return sum(line["event"] == event for line in callgate.log())

    with stage.phone("certified-a", transport="TLS") as caller, stage.phone("certified-b") as callee:
        register(callee)
        ok, _ = call(caller, callee)
        first = shown(callgate)
        again = authority().issue(net.host(9), SERVER_NAME)
        callgate.reload()
        callgate.until("it has read its files", lambda: logged("reloaded"))
        second = shown(callgate)
        assert second != first

        # A mistake changes nothing.
        again.certificate.write_text("lost")
        callgate.reload()
        callgate.until("it has told of the mistake", lambda: logged("not reloaded"))
        assert shown(callgate) == second

        # The call has its connection still.
        caller.send(caller.within("BYE", ok, ok.cseq + 1))
        callee.reply(callee.expect("BYE"), "200 OK")
        assert caller.receive().status == 200


def test_a_listener_that_wants_clients_certificates(
    net: Net,
    redis: PrivateRedis,
    serve: Callable[[Settings], Callgate],
    stage_of: Callable[[Callgate], Stage],
) -> None:
    settings = settings_of(net, redis.url, host=9)
    address = f"tls://{net.host(9)}:{free_port(net.host(9))}"
    settings["listen"] = [settings["listen"][0], address]
    settings["tls"] |= {"verify": "required", "client_ca": str(authority().path)}
    callgate = serve(settings)
    stage = stage_of(callgate)
    with pytest.raises(OSError), stage.phone("certified-a", transport="TLS") as phone:
        # Under TLS 1.3 a client hears of it with the first answer.
        phone.ask(phone.register())
    assert callgate.metric("callgate_handshakes_failed_total", kind="certificate") == 1
    known = authority().issue("client", "certified-a.example.com")
    with stage.phone("certified-a", transport="TLS", certificate=known) as phone:
        register(phone)


def test_a_provider_over_tls_must_have_the_name_it_is_called_by(
    net: Net,
    redis: PrivateRedis,
    serve: Callable[[Settings], Callgate],
    stage_of: Callable[[Callgate], Stage],
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server, ThreadPoolExecutor(1) as threads:
        port = server.getsockname()[1]
        settings = settings_of(net, redis.url, host=9)
        settings["trunks"] = {
            "named": {"targets": [f"sip:localhost:{port};transport=tls"]},
            "numbered": {"targets": [f"sip:127.0.0.1:{port};transport=tls"]},
        }
        settings["routes"] = [{"match": "^1$", "to": "named"}, {"match": "^2$", "to": "numbered"}]
        callgate = serve(settings)
        stage = stage_of(callgate)
        certificate = authority().issue("provider", "localhost")
        with stage.phone("certified-a") as caller:
            calling = threads.submit(caller.invited, "1")
            with Phone(
                "provider", "", "127.0.0.1", ("", 0), "TLS", channel=accept(server, certificate)
            ) as provider:
                invite = provider.expect("INVITE")
                # Its Contact is an address, which its certificate does not have; the dialog stays on the connection.
                provider.reply(invite, "200 OK", f"Contact: <sip:127.0.0.1:{port};transport=tls>")
                ok = calling.result()
                assert ok.status == 200
                caller.send(caller.within("ACK", ok, ok.cseq))
                provider.expect("ACK")
                caller.send(caller.within("BYE", ok, ok.cseq + 1))
                provider.reply(provider.expect("BYE"), "200 OK")
                assert caller.receive().status == 200

            calling = threads.submit(caller.invited, "2")
            with pytest.raises(ssl.SSLError):
                accept(server, certificate)
            assert calling.result().status == 500
        assert callgate.metric("callgate_handshakes_failed_total", kind="certificate") == 1
