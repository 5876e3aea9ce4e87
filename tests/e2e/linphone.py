"""One linphone without a window or a sound card (linphone-daemon, of Debian's linphone-cli), driven over its socket.

It answers by itself. What SIP it sent and received stands in its log. Its audio is not measured.
"""

from __future__ import annotations

import os
import re
import signal
import socket
from pathlib import Path

from config.listen import Transport
from load.processes import Child, Processes, wait_until
from tests.certificates import authority
from tests.e2e.net import PATIENCE_S, Address, free_port
from tests.e2e.softphone import Softphone
from tests.tools import require

# Who cannot register tries again after half a second (by default a minute).
# The authority is verified, the name is not: it refuses the certificate of an address when it shall do that, too.
CONFIG = """\
[sip]
bind_address={host}
sip_port={udp}
sip_tcp_port={tcp}
sip_tls_port={tls}
use_ipv6=0
guess_hostname=0
contact=sip:{user}@{host}
verify_server_certs=1
verify_server_cn=0
root_ca={authority}
refresher_retry_after=500
default_proxy=0
{session}
[rtp]
bind_address={host}
audio_rtp_port={audio}

[auth_info_0]
username={user}
userid={user}
passwd={password}
realm={domain}
domain={domain}

[proxy_0]
reg_identity=sip:{user}@{domain}
reg_proxy=<sip:{proxy};transport={transport}>
reg_route=<sip:{proxy};transport={transport};lr>
reg_expires=600
reg_sendregister=1
"""
# RFC 4028; the caller refreshes (refresher: 1 = uas, 2 = uac). By default it knows no session timers.
SESSION = """\
session_expires_enabled=1
session_expires_value={expires}
session_expires_min_value={least}
session_expires_refresher_value=2
"""
_REPLACES = re.compile(r"^Replaces: *(\S+)$", re.MULTILINE)


class Linphone(Softphone):
    def __init__(
        self,
        processes: Processes,
        folder: Path,
        host: str,
        user: str,
        password: str,
        proxy: Address,
        transport: Transport,
        domain: str,
        session_expires: int = 0,
    ) -> None:
        program = require("linphone-daemon")
        folder.mkdir()
        self.user = user
        self.host = host
        self.call = 0
        """The number of its latest call, from 1."""
        ports = {one: free_port(host) if one == transport else 0 for one in ("UDP", "TCP", "TLS")}
        (folder / "linphonerc").write_text(
            CONFIG.format(
                host=host,
                user=user,
                password=password,
                domain=domain,
                proxy=f"{proxy[0]}:{proxy[1]}",
                transport=transport.lower(),
                udp=ports["UDP"],
                tcp=ports["TCP"],
                tls=ports["TLS"],
                audio=free_port(host) & ~1,
                authority=authority().path,
                session=SESSION.format(expires=session_expires, least=min(session_expires, 90))
                if session_expires
                else "",
            )
        )
        # Its database.
        (folder / ".local/share/linphone").mkdir(parents=True)
        self.log = folder / "linphone.log"
        name = f"callgate-test-{os.getpid()}-{user}"
        self._control = Path("/tmp") / name
        argv = ["env", f"HOME={folder}", f"XDG_DATA_HOME={folder}", f"XDG_CONFIG_HOME={folder}", program]
        argv += ["--config", str(folder / "linphonerc"), "--pipe", name, "--log", str(self.log)]
        argv += ["--auto-answer", "--disable-stats-events"]
        self.child: Child = processes.start(
            f"linphone {user}", argv, folder / "linphone.out", stop_signal=signal.SIGKILL, cwd=folder
        )
        wait_until("it takes commands", self._connected, self.child, PATIENCE_S)

    def _connected(self) -> bool:
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.settimeout(PATIENCE_S)
        try:
            self._socket.connect(str(self._control))
        except OSError:
            self._socket.close()
            return False
        return True

    def close(self) -> None:
        self._socket.close()
        self._control.unlink(missing_ok=True)

    def register(self) -> None:
        """It does so by itself."""
        self.until(
            "it is registered", lambda: "LinphoneRegistrationOk" in self.command("register-status ALL")
        )

    def dial(self, uri: str) -> None:
        self.does(f"call {uri}")

    def await_up(self) -> None:
        self.call += 1
        self.await_state(self.call, "StreamsRunning")

    def hold(self) -> None:
        self.does(f"call-pause {self.call}")
        self.await_state(self.call, "Paused")

    def resume(self) -> None:
        self.does(f"call-resume {self.call}")
        self.await_state(self.call, "StreamsRunning")

    def await_held(self) -> None:
        self.await_state(self.call, "PausedByRemote")

    def await_resumed(self) -> None:
        self.await_state(self.call, "StreamsRunning")

    def transfer(self, uri: str) -> None:
        self.does(f"call-transfer {self.call} {uri}")

    def hang_up(self) -> None:
        self.does(f"terminate {self.call}")

    def await_over(self) -> None:
        self.await_no_call(self.call)

    def command(self, text: str) -> str:
        """Has it do something; returns what it said."""
        self._socket.sendall(text.encode() + b"\n")
        # "Status: …", an empty line and more; one command is under way at a time.
        answer = self._socket.recv(65536).decode()
        assert answer, f"{self.child.name} has ended:\n{self.child.tail(40)}"
        return answer

    def does(self, text: str) -> None:
        """A command that succeeds."""
        assert self.command(text).startswith("Status: Ok"), text

    def await_state(self, call: int, state: str) -> None:
        """Its call with this number, from 1."""
        self.until(
            f"{state} of call {call}",
            lambda: f"State: LinphoneCall{state}\n" in self.command(f"call-status {call}"),
        )

    def await_no_call(self, call: int) -> None:
        self.until(
            f"call {call} is over", lambda: "No call with such id" in self.command(f"call-status {call}")
        )

    def replacing(self) -> list[str]:
        """Values of the header Replaces in what it received or sent."""
        return _REPLACES.findall(self.said())
