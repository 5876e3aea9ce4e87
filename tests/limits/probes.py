"""Where a limit stands, found as a customer would: by calling until one is refused."""

from __future__ import annotations

import asyncio

from tests.limits.stage import Call, Stage, answers, says

NO_LINES = "486 No lines for call"
NO_SUCCESSES = "402 Amount of success calls is exceeded"
NO_FAILS = "402 Amount of fail calls is exceeded"
NO_TALK = "402 Total calls duration is exceeded"

SETTLE_S = 2.0
"""A CDR may be read before the other instance can see what it tells; a leak is there for ever."""
MANY = 1000
DECLINED = 603


async def lines_free(stage: Stage, who: str, expected: int, at: int) -> int:
    """How many calls stand at once before one is refused for want of a line. They are hung up again."""
    held: list[Call] = []
    deadline = stage.now() + SETTLE_S
    while len(held) < MANY:
        call = stage.call(who, answers, at=at)
        if not await call.decided():
            assert call.refusal() == NO_LINES, call.refusal()
            if len(held) < expected and stage.now() < deadline:
                continue
            break
        held.append(await call.talks())
    await asyncio.gather(*(call.hang_up() for call in held))
    return len(held)


async def successes_left(stage: Stage, who: str, at: int) -> int:
    """How many calls in a row are answered before one is refused for their number."""
    for n in range(MANY):
        call = stage.call(who, answers, at=at)
        if not await call.decided():
            assert call.refusal() == NO_SUCCESSES, call.refusal()
            return n
        await call.talks()
        await call.hang_up()
    raise AssertionError("no end of successes")


async def fails_left(stage: Stage, who: str, at: int) -> int:
    """How many calls in a row may fail before one is refused for their number."""
    for n in range(MANY):
        call = stage.call(who, says(DECLINED), at=at)
        final = await call.caller.hears_final()
        if not call.through:
            assert call.refusal() == NO_FAILS, call.refusal()
            return n
        assert final.status == DECLINED, final
    raise AssertionError("no end of failures")


async def talk_left(stage: Stage, who: str, at: int) -> tuple[float, float]:
    """How long a call lasts before it is cut for the payer's talk time, at least and at most; 0 when it is refused.

    The system hears an answer after it left the callee and before it reached the caller.
    """
    call = stage.call(who, answers, at=at)
    if not await call.decided():
        assert call.refusal() == NO_TALK, call.refusal()
        return 0.0, 0.0
    await (await call.talks()).cut()
    for bye in (call.caller.bye, call.callee.bye):
        assert bye is not None
        assert bye["reason"] == 'SIP ;cause=402 ;text="total_duration reached"'
    assert call.caller.bye is not None
    return call.caller.bye.at - call.answered_at, call.caller.bye.at - call.answer_left_at
