"""What `callgate explain` found, in lines for people."""

from __future__ import annotations

from typing import Any

WIDTH = 16


def lines(told: dict[str, Any]) -> list[str]:
    """`told`: as Imagined.told has it."""
    by = f" by the trunk {told['from_trunk']}" if told["from_trunk"] else ""
    out = [f"{told['from']} calls {told['to']}{by} at {told['at']}"]
    if told["to_account"]:
        out.append(f"That is our account {told['to_account']}{_registered(told['to_contacts'])}.")
    elif told["to_trunk"]:
        out.append(f"The call goes to the trunk {told['to_trunk']}.")
    for leg in told["legs"]:
        out += ["", *_leg(leg)]
    return [*out, "", *_answer(told["answer"])]


def _registered(contacts: int | None) -> str:
    if contacts is None:
        return ""
    return (
        f", registered from {contacts} contact{'' if contacts == 1 else 's'}"
        if contacts
        else ", not registered"
    )


def _leg(leg: dict[str, Any]) -> list[str]:
    side = "caller" if leg["direction"] == "out" else "callee"
    out = [f"The {side}'s leg: {leg['account']}, {leg['mode']}"]
    out.append(_row("pays", f"{leg['payer']}: {leg['why']}"))
    group = leg["group"]
    if group is not None:
        size = f"{group['members_with_access']} members with access, {group['group_size']} allowed"
        out.append(_row("group", f"of {group['owner']}: {size}"))
    out += [_row("plan", _plan(plan, leg)) for plan in leg["plans"]] or [_row("plan", "none is active")]
    for name, option in leg["limits"].items():
        out.append(_row(name, _option(option)))
    out += [
        _row("Worker", f"{one['worker']}: {_yes(one['allowed'])}, {one['why']}") for one in leg["workers"]
    ]
    if leg["usage"] is None:
        out.append(_row("used", f"not known: {leg['usage_unknown']}"))
    else:
        out += [_row("used", text) for text in _usage(leg["usage"])]
    if leg["valid_until"]:
        out.append(_row("holds until", f"{leg['valid_until']}, when an activation starts or ends"))
    return out


def _plan(plan: dict[str, Any], leg: dict[str, Any]) -> str:
    if plan["by_itself"]:
        text = f"{plan['plan']}, activated by itself"
    else:
        until = f" until {plan['until']}" if plan["until"] else ", without end"
        text = f"{plan['plan']} since {plan['since']}{until}"
    if plan["counts_here"]:
        return text
    return f"{text} ({'lends nothing' if leg['group'] is not None else 'has nothing'} for {leg['mode']})"


def _option(option: dict[str, Any]) -> str:
    if option["plan"] is None:
        return f"{option['value']}: {option['why']}"
    chosen = ", chosen at activation" if option["chosen_at_activation"] else ""
    text = f"{option['value']} from {option['plan']}{chosen}: {option['why']}"
    if option["others"]:
        text += f" (else {', '.join(option['others'])})"
    if option["applies"] is False:
        text += "; does not count this leg"
    return text


def _usage(usage: dict[str, Any]) -> list[str]:
    out = [f"{usage['calls']} call{'' if usage['calls'] == 1 else 's'} at this moment"]
    for name in ("total_duration", "success_calls", "fail_calls"):
        window = usage[name]
        if window is not None:
            ends = f", until {window['window_ends']}" if window["window_ends"] else ""
            out.append(f"{name} {window['used']} of {window['of']}{ends}")
    if usage["exhausts_in_s"] is not None:
        out.append(f"total_duration is used up in {usage['exhausts_in_s']:.1f} s, as calls run now")
    return out


def _answer(answer: dict[str, Any]) -> list[str]:
    if answer["decision"] != "refused":
        return [f"The call would be {answer['decision']}."]
    return [f"The call would be refused: {answer['status']} {answer['phrase']}", f"  {answer['warning']}"]


def _row(name: str, text: str) -> str:
    return f"  {name.ljust(WIDTH)}{text}"


def _yes(allowed: bool) -> str:
    return "may be used" if allowed else "may not be used"
