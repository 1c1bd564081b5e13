"""HubSpot's error answers. Inside the sandbox a refusal is raised; at its edge it is an answer like any other."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

NOT_FOUND_HTML = (
    b'<html>\n<head>\n<meta http-equiv="Content-Type" content="text/html;charset=utf-8"/>\n<title>Error 404 Not Found</title>\n'
    b"</head>\n<body><h2>HTTP ERROR 404</h2>\n<p>Resource not found</p>\n</body>\n</html>\n"
)
"""What a read of one record says that is not there (recorded, October 2024), beside ``x-hubspot-notfound: true``."""


class Refusal(Exception):
    """A request, or one input of a batch, that is not carried out.

    ``category``: HubSpot's, or None where the recorded answers have none. ``errors``: details, each with at least ``message``.
    ``html``: the body is the server's plain page, not JSON. ``bare``: the answer comes from the gateway, without limit headers.
    """

    def __init__(
        self,
        status: int,
        category: str | None,
        message: str,
        *,
        errors: Sequence[Mapping[str, Any]] = (),
        context: Mapping[str, Sequence[str]] | None = None,
        extra: Mapping[str, Any] | None = None,
        headers: tuple[tuple[str, str], ...] = (),
        html: bool = False,
        bare: bool = False,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.category = category
        self.message = message
        self.errors = list(errors)
        self.context = dict(context or {})
        self.extra = dict(extra or {})
        self.headers = headers
        self.html = html
        self.bare = bare

    def body(self, correlation: str) -> bytes:
        """Word it for the wire."""
        if self.html:
            return NOT_FOUND_HTML
        told: dict[str, Any] = {"status": "error", "message": self.message, "correlationId": correlation}
        if self.context:
            told["context"] = self.context
        if self.errors:
            told["errors"] = self.errors
        told.update(self.extra)
        if self.category is not None:
            told["category"] = self.category
        return msgspec.json.encode(told)

    def as_part(self, trace: str | None) -> dict[str, Any]:
        """Word it as one of a 207's ``errors``; ``trace`` names the input."""
        context = dict(self.context)
        if trace is not None:
            context["objectWriteTraceId"] = [trace]
        return {
            "status": "error",
            "category": self.category or "VALIDATION_ERROR",
            "message": self.message,
            "context": context,
            "errors": self.errors,
            "links": {},
        }


def detail(message: str, code: str | None = None, name: str | None = None) -> dict[str, Any]:
    """One of a refusal's ``errors``, about the property or parameter ``name``."""
    told: dict[str, Any] = {"message": message}
    if code is not None:
        told["code"] = code
    if name is not None:
        told |= {"in": name, "context": {"propertyName": [name]}}
    return told


def invalid(message: str, *errors: Mapping[str, Any]) -> Refusal:
    """A 400 of the kind that never gets better by repeating."""
    return Refusal(400, "VALIDATION_ERROR", message, errors=errors)


class BadValue(msgspec.Struct, frozen=True, kw_only=True):
    """One property that a write may not set like this: ``code`` as HubSpot names it."""

    name: str
    value: str
    code: str
    message: str


def bad_values(found: Sequence[BadValue], portal_id: int) -> Refusal:
    """All bad properties of one record, in the doubled form in which HubSpot tells them: as text, and as ``errors``."""
    told = [
        {
            "isValid": False,
            "message": bad.message,
            "error": bad.code,
            "name": bad.name,
            "localizedErrorMessage": bad.message,
            "propertyValue": bad.value,
            "portalId": portal_id,
        }
        for bad in found
    ]
    text = msgspec.json.encode(told).decode()
    return invalid(f"Property values were not valid: {text}", *(detail(b.message, b.code, b.name) for b in found))


def not_found() -> Refusal:
    """The 404 in JSON."""
    return Refusal(404, "OBJECT_NOT_FOUND", "resource not found")


class MissingRecords(Refusal):
    """Ids of a batch that nothing lives under."""


def missing_ids(word: str, ids: Sequence[str]) -> MissingRecords:
    """Say which ids of a batch nothing lives under."""
    return MissingRecords(
        404,
        "OBJECT_NOT_FOUND",
        f"Could not get some {word.upper()} objects, they may be deleted or not exist. Check that ids are valid.",
        context={"ids": list(ids)},
    )
