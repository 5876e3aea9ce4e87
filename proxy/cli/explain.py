"""`callgate explain`: one call thought through and told."""

from __future__ import annotations

import asyncio
import json
import time
from pathlib import Path

import click

from proxy.cli.commands import main
from proxy.cli.console import bare, config_option, fail, read


@main.command()
@config_option
@click.option("--from", "who", metavar="USER", required=True, help="Who calls: alice, or alice@example.com.")
@click.option("--to", "uri", metavar="URI", required=True, help="Whom: sip:+4930@example.com, or +4930.")
@click.option("--by", "trunk", metavar="TRUNK", default="", help="The trunk that the call comes by, if any.")
@click.option("--at", metavar="TIME", help="Another moment than now: 2026-12-01T12:00:00Z.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object, for programs.")
def explain(path: Path, who: str, uri: str, trunk: str, at: str | None, as_json: bool) -> None:
    """Say what a call would be answered, and why. Calls nobody.

    Who pays each leg and why, which plans are in force, which limit comes from which plan, whether the Workers may be
    used, what the counters say if the store answers, and what callgate would say. The files are read as `serve` does;
    nothing needs to run. The exit code is 1 only when it cannot be said.
    """
    from config.units import instant_of
    from proxy.app.explain import Imagined, NoSuchCall
    from proxy.app.explained import lines
    from proxy.app.usage import look

    loaded = read(path, to_stderr=True)
    try:
        moment = float(instant_of(at)) if at is not None else time.time()
        call = Imagined(loaded, who, uri, trunk, moment)
    except (NoSuchCall, ValueError) as error:
        fail(str(error))
    told = call.told(asyncio.run(look(loaded.config.store, call.limits(), call.called())))
    if as_json:
        click.echo(json.dumps(told, indent=2))
    else:
        for line in lines(told):
            click.echo(bare(line))
