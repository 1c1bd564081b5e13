"""The image and the compose file, read as text: Docker is not needed to see that they keep their rules."""

import json
import os
import re
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from sales_crm_bridge import alive
from sales_crm_bridge.cli import DEFAULT_CONFIG
from sales_crm_bridge.settings import Settings, load, run_findings

ROOT = Path(__file__).parents[2]


def instructions() -> list[tuple[str, str]]:
    """Give the Dockerfile's instructions as (word, arguments), continuation lines joined, comments gone."""
    lines = [
        line for line in (ROOT / "Dockerfile").read_text(encoding="utf-8").splitlines() if not line.startswith("#")
    ]
    joined = re.sub(r"\\\n\s*", "", "\n".join(lines))
    return [
        (word.upper(), rest.strip()) for word, _, rest in (line.partition(" ") for line in joined.splitlines()) if word
    ]


def last_stage() -> list[tuple[str, str]]:
    """Give the instructions of the stage that becomes the image."""
    found = instructions()
    start = max(index for index, (word, _) in enumerate(found) if word == "FROM")
    return found[start:]


def arguments(word: str) -> list[str]:
    """Give the arguments of every such instruction of the last stage."""
    return [rest for found, rest in last_stage() if found == word]


def test_the_image_is_built_in_stages_on_one_pinned_base() -> None:
    """Build tools stay behind, and both stages have the same Python, named by version and Debian release."""
    bases = [rest.split()[0] for word, rest in instructions() if word == "FROM"]
    assert len(bases) == len(("build", "image"))
    assert len(set(bases)) == 1
    assert re.fullmatch(r"python:3\.\d+-slim-[a-z]+", bases[0])


def test_the_image_does_not_run_as_root() -> None:
    """The user is a number (Kubernetes' runAsNonRoot cannot judge a name), and not 0."""
    (user,) = arguments("USER")
    assert re.fullmatch(r"[1-9]\d*:[1-9]\d*", user)


def test_the_image_gets_signals_and_is_watched() -> None:
    """Entry point, command and health check are in exec form, so no shell swallows SIGTERM."""
    assert [json.loads(rest) for rest in arguments("ENTRYPOINT")] == [["sales-crm-bridge"]]
    assert [json.loads(rest) for rest in arguments("CMD")] == [["run"]]
    (health,) = arguments("HEALTHCHECK")
    assert json.loads(health.partition("CMD ")[2]) == ["python", "-m", alive.__name__]


def test_the_health_check_asks_where_the_bridge_listens() -> None:
    """One variable tells both the port: the image sets it, so a `port_http` in bridge.yaml cannot part them."""
    told = dict(item.split("=") for rest in arguments("ENV") for item in rest.split())
    assert told["PORT_HTTP"] == alive.PORT_HTTP == str(Settings.model_fields["port_http"].default)


def test_everything_installed_comes_from_a_lock() -> None:
    """Each pip install is held to hashes, or is our own wheel alone; nothing is left to be compiled later."""
    steps = [step for word, rest in instructions() if word == "RUN" for step in rest.split("&&")]
    installs = [step for step in steps if re.search(r"pip\b.* install ", step)]
    assert installs
    for step in installs:
        assert "--require-hashes" in step or ("--no-deps" in step and "/wheels/" in step), step
    assert any("compileall" in step for step in steps)
    assert "PYTHONDONTWRITEBYTECODE=1" in " ".join(arguments("ENV"))


def test_nothing_secret_and_nothing_remote_goes_into_the_image() -> None:
    """No ADD, no download, no build argument or variable that looks like a secret."""
    for word, rest in instructions():
        assert word not in {"ADD", "ARG"}, f"{word} {rest}"
        assert not re.search(r"curl|wget|https?://", rest), f"{word} {rest}"
        assert word != "ENV" or not re.search(r"(?i)token|secret|password|key", rest), rest


def test_the_build_context_is_a_short_list() -> None:
    """The context is closed but for what the Dockerfile copies, so that no .env, ledger or recording slips in."""
    rules = [
        line
        for line in (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
        if line and not line.startswith("#")
    ]
    assert rules[0] == "*"
    opened = {rule.removeprefix("!").partition("/")[0] for rule in rules if rule.startswith("!")}
    copied = {
        source.rstrip("/").partition("/")[0]
        for word, rest in instructions()
        if word == "COPY" and not rest.startswith("--from")
        for source in rest.split()[:-1]
    }
    assert opened == copied
    assert all((ROOT / name).exists() for name in opened)


@pytest.fixture(scope="module")
def compose() -> dict[str, Any]:
    """Give the parsed compose file."""
    loaded = YAML(typ="safe").load(ROOT / "compose.yaml")
    assert isinstance(loaded, dict)
    return loaded


def test_compose_services_are_pinned_healthy_and_in_order(compose: dict[str, Any]) -> None:
    """Each foreign image has an exact version, and what a service waits for can say that it is ready."""
    services = compose["services"]
    assert services.keys() >= {"kafka", "postgres", "bridge"}
    for name, service in services.items():
        if "build" not in service:
            assert re.search(r":\d+(\.\d+)*(-[a-z]+)?$", service["image"]), name
        for needed, how in service.get("depends_on", {}).items():
            if how["condition"] == "service_healthy":
                assert "healthcheck" in services[needed], needed
            else:
                assert how["condition"] == "service_completed_successfully", needed


def test_compose_keeps_the_bridge_small_and_its_secrets_in_files(compose: dict[str, Any]) -> None:
    """The bridge is read-only and has no capabilities; every secret is a mounted file; no port is open to the world."""
    bridge = compose["services"]["bridge"]
    assert bridge["read_only"] is True
    assert bridge["cap_drop"] == ["ALL"]
    assert "no-new-privileges:true" in bridge["security_opt"]
    assert set(bridge["secrets"]) <= compose["secrets"].keys()
    assert all(set(secret) == {"file"} for secret in compose["secrets"].values())
    for name, service in compose["services"].items():
        for variable, value in service.get("environment", {}).items():
            if re.search(r"(?i)password|secret|token|key", variable):
                assert "/run/secrets/" in str(value), f"{name}: {variable}"
        assert all(port.startswith("127.0.0.1:") for port in service.get("ports", [])), name


PROCESSES = ("migrate", "bridge")


@pytest.mark.parametrize("name", PROCESSES)
def test_compose_gives_the_bridge_settings_that_it_starts_with(
    compose: dict[str, Any], name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Read as the bridge reads them, the variables are all that `run` needs; what they name is mounted."""
    service = compose["services"][name]
    for variable in list(os.environ):
        if variable.startswith("SALES_CRM_BRIDGE_"):
            monkeypatch.delenv(variable)
    for secret in service["secrets"]:
        (tmp_path / secret).write_text("0123456789abcdef0123456789abcdef\n")
    for variable, value in service["environment"].items():
        monkeypatch.setenv(variable, value.replace("/run/secrets", str(tmp_path)))
    settings = load(None)
    assert not run_findings(settings)
    assert settings.ledger_address() == "postgresql://bridge:0123456789abcdef0123456789abcdef@postgres/bridge"
    targets = [mount.split(":")[1] for mount in service["volumes"]]
    assert Path(settings.tenants.folder).parent in map(Path, targets)


def test_compose_brings_the_schema_up_to_date_before_the_bridge_starts(compose: dict[str, Any]) -> None:
    """`run` refuses a ledger without its schema, and does not make one: a one-off of the same image and settings does."""
    migrate, bridge = (compose["services"][name] for name in PROCESSES)
    assert migrate["command"] == ["migrate"]
    assert "command" not in bridge
    assert bridge["depends_on"]["migrate"] == {"condition": "service_completed_successfully"}
    assert (migrate["environment"], migrate["image"]) == (bridge["environment"], bridge["image"])


def test_the_documented_docker_run_finds_its_configuration() -> None:
    """The command at the top of the Dockerfile mounts `config` where the bridge looks, and writes to its volume alone."""
    text = (ROOT / "Dockerfile").read_text(encoding="utf-8")
    (folder,) = arguments("WORKDIR")
    mounts = [mount.split(":") for mount in re.findall(r"-v (\S+)", text)]
    assert ["./config", f"{folder}/{DEFAULT_CONFIG.parent}", "ro"] in mounts
    assert ["ledger", folder] in mounts
    assert Path(Settings.model_fields["tenants"].default.folder).parent == DEFAULT_CONFIG.parent
    assert Settings.model_fields["ledger"].default.get_secret_value().startswith("sqlite:///")


def test_compose_volumes_are_declared_and_used(compose: dict[str, Any]) -> None:
    """No state lies in a container's own layer by a misspelt name: named volumes and the declared ones are the same."""
    mounts = [mount for service in compose["services"].values() for mount in service.get("volumes", [])]
    named = {mount.partition(":")[0] for mount in mounts if not mount.startswith((".", "/"))}
    assert named == compose["volumes"].keys()
