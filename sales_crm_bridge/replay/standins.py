"""Stand-ins for words, numbers, e-mail addresses, phones and dates: of the same shape, the same everywhere, and known as such.

A stand-in can be told from any other text by its form, so that a bundle can be searched for what was not replaced. A word's letters
alternate between consonant and vowel, and its last one follows from those before. A number's last two digits, and a date's day,
follow from the rest. An address ends in ``.example``, which nobody can own (RFC 2606). What is shorter than ``TOLD_MIN`` letters or
``DIGITS_TOLD_MIN`` digits cannot be told apart.
"""

from __future__ import annotations

import re
from hashlib import blake2b
from itertools import count
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

CONSONANTS, VOWELS = "bdfgklmnprtvz", "aeiou"
TOLD_MIN = 4
"""Letters of a word by whose form a stand-in is known."""

DIGITS_TOLD_MIN = 6
"""The same for the digits of a number."""

EMAIL = r"[\w.!#$%&'*+/=?^`{|}~-]+@[\w-]+(?:\.[\w-]+)+"
DATE = r"(?<!\d)(?:19|20)\d\d-(?:0[1-9]|1[0-2])-(?:0[1-9]|[12]\d|3[01])(?!\d)"
PHONE = r"\+?\(?\d(?:[ ().\u2010-\u2015/-]{0,3}\d){6,18}"
KEYLIKE = r"(?<![A-Za-z0-9_+/=~-])(?=[A-Za-z_+/=~-]*\d)(?=[\d_+/=~-]*[A-Za-z])[A-Za-z0-9_+/=~-]{20,}"
"""A run of letters and digits that is no word of any language: a token, a key, or an id."""

_TOKEN = re.compile(
    rf"(?P<email>{EMAIL})|(?P<secret>{KEYLIKE})|(?P<date>{DATE})|(?P<phone>{PHONE})|(?P<digits>\d+)|(?P<word>[^\W\d_]+)"
)


class StandIns:
    """Gives each token its stand-in under ``key``, no two tokens the same one.

    The key is thrown away with this object: without it nothing leads back from a stand-in.
    """

    def __init__(self, key: bytes) -> None:
        self._key = key
        self._given: dict[tuple[str, str], str] = {}
        self._taken: set[str] = set()

    def text(self, text: str) -> str:
        """``text`` with every token replaced; what stands between them stays."""
        return _TOKEN.sub(self._token, text)

    def agrees(self, text: str, other: str) -> bool:
        """Whether ``other`` says what ``text`` says: token by token the same, or its stand-in."""
        ours, theirs = list(_TOKEN.finditer(text)), list(_TOKEN.finditer(other))
        if len(ours) != len(theirs) or _TOKEN.sub("", text) != _TOKEN.sub("", other):
            return False
        return all(two[0] in (one[0], self._token(one)) for one, two in zip(ours, theirs, strict=True))

    def _token(self, found: re.Match[str]) -> str:
        text = found[0]
        match found.lastgroup:
            case "email":
                return self.email(text)
            case "secret":
                return self._once("secret", text, lambda seed, grow: _word(seed, len(text) + grow))
            case "date":
                return self.date(text)
            case "phone" | "digits":
                return self.number(text)
            case _:
                return self.word(text)

    def word(self, word: str) -> str:
        """A word of as many letters (more when those are used up), in the same case."""
        made = self._once("word", word.casefold(), lambda seed, grow: _word(seed, len(word) + grow))
        if word.isupper() and len(word) > 1:
            return made.upper()
        return made.capitalize() if word[:1].isupper() else made

    def number(self, text: str) -> str:
        """As many digits, with the same signs between them; of one with a plus the first two stay: they tell the country alone."""
        digits = re.sub(r"\D", "", text)
        kept = 2 if text.startswith("+") and len(digits) >= DIGITS_TOLD_MIN else 0
        made = self._once(f"number{kept}", digits, lambda seed, _: _number(seed, digits, kept), tries=40)
        fresh = iter(made)
        return re.sub(r"\d", lambda _: next(fresh), text)

    def email(self, text: str) -> str:
        """An address in a domain that nobody can own; its words are those that stand for the same words elsewhere."""
        local, _, domain = text.rpartition("@")
        words = domain.rpartition(".")[0]
        return f"{_TOKEN.sub(self._token, local)}@{_TOKEN.sub(self._token, words.casefold())}.example"

    def date(self, text: str) -> str:
        """A valid day within three years of it."""
        seed = self._seed("date", text, 0)
        year, month = int(text[:4]) - 3 + seed[0] % 7, 1 + seed[1] % 12
        return f"{year:04d}-{month:02d}-{_day(year, month):02d}"

    def _once(self, kind: str, token: str, make: Callable[[bytes, int], str], tries: int = 1_000) -> str:
        known = self._given.get((kind, token))
        if known is not None:
            return known
        made = ""
        for number in count():
            made = make(self._seed(kind, token, number), number // 20)
            if number >= tries or f"{kind} {made}" not in self._taken:
                break
        self._taken.add(f"{kind} {made}")
        self._given[kind, token] = made
        return made

    def _seed(self, kind: str, token: str, number: int) -> bytes:
        return blake2b(f"{kind} {number} {token}".encode("utf-8", "replace"), key=self._key, digest_size=64).digest()


def _word(seed: bytes, length: int) -> str:
    letters = [_letter(place, seed[place % len(seed)]) for place in range(length)]
    if length >= TOLD_MIN:
        letters[-1] = _last(letters[:-1])
    return "".join(letters)


def _letter(place: int, value: int) -> str:
    row = VOWELS if place % 2 else CONSONANTS
    return row[value % len(row)]


def _last(letters: list[str]) -> str:
    return _letter(len(letters), sum((place + 3) * ord(letter) for place, letter in enumerate(letters)))


def _number(seed: bytes, digits: str, kept: int) -> str:
    """Digits of the same number, with a leading zero only where there was one."""
    found = [digits[place] if place < kept else str(seed[place % len(seed)] % 10) for place in range(len(digits))]
    if not kept:
        found[0] = "0" if digits[0] == "0" else str(1 + seed[0] % 9)
    if len(found) >= DIGITS_TOLD_MIN:
        found[-2:] = _check("".join(found[:-2]))
    return "".join(found)


def _check(digits: str) -> str:
    return f"{(int(digits) * 100 + 41) % 97:02d}"


def _day(year: int, month: int) -> int:
    return 1 + (year * 5 + month * 11) % 28


# --- telling them apart -----------------------------------------------------------------------------------------------


def strangers(text: str) -> list[str]:
    """The tokens of ``text`` that are no stand-ins and long enough to be told."""
    return [found[0] for found in _TOKEN.finditer(text) if not _is_standin(found)]


def _is_standin(found: re.Match[str]) -> bool:
    text = found[0]
    match found.lastgroup:
        case "email":
            local, _, domain = text.rpartition("@")
            return domain.endswith(".example") and not strangers(local) and not strangers(domain.rpartition(".")[0])
        case "date":
            return int(text[8:]) == _day(int(text[:4]), int(text[5:7]))
        case "phone" | "digits":
            digits = re.sub(r"\D", "", text)
            return len(digits) < DIGITS_TOLD_MIN or digits[-2:] == _check(digits[:-2])
        case _:
            return _is_word(text.casefold())


def _is_word(word: str) -> bool:
    if len(word) < TOLD_MIN:
        return True
    rows = all(letter in (VOWELS if place % 2 else CONSONANTS) for place, letter in enumerate(word))
    return rows and word[-1] == _last(list(word[:-1]))
