"""`callgate payer` and `callgate release`: one payer's limits, usage and calls, and leases cleared."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

from proxy.cli.commands import main
from proxy.cli.console import ask, bare, config_option, fail, plural, table


@main.command()
@config_option
@click.argument("payer", metavar="ID")
@click.option("--json", "as_json", is_flag=True, help="One JSON object, for programs.")
def payer(path: Path, payer: str, as_json: bool) -> None:
    """Show one payer's limits, what it has used of them, and its live calls.

    ID is a subscriber's name, or group:OWNER (group:OWNER:MEMBER where the members of a group have counters each). The
    running callgate is asked, and what is shown is true for the whole service, calls of other instances included.
    """
    found = ask(path, "GET", "/payer", {"payer": payer})
    if as_json:
        click.echo(json.dumps(found, indent=2))
        return
    for mode, shown in found["modes"].items():
        if not shown["has_plan"]:
            click.echo(f"{mode}: no active plan contains it")
            continue
        click.echo(f"{mode}: {', '.join(shown['active'])}")
        _options(shown)
        if shown["usage"] is None:
            click.echo(f"  usage unknown: {shown['why']}")
        else:
            _calls(shown["usage"])


def _options(shown: dict[str, Any]) -> None:
    rows = [("  OPTION", "LIMIT", "USED", "UNTIL", "FROM", "WHY")]
    for name, option in shown["options"].items():
        used = (shown["usage"] or {}).get(name) or {}
        if name == "lines":
            used = {"used": str((shown["usage"] or {}).get("calls", ""))}
        rows.append(
            (
                f"  {name}",
                option["value"],
                used.get("used", ""),
                used.get("window_ends") or "",
                option["plan"] or "",
                option["why"],
            )
        )
    table(rows)


def _calls(usage: dict[str, Any]) -> None:
    exhausts = usage["exhausts_in_s"]
    if exhausts is not None:
        click.echo(f"  as things stand, total_duration is used up in {exhausts:.1f} s")
    click.echo(f"  {usage['calls']} live call{plural(usage['calls'])}")
    if usage["leases"]:
        rows = [("  LEASE", "DIRECTION", "STATE", "LASTS", "CALL-ID")]
        rows += [
            (
                f"  {one['lease']}",
                one["direction"],
                one["state"],
                f"{one['expires_in_s']:.0f} s",
                bare(one["call_id"]) if one["call_id"] else "(of another instance)",
            )
            for one in usage["leases"]
        ]
        table(rows)


@main.command()
@config_option
@click.argument("payer", metavar="ID")
@click.argument("call", metavar="[CALL]", default="")
@click.option("--all", "everything", is_flag=True, help="Every lease of the payer.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object, for programs.")
def release(path: Path, payer: str, call: str, everything: bool, as_json: bool) -> None:
    """Clear a lease of a payer, or all of them.

    For a lease that nobody gives back. Talk is settled up to now, an attempt leaves no trace. An instance that carries
    the call after all ends it, with BYE to both sides: no call goes on without its lease.

    ID is a payer as for `callgate payer`; CALL a lease that it lists, or the Call-ID of a call that runs here.
    """
    if bool(call) == everything:
        raise click.UsageError("name a CALL, or say --all")
    found = ask(path, "POST", "/release", {"payer": payer, "call": call, "all": everything})
    released = found["released"]
    if as_json:
        click.echo(json.dumps(found, indent=2))
    else:
        click.echo(f"released {len(released)} lease{plural(len(released))}")
    if not released and not everything:
        fail(f"{payer} has no lease {call}")
