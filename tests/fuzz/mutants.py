"""What the mutation fuzzer (tests/fuzz/mutate.py) holds of every input, whatever it has made of its seeds.

`parser`: octets, as a datagram and as a stream.

1. `parse` returns a Request, a Response or a ParseError, and `Framer.feed` frames; neither raises.
2. Up to 64 kB take either less than 50 ms of CPU time.
3. What is accepted is stable, what is refused can be answered, and the framer cuts the same however the octets arrive
   (tests/fuzz/test_parser.py).

`engine`: a tape of moves, four octets each (tests/fuzz/parties.py). To the moves of parties it adds messages of the
dialogs there are, spoilt, and messages of the seeds made part of these dialogs (their branch, tags, Call-ID, Route).

1. All invariants of tests/fuzz/test_engine.py: nothing raises; a lease is asked for once, and given back exactly once
   when all is over; nothing is left in any table.
2. 400 s of silence, in which the limiter and the store answer and no peer does, leave no call but those that were
   answered and have no call_duration.
3. What a message makes the engine send at once is at most twice the message and what we write ourselves; what a verdict
   of the limiter makes it send is at most that for each contact that the callee may have.
4. At the end of each tape, a thousand messages or fewer, a stranger's OPTIONS is answered.
"""

from __future__ import annotations

import random
import re
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from policies.verdicts import Admitted
from proxy.engine.call import CallState
from proxy.engine.events import AdmissionDecided, Event, MessageIn
from proxy.sip.flow import Flow
from proxy.sip.message import ParseError, Request, Response
from proxy.sip.parse import parse
from proxy.sip.stream import Framer
from tests.fuzz.parties import MOVES, Parties
from tests.fuzz.soup import Soup
from tests.fuzz.spoiling import spoilt
from tests.fuzz.test_parser import cut, fed, hold, messages_in
from tests.fuzz.words import STATUSES
from tests.torture.cases import load

SEEDS = Path(__file__).parent / "seeds"
MESSAGES = [path.read_bytes() for path in sorted((SEEDS / "parser").iterdir())] + [
    case.data for case in load()
]
PARSE_MAX_S = 0.05
MESSAGE_MAX = 64 * 1024
SENT_MAX = 2
CONTACTS_MAX = 4
OURS_MAX = 2000
"""Octets that we add to a message, or write of our own (answers, and CANCELs of what rings beside)."""
TAPE_MAX = 4 * 250
SILENCE_S = 400.0
STEPS = 80


# The parser ----------------------------------------------------------------------------------------------------------


def parser(data: bytes) -> set[object]:
    """Returns what there was to see: the loop of mutate.py that knows no coverage goes by it."""
    data = data[:MESSAGE_MAX]
    for read in (parse, Framer().feed):
        # The least of three: a time that another process lengthened tells nothing.
        assert any(_seconds(read, data) < PARSE_MAX_S for _ in range(3)), "slow"
    message = hold(data)
    whole = messages_in(fed([data]))
    assert messages_in(fed(cut(data, [len(data) // 3, len(data) // 2, len(data) - 2]))) == whole
    for frame in whole:
        if isinstance(frame, bytes):
            hold(frame)
    if isinstance(message, ParseError):
        return {(message.kind, message.reason, len(whole))}
    return {(key, type(message)) for key in message.keys}


def _seconds(read: Callable[[bytes], object], data: bytes) -> float:
    began = time.thread_time()
    read(data)
    return time.thread_time() - began


# The engine ----------------------------------------------------------------------------------------------------------


class Bounded(Soup):
    """Sends no more than a bound for what comes in."""

    def __init__(self, on_store_failure: str) -> None:
        super().__init__(on_store_failure)
        self._longest = 0

    def handle(self, event: Event) -> None:
        self._room = 1 << 40
        if isinstance(event, MessageIn):
            self._longest = max(self._longest, len(event.data))
            # A request that comes again gets the response that was sent, however long another party made that.
            self._room = max(SENT_MAX * len(event.data), self._longest) + OURS_MAX
        elif isinstance(event, AdmissionDecided):
            self._room = CONTACTS_MAX * (SENT_MAX * self._longest + OURS_MAX)
        super().handle(event)

    def _transmitted(self, flow: Flow, data: bytes) -> None:
        self._room -= len(data)
        assert self._room >= 0, "sent too much for what came"
        super()._transmitted(flow, data)


class Mutants(Parties):
    """Parties, and those who send what is spoilt."""

    def move(self, what: int, a: int, b: int, c: int) -> None:
        TABLE[what % len(TABLE)](self, a, b, c)
        self.look()

    def live(self, a: int) -> tuple[bytes, Flow]:
        """Of the newest messages received, one."""
        return self.history[-1 - a % min(32, len(self.history))]

    def spoil(self, a: int, b: int, c: int) -> None:
        if self.history:
            rng = random.Random(a << 16 | b << 8 | c)
            data, flow = self.live(a)
            self.receive(spoilt(rng, data, rng.choice((self.live(b)[0], MESSAGES[b % len(MESSAGES)]))), flow)

    def answer_spoilt(self, a: int, b: int, c: int) -> None:
        """A response to what the engine sent, spoilt on the way."""
        if self.to_answer:
            flow, request = self.to_answer[-1 - a % len(self.to_answer)]
            rng = random.Random(a << 16 | b << 8 | c)
            data = self.response(request, STATUSES[b % len(STATUSES)], c)
            self.receive(spoilt(rng, data, self.live(b)[0] if self.history else data), flow)

    def transplant(self, a: int, b: int, c: int) -> None:
        """A message of the seeds, made part of a dialog there is; spoilt besides, sometimes."""
        if self.history:
            data, flow = self.live(a)
            rng = random.Random(a << 16 | b << 8 | c)
            grafted = _grafted(rng, MESSAGES[(b << 8 | c) % len(MESSAGES)], data)
            self.receive(spoilt(rng, grafted, data) if c & 1 else grafted, flow)


def _grafted(rng: random.Random, message: bytes, live: bytes) -> bytes:
    """`message` with what places it in the dialog of `live`; branch, tags, Call-ID, Route: not always all."""
    theirs: dict[bytes, bytes] = {}
    for line in live.partition(b"\r\n\r\n")[0].split(b"\r\n")[1:]:
        theirs.setdefault(line.partition(b":")[0].strip().lower(), line)
    head, end, body = message.partition(b"\r\n\r\n")
    lines = head.split(b"\r\n")
    mirrored = rng.random() < 0.3
    seen = set()
    for at, line in enumerate(lines[1:], 1):
        name = line.partition(b":")[0].strip().lower()
        name = {b"v": b"via", b"f": b"from", b"t": b"to", b"i": b"call-id"}.get(name, name)
        taken = name
        if mirrored and name in (b"from", b"to"):
            taken = b"to" if name == b"from" else b"from"
        keeps = name in (b"call-id", b"from", b"to", b"route") or (
            name in (b"via", b"cseq") and rng.random() < 0.5
        )
        if keeps and name not in seen and taken in theirs and rng.random() < 0.95:
            seen.add(name)
            lines[at] = name + b":" + theirs[taken].partition(b":")[2]
            number = re.search(rb"\d+", lines[at])
            if name == b"cseq" and number and not lines[0].startswith(b"SIP/"):
                lines[at] = b"CSeq: " + number[0] + b" " + lines[0].split(b" ")[0]
    if b"route" in theirs and b"route" not in seen:
        lines.insert(1, theirs[b"route"])
    uri = live.split(b" ", 2)[1:2]
    first = lines[0].split(b" ", 2)
    if uri and first[0] != b"SIP/2.0" and len(first) == 3 and not live.startswith(b"SIP/"):
        first[1] = uri[0]
        lines[0] = b" ".join(first)
    return b"\r\n".join(lines) + end + body


TABLE: tuple[Callable[[Mutants, int, int, int], None], ...] = (
    *MOVES,
    *[Mutants.spoil] * 12,
    *[Mutants.answer_spoilt] * 8,
    *[Mutants.transplant] * 8,
)


def engine(tape: bytes) -> set[object]:
    """A tape, under either answer to a store that is away: its length says which, so that a mutation changes it."""
    soup = Bounded("admit" if len(tape) // 4 % 4 == 3 else "refuse")
    parties = Mutants(soup)
    tape = tape[:TAPE_MAX]
    for at in range(0, len(tape) - 3, 4):
        parties.move(*tape[at : at + 4])
    silence(parties)
    options(soup)
    soup.settle()
    said = {one.method if isinstance(one, Request) else (one.cseq_method, one.status) for _, one in soup.sent}
    return {*said, *((record.outcome, record.cause) for record in soup.records)}


def silence(parties: Mutants) -> None:
    soup = parties.soup
    for _ in range(STEPS):
        answer_everything(parties)
        soup.advance(SILENCE_S / STEPS)
    for call in soup.core.calls.values():
        assert call.state is CallState.ANSWERED, f"a call is {call.state.name} after the silence"
        assert all(leg.limits.call_duration is None for leg in call.legs), "a call is not cut"


def answer_everything(parties: Mutants) -> None:
    """Limiter, store, names and rtpengine say what they are asked; what that makes phones hear stays unheard."""
    soup = parties.soup
    for _ in range(100):
        if soup.asked:
            soup.decide(soup.asked[0], Admitted(soup.asked[0].lease, None))
        elif soup.registers or soup.lookups or soup.media or soup.names or soup.places or soup.turns:
            parties.natural(0, 0, 0)
        else:
            break
        parties.look()


def options(soup: Soup) -> None:
    """Somebody's OPTIONS, from where nothing was heard yet, is answered."""
    flow = soup.udp.get("192.0.2.77", 5060)
    before = len(soup.sent)
    soup.receive(
        b"OPTIONS sip:192.0.2.1 SIP/2.0\r\nVia: SIP/2.0/UDP 192.0.2.77:5060;branch=z9hG4bKalive\r\n"
        b"From: <sip:a@example.org>;tag=1\r\nTo: <sip:192.0.2.1>\r\nCall-ID: alive\r\nCSeq: 1 OPTIONS\r\n"
        b"Max-Forwards: 70\r\nContent-Length: 0\r\n\r\n",
        flow,
    )
    answers = [one for to, one in soup.sent[before:] if to is flow and isinstance(one, Response)]
    assert answers, "an OPTIONS is not answered"


TARGETS: dict[str, Callable[[bytes], set[object]]] = {"parser": parser, "engine": engine}


# Seeds and mutators --------------------------------------------------------------------------------------------------


def read_tape(text: str) -> bytes:
    """A tape from lines of `move a b c`, moves by name: a seed outlives a new move in the table."""
    names = [move.__name__ for move in TABLE]
    out = bytearray()
    for line in text.splitlines():
        words = line.partition("#")[0].split()
        if words:
            out += bytes([names.index(words[0]), *map(int, words[1:])])
    return bytes(out)


def write_tape(tape: bytes) -> str:
    rows = (tape[at : at + 4] for at in range(0, len(tape) - 3, 4))
    return "".join(f"{TABLE[row[0] % len(TABLE)].__name__} {row[1]} {row[2]} {row[3]}\n" for row in rows)


def seeds(target: str, folder: Path = SEEDS) -> list[bytes]:
    paths = sorted((folder / target).iterdir())
    if target == "parser":
        return [path.read_bytes() for path in paths] + [case.data for case in load()]
    return [read_tape(path.read_text()) if path.suffix == ".moves" else path.read_bytes() for path in paths]


def mutated(target: str, rng: random.Random, data: bytes, other: bytes) -> bytes:
    if target == "parser":
        return spoilt(rng, data, other)
    rows = [data[at : at + 4] for at in range(0, len(data) - 3, 4)]
    others = [other[at : at + 4] for at in range(0, len(other) - 3, 4)]
    for _ in range(rng.choice((1, 1, 2, 4))):
        at = rng.randint(0, len(rows))
        match rng.randrange(7):
            case 0:
                del rows[at : at + rng.choice((1, 1, 4))]
            case 1:
                rows[at:at] = rows[at : at + rng.randint(1, 6)]
            case 2:
                rows[at:] = others[rng.randint(0, len(others)) :]
            case 3 if at < len(rows):
                row = bytearray(rows[at])
                row[rng.randrange(4)] = rng.randrange(256)
                rows[at] = bytes(row)
            case 4 if len(rows) > 1:
                one = rng.randrange(len(rows))
                rows.insert(at, rows.pop(one))
            case _:
                rows[at:at] = [rng.randbytes(4) for _ in range(rng.choice((1, 1, 3)))]
    return b"".join(rows[: TAPE_MAX // 4])


def pick(rng: random.Random, corpus: Sequence[bytes]) -> bytes:
    """One of the corpus, the newer the likelier."""
    return corpus[int(len(corpus) * rng.random() ** 0.5)]
