"""Links to the next page: from a header or a body to a path and query below the connection's address."""

from __future__ import annotations

from urllib.parse import urlsplit


def next_link(header: str) -> str:
    """The address of the next page in a ``Link`` header (RFC 8288), "" if it names none."""
    at = 0
    while (start := header.find("<", at)) >= 0 and (end := header.find(">", start)) >= 0:
        at = header.find("<", end) if header.find("<", end) >= 0 else len(header)
        for parameter in header[end + 1 : at].split(";"):
            name, _, value = parameter.strip(" ,").partition("=")
            if name.strip().lower() == "rel" and "next" in value.strip(" \"'").lower().split():
                return header[start + 1 : end]
    return ""


def below(link: str, strip: str) -> str:
    """A link as path and query below the address, without ``strip`` at its front; "" for one that cannot be followed.

    Its host does not count, since calls go to that address alone.
    """
    try:
        parts = urlsplit(link)
    except ValueError:
        return ""
    path, front = parts.path, strip.rstrip("/")
    path = path.removeprefix(front) if path.startswith(f"{front}/") else path
    if not path.startswith("/") or not path.isascii() or not path.isprintable() or " " in path or "\\" in path:
        return ""
    return f"{path}?{parts.query}" if parts.query else path
