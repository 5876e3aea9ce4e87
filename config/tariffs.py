"""Schema of plans.yaml and subscribers.yaml: what is sold, and to whom. SPEC: options and their defaults.

An option is written as its value (`lines: 10`) or as a mapping (`lines: {value: 10, mutable: yes, counts: both}`).
Durations are milliseconds here, instants Unix seconds.
"""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal, Self

from pydantic import BeforeValidator, Field, model_validator

from config.model import Model, listed, mapped
from config.units import (
    Amount,
    Domain,
    Host,
    Instant,
    Name,
    Text,
    YesNo,
    amount,
    count_of,
    duration_ms_of,
    seconds,
)

Mode = Literal["softphone", "gateway"]
"""How an account reaches telephony: over SIP, or as a Telegram account attached to a PBX."""

Counts = Literal["outgoing", "incoming", "both"]
"""Which legs an option counts."""

Algorithm = Literal["MD5", "SHA-256"]
"""Digest algorithms we can challenge with (RFC 8760)."""

Duration = Annotated[Amount, amount(duration_ms_of, "00:00:01", 1000, periodic=False)]
DurationPer = Annotated[Amount, amount(duration_ms_of, "00:00:01", 1000, periodic=True)]
Count = Annotated[Amount, amount(count_of, "1", 1, periodic=False)]
CountFromZero = Annotated[Amount, amount(count_of, "0", 0, periodic=False)]
CountPer = Annotated[Amount, amount(count_of, "1", 1, periodic=True)]


class Option(Model):
    """What every option of a plan can say."""

    mutable: YesNo = False
    """Its value may be chosen at activation and changed at any time."""

    @model_validator(mode="before")
    @classmethod
    def _value_alone(cls, raw: Any) -> Any:
        return raw if isinstance(raw, dict | list) else {"value": raw}


class PermissionOption(Option):
    """yes / no."""

    value: YesNo


class QuotaOption(Option):
    """A number of members, 0 … unlimited."""

    value: CountFromZero


class LevelOption(Option):
    """How many at once, 1 … unlimited."""

    value: Count


class LinesOption(LevelOption):
    """Simultaneous calls."""

    counts: Counts = "both"


class PerCallOption(Option):
    """A duration of one call."""

    value: Duration
    counts: Counts = "both"


class TalkTimeOption(Option):
    """A volume of time per period."""

    value: DurationPer
    counts: Counts = "both"


class CallsOption(Option):
    """A number of calls per period. Outgoing only by default: else strangers could use up a subscriber's failures."""

    value: CountPer
    counts: Counts = "outgoing"


class Softphone(Model):
    """Options of the category `softphone`. One that is absent from every active plan is unlimited."""

    call_duration: PerCallOption | None = None
    total_duration: TalkTimeOption | None = None
    success_calls: CallsOption | None = None
    fail_calls: CallsOption | None = None
    sip_accounts: LevelOption | None = None


class Gateway(Softphone):
    """Options of the category `gateway`: the same, and lines."""

    lines: LinesOption | None = None


class Lending(Model):
    """The category `group`: the plan's other categories are lent to the owner's group. It has no options."""


class Categories(Model):
    """What the plan is for: at least one of the three."""

    softphone: Softphone | None = None
    gateway: Gateway | None = None
    group: Lending | None = None

    @model_validator(mode="after")
    def _one_at_least(self) -> Self:
        if not self.model_fields_set:
            raise ValueError("a plan needs at least one category: softphone, gateway or group")
        return self


class Plan(Model):
    """One tariff plan."""

    auto_activate: YesNo = False
    """In force for every subscriber, from first use and for ever."""
    all_workers: PermissionOption | None = None
    """Any Worker may be used. Absent from every active plan: no."""
    group_size: QuotaOption | None = None
    """Members with access that the subscriber's group may have. Absent from every active plan: 0."""
    categories: Categories


_USER = re.compile(r"[A-Za-z0-9_.!~*'()&=+$,?/-]{1,128}")  # RFC 3261 §25.1 user, without ";" and escapes
_HEX: dict[str, int] = {"MD5": 32, "SHA-256": 64}


def _user_of(raw: object) -> str:
    if isinstance(raw, str) and _USER.fullmatch(raw):
        return raw
    raise ValueError("must be the user part of a SIP address, such as alice or +15550100 (no @, no domain)")


class ElsewhereRegistrar(Model):
    """The account's registrar is not callgate."""

    forward: Name
    """The trunk behind which it stands."""


class Registering(Model):
    """callgate registers the account at a provider or PBX."""

    trunk: Name
    username: Text | None = None
    """What the account is called there; None = its user part here."""
    password: Text = Field(repr=False)
    domain: Host | None = None
    """The domain of its address there; None = the host of the trunk's first target."""
    expires: Annotated[float, seconds(30, 604800)] = 3600.0
    """Seconds asked for."""


class Account(Model):
    """One SIP identity that registers and calls."""

    user: Annotated[str, BeforeValidator(_user_of)]
    domain: Domain | None = None
    """One of `domains` of callgate.yaml; the first of them by default."""
    password: Text | None = Field(None, repr=False)
    ha1: Annotated[dict[Algorithm, str], mapped] | None = Field(None, repr=False)
    """Instead of the password: per algorithm the hexadecimal digest of `user:realm:password`."""
    mode: Mode
    worker: Name | None = None
    """The Worker its calls use."""
    template: Name | None = None
    """One of its subscriber's SIP templates."""
    users: Annotated[tuple[Name, ...], listed] = ()
    """Subscribers who may call with it besides its owner. The owner's plans count, theirs never do."""
    media: Literal["direct", "relay"] = "direct"
    """relay: the media of its calls go through rtpengine."""
    disabled: YesNo = False
    registrar: ElsewhereRegistrar | None = None
    """None = callgate keeps its bindings."""
    registering: Registering | None = Field(None, alias="register")
    """None = nobody but its own client registers it."""

    @model_validator(mode="after")
    def _one_secret(self) -> Self:
        if self.registrar is not None:
            if self.registering is not None:
                raise ValueError(
                    "registrar and register exclude each other: its client registers, or callgate"
                )
            if self.password is not None or self.ha1 is not None:
                raise ValueError(
                    "its registrar asks for the password: callgate needs neither password nor ha1"
                )
            return self
        if (self.password is None) == (self.ha1 is None):
            raise ValueError("needs a password or ha1, one of the two")
        for algorithm, digest in (self.ha1 or {}).items():
            if not re.fullmatch(f"[0-9a-f]{{{_HEX[algorithm]}}}", digest):
                raise ValueError(
                    f"ha1 of {algorithm} must be {_HEX[algorithm]} lower-case hexadecimal digits"
                )
        if self.ha1 is not None and not self.ha1:
            raise ValueError("ha1 names no algorithm")
        return self


class Overrides(Model):
    """Values chosen for the mutable options of the activated plan, by `<category>.<option>` or plan-wide `<option>`."""

    all_workers: YesNo | None = None
    group_size: CountFromZero | None = None
    softphone_call_duration: Duration | None = Field(None, alias="softphone.call_duration")
    softphone_total_duration: DurationPer | None = Field(None, alias="softphone.total_duration")
    softphone_success_calls: CountPer | None = Field(None, alias="softphone.success_calls")
    softphone_fail_calls: CountPer | None = Field(None, alias="softphone.fail_calls")
    softphone_sip_accounts: Count | None = Field(None, alias="softphone.sip_accounts")
    gateway_call_duration: Duration | None = Field(None, alias="gateway.call_duration")
    gateway_total_duration: DurationPer | None = Field(None, alias="gateway.total_duration")
    gateway_success_calls: CountPer | None = Field(None, alias="gateway.success_calls")
    gateway_fail_calls: CountPer | None = Field(None, alias="gateway.fail_calls")
    gateway_sip_accounts: Count | None = Field(None, alias="gateway.sip_accounts")
    gateway_lines: Count | None = Field(None, alias="gateway.lines")

    def chosen(self) -> dict[str, Amount | bool]:
        """What is set, by the name it has in the file."""
        return {
            field.alias or name: getattr(self, name)
            for name, field in type(self).model_fields.items()
            if name in self.model_fields_set
        }


class Activation(Model):
    """One plan in force for its subscriber, from `since` up to (not including) `until`."""

    plan: Name
    since: Instant
    until: Instant | None = None
    """None = never ends."""
    options: Overrides = Overrides()

    @model_validator(mode="after")
    def _ends_after_start(self) -> Self:
        if self.until is not None and self.until <= self.since:
            raise ValueError("until must be later than since")
        return self


class Group(Model):
    """The circle that uses the subscriber's Workers."""

    members: Annotated[tuple[Name, ...], listed] = ()
    counters: Literal["shared", "per_member"] = "shared"


class Template(Model):
    """A SIP template: a preset for one telephony operator."""

    domain: Host
    proxy: Host | None = None
    worker: Name | None = None


class Subscriber(Model):
    """A customer."""

    accounts: Annotated[tuple[Account, ...], listed] = ()
    activations: Annotated[tuple[Activation, ...], listed] = ()
    group: Group | None = None
    templates: Annotated[dict[Name, Template], mapped] = Field(default_factory=dict)


class PlansFile(Model):
    """plans.yaml."""

    plans: Annotated[dict[Name, Plan], mapped]


class SubscribersFile(Model):
    """subscribers.yaml."""

    subscribers: Annotated[dict[Name, Subscriber], mapped]
