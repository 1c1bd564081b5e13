"""What to do about a fault that the rim raises, for each code; a fault that brings a better remedy keeps its own."""

from __future__ import annotations

AGAIN = "it is tried again by itself"

REMEDIES = {
    "crm.busy": f"{AGAIN}; look at the CRM's status page if it stays",
    "crm.paused": "it goes on by itself when the pause is over; lower `limits.per_second` if this happens often",
    "crm.suspended": f"{AGAIN} after a pause; look at the CRM's status page and at the connection's `address`",
    "crm.too-many": f"{AGAIN}; lower `limits.per_second` if this happens often",
    "http.body-too-large": "lower the page size of this connection, or raise `http.body_bytes_max`",
    "http.broken-encoding": f"{AGAIN}; report it to whoever runs the CRM or the proxy before it if it stays",
    "http.connect-error": f"{AGAIN}; look at the connection's `address`, its port and certificate, at DNS and the network's rules",
    "http.connect-timeout": f"{AGAIN}; look at the connection's `address` and port, and at the network's rules",
    "http.malformed": "look for blanks or line ends in the connection's address and secrets",
    "http.plain-text": "use an https address, or name the host in `allow_hosts` of the tenant's file",
    "http.private-address": "name the host in `allow_hosts` of the tenant's file if it is meant to be private",
    "http.redirect-refused": "the CRM answers from another address: correct the connection's `address`",
    "http.unix-socket": "use a network address",
    "http.unknown-encoding": "report it to whoever runs the CRM or the proxy before it",
    "lease.lost": "none is needed: another process works for the account",
    "sign-in.not-accepted": "check the app's rights and the account",
    "sign-in.refused": "renew the credentials or the consent, and put the new ones where the tenant's file says",
    "sign-in.stale": f"{AGAIN}; renew the credentials or the consent if it stays",
}
"""Code → remedy, where something can be said of the code itself."""

_AREAS = {
    "bug.": "report it, with the traceback of the log",
    "http.": f"{AGAIN}; look at the CRM's status page, at the network and at a proxy on the way",
    "ledger.": f"{AGAIN}; look at the database if it stays",
}
_FOREIGN = f"{AGAIN}; if it stays, look at the CRM's status page, and for the code in its documentation"


def remedy_of(code: str) -> str:
    """What to do about ``code``, never "": by the code, else by its area; any other is the CRM's own word."""
    if code in REMEDIES:
        return REMEDIES[code]
    return next((remedy for area, remedy in _AREAS.items() if code.startswith(area)), _FOREIGN)
