"""A file judged beside the other files, and beside what was accepted of its tenant."""

from __future__ import annotations

from pathlib import PurePath
from typing import TYPE_CHECKING

from sales_crm_bridge.findings import finding
from sales_crm_bridge.model import Owner
from sales_crm_bridge.units import time_text

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from sales_crm_bridge.errors import Finding
    from sales_crm_bridge.gate import Span
    from sales_crm_bridge.tenants.values import Outline

SUFFIXES = (".yaml", ".yml")


def misplaced(one: Outline, files: Sequence[str], there: Collection[str]) -> list[Finding]:
    """Whether the file has its tenant's name, and no other file is for that tenant.

    ``files``: those that are for it; ``there``: the names of all files. Of two for one tenant the one that has its name is right.
    """
    if not one.tenant:
        return []
    found: list[Finding] = []
    path = PurePath(one.file)
    if path.stem != one.tenant:
        taken = next((name for end in SUFFIXES if (name := one.tenant + end) in there), "")
        remedy = f"name the file {one.tenant}{path.suffix}"
        if taken:
            remedy = f"remove the file, or mend its `tenant`: {taken} is there already"
        found.append(finding("tenant.wrong-file", f"the file is for {one.tenant!r}", one.place("tenant"), remedy))
    rivals = [file for file in files if file != one.file]
    named = [file for file in rivals if PurePath(file).stem == one.tenant]
    if named or (rivals and path.stem != one.tenant):
        said = f"{(named or rivals)[0]} is for {one.tenant!r} too"
        found.append(finding("tenant.duplicate", said, one.place("tenant")))
    return found


def changes(one: Outline, before: Outline | None, passed_us: int, rewound_us: int | None) -> list[Finding]:
    """What an accepted file may not change, and entries that come too late: the intents since were judged without them."""
    found = [] if one.spans is None else [*_history(one, before), *_late(one, before, passed_us, rewound_us)]
    now, then = one.account, before.account if before is not None else None
    if now is not None and then is not None and now.connection == then.connection and now.key != then.key:
        said = f"connection {now.connection!r} was account {then.account!r} of {then.adapter} at {then.address}"
        found.append(finding("tenant.account-moved", said, one.place("connection", "account")))
    return found


def way_back(retired: Outline) -> str:
    """The remedy that brings a retired tenant back, or leaves it where it is."""
    since = [_entry(span) for span in retired.ownership.history if span.from_us == retired.retired_us]
    wanted = ", and then ".join([*since, "{owner: crm, from: <a coming time>}"])
    return f"remove the file; or, to bring the tenant back, write in `leads`, after the entries of before that time, {wanted}"


def _entry(span: Span) -> str:
    return f"{{owner: {span.owner}, from: {time_text(span.from_us)}}}"


def _before(before: Outline | None) -> tuple[Span, ...]:
    return () if before is None else before.ownership.history


def _history(one: Outline, before: Outline | None) -> list[Finding]:
    was, now = _before(before), one.spans or ()
    found: list[Finding] = []
    for index, span in enumerate(was):
        if index < len(now) and now[index] == span:
            continue
        place = one.place("leads", str(index)) if index < len(now) else one.place("leads")
        if before is not None and 0 < before.retired_us == span.from_us:
            said = f"{one.tenant!r} was retired at {time_text(span.from_us)}: since then the domain has had its leads"
            found.append(finding("tenant.returns", said, place, way_back(before)))
        else:
            gone = "" if index < len(now) else "an entry is gone; "
            found.append(finding("tenant.leads-changed", f"{gone}the accepted entry was {_entry(span)}", place))
    return found


def _late(one: Outline, before: Outline | None, passed_us: int, rewound_us: int | None) -> list[Finding]:
    was, now = _before(before), one.spans or ()
    found: list[Finding] = []
    owner = was[-1].owner if was else Owner.DOMAIN
    for index, span in enumerate(now[len(was) :], start=len(was)):
        again = rewound_us is not None and span.owner is Owner.CRM and span.from_us >= rewound_us
        if span.from_us <= passed_us and span.owner is not owner and not again:
            said = f"{time_text(span.from_us)} is past: intake has gone by to {time_text(passed_us)}"
            # A rewind takes what was passed over; what was taken is carried out, and cannot be taken back.
            remedy = "append a later time" if span.owner is Owner.DOMAIN else ""
            found.append(finding("tenant.leads-past", said, one.place("leads", str(index), "from"), remedy))
        owner = span.owner
    return found


def sharing(
    outlines: Sequence[Outline], good: Collection[str], previous: Mapping[str, Outline]
) -> list[tuple[str, Finding]]:
    """A finding for each file whose account another tenant has, with the file; ``good``: the files without other mistakes.

    An accepted tenant (``previous``) has its account until a good file of it names another one. Of two that come to an account a
    good file is before one that is refused anyway, then an accepted tenant before a new one.
    """

    def rank(one: Outline) -> tuple[bool, bool, bool, str, str]:
        before = previous.get(one.tenant)
        stays = before is not None and _key(before) == _key(one)
        return (not stays, one.file not in good, before is None, one.tenant, one.file)

    ordered = sorted((one for one in outlines if one.tenant and one.account is not None), key=rank)
    # A tenant whose file is refused, if only for its account, stays where it is: that may be in the way of another one.
    staying = previous.keys() - {one.tenant for one in outlines if one.file in good}
    while True:
        found: list[tuple[str, Finding]] = []
        refused: set[str] = set()
        taken = _taken({name: previous[name] for name in staying})
        for one in ordered:
            assert one.account is not None
            other = taken.setdefault(one.account.key, one.tenant)
            if other != one.tenant:
                said = f"{other!r} uses account {one.account.account!r} of {one.account.adapter} already"
                found.append((one.file, finding("tenant.shared-account", said, one.place("connection", "account"))))
                refused.add(one.tenant)
        stuck = (refused & previous.keys()) - staying
        if not stuck:
            return found
        staying |= stuck


def _key(one: Outline) -> tuple[str, str, str] | None:
    return None if one.account is None else one.account.key


def _taken(outlines: Mapping[str, Outline]) -> dict[tuple[str, ...], str]:
    """Who has which account; of two that have one, the first by name."""
    return {one.account.key: name for name, one in sorted(outlines.items(), reverse=True) if one.account is not None}
