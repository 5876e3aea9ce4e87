"""`callgate demo`: one call admitted, one refused, one cut at its limit, told as it happens."""

from __future__ import annotations

from collections.abc import Callable

import uvloop

from config.schema import Log
from proxy.app.server import StartError
from proxy.demo.story import Failed, Story
from proxy.ops.lines import LineWriter
from proxy.ops.log import configure


def run(say: Callable[[str], None]) -> bool:
    """Tell the story line by line. True only if everything happened as told."""
    writer = LineWriter(2)
    configure(Log(level="error"), writer)
    try:
        uvloop.run(Story(say).tell())
    except Failed as failure:
        say(f"\nFAILED: this did not happen: {failure}")
        return False
    except (StartError, TimeoutError) as error:
        say(f"\nFAILED: {str(error) or 'no answer came in time'}")
        return False
    finally:
        writer.close()
    say("\nAll three happened as told.")
    return True
