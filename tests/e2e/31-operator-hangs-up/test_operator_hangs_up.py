"""`callgate calls` shows what runs, `callgate hangup CALL-ID` ends it: on both sides, and says why."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from tests.e2e.service import Callgate, Tariff
from tests.e2e.stage import Stage

TARIFFS = {"endless": Tariff({"call_duration": "unlimited"})}


def run(callgate: Callgate, *arguments: str) -> subprocess.CompletedProcess[str]:
    program = Path(sys.executable).with_name("callgate")
    command, *rest = arguments
    return subprocess.run(
        [program, command, "-c", callgate.config, *rest],
        cwd=callgate.folder,
        capture_output=True,
        text=True,
        timeout=30,
    )


def test_a_call_is_shown_and_hung_up(stage: Stage) -> None:
    provider = stage.provider()
    callee = stage.callee(provider)
    caller = stage.caller("hung-up-on", who="endless", number=provider.number)
    callee.await_message("ACK ")

    shown = json.loads(run(stage.callgate, "calls", "--json").stdout)
    (call,) = [call for call in shown if call["call_id"] == caller.call_id]
    assert (call["state"], call["payers"], call["callee"]) == ("answered", ["endless"], provider.number)

    ended = run(stage.callgate, "hangup", caller.call_id)
    assert ended.returncode == 0, ended.stderr
    caller.succeeds()
    callee.succeeds()
    for side in (caller, callee):
        assert side.one("BYE ").value("Reason") == 'SIP ;cause=480 ;text="ended by the operator"'
    record = stage.callgate.record(caller.call_id)
    assert (record["cut"], record["reason"], record["outcome"]) == (True, "hangup", "success")
    assert caller.call_id not in run(stage.callgate, "calls").stdout
    again = run(stage.callgate, "hangup", caller.call_id)
    assert again.returncode != 0
