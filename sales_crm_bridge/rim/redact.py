"""Redaction: what must never stand in an error or a log is masked, and foreign words are trimmed."""

from __future__ import annotations

import base64
import re
from typing import TYPE_CHECKING
from urllib.parse import quote, quote_plus

from sales_crm_bridge.rim.terms import MESSAGE_MAX

if TYPE_CHECKING:
    from collections.abc import Iterable

MASK = "***"

SECRET_MIN = 4
"""A shorter "secret" would mask half of every text and protects nothing."""

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
    """Masks known secrets (as they are, percent-encoded, in Base64), what looks like one, e-mail addresses and phone numbers.

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
                    encoded = base64.b64encode(value.encode()).decode()
                    found |= {value, quote(value, safe=""), quote_plus(value), encoded, encoded.rstrip("=")}
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
