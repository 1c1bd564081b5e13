"""The Kubernetes manifests: rendered by Kustomize, checked against Kubernetes' own schemas, and against what the bridge needs."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import kubernetes_validate  # type: ignore[import-untyped]
import pytest
from ruamel.yaml import YAML

from sales_crm_bridge.errors import ConfigError
from sales_crm_bridge.settings import Settings, load, run_findings
from sales_crm_bridge.tenants import load as load_tenants
from sales_crm_bridge.web.server import GRACE_S
from sales_crm_bridge.wiring import catalogue

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy" / "kustomize"
EXAMPLE = DEPLOY / "overlays" / "example"
SECRETS = "/run/secrets/sales-crm-bridge"
VERSIONS = ("1.29", "1.32", kubernetes_validate.latest_version())

Manifest = dict[str, Any]


def documents(text: str) -> list[Manifest]:
    return [one for one in YAML(typ="safe").load_all(text) if one]


def render(kustomize: str, folder: Path) -> list[Manifest]:
    done = subprocess.run([kustomize, "build", str(folder)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "deprecated" not in done.stderr
    return documents(done.stdout)


@pytest.fixture(scope="module")
def base() -> dict[str, Manifest]:
    """Give the manifests of the base by kind, as they stand in their files: enough for what a rendering does not change."""
    found = [one for path in sorted((DEPLOY / "base").glob("*.yaml")) for one in documents(path.read_text())]
    return {one["kind"]: one for one in found}


@pytest.fixture(scope="module")
def rendered(kustomize: str) -> list[Manifest]:
    """Give the example overlay as it would be applied."""
    return render(kustomize, EXAMPLE)


def one(rendered: list[Manifest], kind: str, name: str = "") -> Manifest:
    (found,) = (each for each in rendered if each["kind"] == kind and each["metadata"]["name"].startswith(name))
    return found


def pods(manifests: dict[str, Manifest]) -> Iterator[tuple[str, Manifest]]:
    for kind in ("Deployment", "Job"):
        yield kind, manifests[kind]["spec"]["template"]


def settings_of_the_example() -> Settings:
    """Give the example's settings with the secrets, which are not there, left out."""
    text = (EXAMPLE / "bridge.yaml").read_text()
    plain = {
        name: value
        for name, value in YAML(typ="safe").load(text).items()
        if name not in {"ledger_password", "hash_keys", "seal_key", "kafka"}
    }
    return Settings.model_validate(plain)


# --- what the rendering gives -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("folder", ["base", "overlays/example"])
@pytest.mark.parametrize("version", VERSIONS)
def test_everything_rendered_is_what_kubernetes_accepts(kustomize: str, folder: str, version: str) -> None:
    """Strictly: a misspelt field, which a cluster would drop in silence, fails too."""
    found = render(kustomize, DEPLOY / folder)
    assert {each["kind"] for each in found} >= {"Deployment", "Job", "Service", "PodDisruptionBudget", "NetworkPolicy"}
    for each in found:
        kubernetes_validate.validate(each, version, strict=True)


def test_a_misspelt_field_is_seen(base: dict[str, Manifest]) -> None:
    """The check above is not blind."""
    broken = {**base["Service"], "spec": {**base["Service"]["spec"], "selectors": {}}}
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(broken, VERSIONS[0], strict=True)


def test_the_example_is_whole(rendered: list[Manifest]) -> None:
    """One image with a version for service and migration, all in one namespace, every map that is mounted generated."""
    specs = [one(rendered, kind)["spec"]["template"]["spec"] for kind in ("Deployment", "Job")]
    images = {container["image"] for spec in specs for container in spec["containers"]}
    assert len(images) == 1
    assert re.fullmatch(r"registry\.example\.com/sales/sales-crm-bridge:\d+\.\d+\.\d+", images.pop())
    namespaces = {each["metadata"].get("namespace") for each in rendered if each["kind"] != "Namespace"}
    assert namespaces == {one(rendered, "Namespace")["metadata"]["name"]}
    maps = {each["metadata"]["name"] for each in rendered if each["kind"] == "ConfigMap"}
    mounted = {v["configMap"]["name"] for spec in specs for v in spec["volumes"] if "configMap" in v}
    assert mounted == maps
    assert not [each for each in rendered if each["kind"] == "Secret"], "a secret in the repository"


def test_a_changed_setting_restarts_and_a_changed_tenant_does_not(rendered: list[Manifest]) -> None:
    """The settings' map is named after its content; the tenants' one keeps its name, and the bridge sees its files change."""
    names = sorted(each["metadata"]["name"] for each in rendered if each["kind"] == "ConfigMap")
    assert re.fullmatch(r"sales-crm-bridge-[0-9a-z]{10}", names[0])
    assert names[1] == "sales-crm-bridge-tenants"


def test_what_the_pod_mounts_is_what_the_bridge_reads(
    rendered: list[Manifest], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the rendered files where they are mounted and the pod's own variables: settings and tenants without a finding."""
    spec = one(rendered, "Deployment")["spec"]["template"]["spec"]
    container = spec["containers"][0]
    mounts = {mount["name"]: mount["mountPath"] for mount in container["volumeMounts"]}
    volumes = {volume["name"]: volume for volume in spec["volumes"]}
    assert mounts.keys() == volumes.keys()
    assert mounts["secrets"] == SECRETS
    here = {path: str(tmp_path / name) for name, path in mounts.items() if "emptyDir" not in volumes[name]}

    def moved(text: str) -> str:
        for path in sorted(here, key=len, reverse=True):
            text = re.sub(rf"{re.escape(path)}(?=/|$)", here[path], text)
        return text

    secrets = tmp_path / "secrets"
    secrets.mkdir()
    for name in sorted(volumes.keys() - {"secrets"}):
        (tmp_path / name).mkdir()
        for file, text in mounted_files(rendered, volumes[name]).items():
            (tmp_path / name / file).write_text(moved(text))
            for key in re.findall(rf"{SECRETS}/(\w+)", text):
                (secrets / key).write_text(f"the secret {key}, long enough")
    for variable in container["env"]:
        monkeypatch.setenv(variable["name"], moved(variable["value"]))
    settings = load(Path(moved("/etc/sales-crm-bridge/bridge.yaml")))
    assert run_findings(settings) == []
    assert Path(settings.rpc.certificate_file).parent == tmp_path / "tls"
    loaded = load_tenants(Path(settings.tenants.folder), catalogue())
    assert not loaded.findings
    assert loaded.tenants.keys() == {"acme"}
    readme = (ROOT / "deploy" / "README.md").read_text()
    keys = sorted(path.name for path in secrets.iterdir())
    assert [key for key in keys if f"`{key}`" not in readme] == []


def mounted_files(rendered: list[Manifest], volume: Manifest) -> dict[str, str]:
    """Give the files of a map that is mounted, by name."""
    name = volume.get("configMap", {}).get("name")
    return next((each["data"] for each in rendered if each["metadata"]["name"] == name and "data" in each), {})


# --- what the bridge needs of its pod ---------------------------------------------------------------------------------


def test_no_service_variables_reach_the_pods(base: dict[str, Manifest], monkeypatch: pytest.MonkeyPatch) -> None:
    """Kubernetes' own variables of a Service of this name would be taken for settings that do not exist, and refused."""
    name = base["Service"]["metadata"]["name"]
    monkeypatch.setenv(f"{name.replace('-', '_').upper()}_PORT", "tcp://10.0.0.1:80")
    with pytest.raises(ConfigError):
        load(None)
    assert [template["spec"]["enableServiceLinks"] for _, template in pods(base)] == [False, False]


def test_pods_are_confined(base: dict[str, Manifest]) -> None:
    """What the Pod Security Standard `restricted` asks (1.37), and besides: a read-only root, no token, no identity shared."""
    for kind, template in pods(base):
        spec = template["spec"]
        assert spec["automountServiceAccountToken"] is False, kind
        assert spec["serviceAccountName"] == base["ServiceAccount"]["metadata"]["name"], kind
        context = spec["securityContext"]
        assert context["runAsNonRoot"] is True
        assert context["seccompProfile"] == {"type": "RuntimeDefault"}
        for container in spec["containers"]:
            confined = container["securityContext"]
            assert confined["readOnlyRootFilesystem"] is True
            assert confined["allowPrivilegeEscalation"] is False
            assert confined["capabilities"] == {"drop": ["ALL"]}
            assert "privileged" not in confined
            assert container["resources"]["limits"]["memory"]
            assert container["resources"]["requests"]["cpu"]
            writable = {mount["name"] for mount in container["volumeMounts"] if not mount.get("readOnly")}
            volumes = {volume["name"]: volume for volume in spec["volumes"]}
            assert all("emptyDir" in volumes[name] for name in writable)
        assert not {"hostNetwork", "hostPID", "hostIPC", "initContainers"} & spec.keys()


def test_the_pods_user_is_the_images(base: dict[str, Manifest]) -> None:
    """Another user could not read what the image gives to its own."""
    (user,) = re.findall(r"^USER (\d+):(\d+)$", (ROOT / "Dockerfile").read_text(), re.MULTILINE)
    for _, template in pods(base):
        context = template["spec"]["securityContext"]
        assert (str(context["runAsUser"]), str(context["runAsGroup"])) == user
        assert context["fsGroup"] == context["runAsGroup"]


def test_a_stop_has_the_time_that_it_needs(base: dict[str, Manifest]) -> None:
    """Grace is more than the wait before SIGTERM, the drain, the last answers and the last spans, so nothing is cut off.

    In the compose file, too.
    """
    spec = base["Deployment"]["spec"]["template"]["spec"]
    command = spec["containers"][0]["lifecycle"]["preStop"]["exec"]["command"]
    assert command[0] == "sleep"
    for settings in (Settings.model_validate({}), settings_of_the_example()):
        needed_s = float(command[1]) + settings.service.drain_s + GRACE_S + settings.telemetry.timeout_s
        assert spec["terminationGracePeriodSeconds"] >= needed_s + 5
    compose = YAML(typ="safe").load(ROOT / "compose.yaml")
    defaults = Settings.model_validate({})
    given_s = float(compose["services"]["bridge"]["stop_grace_period"].removesuffix("s"))
    assert given_s >= defaults.service.drain_s + GRACE_S + defaults.telemetry.timeout_s + 5


def test_probes_and_services_meet_the_ports_that_are_opened(base: dict[str, Manifest]) -> None:
    """Ports by name everywhere, and the two numbers are those that the process is told to listen on."""
    container = base["Deployment"]["spec"]["template"]["spec"]["containers"][0]
    ports = {port["name"]: str(port["containerPort"]) for port in container["ports"]}
    told = {variable["name"]: variable["value"] for variable in container["env"]}
    assert ports == {"http": told["PORT_HTTP"], "grpc": told["PORT_GRPC"]}
    probes = {name: container[name]["httpGet"] for name in ("startupProbe", "livenessProbe", "readinessProbe")}
    assert {probe["port"] for probe in probes.values()} == {"http"}
    assert [probe["path"] for probe in probes.values()] == ["/healthz", "/healthz", "/readyz"]
    assert {port["targetPort"] for port in base["Service"]["spec"]["ports"]} == ports.keys()
    annotations = base["Deployment"]["spec"]["template"]["metadata"]["annotations"]
    assert annotations["prometheus.io/port"] == ports["http"]


def test_selectors_meet_the_services_pods_and_not_the_migrations(base: dict[str, Manifest]) -> None:
    """A Service, a budget or a spread that selected the migration's pod would count it for a replica."""
    labels = {kind: template["metadata"]["labels"] for kind, template in pods(base)}
    spec = base["Deployment"]["spec"]
    selectors = [
        base["Service"]["spec"]["selector"],
        base["PodDisruptionBudget"]["spec"]["selector"]["matchLabels"],
        spec["selector"]["matchLabels"],
        *(each["labelSelector"]["matchLabels"] for each in spec["template"]["spec"]["topologySpreadConstraints"]),
    ]
    for selector in selectors:
        assert selector.items() <= labels["Deployment"].items()
        assert not selector.items() <= labels["Job"].items()
    policy = base["NetworkPolicy"]["spec"]["podSelector"]["matchLabels"]
    assert all(policy.items() <= each.items() for each in labels.values())


def test_two_replicas_and_never_none(base: dict[str, Manifest]) -> None:
    """An update takes no replica away before another is ready, and a drained node one at a time."""
    spec = base["Deployment"]["spec"]
    assert spec["replicas"] >= 2
    assert spec["strategy"]["rollingUpdate"] == {"maxSurge": 1, "maxUnavailable": 0}
    assert base["PodDisruptionBudget"]["spec"]["maxUnavailable"] == 1


def test_the_way_out_is_open_to_what_the_example_names(base: dict[str, Manifest]) -> None:
    """Kafka, PostgreSQL, the collector and CRMs' HTTPS can be reached; everything that comes in is named."""
    policy = base["NetworkPolicy"]["spec"]
    assert sorted(policy["policyTypes"]) == ["Egress", "Ingress"]
    open_ports = {port["port"] for rule in policy["egress"] for port in rule["ports"]}
    text = (EXAMPLE / "bridge.yaml").read_text()
    named = {int(port) for port in re.findall(r"\.svc:(\d+)", text)}
    assert named
    assert {53, 443, 5432, *named} <= open_ports
    assert all(rule["from"] and rule["ports"] for rule in policy["ingress"])
    blocks = [to["ipBlock"] for rule in policy["egress"] for to in rule.get("to", []) if "ipBlock" in to]
    assert any("169.254.0.0/16" in block["except"] for block in blocks)
