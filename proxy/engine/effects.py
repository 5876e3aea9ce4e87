"""What the engine asks the world to do: a closed union, performed by the driver in order, all before the next event.

Effects are plain values. None of them returns anything: an answer, where there is one, is a later event (events.py).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Literal

from proxy.sip.outputs import Transmit

if TYPE_CHECKING:
    from policies.account import Limits
    from policies.heritage import Inherited
    from policies.lease import Leg, Outcome
    from policies.verdicts import PlaceHeld
    from proxy.engine.abuse import BanCause
    from proxy.engine.finding import Question
    from proxy.engine.media import Held
    from proxy.engine.record import CallRecord
    from proxy.sip.flow import Flow

__all__ = [
    "AskAdmission",
    "AskBindings",
    "AskMedia",
    "AskName",
    "AskPlace",
    "AskRegister",
    "AskTurn",
    "CallAnswered",
    "CloseFlow",
    "DialogOver",
    "Effect",
    "GiveTurn",
    "EndMedia",
    "MediaAsk",
    "PLAIN",
    "Profile",
    "WEBRTC",
    "HoldLease",
    "LimitsChanged",
    "PlanActivated",
    "RegisterAsk",
    "ReleaseLease",
    "ReturnPlace",
    "Shun",
    "Suspicious",
    "Transmit",
    "Unshun",
    "WriteRecord",
]


class AskAdmission:
    """Ask the limiter for one leg's lease. Answer: events.AdmissionDecided with the same leg."""

    __slots__ = ("leg",)

    def __init__(self, leg: Leg) -> None:
        self.leg = leg


class CallAnswered:
    """The leg's call got its 2xx. Answer: events.BudgetPlanned when the payer's total_duration has to be re-planned."""

    __slots__ = ("dialog", "leg")

    def __init__(self, leg: Leg, dialog: str) -> None:
        self.leg = leg
        self.dialog = dialog
        """What another instance would need to end the call (takeover.dialog_text); "" for all legs but the first."""


class ReleaseLease:
    """Give the leg's lease back, with its outcome. Answer: events.BudgetPlanned for the calls that go on."""

    __slots__ = ("leg", "outcome")

    def __init__(self, leg: Leg, outcome: Outcome) -> None:
        self.leg = leg
        self.outcome = outcome


class HoldLease:
    """Keep the lease of an answered leg that an earlier run of this instance left."""

    __slots__ = ("answered_ago", "dialog", "leg")

    def __init__(self, leg: Leg, answered_ago: float, dialog: str) -> None:
        self.leg = leg
        self.answered_ago = answered_ago
        """Seconds."""
        self.dialog = dialog


class LimitsChanged:
    """Other limits are in force for a payer with calls here. Answer: events.BudgetPlanned, if it has total_duration."""

    __slots__ = ("limits",)

    def __init__(self, limits: Limits) -> None:
        self.limits = limits


class PlanActivated:
    """First use by a subscriber in this process: the plans that activate by themselves are in force for it."""

    __slots__ = ("plans", "subscriber")

    def __init__(self, subscriber: str, plans: tuple[str, ...]) -> None:
        self.subscriber = subscriber
        self.plans = plans


class DialogOver:
    """A call that was taken up without a lease has ended: nobody has to take it up again."""

    __slots__ = ("inherited",)

    def __init__(self, inherited: Inherited) -> None:
        self.inherited = inherited


class RegisterAsk:
    """One REGISTER's request to the store: query, replace or remove bindings of one address of record."""

    __slots__ = (
        "account",
        "aor",
        "call_id",
        "contacts",
        "cseq",
        "limits",
        "nc",
        "nonce",
        "remove_all",
        "user",
    )

    def __init__(
        self,
        *,
        aor: str,
        account: str,
        limits: object,
        call_id: str,
        cseq: int,
        contacts: list[tuple[str, int, str]],
        remove_all: bool,
        nonce: str,
        nc: int,
        user: object,
    ) -> None:
        self.aor = aor
        """user@domain, canonical (proxy.sip.uri)."""
        self.account = account
        """The account's name, the member counted by sip_accounts."""
        self.limits = limits
        """policies.account.Limits of the payer in the account's mode."""
        self.call_id = call_id
        self.cseq = cseq
        self.contacts = contacts
        """(contact key for equality §19.1.4, expires in seconds (0 removes), record text kept with the binding)."""
        self.remove_all = remove_all
        """`Contact: *` with Expires 0."""
        self.nonce = nonce
        self.nc = nc
        """Digest nonce and its count, for the replay check in the same script; "" and 0 where not authenticated."""
        self.user = user
        """The registrar's own context, handed back in events.RegisterDecided."""


class AskRegister:
    """Run the registration script. Answer: events.RegisterDecided."""

    __slots__ = ("ask",)

    def __init__(self, ask: RegisterAsk) -> None:
        self.ask = ask


class AskPlace:
    """Hold a place among the payer's active accounts for a while: another registrar is about to be asked. Answer:
    events.PlaceDecided."""

    __slots__ = ("account", "hold", "limits", "user")

    def __init__(self, account: str, limits: Limits, hold: float, user: object) -> None:
        self.account = account
        self.limits = limits
        self.hold = hold
        """Seconds; a REGISTER that is answered with 200 makes it last as long as its bindings."""
        self.user = user


class ReturnPlace:
    """The other registrar said no: what AskPlace took is given back."""

    __slots__ = ("account", "limits", "place")

    def __init__(self, account: str, limits: Limits, place: PlaceHeld) -> None:
        self.account = account
        self.limits = limits
        self.place = place


class AskTurn:
    """Whose turn is it to register the accounts of this trunk? Asked again before `life` is over, it stays the same
    instance's. Answer: events.TurnDecided."""

    __slots__ = ("life", "trunk")

    def __init__(self, trunk: str, life: float) -> None:
        self.trunk = trunk
        self.life = life
        """Seconds."""


class GiveTurn:
    """Another instance may register the accounts of this trunk from now on."""

    __slots__ = ("trunk",)

    def __init__(self, trunk: str) -> None:
        self.trunk = trunk


class AskBindings:
    """Which contacts has this account now: for requests other than INVITE, and to learn whether somebody registered
    from the flow a call comes by (auth.invite: registered_source). Answer: events.BindingsFound."""

    __slots__ = ("aor", "payer", "user")

    def __init__(self, payer: str, aor: str, user: object) -> None:
        self.payer = payer
        self.aor = aor
        self.user = user


class AskName:
    """Find out where a host name leads (RFC 3263). Answer: events.NameFound."""

    __slots__ = ("question",)

    def __init__(self, question: Question) -> None:
        self.question = question


class WriteRecord:
    """One line a call, always, also when it was refused or failed (CDR and log)."""

    __slots__ = ("record",)

    def __init__(self, record: CallRecord) -> None:
        self.record = record


Profile = Literal["", "RTP/AVP", "UDP/TLS/RTP/SAVPF"]
"""What the receiver of an offer takes: "" = as it came."""
PLAIN: Final = "RTP/AVP"
WEBRTC: Final = "UDP/TLS/RTP/SAVPF"
"""With ICE and rtcp-mux, like all browsers."""


class MediaAsk:
    """One session description for rtpengine."""

    __slots__ = ("command", "from_tag", "held", "profile", "sdp", "to_tag", "token")

    def __init__(
        self,
        command: Literal["offer", "answer"],
        token: str,
        from_tag: str,
        to_tag: str,
        sdp: bytes,
        profile: Profile,
        held: Held,
    ) -> None:
        self.command = command
        self.token = token
        """The call."""
        self.from_tag = from_tag
        """Of who made the offer."""
        self.to_tag = to_tag
        """Of the other side; "" while it is not known."""
        self.sdp = sdp
        self.profile = profile
        """"" in answers: rtpengine knows from the offer what its sender takes."""
        self.held = held
        """The engine's own: the message it came in."""


class AskMedia:
    """Have rtpengine put itself into the description. Answer: events.MediaAnswered, in any case and soon."""

    __slots__ = ("ask",)

    def __init__(self, ask: MediaAsk) -> None:
        self.ask = ask


class EndMedia:
    """The call is over: rtpengine may forget it."""

    __slots__ = ("from_tag", "token")

    def __init__(self, token: str, from_tag: str) -> None:
        self.token = token
        self.from_tag = from_tag


class CloseFlow:
    """Close a stream connection after what was transmitted before has been written (unframable input)."""

    __slots__ = ("flow", "reason")

    def __init__(self, flow: Flow, reason: Literal["framing", "overload"]) -> None:
        self.flow = flow
        self.reason = reason


class Shun:
    """Drop everything from this address unread, and close its connections, until Unshun."""

    __slots__ = ("cause", "host", "seconds")

    def __init__(self, host: str, cause: BanCause, seconds: float) -> None:
        self.host = host
        self.cause = cause
        self.seconds = seconds


class Unshun:
    """Listen to this address again."""

    __slots__ = ("host",)

    def __init__(self, host: str) -> None:
        self.host = host


class Suspicious:
    """Tell operators (and fail2ban) of a stranger: what he did, from where, and whom or what he named."""

    __slots__ = ("flow", "kind", "named")

    def __init__(
        self, kind: Literal["auth_failed", "scanner", "closed"], flow: Flow | None, named: str
    ) -> None:
        self.kind = kind
        self.flow = flow
        self.named = named
        """The account or User-Agent as the peer wrote it; of `closed` the address."""


Effect = (
    Transmit
    | Shun
    | Unshun
    | Suspicious
    | AskAdmission
    | CallAnswered
    | ReleaseLease
    | HoldLease
    | DialogOver
    | LimitsChanged
    | PlanActivated
    | AskRegister
    | AskPlace
    | ReturnPlace
    | AskTurn
    | GiveTurn
    | AskBindings
    | AskName
    | WriteRecord
    | AskMedia
    | EndMedia
    | CloseFlow
)
