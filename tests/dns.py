"""A DNS server on loopback that answers what the test says, and remembers what it was asked."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import dns.flags
import dns.message
import dns.name
import dns.rcode
import dns.rdatatype
import dns.rrset

SOA = "test. 30 IN SOA ns.test. root.test. 1 3600 600 86400 7"
"""What comes with "there is none": 7 s to remember it."""


class NameServer:
    """Records are lines as in a zone file: `name TTL IN TYPE data`. May be changed while it runs."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, str]] = []
        """(name without the final dot, type) of each question, in the order they came."""
        self.silent = False
        """Take questions and say nothing."""
        self.refusing = False
        """Answer SERVFAIL."""
        self._records: dict[tuple[str, str], list[str]] = {}
        self._sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._sock.bind(("127.0.0.1", 0))
        self._thread = threading.Thread(target=self._serve, name="dns", daemon=True)
        self._thread.start()

    @property
    def address(self) -> str:
        host, port = self._sock.getsockname()
        return f"{host}:{port}"

    def zone(self, *lines: str) -> None:
        """These records and no others."""
        records: dict[tuple[str, str], list[str]] = {}
        for line in lines:
            name, _, _, kind, _ = line.split(maxsplit=4)
            records.setdefault((name.rstrip(".").lower(), kind), []).append(line)
        self._records = records

    def count(self, name: str, kind: str) -> int:
        """How often it was asked this."""
        return self.asked.count((name, kind))

    def close(self) -> None:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as end:
            end.sendto(b"", self._sock.getsockname())
        self._thread.join()
        self._sock.close()

    def _serve(self) -> None:
        while True:
            data, peer = self._sock.recvfrom(65535)
            if not data:
                return
            query = dns.message.from_wire(data)
            question = query.question[0]
            name, kind = question.name.to_text(True).lower(), dns.rdatatype.to_text(question.rdtype)
            self.asked.append((name, kind))
            if not self.silent:
                self._sock.sendto(self._answer(query, name, kind).to_wire(), peer)

    def _answer(self, query: dns.message.Message, name: str, kind: str) -> dns.message.Message:
        response = dns.message.make_response(query)
        response.flags |= dns.flags.RA
        if self.refusing:
            response.set_rcode(dns.rcode.SERVFAIL)
            return response
        lines = self._records.get((name, kind), [])
        if lines:
            response.answer.append(_rrset(lines))
            return response
        response.authority.append(_rrset([SOA]))
        if not any(name == known for known, _ in self._records):
            response.set_rcode(dns.rcode.NXDOMAIN)
        return response


def _rrset(lines: list[str]) -> dns.rrset.RRset:
    name, ttl, cls, kind, _ = lines[0].split(maxsplit=4)
    return dns.rrset.from_text_list(
        dns.name.from_text(name), int(ttl), cls, kind, [line.split(maxsplit=4)[4] for line in lines]
    )


@contextmanager
def name_server(*lines: str) -> Iterator[NameServer]:
    """One that ends with the block."""
    server = NameServer()
    server.zone(*lines)
    try:
        yield server
    finally:
        server.close()
