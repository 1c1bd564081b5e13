"""Redaction: what must never stand in an error or a log is masked, and foreign words are trimmed."""

from __future__ import annotations

import base64
import json
import re
from typing import TYPE_CHECKING, TypeVar
from urllib.parse import quote, quote_plus

import msgspec

from sales_crm_bridge.model import Deferred, Rejected, Unknown
from sales_crm_bridge.rim.terms import MESSAGE_MAX

if TYPE_CHECKING:
    from collections.abc import Iterable

T = TypeVar("T")

MASK = "***"

SECRET_MIN = 4
"""A shorter "secret" would mask half of every text and protects nothing."""

AMID_MIN = 6
"""A shorter piece of Base64 would be found by chance."""

_NAMES = (
    r"access_token|refresh_token|id_token|client_secret|api[_-]?key|hapikey|api_token|password|passwd|secret|token"
    r"|assertion|signature"
)
_RULES = (
    (re.compile(r"(?i)\b(authorization|cookie|set-cookie)(['\"]?\s*[:=]\s*)[^\r\n]+"), rf"\1\2{MASK}"),
    (re.compile(r"(?i)\b(bearer|basic|zoho-oauthtoken)(\s+)[\w.~+/=:-]{4,}"), rf"\1\2{MASK}"),
    (re.compile(rf"(?i)\b({_NAMES})(['\"]?\s*[:=]\s*['\"]?)[^\s'\"&,;}}]+"), rf"\1\2{MASK}"),
    (re.compile(r"(?i)([?&]code=)[^&\s]+"), rf"\1{MASK}"),
    (re.compile(r"(?i)[\w.!#$%&'*+/=?^`{|}~-]+(?:@|%40)[\w-]+(?:\.[\w-]+)*"), MASK),
    (re.compile(r"(?<![\w-])\+?\(?\d(?:[\s().\u2010-\u2015/-]?\d){6,14}(?![\w-])"), MASK),
)


class Redactor:
    """Masks known secrets in whatever form they travel, what looks like one, e-mail addresses and phone numbers.

    Their forms: as they are, percent-encoded, in a JSON text, and in Base64, also in the middle of it (Basic encodes a pair).

    It would rather mask a record's id than let a phone number stand.
    """

    def __init__(self, secrets: Iterable[str] = ()) -> None:
        self._known: list[str] = []
        self.learn(secrets)

    def learn(self, secrets: Iterable[str]) -> None:
        """Mask these from now on; of a header value such as ``Bearer x`` also its last word alone."""
        found = set(self._known)
        for secret in secrets:
            for value in (secret, secret.rpartition(" ")[2]):
                if len(value) >= SECRET_MIN:
                    found |= _forms(value)
        self._known = sorted(found, key=lambda value: (-len(value), value))

    def known(self, text: str) -> str:
        """``text`` with the secrets masked and nothing else: for one who must see what a request says."""
        for value in self._known:
            text = text.replace(value, MASK)
        return text

    def __call__(self, text: str) -> str:
        """``text`` on one line, masked, then trimmed to ``MESSAGE_MAX`` characters."""
        text = self.known(text)
        for pattern, mask in _RULES:
            text = pattern.sub(mask, text)
        text = " ".join(text.split())
        return text if len(text) <= MESSAGE_MAX else f"{text[: MESSAGE_MAX - 1]}…"

    def outcome(self, value: T) -> T:
        """``value``; of what became of a write with its words masked: a CRM's code, too, can repeat what it was told."""
        if isinstance(value, Rejected):
            return msgspec.structs.replace(value, code=self(value.code), fields=tuple(map(self, value.fields)))
        if isinstance(value, Deferred | Unknown):
            return msgspec.structs.replace(value, reason=self(value.reason))
        return value


def _forms(secret: str) -> set[str]:
    """Every text that tells ``secret``."""
    encoded = base64.b64encode(secret.encode()).decode()
    return {
        secret,
        *(quote(secret, safe=safe) for safe in ("", "/", ",:")),
        quote_plus(secret),
        *(json.dumps(secret, ensure_ascii=ascii_only)[1:-1] for ascii_only in (True, False)),
        encoded,
        encoded.rstrip("="),
        *_amid_base64(secret.encode()),
    }


def _amid_base64(secret: bytes) -> set[str]:
    """What stands in the Base64 of any text that holds ``secret``: one form for each place among three bytes.

    The signs at the ends, which also tell of the neighbours, are left out.
    """
    found = set()
    for before in range(3):
        encoded = base64.b64encode(bytes(before) + secret).decode().rstrip("=")
        whole = encoded[-(-before * 8 // 6) : (before + len(secret)) * 8 // 6]
        if len(whole) >= AMID_MIN:
            found.add(whole)
    return found
