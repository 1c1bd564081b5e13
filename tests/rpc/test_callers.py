"""Who may call: certificates and bearer tokens, over real TLS, and everything that is not good enough."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import grpc
import jwt
import pytest
from cryptography import x509
from pydantic import ValidationError

from sales_crm_bridge import operate
from sales_crm_bridge.errors import ConfigError, EnvironmentFault
from sales_crm_bridge.rpc import RpcServer, findings_of_files
from tests.rpc.shop import Authority, Client, Issuer, Shop, refusal


@pytest.fixture
def authority() -> Authority:
    """Give an authority that clients and server trust."""
    return Authority()


def tls(shop: Shop, authority: Authority, *, mutual: bool = True, **more: Any) -> dict[str, Any]:
    """Write the server's files; settings of calls over TLS."""
    certificate, key = authority.server()
    for name, text in (("tls.crt", certificate), ("tls.key", key), ("ca.crt", authority.pem)):
        (shop.folder / name).write_bytes(text)
    files = {"certificate_file": str(shop.folder / "tls.crt"), "key_file": str(shop.folder / "tls.key")}
    if mutual:
        files["client_ca_file"] = str(shop.folder / "ca.crt")
    return {"transport": "tls", **files, **more}


@asynccontextmanager
async def secure(
    shop: Shop,
    server: RpcServer,
    authority: Authority,
    own: tuple[bytes, bytes] | None = None,
    token: str = "",
) -> AsyncIterator[Client]:
    """A client over TLS, with a certificate of its own if ``own`` is given."""
    certificate, key = own or (None, None)
    credentials = grpc.ssl_channel_credentials(authority.pem, key, certificate)
    async with grpc.aio.secure_channel(f"localhost:{server.port}", credentials) as channel:
        yield Client(texts=shop.texts, channel=channel, token=token)


async def test_a_certificate_names_its_caller(shop: Shop, authority: Authority) -> None:
    """A subject alternative name counts, and the common name only where there is no other; each opens its own tenants."""
    shop.tenant("other")
    uri = "spiffe://platform/sales-ui"
    callers = [
        {"certificate": uri, "tenants": ["acme"]},
        {"certificate": "portal", "tenants": ["acme", "other"]},
    ]
    settings = shop.settings(**tls(shop, authority, tokens=None, callers=callers))
    workload = authority.issue("portal", x509.UniformResourceIdentifier(uri))
    portal = authority.issue("portal")
    stranger = authority.issue("stranger")
    async with shop.open(settings) as server:
        async with secure(shop, server, authority, workload) as client:
            assert client.state(await client.create("L-1", "m-1")) == "PENDING"
            client.tenant = "other"
            no = await refusal(client.create("L-1", "m-1"))
            assert (no.status, no.reason) == (grpc.StatusCode.PERMISSION_DENIED, "rpc.tenant-denied")
            assert no.facts == {"tenant": "other", "caller": uri}
        async with secure(shop, server, authority, portal) as client:
            client.tenant = "other"
            assert client.state(await client.create("L-1", "m-1")) == "PENDING"
        async with secure(shop, server, authority, stranger) as client:
            assert (await refusal(client.create("L-2", "m-2"))).status is grpc.StatusCode.PERMISSION_DENIED
            assert (await refusal(client.get("L-2"))).status is grpc.StatusCode.PERMISSION_DENIED


async def test_without_a_certificate_of_the_authority_there_is_no_connection(shop: Shop, authority: Authority) -> None:
    """A client without one, and one of another authority, do not get through the handshake; nor does plain text."""
    settings = shop.settings(**tls(shop, authority))
    async with shop.open(settings) as server:
        for own in (None, Authority("other").issue("portal")):
            async with secure(shop, server, authority, own, shop.token()) as client:
                no = await refusal(client.create("L-1", "m-1"))
                assert (no.status, no.reason) == (grpc.StatusCode.UNAVAILABLE, "")
        async with shop.client(server) as client:
            assert (await refusal(client.create("L-1", "m-1"))).status is grpc.StatusCode.UNAVAILABLE


async def test_tokens_over_tls_and_a_bad_one_is_refused_whatever_the_certificate(
    shop: Shop, authority: Authority
) -> None:
    """Without a client authority a token is enough; with one, a token that is sent must be good too, and then it alone counts.

    So a gateway's certificate opens nothing to whose token it carries.
    """
    async with shop.open(shop.settings(**tls(shop, authority, mutual=False))) as server:
        async with secure(shop, server, authority, token=shop.token()) as client:
            assert client.state(await client.create("L-1", "m-1")) == "PENDING"
        async with secure(shop, server, authority) as client:
            assert (await refusal(client.create("L-1", "m-1"))).reason == "rpc.no-caller"
    callers = [{"certificate": "portal", "tenants": ["acme"]}, {"token": "sales-ui", "tenants": ["other"]}]
    portal = authority.issue("portal")
    settings = shop.settings(**tls(shop, authority, callers=callers))
    async with shop.open(settings) as server, secure(shop, server, authority, portal) as client:
        assert client.state(await client.create("L-1", "m-1")) == "PENDING"
        client.token = "not.a.token"
        assert (await refusal(client.create("L-1", "m-1"))).reason == "rpc.bad-token"
        client.token, client.tenant = shop.token(), "other"
        assert (await refusal(client.create("L-1", "m-1"))).reason == "rpc.not-ours"
        client.tenant = "acme"
        no = await refusal(client.create("L-2", "m-2"))
        assert (no.reason, no.facts) == ("rpc.tenant-denied", {"tenant": "acme", "caller": "sales-ui"})


async def test_renewed_files_hold_for_the_next_connection(shop: Shop, authority: Authority) -> None:
    """A new certificate, and a new client authority, are taken up without a restart; half of a rotation changes nothing."""
    settings = shop.settings(**tls(shop, authority, callers=[{"certificate": "portal", "tenants": ["*"]}]))
    portal = authority.issue("portal")
    newer = Authority("newer")
    async with shop.open(settings) as server:
        async with secure(shop, server, authority, portal) as client:
            await client.create("L-1", "m-1")
        certificate, key = newer.server()
        (shop.folder / "tls.crt").write_bytes(certificate)  # its key is not there yet
        async with secure(shop, server, authority, portal) as client:
            await client.create("L-1", "m-1")
        (shop.folder / "tls.key").write_bytes(key)
        (shop.folder / "ca.crt").write_bytes(newer.pem)
        async with secure(shop, server, authority, portal) as client:
            assert (await refusal(client.create("L-1", "m-1"))).status is grpc.StatusCode.UNAVAILABLE
        async with secure(shop, server, newer, newer.issue("portal")) as client:
            await client.create("L-1", "m-1")


def broken(shop: Shop) -> dict[str, str]:
    """Name tokens that must open nothing, each with one thing wrong."""
    now_s = shop.clock.now_us() / 1e6
    other = Issuer("k1")
    public = json.loads(shop.keys_file.read_text())["keys"][0]
    claims = {"iss": "https://id.example", "aud": "sales-crm-bridge", "sub": "sales-ui", "exp": now_s + 600}
    good = shop.token()
    head, body, signature = good.split(".")
    return {
        "another key under the same name": other.token(now_s),
        "a key that is not in the set": Issuer("k9").token(now_s, key="k9"),
        "another issuer": shop.token(iss="https://other.example"),
        "another audience": shop.token(aud="somebody-else"),
        "no audience": shop.token(aud=None),
        "no end": shop.token(exp=None),
        "no subject": shop.token(sub=None),
        "not good yet": shop.token(nbf=now_s + 120),
        "an end that is no number": shop.token(exp="tomorrow"),
        "an end without end": shop.token(exp=float("inf")).replace("=", ""),
        "an algorithm that is not allowed": shop.token(algorithm="PS256"),
        "no signature": jwt.encode(claims, "", "none", headers={"kid": "k1"}),
        "the public key as a shared secret": jwt.encode(claims, public["n"].encode(), "HS256", headers={"kid": "k1"}),
        "a changed body": f"{head}.{body[:-2]}AA.{signature}",
        "no token": "",
        "garbage": "~" * 100,
        "a deep header": "eyJ" + "W" * 2000 + ".e30.x",
    }


async def test_a_token_must_be_good_in_every_way(shop: Shop, caplog: pytest.LogCaptureFixture) -> None:
    """Key, algorithm, issuer, audience, times and form are checked; the refusal repeats nothing of the token."""
    async with shop.open() as server, shop.client(server) as client:
        said = {}
        for name, token in broken(shop).items():
            metadata = (("authorization", f"Bearer {token}"),)
            call = client.stub.CreateLead(client.to_create("L-1", "m-1"), metadata=metadata, timeout=20)
            no = await refusal(call)
            said[name] = (no.status, no.reason)
            assert not token or token[:20] not in no.message + caplog.text
        assert set(said.values()) == {(grpc.StatusCode.UNAUTHENTICATED, "rpc.bad-token")}, said
        for other in ((), (("authorization", "Basic dTpw"),)):
            call = client.stub.CreateLead(client.to_create("L-1", "m-1"), metadata=other, timeout=20)
            assert (await refusal(call)).status is grpc.StatusCode.UNAUTHENTICATED
        twice = (*client.metadata(), *client.metadata())
        call = client.stub.CreateLead(client.to_create("L-1", "m-1"), metadata=twice, timeout=20)
        assert (await refusal(call)).reason == "rpc.bad-token"
        async with shop.ledger() as ledger:
            assert await ledger.commands_open(1, ["L-1"]) == []


async def test_a_token_ends_by_the_bridges_clock(shop: Shop) -> None:
    """It is good until its end and the leeway, not longer; the times are those of the clock that is handed in."""
    async with shop.open() as server, shop.client(server) as client:
        shop.clock.moved_s = 620
        assert client.state(await client.create("L-1", "m-1")) == "PENDING"
        shop.clock.moved_s = 640
        no = await refusal(client.create("L-2", "m-2"))
        assert (no.status, no.reason) == (grpc.StatusCode.UNAUTHENTICATED, "rpc.token-expired")


async def test_a_token_opens_the_tenants_of_its_subject_or_its_claim(shop: Shop) -> None:
    """The settings name a subject's tenants, and which claim may name more; a star in a claim opens nothing."""
    shop.tenant("other")
    tokens = {**shop.settings().rpc.tokens.model_dump(by_alias=True, exclude={"leeway_s"}), "tenants_claim": "ten"}  # type: ignore[union-attr]
    tokens.pop("leeway", None)
    settings = shop.settings(tokens=tokens, callers=[{"token": "portal", "tenants": ["acme"]}])
    async with shop.open(settings) as server, shop.client(server) as client:
        opens: list[tuple[str, str, Any]] = [
            ("portal", "acme", None),
            ("portal", "other", ["other"]),
            ("nobody", "acme", "acme"),
        ]
        closed: list[tuple[str, str, Any]] = [
            ("portal", "other", None),
            ("nobody", "acme", ["*"]),
            ("nobody", "acme", {"acme": 1}),
            ("nobody", "acme", None),
            ("*", "acme", None),
        ]
        for subject, client.tenant, claim in opens:
            client.token = shop.token(sub=subject, ten=claim)
            assert client.state(await client.create("L-1", f"m-{subject}")) == "PENDING"
        for subject, client.tenant, claim in closed:
            client.token = shop.token(sub=subject, ten=claim)
            assert (await refusal(client.create("L-2", "m-2"))).reason == "rpc.tenant-denied"


async def test_a_key_set_is_read_anew(shop: Shop) -> None:
    """A key that was added signs at once, one that was taken away no longer; a broken file leaves the keys as they were."""
    newer = Issuer("k2")
    async with shop.open() as server, shop.client(server) as client:
        assert client.state(await client.create("L-1", "m-1")) == "PENDING"
        shop.keys_file.write_text("{")
        assert client.state(await client.create("L-1", "m-1")) == "PENDING"
        newer.publish(shop.keys_file)
        assert (await refusal(client.create("L-1", "m-1"))).reason == "rpc.bad-token"
        client.token = newer.token(shop.clock.now_us() / 1e6, key="k2")
        assert client.state(await client.create("L-1", "m-1")) == "PENDING"


def files_that_cannot_be_used(shop: Shop, authority: Authority) -> dict[str, dict[str, str]]:
    """Write a set-up with one file wrong in each case; gives what is then in it."""
    settings = tls(shop, authority)
    other_key = authority.issue("x")[1].decode()
    secret = {"keys": [{"kty": "oct", "k": "c2VjcmV0", "kid": "k1"}]}
    return {
        "certificate": {settings["certificate_file"]: "no certificate"},
        "key": {settings["key_file"]: "no key"},
        "key of another": {settings["key_file"]: other_key},
        "authorities": {settings["client_ca_file"]: ""},
        "keys": {str(shop.keys_file): "[]"},
        "no keys": {str(shop.keys_file): '{"keys": []}'},
        "a shared secret": {str(shop.keys_file): json.dumps(secret)},
    }


def put(files: dict[str, bytes]) -> None:
    for path, text in files.items():
        Path(path).write_bytes(text)


async def test_files_that_cannot_be_used_are_told_before_anything_starts(shop: Shop, authority: Authority) -> None:
    """Each is a finding with its place and what to do, and the server does not start with it."""
    settings = shop.settings(**tls(shop, authority))
    good = {path: path.read_bytes() for path in shop.folder.iterdir() if path.is_file()}
    assert findings_of_files(settings.rpc) == []
    for case, wrong in files_that_cannot_be_used(shop, authority).items():
        put(
            {
                **{str(path): text for path, text in good.items()},
                **{path: text.encode() for path, text in wrong.items()},
            }
        )
        (found,) = findings_of_files(settings.rpc)
        with pytest.raises(ConfigError) as refused:
            operate.need_kafka(settings)
        assert found in refused.value.findings
        assert (found.code, found.place.file) == ("rpc.bad-file", *wrong), case
        assert found.remedy
        with pytest.raises(EnvironmentFault, match="file"):
            async with shop.open(settings):
                pass
    for path in good:
        path.unlink()
    missing = findings_of_files(settings.rpc)
    assert len(missing) == 4, "all of them at once"
    assert all("cannot be read" in one.message for one in missing)


@pytest.mark.parametrize(
    ("rpc", "said"),
    [
        ({"transport": "tls"}, "certificate_file, key_file"),
        ({"transport": "insecure", "tokens": None, "callers": []}, "no caller can be known"),
        ({"transport": "insecure", "client_ca_file": "/ca"}, "no use for client_ca_file"),
        ({"callers": [{"certificate": "x", "tenants": ["acme"]}]}, "client_ca_file"),
        ({"callers": [{"tenants": ["acme"]}]}, "one of the two"),
        ({"callers": [{"token": "x", "tenants": []}]}, "at least 1"),
        ({"transport": "plain"}, "'off', 'tls' or 'insecure'"),
    ],
)
def test_settings_that_let_nobody_in_or_everybody_are_refused(shop: Shop, rpc: dict[str, Any], said: str) -> None:
    """TLS needs its files, insecure is asked for by name, and a caller without an identity cannot be written down."""
    with pytest.raises(ValidationError, match=said):
        shop.settings(**rpc)


def test_no_algorithm_with_a_shared_secret_can_be_configured(shop: Shop) -> None:
    """HS256 and none are no choices."""
    tokens = {"keys_file": "k", "issuer": "i", "audience": "a", "algorithms": ["HS256"]}
    with pytest.raises(ValidationError, match="RS256"):
        shop.settings(tokens=tokens)
