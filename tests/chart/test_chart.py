"""The Helm chart, rendered by Helm itself and held against the schemas of Kubernetes."""

import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import helm_python as helm
import kubernetes_validate
import pytest
import yaml
from yamllint import linter
from yamllint.config import YamlLintConfig

from gatepost import __version__
from gatepost.entrypoints.settings import SECRET_NAMES, known_names

FOLDER = Path(__file__).parents[2]
CHART = FOLDER / "deploy" / "helm" / "gatepost"
VERSIONS = ("1.27", "1.31", "1.37")
# They come with their operators; no package carries their schemas.
WITHOUT_SCHEMA = {"HTTPRoute", "ServiceMonitor"}
# A key that stands there twice, and no YAML at all; how it looks is nobody's matter.
NAMES = re.compile(r"\b(?:GATEPOST_[A-Z_]*[A-Z]|DATABASE_[A-Z_]+|REDIS_URL)\b")
STYLE = YamlLintConfig("rules: {key-duplicates: enable}")

EVERYTHING: dict[str, Any] = {
    "image": {"digest": f"sha256:{'0' * 64}"},
    "imagePullSecrets": [{"name": "pull"}],
    "config": {"GATEPOST_PUBLIC_URL": "https://id.example.org", "GATEPOST_HTTP__DOCS": True},
    "extraEnv": [{"name": "TZ", "value": "UTC"}],
    "extraEnvFrom": [{"configMapRef": {"name": "more"}}],
    "autoscaling": {"enabled": True},
    "ingress": {
        "enabled": True,
        "className": "nginx",
        "annotations": {"a": "b"},
        "tls": [{"hosts": ["id.example.org"], "secretName": "tls"}],
    },
    "gateway": {"enabled": True, "parentRefs": [{"name": "edge"}]},
    "metrics": {"serviceMonitor": {"enabled": True, "labels": {"release": "prometheus"}}},
    "networkPolicy": {
        "from": [{"namespaceSelector": {}}],
        "managementFrom": [{"podSelector": {"matchLabels": {"app": "prometheus"}}}],
        "egress": [{"ports": [{"port": 5432, "protocol": "TCP"}]}],
    },
    "exports": {"existingClaim": "exports"},
    "serviceAccount": {"annotations": {"a": "b"}},
    "podAnnotations": {"a": "b"},
    "podLabels": {"team": "identity"},
    "topologySpreadConstraints": [
        {
            "maxSkew": 1,
            "topologyKey": "topology.kubernetes.io/zone",
            "whenUnsatisfiable": "ScheduleAnyway",
        }
    ],
    "nodeSelector": {"disk": "ssd"},
    "tolerations": [{"key": "a", "operator": "Exists"}],
    "affinity": {"podAntiAffinity": {}},
}
LEAST: dict[str, Any] = {
    "worker": {"enabled": False},
    "migrations": {"enabled": False},
    "podDisruptionBudget": {"enabled": False},
    "networkPolicy": {"enabled": False},
    "serviceAccount": {"create": False},
}
VALUES: dict[str, dict[str, Any]] = {
    "defaults": {},
    "everything": EVERYTHING,
    "least": LEAST,
    "plain job": {"migrations": {"hook": False}, "fullnameOverride": "x" * 70},
}


def rendered(values: dict[str, Any]) -> list[dict[str, Any]]:
    with helm.Chart.load(str(CHART)) as chart:
        chart.validate_schema(values)
        files = chart.render(values, name="id", namespace="prod", revision=7)
    documents = []
    for name, text in files.items():
        if name.endswith(".yaml"):
            assert not list(linter.run(text, STYLE)), name
            documents += [found for found in yaml.safe_load_all(text) if found]
    return documents


def pods(documents: list[dict[str, Any]]) -> Iterator[tuple[str, dict[str, Any]]]:
    for one in documents:
        if one["kind"] == "Pod":
            yield one["metadata"]["name"], one["spec"]
        elif one["kind"] in ("Deployment", "Job"):
            yield one["metadata"]["name"], one["spec"]["template"]["spec"]


def refuses(values: dict[str, Any]) -> bool:
    try:
        rendered(values)
    except helm.HelmError:
        return True
    return False


def test_helm_finds_nothing_to_mend() -> None:
    told = helm.lint(str(CHART), strict=True)
    assert told["errors"] == []
    assert {one["error"] for one in told["messages"]} <= {"icon is recommended"}


@pytest.mark.parametrize("values", VALUES.values(), ids=VALUES)
@pytest.mark.parametrize("version", VERSIONS)
def test_every_document_fits_the_schemas_of_kubernetes(
    values: dict[str, Any], version: str
) -> None:
    kinds = set()
    for document in rendered(values):
        kinds.add(document["kind"])
        if document["kind"] not in WITHOUT_SCHEMA:
            kubernetes_validate.validate(document, version, strict=True)
    sys.stdout.write(f"\n{version}: {', '.join(sorted(kinds))}\n")
    assert {"Deployment", "Service", "Pod"} <= kinds
    if values is EVERYTHING:
        more = {"HorizontalPodAutoscaler", "Ingress", "Job", "NetworkPolicy", "ServiceAccount"}
        assert more | WITHOUT_SCHEMA | {"PodDisruptionBudget"} <= kinds


@pytest.mark.parametrize("values", VALUES.values(), ids=VALUES)
def test_no_pod_has_rights_that_it_does_not_need(values: dict[str, Any]) -> None:
    for name, pod in pods(rendered(values)):
        assert pod["securityContext"]["runAsNonRoot"], name
        assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        assert pod["automountServiceAccountToken"] is False
        # A service named gatepost would give GATEPOST_PORT, which is no setting.
        assert pod["enableServiceLinks"] is False
        for container in pod["containers"]:
            context = container["securityContext"]
            assert context["readOnlyRootFilesystem"]
            assert context["allowPrivilegeEscalation"] is False
            assert context["capabilities"] == {"drop": ["ALL"]}
            assert container["resources"]["limits"]["memory"]
            assert container["envFrom"][0] == {"secretRef": {"name": "gatepost"}}


def test_numbers_and_switches_become_what_the_service_reads() -> None:
    config = {"GATEPOST_PASSWORD__MEMORY_KIB": 4194304, "GATEPOST_HTTP__DOCS": True}
    server = dict(pods(rendered({"config": config})))["id-gatepost"]["containers"][0]
    given = {one["name"]: one["value"] for one in server["env"]}
    assert given["GATEPOST_PASSWORD__MEMORY_KIB"] == "4194304"
    assert given["GATEPOST_HTTP__DOCS"] == "true"


def test_migrations_run_before_there_is_anything_else_of_the_release() -> None:
    documents = rendered(EVERYTHING)
    (job,) = (one for one in documents if one["kind"] == "Job")
    assert job["metadata"]["annotations"]["helm.sh/hook"] == "pre-install,pre-upgrade"
    found = dict(pods(documents))
    migrate = found["id-gatepost-migrate"]
    assert migrate["serviceAccountName"] == "default"
    assert all("persistentVolumeClaim" not in volume for volume in migrate["volumes"])
    for name in ("id-gatepost", "id-gatepost-worker"):
        assert found[name]["serviceAccountName"] == "id-gatepost"
        (data,) = (one for one in found[name]["volumes"] if one["name"] == "data")
        assert data["persistentVolumeClaim"] == {"claimName": "exports"}
    (plain,) = (one for one in rendered(VALUES["plain job"]) if one["kind"] == "Job")
    assert plain["metadata"]["name"] == f"{'x' * 53}-migrate-7"
    assert "annotations" not in plain["metadata"]


def named(documents: list[dict[str, Any]], kind: str) -> dict[str, dict[str, Any]]:
    return {one["metadata"]["name"]: one for one in documents if one["kind"] == kind}


def test_services_lead_to_the_ports_that_pods_have() -> None:
    documents = rendered(EVERYTHING)
    ports = {
        name: {port["name"]: port["containerPort"] for port in pod["containers"][0]["ports"]}
        for name, pod in pods(documents)
        if "ports" in pod["containers"][0]
    }
    assert ports == {
        "id-gatepost": {"http": 8000, "management": 9000},
        "id-gatepost-worker": {"management": 9000},
    }
    deployments, leads = named(documents, "Deployment"), {}
    for name, service in named(documents, "Service").items():
        wanted = service["spec"]["selector"].items()
        (leads[name],) = (
            pod
            for pod, one in deployments.items()
            if wanted <= one["spec"]["template"]["metadata"]["labels"].items()
        )
        assert service["spec"]["ports"][0]["targetPort"] in ports[leads[name]]
    assert leads == {
        "id-gatepost": "id-gatepost",
        "id-gatepost-management": "id-gatepost",
        "id-gatepost-worker": "id-gatepost-worker",
    }


def test_prometheus_finds_servers_and_workers_as_the_alerts_call_them() -> None:
    documents = rendered(EVERYTHING)
    (monitor,) = named(documents, "ServiceMonitor").values()
    (endpoint,) = monitor["spec"]["endpoints"]
    wanted = monitor["spec"]["selector"]["matchLabels"].items()
    watched = {
        name
        for name, service in named(documents, "Service").items()
        if wanted <= service["metadata"]["labels"].items()
        and endpoint["port"] == service["spec"]["ports"][0]["name"]
    }
    assert watched == {"id-gatepost-management", "id-gatepost-worker"}
    assert endpoint["relabelings"] == [{"targetLabel": "job", "replacement": "gatepost"}]
    worker = dict(pods(documents))["id-gatepost-worker"]["containers"][0]
    assert {"name": "GATEPOST_JOBS__METRICS_PORT", "value": "9000"} in worker["env"]
    # A port that a server does not have would be one more to explain.
    server = dict(pods(documents))["id-gatepost"]["containers"][0]
    assert "GATEPOST_JOBS__METRICS_PORT" not in {one["name"] for one in server["env"]}


def test_the_network_policy_lets_prometheus_in_and_nobody_else_to_the_metrics() -> None:
    def may_ask(values: dict[str, Any]) -> Any:
        (policy,) = named(rendered(values), "NetworkPolicy").values()
        assert policy["spec"]["podSelector"]["matchLabels"] == {
            "app.kubernetes.io/name": "gatepost",
            "app.kubernetes.io/instance": "id",
        }
        http, management = policy["spec"]["ingress"]
        assert [one["ports"][0]["port"] for one in (http, management)] == ["http", "management"]
        return management["from"]

    namespace: dict[str, Any] = {"podSelector": {}}
    elsewhere = {
        "namespaceSelector": {},
        "podSelector": {"matchLabels": {"app.kubernetes.io/name": "prometheus"}},
    }
    monitored = {"metrics": {"serviceMonitor": {"enabled": True}}}
    assert may_ask({}) == [namespace]
    assert may_ask(monitored) == [namespace, elsewhere]
    assert may_ask(EVERYTHING) == EVERYTHING["networkPolicy"]["managementFrom"]


def test_every_setting_that_the_chart_names_is_one() -> None:
    known = {name for name, _ in known_names()}
    files = [path for path in CHART.rglob("*") if path.suffix in (".yaml", ".json", ".tpl")]
    named = {
        name
        for path in files
        for name in re.findall(
            r"\b(?:GATEPOST_[A-Z_]*[A-Z]|DATABASE_[A-Z_]+|REDIS_URL)\b", path.read_text()
        )
    }
    # What Kubernetes would make of a service's name; the chart keeps it away.
    assert named - {"GATEPOST_PORT"} <= known
    assert {"GATEPOST_PUBLIC_URL", *SECRET_NAMES} <= named | {"DATABASE_DIRECT_URL"}


def test_values_that_cannot_work_are_refused_before_anything_changes() -> None:
    for config in (
        {"GATEPOST_PUBLIC_URL": "http://id.example.com"},
        {"GATEPOST_SECRETS__KEYS": "in plain sight"},
        {"DATABASE_URL": "postgresql://in/plain-sight"},
        {"GATEPOST_HTTP__MANAGEMENT_PORT": 9001},
        {"GATEPOST_JOBS__METRICS_PORT": 9001},
        {"gatepost_public_url": "https://id.example.com"},
    ):
        assert refuses({"config": config}), config
    for values in (
        {"replicas": 2},
        {"existingSecret": ""},
        {"image": {"digest": "sha256:short"}},
        {"terminationGracePeriodSeconds": 10},
        {"worker": {"replicas": 2}},
    ):
        assert refuses(values), values


def test_the_chart_is_of_this_release() -> None:
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text())
    assert chart["appVersion"] == __version__
