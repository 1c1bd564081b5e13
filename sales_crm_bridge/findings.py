"""Every problem of the set-up that the bridge can name: its stable code, what it means, and what mends it.

The table is the documentation: the operations page prints it, and a finding with a code outside it cannot be made.
"""

from __future__ import annotations

import difflib
from typing import TYPE_CHECKING, NamedTuple

from sales_crm_bridge.errors import Bug, Finding, Place

if TYPE_CHECKING:
    from collections.abc import Iterable


class Explained(NamedTuple):
    """What a code means, and the remedy that is given when the place has no better one."""

    meaning: str
    remedy: str


FINDINGS: dict[str, Explained] = {
    # --- the text of a file ---
    "yaml.unreadable": Explained("the file cannot be read", "make the file readable for the bridge's user"),
    "yaml.too-large": Explained("the file is larger than the limit", "split or shorten it; the limit is 1 MiB"),
    "yaml.not-utf8": Explained("the file is not UTF-8 text", "save it as UTF-8"),
    "yaml.syntax": Explained("the file is not YAML 1.2", "mend the syntax at this place"),
    "yaml.duplicate-key": Explained("a key stands twice in one mapping", "keep one of the two"),
    "yaml.bad-key": Explained("a key is not plain text", "use text as the key"),
    "yaml.bad-tag": Explained("a YAML tag is not allowed", "remove the tag; quote the value if it is text"),
    "yaml.cycle": Explained("an anchor contains itself", "write the value out"),
    "yaml.too-deep": Explained(
        "the file nests too deep or unfolds to too many values", "write it flatter, with fewer aliases"
    ),
    "yaml.empty": Explained("the file says nothing", "write the file, or remove it"),
    # --- one value ---
    "config.unknown-key": Explained("a key that the bridge does not know", "remove it, or mend its name"),
    "config.missing-key": Explained("a required key is missing", "add it"),
    "config.bad-type": Explained(
        "a value of the wrong kind", "write a value of the kind that the reference page names"
    ),
    "config.bad-value": Explained(
        "a value that is not allowed here", "use one of the values that the reference page names"
    ),
    "config.out-of-range": Explained("a number or duration outside its limits", "choose a value inside the limits"),
    "config.bad-duration": Explained(
        "not a duration", "write a number with a unit, such as 500ms, 30s, 15m, 1h30m or 7d"
    ),
    "config.bad-time": Explained(
        "not a point in time with a zone, within the years 1 to 9999 of UTC",
        "write RFC 3339 with a zone, such as 2026-01-01T00:00:00Z",
    ),
    "config.bad-reference": Explained("not a reference to a secret", "write env:NAME or file:/absolute/path"),
    "config.plain-secret": Explained(
        "a secret stands in a file in plain text",
        "move it to the environment or a secret file, and write env:NAME or file:/path",
    ),
    "config.no-secrets": Explained(
        "the folder of secret files is not there", "make the folder, or correct --secrets (SALES_CRM_BRIDGE_SECRETS)"
    ),
    "config.unresolvable-secret": Explained(
        "a reference to a secret leads nowhere",
        "set the environment variable, or put the file there, readable and not empty",
    ),
    "config.owned-by-bridge": Explained(
        "a Kafka setting that the bridge must own, or that no production bridge may have",
        "remove it; the bridge sets it itself",
    ),
    "config.kafka": Explained(
        "librdkafka does not accept a setting, or no broker is named",
        "see librdkafka's CONFIGURATION.md for the names and values that it knows",
    ),
    "config.no-match": Explained(
        "there is no match of that id", "see `matches list`, and `matches list --decided` for those that were decided"
    ),
    "config.no-dead-letter": Explained(
        "there is no dead letter of that id",
        "see `deadletters list`, and `deadletters list --closed` for those that were put back or dropped",
    ),
    "config.no-gap": Explained(
        "there is no open gap of that id",
        "see `gaps list`, and `gaps list --closed` for those that were closed",
    ),
    "config.no-tenant": Explained(
        "there is no tenant, or none of that name",
        "write config/tenants/<tenant>.yaml; docs/config.md explains every key",
    ),
    "config.bad-address": Explained(
        "not a usable address", "write https://host[:port][/path], without user, query or fragment"
    ),
    "config.bad-host": Explained(
        "not the name or the address of one host",
        "write the host alone, such as crm.internal or 10.0.0.7: no scheme, port, path, range of addresses or `*`",
    ),
    # --- a declared CRM ---
    "rest.bad-path": Explained(
        "a text that is no path into an answer", "write steps with dots between, or a list of steps"
    ),
    "rest.bad-template": Explained(
        "a text with braces that are no variable", "write {name} for a variable, {{ and }} for braces"
    ),
    "rest.unknown-variable": Explained(
        "a variable that is not known in this place", "use one of the variables of this place"
    ),
    "rest.contradiction": Explained(
        "parts of a declaration that do not go together, or lack what they stand on", "mend what the finding names"
    ),
    "rest.unreachable": Explained("a rule that no answer reaches", "put it before the rule that takes its answers"),
    "config.bad-ledger": Explained(
        "not a ledger address", "write sqlite:///path/to/file.db or postgresql://user@host/database"
    ),
    "config.unknown-crm": Explained("no adapter has this name", "use one of the names in the catalogue"),
    # --- tenants ---
    "tenant.wrong-file": Explained("the file's name is not the tenant's", "name the file <tenant>.yaml"),
    "tenant.duplicate": Explained("two files are for one tenant", "keep one file per tenant"),
    "tenant.shared-account": Explained(
        "two tenants use one CRM account", "give each tenant an account of its own, or make them one tenant"
    ),
    "tenant.leads-empty": Explained("the list of owners is empty", "add an entry {owner: domain | crm, from: <time>}"),
    "tenant.leads-order": Explained("the owners' times do not rise", "put the entries in the order of their times"),
    "tenant.leads-repeated": Explained(
        "two neighbouring entries name one owner", "drop the later one; an owner stays until another one follows"
    ),
    "tenant.leads-changed": Explained(
        "an accepted entry of the append-only list was changed, moved or removed",
        "restore the accepted entries and append a new one",
    ),
    "tenant.leads-past": Explained(
        "an appended entry starts where intake has already gone by, so intents were judged without it",
        "append a later time; or, if the domain has not handled them, `sales-crm-bridge rewind --to` this time",
    ),
    "tenant.account-moved": Explained(
        "an accepted connection now points at another CRM account",
        "give the connection a new name; the old one's bindings belong to the old account",
    ),
    "tenant.file-gone": Explained(
        "a tenant in force has no file any more; the accepted version stays in force",
        "put the file back, or `sales-crm-bridge tenant retire` the tenant",
    ),
    "tenant.retired": Explained(
        "the tenant was retired with this very file, so the file changes nothing",
        "remove the file; or write in `leads` what the finding names: then it brings the tenant back",
    ),
    "tenant.returns": Explained(
        "the file of a retired tenant does not say that the domain has had the leads since then",
        "write in `leads` the entry that the finding names, and then what is to come; or remove the file",
    ),
    "tenant.no-folder": Explained("the tenants' folder is not there", "make it, or mend the setting `tenants`"),
    # --- mapping ---
    "mapping.unknown-field": Explained(
        "the contract's lead has no such field", "use a field of the lead, or custom_attributes.<name>"
    ),
    "mapping.not-mappable": Explained("the bridge owns this field of the lead", "remove it from the mapping"),
    "mapping.bad-status": Explained("not a lead status of the contract", "use one of the contract's statuses"),
    "mapping.not-invertible": Explained(
        "two CRM values mean one Sales value, and nothing says which one to write",
        "name it under `write_values`, or use `write: never`",
    ),
    "mapping.no-way-back": Explained(
        "a CRM value would be written that the map does not read as the same Sales value",
        "let `values` and `write_values` agree, or use `write: never`",
    ),
    "mapping.two-writers": Explained("two entries write one CRM field", "keep one, or make the other `write: never`"),
    "mapping.needs-join": Explained(
        "several CRM fields feed one Sales field, and nothing says how", "add `join`, the text between the parts"
    ),
    "mapping.join-not-text": Explained("only text can be joined of several CRM fields", "map one CRM field"),
    "mapping.wrong-kind": Explained("a step or map that does not suit the kind of the Sales field", "remove it"),
    "mapping.status-missing": Explained(
        "qualify or disqualify would change nothing in the CRM",
        "map `status` with `values` for it, or write `qualify: {set: …}` / `disqualify: {set: …}`",
    ),
    "mapping.unused": Explained("the entry can neither read nor write", "remove it, or allow one direction"),
    "mapping.crm-field-unknown": Explained(
        "the CRM has no such field", "mend the name; CRMs want the internal name, not the label"
    ),
    "mapping.crm-field-read-only": Explained("the CRM does not let this field be written", "use `write: never`"),
    "mapping.crm-option-unknown": Explained(
        "the CRM's field does not offer this value", "use the option's internal value"
    ),
    "mapping.crm-field-required": Explained(
        "the CRM requires a field at creation that nothing writes", "map it, or give it a value under `create`"
    ),
}


def finding(code: str, message: str, place: Place, remedy: str = "") -> Finding:
    """A finding of the table; ``remedy`` "" takes the table's. Raises ``Bug`` for a code outside the table."""
    explained = FINDINGS.get(code)
    if explained is None:
        raise Bug("bug.unlisted-finding", f"finding code {code!r} is not in the table")
    return Finding(code=code, message=message, place=place, remedy=remedy or explained.remedy)


def nearest(word: str, known: Iterable[str]) -> str:
    """The one of ``known`` that ``word`` may be a slip of ("": none is near)."""
    return next(iter(difflib.get_close_matches(word, sorted(known), n=1, cutoff=0.6)), "")


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """A remedy that names the nearest of ``known`` (or all of them, when none is near)."""
    names = sorted(known)
    if near := nearest(word, names):
        return f"did you mean {near!r}?"
    return f"use one of: {', '.join(names)}" if names else "remove it"
