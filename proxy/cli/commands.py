"""`callgate`: what each command is called, takes and says. What they do is in proxy.app and proxy.demo.

Exit codes: 0 done; 1 it could not be done; 2 a mistake in the configuration or on the command line.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import click

from proxy.cli.console import (
    DONE,
    FAILED,
    MISTAKEN,
    ask,
    bare,
    config_option,
    fail,
    many,
    plural,
    read,
    table,
)


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(package_name="callgate", message="callgate %(version)s")
def main() -> None:
    """callgate: a SIP call-admission proxy for tariffed telephony.

    Clients register and call through it; every call is checked against its payer's tariff in one atomic step in Redis,
    let through or refused, and cut the moment a limit is reached.

    \b
    First steps:
      callgate demo                                  see it work, nothing to set up
      callgate check -c config/callgate.yaml         is the configuration right?
      callgate serve -c config/callgate.yaml         run it
    """


@main.command()
@config_option
def serve(path: Path) -> None:
    """Run the proxy.

    \b
    SIGTERM, Ctrl-C  drain: no new calls; running ones go on until they end or timers.drain_timeout
                     is over, then they are ended. A second one ends them at once.
    SIGHUP           read plans, subscribers and routes again without dropping a call; with a mistake
                     in them the old ones stay. Also opens the CDR file anew (log rotation).

    On the metrics address /metrics is for Prometheus, /healthz answers while the process lives, and /readyz answers
    200 while it takes calls. Logs go to standard error.
    """
    from proxy.app.serve import serve as run
    from proxy.app.server import StartError

    loaded = read(path, to_stderr=True)
    try:
        run(loaded, path)
    except StartError as error:
        fail(str(error))


@main.command()
@config_option
def check(path: Path) -> None:
    """Say what is wrong with the configuration.

    Loads everything as `serve` would and starts nothing. Each mistake is one line on standard output:
    `file:line: path: what is wrong`; the exit code is then 2.
    """
    loaded = read(path, to_stderr=False)
    accounts = sum(len(subscriber.accounts) for subscriber in loaded.subscribers.values())
    click.echo(
        f"{path}: right. {many(loaded.plans, 'plan')}, {many(loaded.subscribers, 'subscriber')}, "
        f"{accounts} account{'s' if accounts != 1 else ''}, {many(loaded.config.trunks, 'trunk')}, "
        f"{many(loaded.config.routes, 'route')}"
    )


@main.command()
@config_option
@click.option("--json", "as_json", is_flag=True, help="One JSON array, for programs.")
def calls(path: Path, as_json: bool) -> None:
    """List the live calls of the callgate that runs here.

    It is asked over its control socket (admin.socket), so this works for the user it runs as, and for root.
    """
    found = ask(path, "GET", "/calls")
    if as_json:
        click.echo(json.dumps(found, indent=2))
        return
    rows: list[tuple[str, ...]] = [("CALL-ID", "STATE", "CALLER", "CALLEE", "PAYER", "MODE", "TALKED")]
    rows += [
        (
            bare(call["call_id"]),
            call["state"],
            bare(call["caller"]),
            bare(call["callee"]),
            ",".join(call["payers"]),
            call["mode"],
            f"{call['talked_s']:.0f} s",
        )
        for call in found
    ]
    table(rows)


@main.command()
@config_option
@click.option("--json", "as_json", is_flag=True, help="One JSON array, for programs.")
def registrations(path: Path, as_json: bool) -> None:
    """List the accounts that callgate registers at providers and PBXes, and how each stands.

    \b
    registered     the registrar has it, for so long
    registering    asked, no answer yet
    failed         to be tried again; STATUS says why (408: no answer, 503: no way there)
    standby        another instance's turn
    unregistering  being taken back
    """
    found = ask(path, "GET", "/registrations")
    if as_json:
        click.echo(json.dumps(found, indent=2))
        return
    rows: list[tuple[str, ...]] = [("ACCOUNT", "TRUNK", "AS", "STATE", "EXPIRES", "STATUS")]
    rows += [
        (
            one["account"],
            one["trunk"],
            one["address"],
            one["state"],
            "" if one["expires_in_s"] is None else f"{one['expires_in_s']} s",
            bare(f"{one['status'] or ''} {one['reason']}".strip()),
        )
        for one in found
    ]
    table(rows)


@main.command()
@config_option
@click.argument("call_id", metavar="CALL-ID")
def hangup(path: Path, call_id: str) -> None:
    """Cut a call, with BYE to both sides.

    CALL-ID is the call's Call-ID, as `callgate calls` shows it. The exit code is 1 when there is no such call.
    """
    count = ask(path, "POST", "/hangup", {"call_id": call_id})["calls"]
    if not count:
        fail(f"there is no call {call_id}")
    click.echo(f"cut {count} call{'s' if count != 1 else ''}")


@main.command()
@config_option
@click.option("--json", "as_json", is_flag=True, help="One JSON object, for programs.")
def reload(path: Path, as_json: bool) -> None:
    """Have the running callgate read plans, subscribers and routes again.

    No call is dropped; running ones feel changed limits at once. It is asked over its control socket (admin.socket)
    and tells the other instances of the service, which read their own files. With a mistake in the files the old ones
    stay in force: each is one line `file:line: path: what is wrong`, and the exit code is 2.
    """
    from proxy.app.control import RELOAD_TIMEOUT

    found = ask(path, "POST", "/reload", timeout=RELOAD_TIMEOUT)
    if as_json:
        click.echo(json.dumps(found, indent=2))
    for problem in found["problems"]:
        click.echo(problem, err=True)
    if found["problems"]:
        sys.exit(MISTAKEN)
    if as_json:
        return
    click.echo(
        f"reloaded: {found['plans']} plan{plural(found['plans'])}, "
        f"{found['subscribers']} subscriber{plural(found['subscribers'])}; "
        f"{found['payers']} payer{plural(found['payers'])} with calls looked at anew"
    )
    if found["restart_only"]:
        click.echo(f"these settings change with a restart only: {', '.join(found['restart_only'])}")


@main.command()
@config_option
@click.option("--json", "as_json", is_flag=True, help="One JSON array, for programs.")
def trunks(path: Path, as_json: bool) -> None:
    """Show the trunks that can be called, and whether their targets answer.

    \b
    up       calls go there
    suspect  failed a call of late: tried last until UNTIL
    down     gets no calls: its health checks fail, or it asked for that by Retry-After
    unknown  a name that nobody has looked up yet
    """
    found = ask(path, "GET", "/trunks")
    if as_json:
        click.echo(json.dumps(found, indent=2))
        return
    rows = [("TRUNK", "TARGET", "PRIORITY", "WEIGHT", "STATE", "ADDRESS", "ADDRESS STATE", "CAUSE", "UNTIL")]
    for trunk in found:
        for target in trunk["targets"]:
            first = (
                trunk["trunk"],
                target["uri"],
                str(target["priority"]),
                str(target["weight"]),
                target["state"],
            )
            for address in target["addresses"] or [{"address": "", "state": ""}]:
                until = address.get("until_s")
                ends = f"{until:.0f} s" if until is not None else "it answers" if "cause" in address else ""
                rows.append((*first, address["address"], address["state"], address.get("cause", ""), ends))
    table(rows)


@main.command()
@config_option
@click.option("--json", "as_json", is_flag=True, help="One JSON array, for programs.")
def bans(path: Path, as_json: bool) -> None:
    """List the addresses that are not listened to.

    \b
    brute_force  too many wrong passwords
    rate         too many requests without proof of who sends them
    flood        too many datagrams of any kind
    closed       too many wrong passwords where somebody has proved himself: only he is let in
    """
    found = ask(path, "GET", "/bans")
    if as_json:
        click.echo(json.dumps(found, indent=2))
        return
    rows = [("ADDRESS", "CAUSE", "FOR")]
    table(rows + [(one["address"], one["cause"], f"{one['for_s']} s") for one in found])


@main.command()
@config_option
@click.argument("address", metavar="ADDRESS", required=False, default="")
@click.option("--all", "everybody", is_flag=True, help="Every address.")
def unban(path: Path, address: str, everybody: bool) -> None:
    """Listen to an address again, and forget what it did.

    The exit code is 1 when it was not banned.
    """
    if everybody == bool(address):
        raise click.UsageError("name one address, or --all")
    count = ask(path, "POST", "/unban", {"address": address})["bans"]
    if not count and address:
        fail(f"{address} is not banned")
    click.echo(f"lifted {count} ban{plural(count)}")


@main.command()
def demo() -> None:
    """Show one call admitted, one refused and one cut at its limit.

    Starts a proxy, a private Redis, a callee and a caller on free ports of 127.0.0.1, tells what happens as it happens,
    and ends them. Takes about ten seconds. The exit code is 0 only if everything went as told.
    """
    from proxy.demo import run

    sys.exit(DONE if run(click.echo) else FAILED)
