"""What may stand in a bundle, and what stands there instead of everything else.

It is an allow-list: a value stays as it is only if it is known to be harmless. That is told by its place and its form together: a
time under a name that times have, an id under a name that ids have, a count, a word that the tenant's file or the adapter uses.
Everything else is replaced (``standins``), token by token, so that what is the same stays the same in every place: in a field, an
address, a search filter, in free text, in JSON inside a text and in Base64.
"""

from __future__ import annotations

import base64
import binascii
import json
import re
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl, quote, unquote, urlencode, urlsplit, urlunsplit

from sales_crm_bridge.replay.standins import StandIns, strangers

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

_TIME_NAMES = re.compile(
    r"(?i)(.*(created?|updated?|modified|changed|archived|deleted|started|completed|finished|requested|occurred|observed|since|until)"
    r"_?(at|on|date|time|us|ms)?|made|date|timestamp|version|etag|.*_(at|date|us))"
)
_ID_NAMES = re.compile(
    r"(?i)(id|ids|.*[a-z]id|.*[a-z]ids|.*[_-]ids?|vid|uuid|key|etag|version|after|before|next|cursor|merged|into|other"
    r"|aggregate_version)"
)
_HASH_NAMES = re.compile(r"(?i)((message|causation|correlation|request|trace|run)_?id|.*fingerprint|sha256)")
_COUNT_NAMES = re.compile(
    r"(?i)(total|count|limit|size|page|offset|numerrors|seconds|expires_in|status|schema_version|read|changed|unchanged|removed"
    r"|stale|attempts?|displayorder|nanos|units|run|failures|passes|sweep)"
)
_ZONE_NAMES = re.compile(r"(?i)(time_?)?zone")

_TIME = re.compile(r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d(:\d\d(\.\d+)?)?(Z|[+-]\d\d:?\d\d)?|1\d{9}|1\d{12}|1\d{15}|0")
_ID = re.compile(
    r"\"?(\d{1,20}([;,]\d{1,20})*|[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}|[A-Za-z]{1,3}[-_]?\d{1,12}|\d+(-\d+)+|)\"?"
)
_HASH = re.compile(r"[0-9a-f]{16,64}")
_COUNT = re.compile(r"-?\d{1,9}|\d+(\.\d+){1,2}")
_ZONE = re.compile(
    r"(Africa|America|Antarctica|Asia|Atlantic|Australia|Etc|Europe|Indian|Pacific|US)(/[A-Za-z_+-]+\d{0,2}){1,2}"
)
_FORMS = (
    (_TIME_NAMES, _TIME),
    (_ID_NAMES, _ID),
    (_HASH_NAMES, _HASH),
    (_COUNT_NAMES, _COUNT),
    (_ZONE_NAMES, _ZONE),
    (re.compile("lag"), re.compile(r"\d+(\.\d+)?s")),
    (re.compile("dead_letter_id"), re.compile(r"command \d+|")),
)
_BASE64 = re.compile(r"[A-Za-z0-9+/_-]{16,}={0,2}")
_URL = re.compile(r"https?://\S+")

KEPT_HEADERS = re.compile(r"content-type|date|retry-after|etag|x-hubspot-ratelimit-[a-z-]+|x-ratelimit-[a-z-]+|age")
"""Headers of an answer that a bundle keeps; their values are not personal, and the bridge reads no others but ``location``."""

REDIRECTS = frozenset({301, 302, 303, 307, 308})

_HARMLESS = ("", "true", "false", "null", "UTC", "application/json", "text/html", "text/plain")


class Allowed:
    """Tells what may stay. ``words``: those that the adapter's own text and the tenant's file use, whole values each.

    So a status that the mapping names stays, and one that it does not know is replaced like a name. ``places``: names under which
    the tenant's file declares ids, versions and times to stand.
    """

    def __init__(self, words: Iterable[str] = (), places: Iterable[str] = ()) -> None:
        self._words = frozenset(words) | frozenset(_HARMLESS)
        self._places = frozenset(places)

    def keeps(self, text: str, name: str) -> bool:
        """Whether ``text``, which stands under ``name``, is known to be harmless."""
        if all(word in self._words for word in text.split(",")):  # several: fields that are asked for, a field mask
            return True
        if name in self._places and (_ID.fullmatch(text) or _TIME.fullmatch(text)):
            return True
        # A record of two parts has the versions of both, with a bar between them.
        parts = text.split("|")
        return any(names.fullmatch(name) and all(map(form.fullmatch, parts)) for names, form in _FORMS)


class Redactor:
    """Replaces what is not known to be harmless; one of them for a whole recording. ``hosts``: of the tenant's own addresses."""

    def __init__(self, standins: StandIns, allowed: Allowed, hosts: Sequence[str] = ()) -> None:
        self._standins = standins
        self._allowed = allowed
        self._hosts = hosts
        self._ids: set[str] = set()

    def learn(self, ids: Iterable[str]) -> None:
        """These are ids of intents and leads: a number that the bridge puts behind one (``id.1``) stays beside its stand-in."""
        self._ids |= set(ids)

    def agrees(self, text: str, other: str, name: str) -> bool:
        """Whether ``other``, which a replay says under ``name``, is what ``text`` became, as a whole or piece by piece."""
        made = self.text(text, name)
        return made == other or (made != text and self._standins.agrees(text, other))

    def answer(self, body: bytes) -> bytes:
        """An answer's body: JSON value by value, any other text token by token; what is no text is left out."""
        try:
            text = body.decode()
        except UnicodeDecodeError:
            return b""
        try:
            value = json.loads(text)
        except ValueError:
            return self._standins.text(text).encode()
        return json.dumps(self.value(value, ""), ensure_ascii=False, separators=(",", ":")).encode()

    def headers(self, headers: Sequence[tuple[str, str]], status: int) -> tuple[tuple[str, str], ...]:
        """An answer's headers, those that a bundle keeps; where it leads elsewhere, also where to."""
        kept = [(name.lower(), value) for name, value in headers]
        found = [(name, value) for name, value in kept if KEPT_HEADERS.fullmatch(name)]
        if status in REDIRECTS:
            found += [(name, self.url(value)) for name, value in kept if name == "location"]
        return tuple(found)

    def value(self, value: Any, name: str) -> Any:
        """A JSON value that stands under ``name``; the names in it stay, unless they are no names."""
        match value:
            case dict():
                return {self._name(key): self.value(inner, key) for key, inner in value.items()}
            case list():
                return [self.value(inner, name) for inner in value]
            case bool() | None:
                return value
            case int() | float():
                return self._number(value, name)
            case _:
                return self.text(str(value), name)

    def text(self, text: str, name: str) -> str:
        """A text that stands under ``name``."""
        if self._allowed.keeps(text, name):
            return text
        head, dot, tail = text.rpartition(".")
        if head in self._ids and tail.isdecimal():
            return f"{self.text(head, name)}{dot}{tail}"
        if _URL.fullmatch(text):
            return self.url(text)
        held = _held(text)
        if held is not None:
            inner, packed = held
            return packed(self.text(inner, name))
        if text[:1] in "{[":
            try:
                return json.dumps(self.value(json.loads(text), name), ensure_ascii=False)
            except ValueError:
                pass
        return self._standins.text(text)

    def url(self, url: str) -> str:
        """An address: its parts one by one, the host unless it is the tenant's own CRM."""
        parts = urlsplit(url)
        host = parts.netloc if parts.hostname in self._hosts else f"{self._standins.word(parts.netloc[:12])}.example"
        segments = [quote(self.segment(unquote(one)), safe="") for one in parts.path.split("/")]
        query = [(name, self.text(value, name)) for name, value in parse_qsl(parts.query, keep_blank_values=True)]
        return urlunsplit((parts.scheme, host, "/".join(segments), urlencode(query, quote_via=quote), ""))

    def segment(self, text: str) -> str:
        """One part of a path."""
        return self.text(text, "id")

    def _number(self, value: float, name: str) -> float:
        text = json.dumps(value)
        if self._allowed.keeps(text, name) or "e" in text or "I" in text or "N" in text:
            return value
        made = json.loads(self._standins.text(text))
        return type(value)(made)

    def _name(self, name: str) -> str:
        return name if _is_name(name) or self._allowed.keeps(name, "id") else self._standins.text(name)


def _is_name(name: str) -> bool:
    """Whether a JSON object's key can be a name of the protocol, and not a value that somebody has used as one."""
    return bool(re.fullmatch(r"[A-Za-z_$@][\w$.:-]{0,80}", name)) and not re.search(r"\d{6}", name)


def _held(text: str) -> tuple[str, Callable[[str], str]] | None:
    """The text that a Base64 text holds, and how to pack another one alike; None: it holds none."""
    if not _BASE64.fullmatch(text) or len(text) % 4:
        return None
    web = "-" in text or "_" in text
    try:
        held = (base64.urlsafe_b64decode if web else base64.b64decode)(text).decode()
    except (binascii.Error, UnicodeDecodeError):
        return None
    if not held.isprintable():
        return None

    def packed(other: str) -> str:
        return (base64.urlsafe_b64encode if web else base64.b64encode)(other.encode()).decode()

    return held, packed


# --- looking for what slipped through ---------------------------------------------------------------------------------


def slipped(value: Any, name: str, allowed: Allowed) -> Iterator[tuple[str, str]]:
    """What of a JSON value is neither known to be harmless nor a stand-in: (under which name, how much of what)."""
    match value:
        case dict():
            for key, inner in value.items():
                if not _is_name(key) and not allowed.keeps(key, "id") and strangers(key):
                    yield (name, "a name that is none")
                yield from slipped(inner, key, allowed)
        case list():
            for inner in value:
                yield from slipped(inner, name, allowed)
        case bool() | None:
            return
        case int() | float():
            text = json.dumps(value)
            if not allowed.keeps(text, name) and strangers(text):
                yield (name, "a number")
        case _:
            if found := _slipped_text(str(value), name, allowed):
                yield (name, found)


def _slipped_text(text: str, name: str, allowed: Allowed) -> str:
    if allowed.keeps(text, name):
        return ""
    if text[:1] in "{[":
        try:
            inner = next(slipped(json.loads(text), name, allowed), None)
            return inner[1] if inner else ""
        except ValueError:
            pass
    held = _held(text)
    if held is not None:
        return _slipped_text(held[0], name, allowed)
    if _URL.fullmatch(text):
        values = [*text.partition("?")[0].split("/")[3:], *(value for _, value in parse_qsl(urlsplit(text).query))]
        return next((found for one in values if (found := _slipped_text(unquote(one), "id", allowed))), "")
    odd = strangers(text)
    return _kind(odd[0]) if odd else ""


def _kind(token: str) -> str:
    if "@" in token:
        return "an e-mail address"
    return "a number" if token[:1] in "+(" or token[:1].isdigit() else "a word"
