"""Settings of the calls (gRPC): who may call, over what, and how much."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator
from pydantic_core import PydanticCustomError

from sales_crm_bridge.problems import Seconds, Strict, several


class Tokens(Strict):
    """Bearer tokens of callers: signed JWTs (RFC 7519), checked here against the issuer's public keys."""

    keys_file: str = Field(min_length=1)
    """The issuer's public keys, a JWKS document (RFC 7517); read anew when the file changes."""
    issuer: str = Field(min_length=1, max_length=500)
    """What `iss` must be."""
    audience: str = Field(min_length=1, max_length=500)
    """What `aud` must be, or hold."""
    algorithms: tuple[
        Literal["RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA"], ...
    ] = Field(default=("RS256", "ES256"), min_length=1)
    """The algorithms that a signature may have. There is none with a shared secret among them."""
    leeway_s: Seconds = Field(default=30.0, ge=0.0, le=300.0, alias="leeway")
    """How far the issuer's clock may be off."""
    tenants_claim: str = Field(default="", max_length=100)
    """The claim that names the tenants the token is good for, a text or a list of texts; without it, `rpc.callers` says."""


class Caller(Strict):
    """Who may call, and for which tenants."""

    certificate: str = Field(default="", max_length=500)
    """A name in the client's certificate: a subject alternative name, or the common name where there is none of those."""
    token: str = Field(default="", max_length=500)
    """The subject (`sub`) of a bearer token."""
    tenants: tuple[Annotated[str, Field(min_length=1, max_length=100)], ...] = Field(min_length=1, max_length=10_000)
    """The tenants, by id; `*` is every one."""

    @model_validator(mode="after")
    def _one_of_both(self) -> Self:
        if bool(self.certificate) == bool(self.token):
            raise PydanticCustomError("config.bad-value", "a caller has a certificate or a token, one of the two")
        return self


class Rpc(Strict):
    """Intents by calls (gRPC), on `port_grpc`. docs/rpc.md tells how a client calls."""

    transport: Literal["off", "tls", "insecure"] = "off"
    """`off`: there are no calls. `insecure`: plain text, for a network that encrypts by itself, or a test."""
    host: str = Field(default="0.0.0.0", min_length=1, max_length=253)  # noqa: S104 - a service in a container
    """The address to listen on."""
    certificate_file: str = ""
    """The server's certificate, with its chain (PEM); read anew when the file changes, as the two below."""
    key_file: str = ""
    """The private key of the certificate (PEM): a mounted file."""
    client_ca_file: str = ""
    """The authorities of the clients' certificates (PEM). With it every client must show a certificate."""
    tokens: Tokens | None = None
    callers: tuple[Caller, ...] = Field(default=(), max_length=1_000)
    """Who may call for which tenant. Nobody else may."""
    message_bytes_max: int = Field(default=1_048_576, ge=4_096, le=67_108_864)
    """Bytes of one request."""
    in_flight: int = Field(default=500, ge=1, le=100_000)
    """Calls at the same time; more are refused, and may try again."""
    in_flight_per_tenant: int = Field(default=100, ge=1, le=100_000)
    """The same for the calls about one tenant."""
    timeout_s: Seconds = Field(default=10.0, ge=0.1, le=300.0, alias="timeout")
    """Longest time of one call; a client's own deadline holds where it is earlier."""
    reflection: bool = True
    """Whether the server tells its methods and messages to whoever asks (gRPC server reflection)."""

    @model_validator(mode="after")
    def _somebody_can_call(self) -> Self:
        """What belongs together; each message names all that is missing or too much, and all of them come at once."""
        if self.transport == "off":
            return self
        found: list[tuple[str, str, str]] = []
        files = {"certificate_file": self.certificate_file, "key_file": self.key_file}
        if self.transport == "tls" and (missing := [name for name, file in files.items() if not file]):
            found.append(("transport", "config.missing-key", f"transport: tls needs {', '.join(missing)}"))
        files["client_ca_file"] = self.client_ca_file
        if self.transport == "insecure" and (useless := [name for name, file in files.items() if file]):
            said = f"transport: insecure has no use for {', '.join(useless)}"
            found.append((useless[0], "config.bad-value", said))
        if self.tokens is None and not self.client_ca_file:
            said = "no caller can be known: set client_ca_file, or tokens"
            found.append(("transport", "config.missing-key", said))
        if any(one.certificate for one in self.callers) and not self.client_ca_file:
            found.append(("callers", "config.missing-key", "callers with certificates need client_ca_file"))
        if any(one.token for one in self.callers) and self.tokens is None:
            found.append(("callers", "config.missing-key", "callers with tokens need tokens"))
        if found:
            raise several(found)
        return self
