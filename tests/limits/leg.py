"""One side of one call: what came to it and when, and what it can do."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from tests.limits.sip import Message, unique, written

if TYPE_CHECKING:
    from tests.limits.agent import Address, Agent

PATIENCE_S = 20.0
"""How long is waited for what comes at once on a quiet machine."""
T1, T2 = 0.5, 4.0
GIVE_UP_S = 16.0
"""A request nobody answers is repeated for so long."""


class Dialog:
    """One 2xx makes one (RFC 3261 §12)."""

    __slots__ = ("acked", "cseq", "local", "remote", "routes", "target")

    def __init__(self, local: str, remote: str, routes: list[str], target: str, cseq: int) -> None:
        self.local = local
        """Our From value within it."""
        self.remote = remote
        self.routes = routes
        self.target = target
        self.cseq = cseq
        self.acked = False


class Leg:
    """Made by Agent."""

    def __init__(self, agent: Agent, call_id: str, tag: str, peer: Address) -> None:
        self.agent = agent
        self.call_id = call_id
        self.tag = tag
        self.peer = peer
        """Where our messages go: the proxy."""
        self.heard: list[Message] = []
        """Requests and responses but repeated ones, in the order they came."""
        self.dialogs: dict[str, Dialog] = {}
        """By the callee's tag."""
        self.answered_at: float | None = None
        """When its 2xx came (caller) or left (callee)."""
        self.dead = False
        """Its machine is gone: it hears and says nothing."""
        self.acks = True
        """As caller: acknowledge a 2xx."""
        self.bye_answer = 200
        """What it says to a BYE; 0 = nothing."""
        self.reinvite_answer = 488
        self.has_answered = False
        """As callee: a final answer to the INVITE has left."""
        self.answers_cancelled = False
        """As callee: answer the INVITE with 200 when a CANCEL comes, as if they had crossed."""
        self._invite: Message | None = None
        self._invite_sent: tuple[str, list[str]] = ("", [])
        self._repeated: dict[str, asyncio.TimerHandle] = {}
        """What is sent again until it is answered, by branch or tag."""
        self._timers: list[asyncio.TimerHandle] = []
        self._waiting: list[asyncio.Future[None]] = []
        self._loop = asyncio.get_running_loop()

    # What it heard ---------------------------------------------------------------------------------------------------

    def all(self, what: str | int) -> list[Message]:
        """Requests of a method, or responses of a status to the INVITE."""
        if isinstance(what, str):
            return [message for message in self.heard if message.method == what]
        return [one for one in self.heard if one.status == what and one.cseq_method == "INVITE"]

    @property
    def final(self) -> Message | None:
        """The final answer to its INVITE."""
        finals = (one for one in self.heard if one.status >= 200 and one.cseq_method == "INVITE")
        return next(finals, None)

    @property
    def bye(self) -> Message | None:
        """The BYE that came."""
        return next((one for one in self.heard if one.method == "BYE"), None)

    async def hears(self, what: str | int, timeout: float = PATIENCE_S) -> Message:
        """The first request of a method, or response of a status to the INVITE; it may have come before."""
        await self.until(lambda: bool(self.all(what)), f"{what}", timeout)
        return self.all(what)[0]

    async def hears_final(self, timeout: float = PATIENCE_S) -> Message:
        await self.until(lambda: self.final is not None, "a final answer", timeout)
        assert self.final is not None
        return self.final

    async def answer_to(self, method: str, timeout: float = PATIENCE_S) -> Message:
        """The final answer to a request of ours within the dialog (or CANCEL)."""

        def found() -> list[Message]:
            return [one for one in self.heard if one.status >= 200 and one.cseq_method == method]

        await self.until(lambda: bool(found()), f"an answer to {method}", timeout)
        return found()[0]

    async def until(self, true: object, what: str, timeout: float = PATIENCE_S) -> None:
        assert callable(true)
        deadline = self._loop.time() + timeout
        while not true():
            left = deadline - self._loop.time()
            assert left > 0, f"{what}: not within {timeout:g} s; {self.call_id} heard {self.heard}"
            waiting = self._loop.create_future()
            self._waiting.append(waiting)
            await asyncio.wait([waiting], timeout=left)

    def told(self) -> None:
        """Something came: who waits looks again."""
        waiting, self._waiting = self._waiting, []
        for one in waiting:
            if not one.done():
                one.set_result(None)

    # As caller -------------------------------------------------------------------------------------------------------

    def invite(self, who: str, number: str, domain: str) -> None:
        uri = f"sip:{number}@{domain}"
        host, port = self.agent.address
        lines = [
            f"Via: SIP/2.0/UDP {host}:{port};branch={unique('z9hG4bKi')}",
            "Max-Forwards: 70",
            f"From: <sip:{who}@{domain}>;tag={self.tag}",
            f"To: <{uri}>",
            f"Call-ID: {self.call_id}",
            "CSeq: 1 INVITE",
        ]
        self._invite_sent = (uri, lines)
        contact = f"Contact: <sip:{who}@{host}:{port}>"
        self._repeat("invite", written(f"INVITE {uri} SIP/2.0", [*lines, contact]), T1)

    def repeat_invite(self) -> None:
        """As if no answer had come in time: the very same INVITE again."""
        uri, lines = self._invite_sent
        host, port = self.agent.address
        user = lines[2].partition("sip:")[2].partition("@")[0]
        self._say(written(f"INVITE {uri} SIP/2.0", [*lines, f"Contact: <sip:{user}@{host}:{port}>"]))

    def cancel(self, reason: str = "") -> None:
        """RFC 3261 §9.1."""
        uri, lines = self._invite_sent
        extra = [f"Reason: {reason}"] if reason else []
        self._repeat("cancel", written(f"CANCEL {uri} SIP/2.0", [*lines[:5], "CSeq: 1 CANCEL", *extra]), T1)

    def ack(self, answer: Message) -> None:
        """Of a 2xx: end to end, with the dialog's route set; of another final: in its transaction."""
        uri, lines = self._invite_sent
        if answer.status >= 300:
            said = [*lines[:3], f"To: {answer['to']}", lines[4], "CSeq: 1 ACK"]
            self._say(written(f"ACK {uri} SIP/2.0", said))
            return
        dialog = self.dialogs[answer.to_tag]
        dialog.acked = True
        self._say(written(f"ACK {dialog.target} SIP/2.0", self._within(dialog, "ACK", 1, unique("z9hG4bKa"))))

    def on_response(self, message: Message) -> None:
        method, status = message.cseq_method, message.status
        if method == "INVITE" and message.cseq == 1:
            self._stop("invite")
            known = [one for one in self.all(status) if one.to_tag == message.to_tag]
            if known and status >= 180:
                if status >= 300 or (status >= 200 and self.acks):
                    self.ack(message)
                return
            if 200 <= status < 300:
                if self.answered_at is None:
                    self.answered_at = message.at
                local, remote = message["from"], message["to"]
                self.dialogs[message.to_tag] = Dialog(
                    local, remote, message.routes[::-1], message.target, cseq=1
                )
                if self.acks:
                    self.ack(message)
            elif status >= 300:
                self.ack(message)
        elif status >= 200:
            self._stop("cancel" if method == "CANCEL" else message.branch)
        self.heard.append(message)
        self.told()

    # As callee -------------------------------------------------------------------------------------------------------

    def on_invite(self, message: Message) -> None:
        """The INVITE that made this leg."""
        self._invite = message
        self.heard.append(message)

    def reply(self, status: int, *extra: str, tag: str = "") -> None:
        """Answer the INVITE. `tag`: as if another of several callees answered."""
        if self.dead:
            return
        assert self._invite is not None
        tag = tag or self.tag
        lines = list(extra)
        if 180 <= status < 300:
            host, port = self.agent.address
            lines.append(f"Contact: <sip:callee@{host}:{port}>")
        data = self.agent.reply(self._invite, self.peer, status, tag, lines)
        if 200 <= status < 300:
            if self.answered_at is None:
                self.answered_at = self._loop.time()
            invite = self._invite
            local, remote = f"{invite['to']};tag={tag}", invite["from"]
            self.dialogs[tag] = Dialog(local, remote, invite.routes, invite.target, cseq=0)
            # RFC 3261 §13.3.1.4: a 2xx is repeated until its ACK comes.
            self._repeat(tag, data, T1, first=False)
        self.has_answered = self.has_answered or status >= 200

    def answer(self) -> None:
        self.reply(200)

    def later(self, seconds: float, do: object, *arguments: object) -> None:
        """In its own time, if it still lives."""
        assert callable(do)
        self._timers.append(self._loop.call_later(seconds, do, *arguments))

    # Both ------------------------------------------------------------------------------------------------------------

    def hang_up(self) -> None:
        """BYE in every dialog that the leg has."""
        for dialog in self.dialogs.values():
            self.request("BYE", dialog)

    def request(self, method: str, dialog: Dialog | None = None, *extra: str) -> None:
        """Within a dialog, by default the first."""
        if self.dead:
            return
        dialog = dialog or next(iter(self.dialogs.values()))
        dialog.cseq += 1
        branch = unique(f"z9hG4bK{method[0].lower()}")
        lines = [*self._within(dialog, method, dialog.cseq, branch), *extra]
        self._repeat(branch, written(f"{method} {dialog.target} SIP/2.0", lines), T1)

    def ask(self, method: str, uri: str, aor: str, cseq: int, *extra: str) -> None:
        """A request out of any dialog."""
        host, port = self.agent.address
        branch = unique("z9hG4bKo")
        lines = [
            f"Via: SIP/2.0/UDP {host}:{port};branch={branch}",
            "Max-Forwards: 70",
            f"From: <{aor}>;tag={self.tag}",
            f"To: <{aor}>",
            f"Call-ID: {self.call_id}",
            f"CSeq: {cseq} {method}",
        ]
        self._repeat(branch, written(f"{method} {uri} SIP/2.0", [*lines, *extra]), T1)

    def on_request(self, message: Message, source: Address) -> None:
        method = message.method
        if method == "ACK":
            self._stop(message.to_tag)
            dialog = self.dialogs.get(message.to_tag)
            if dialog is None or dialog.acked:
                return
            dialog.acked = True
        elif method == "CANCEL":
            self.agent.reply(message, source, 200, self.tag)
            if not self.has_answered:
                self.reply(200 if self.answers_cancelled else 487)
        elif method == "BYE":
            for tag in (message.to_tag, message.from_tag):
                self._stop(tag)
            if self.bye_answer:
                self.agent.reply(message, source, self.bye_answer, self.tag)
        else:
            self.agent.reply(message, source, self.reinvite_answer if method == "INVITE" else 200, self.tag)
        self.heard.append(message)
        self.told()

    def die(self) -> None:
        """As a machine whose plug was pulled."""
        self.dead = True
        self.forget()

    def forget(self) -> None:
        """Nothing of it is sent any more."""
        for timer in (*self._repeated.values(), *self._timers):
            timer.cancel()
        self._repeated.clear()
        self._timers.clear()

    def _within(self, dialog: Dialog, method: str, cseq: int, branch: str) -> list[str]:
        host, port = self.agent.address
        lines = [
            f"Via: SIP/2.0/UDP {host}:{port};branch={branch}",
            *(f"Route: {one}" for one in dialog.routes),
        ]
        lines += ["Max-Forwards: 70", f"From: {dialog.local}", f"To: {dialog.remote}"]
        lines += [f"Call-ID: {self.call_id}", f"CSeq: {cseq} {method}"]
        return lines if method in ("BYE", "ACK") else [*lines, f"Contact: <sip:again@{host}:{port}>"]

    def _say(self, data: bytes) -> None:
        if not self.dead:
            self.agent.send(data, self.peer)

    def _repeat(self, key: str, data: bytes, wait: float, *, first: bool = True, age: float = 0.0) -> None:
        if first:
            self._say(data)
        if self.dead or age > GIVE_UP_S:
            self._repeated.pop(key, None)
            return
        self._repeated[key] = self._loop.call_later(
            wait, self._again, key, data, min(2 * wait, T2), age + wait
        )

    def _again(self, key: str, data: bytes, wait: float, age: float) -> None:
        self.agent.listen()
        if key in self._repeated:
            self._repeat(key, data, wait, age=age)

    def _stop(self, key: str) -> None:
        timer = self._repeated.pop(key, None)
        if timer is not None:
            timer.cancel()
