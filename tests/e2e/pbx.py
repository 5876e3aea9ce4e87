"""Kamailio as a provider or PBX at the far side of a trunk (peers/pbx.cfg says what it does)."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from load.processes import Child, Processes, wait_until
from tests.e2e.net import PATIENCE_S, Address, listening
from tests.tools import require

CONFIG = Path(__file__).parent / "peers" / "pbx.cfg"
DOMAIN = "pbx.example.net"
PASSWORD = "of-the-pbx"

_COLUMNS = {
    "id": "int,auto",
    "l_uuid": "string",
    "l_username": "string",
    "l_domain": "string",
    "r_username": "string",
    "r_domain": "string",
    "realm": "string",
    "auth_username": "string",
    "auth_password": "string,null",
    "auth_ha1": "string,null",
    "auth_proxy": "string,null",
    "expires": "int",
    "flags": "int",
    "reg_delay": "int",
    "contact_addr": "string,null",
    "socket": "string,null",
}


def trunk_to(address: Address) -> dict[str, Any]:
    """A PBX there, as a trunk of callgate's."""
    host, port = address
    return {"targets": [f"sip:{host}:{port}"], "from": [f"{host}/32"]}


class Pbx:
    """One Kamailio. Dialling digits there reaches `callee`; who is registered there is reached by its name."""

    def __init__(
        self,
        processes: Processes,
        folder: Path,
        address: Address,
        callee: Address,
        *,
        within: bool = False,
        trusting: bool = False,
        udp_only: bool = False,
        algorithm: str = "MD5",
        expires_min: int = 1,
        trunk: str = "",
        registers: Mapping[str, str] | None = None,
    ) -> None:
        """`within`: it challenges requests in a dialog, too. `trusting`: it never challenges calls. `udp_only`: it
        takes no TCP. `registers`: the row of an account it registers elsewhere itself (`uacreg` of its module uac).
        """
        self.address = address
        folder.mkdir(exist_ok=True)
        self._control = folder / "pbx.ctl"
        tables = folder / "tables"
        tables.mkdir(exist_ok=True)
        _write_tables(tables, registers)
        values = {
            "host": address[0],
            "port": str(address[1]),
            "domain": DOMAIN,
            "password": PASSWORD,
            "control": str(self._control),
            "tables": str(tables),
            "algorithm": algorithm,
            "expires_min": str(expires_min),
            "callee_host": callee[0],
            "callee_port": str(callee[1]),
            "trunk": trunk,
        }
        config = folder / "pbx.cfg"
        config.write_text(re.sub(r"@([a-z_]+)@", lambda match: values[match[1]], CONFIG.read_text()))
        argv = [require("kamailio"), "-DD", "-E", "-f", str(config), "-Y", str(folder), "-m", "64", "-M", "8"]
        argv += ["-P", str(folder / "pbx.pid")]
        argv += [
            option
            for name, on in (("WITHIN", within), ("TRUSTING", trusting), ("UDP_ONLY", udp_only))
            if on
            for option in ("-A", name)
        ]
        # SIGTERM, not SIGKILL: its first process ends the others.
        self.child: Child = processes.start("pbx", argv, folder / "pbx.log", cwd=folder)
        wait_until("the PBX listens", lambda: listening("UDP", *address), self.child, PATIENCE_S)
        wait_until("its control socket", self._control.exists, self.child, PATIENCE_S)

    def contacts(self, user: str) -> list[str]:
        """Contacts that the user has registered there."""
        found = self.ask("ul.lookup", "location", f"{user}@{DOMAIN}") or self.ask(
            "ul.lookup", "location", user
        )
        return re.findall(r"\bAddress: (\S+)", found)

    def ask(self, *command: str) -> str:
        """An answer over its control socket, "" when it has none."""
        argv = [require("kamcmd"), "-s", f"unix:{self._control}", *command]
        done = subprocess.run(argv, capture_output=True, text=True, timeout=10, check=False)
        return done.stdout if done.returncode == 0 else ""


def _write_tables(folder: Path, row: Mapping[str, str] | None) -> None:
    (folder / "version").write_text("table_name(string) table_version(int)\nuacreg:5\n")
    head = " ".join(f"{name}({kind})" for name, kind in _COLUMNS.items())
    lines = [head]
    if row is not None:
        cells = [row.get(name, "0" if kind.startswith("int") else "") for name, kind in _COLUMNS.items()]
        cells[0] = "1"
        lines.append(":".join(cell.replace(":", "\\:") for cell in cells))
    (folder / "uacreg").write_text("\n".join(lines) + "\n")
