"""A release becomes live at EKS, through `deploy`: the program's own manifests, a cluster's API over HTTPS, the real door."""

import ssl
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import boto3
import pytest
import yaml
from cloud_parts import Copies, Front, Shop, cloud_with, shop, stacks
from conftest import Project
from kubernetes_parts import Kubernetes, kubernetes
from moto.eks.models import eks_backends
from moto_parts import REGION
from pulumi_service_parts import GROUND

from backends.places import endpoint_check
from backends.places.kubernetes import Cluster
from infra_pulumi.owner import Owner
from infra_pulumi.serving.manifests import Sizes, manifests, namespace, written
from infra_pulumi.serving.wanted import PlaceArgs, Scale, Serving, Variant
from infra_pulumi.serving.wanted import Release as Served
from llmspec import container
from llmspec.aws import Aws
from llmspec.cli import main
from llmspec.errors import PlaceError
from llmspec.release import Release, Releases

pytestmark = pytest.mark.aws
ACCOUNT, DOMAIN = "123456789012", "bot.shop.example"
CERTIFICATE = f"arn:aws:acm:{REGION}:{ACCOUNT}:certificate/one"
PLACE = f"{{eks: {{public: true, open_to: [203.0.113.0/24], domain: {DOMAIN}, certificate: '{CERTIFICATE}'}}}}"


class Ground(Front):
    """The parts of a test that outlive it: a cluster, a load balancer, a zone, and the copies that answer."""

    def __init__(self) -> None:
        super().__init__()
        self.copies: Copies
        self.cluster: Kubernetes
        self.zone = ""
        self.url = ""
        self.others: dict[str, Release] = {}
        """Side -> the release of a variant beside the one that is deployed."""

    def balance(self) -> None:
        keys = {"aws_access_key_id": "testing", "aws_secret_access_key": "testing", "region_name": REGION}
        keys["endpoint_url"] = self.copies.aws.url
        subnets = boto3.client("ec2", **keys).describe_subnets()["Subnets"][:2]
        made = boto3.client("elbv2", **keys).create_load_balancer(Name="k8s-tiny", Subnets=[each["SubnetId"] for each in subnets])
        self.cluster.host = made["LoadBalancers"][0]["DNSName"]
        zone = boto3.client("route53", **keys).create_hosted_zone(Name="shop.example", CallerReference="tiny")
        self.zone = zone["HostedZone"]["Id"].rsplit("/", 1)[-1]

    def record(self) -> dict[str, Any] | None:
        aws = boto3.client("route53", region_name=REGION)
        found = aws.list_resource_record_sets(HostedZoneId=self.zone)["ResourceRecordSets"]
        return next((each for each in found if each["Type"] == "A"), None)


class EksStack:
    """The cluster by boto3, and the manifests by the program's own functions."""

    def __init__(self, ground: Ground, site: Any, release: Release):
        self.ground, self.site, self.release = ground, site, release
        self.owner = Owner(site.name, site.target, site.region)
        self.aws = boto3.client("eks", region_name=site.region)

    def up(self, say: Callable[[str], None]) -> dict[str, Any]:
        name = self.owner.prefix
        if name not in self.aws.list_clusters()["clusters"]:
            role, vpc = f"arn:aws:iam::{ACCOUNT}:role/cluster", {"subnetIds": ["subnet-a"], "endpointPublicAccess": False}
            self.aws.create_cluster(name=name, roleArn=role, resourcesVpcConfig=vpc)
            cluster = eks_backends[ACCOUNT][REGION].clusters[name]
            cluster.endpoint = self.ground.cluster.url
            cluster.certificate_authority = {"data": self.ground.cluster.authority}
        wanted = self._wanted()
        sizes = Sizes("m7i.xlarge", 0, "2", "8Gi", "20Gi")
        found = manifests(wanted, sizes, DOMAIN, True, ("10.0.0.0/8",), ["subnet-a"], ["subnet-a"], [], CERTIFICATE, "role/nodes")
        names = {"cluster": name, "namespace": namespace(wanted), "deployments": {side: side for side in wanted.sides()}}
        names |= {
            "manifests": written(found),
            "domain": DOMAIN,
            "zone": self.ground.zone,
            "log_group": "/aws/containerinsights/tiny",
        }
        return {"url": f"{self.ground.url or self._copy().url}/v1", "names": names}

    def _wanted(self) -> Serving:
        others = [Variant(_served(release), 50) for release in self.ground.others.values()]
        variants = [Variant(_served(self.release), 50), *others] if others else []
        return Serving(self.owner, _served(self.release), PlaceArgs(), GROUND, Scale(1, 1), variants=variants)

    def _copy(self) -> Any:
        return self.ground.copies.of(dict(_served(self.release).fetched()))

    def destroy(self, say: Callable[[str], None]) -> None:
        assert self.ground.cluster.names("ingresses") == []
        self.aws.delete_cluster(name=self.owner.prefix)


def _served(release: Release) -> Served:
    told = {**container.packed(release), container.GRANTS: "use"}
    return Served(release.number, release.artifact.rstrip("/") + "/", "tiny-serving:1.0", release.content, environment=told)


@pytest.fixture(scope="module")
def front(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ground]:
    found, folder = Ground(), tmp_path_factory.mktemp("cluster")
    with cloud_with(found) as aws, kubernetes(folder) as cluster, ExitStack() as stack:
        found.copies, found.cluster = Copies(aws, folder, stack), cluster
        found.balance()
        yield found


@pytest.fixture
def ground(front: Ground, monkeypatch: pytest.MonkeyPatch) -> Ground:
    """No cluster yet, and little patience."""
    eks_backends[ACCOUNT][REGION].reset()
    front.cluster.objects.clear()
    front.cluster.patched.clear()
    front.cluster.starts, front.cluster.refuses, front.url, front.failing, front.others = True, 0, "", {}, {}
    monkeypatch.setattr(endpoint_check, "PATIENCE_SECONDS", 0.3)
    return front


@pytest.fixture
def tiny(applied_once: Project, tmp_path: Path, ground: Ground, monkeypatch: pytest.MonkeyPatch) -> Shop:
    stacks(monkeypatch, lambda site, release: EksStack(ground, site, release))
    return shop(applied_once.copy(tmp_path / "shop"), ground.copies.aws, monkeypatch, PLACE)


def test_a_release_is_live_when_its_pods_are_ready_its_name_leads_to_them_and_it_answered(tiny: Shop, ground: Ground) -> None:
    done = tiny.deploy()
    assert (done.live.release, tiny.pointed()) == (1, 1)
    assert ground.cluster.names("deployments") == ["primary"]
    record = ground.record()
    assert record
    assert record["AliasTarget"]["DNSName"].rstrip(".") == ground.cluster.host
    assert tiny.product().place("endpoint").live("tiny", "prod") == done.live
    assert tiny.deploy().changed is False
    assert ground.cluster.names("pods") == ["primary-1"]


def test_manifests_are_applied_in_the_order_in_which_a_cluster_wants_them(tiny: Shop, ground: Ground) -> None:
    tiny.deploy()
    assert ground.cluster.patched[0] == "/api/v1/namespaces/tiny-prod"
    assert ground.cluster.patched[-1] == "/apis/networking.k8s.io/v1/namespaces/tiny-prod/ingresses/endpoint"


def test_pods_that_do_not_get_ready_are_told_with_their_own_reasons_and_those_before_still_serve(
    tiny: Shop, ground: Ground
) -> None:
    tiny.deploy()
    ground.cluster.starts = False
    with pytest.raises(PlaceError) as failed:
        tiny.limit(5).deploy()
    said = str(failed.value)
    assert "CrashLoopBackOff: back-off restarting failed container=server; OOMKilled" in said
    assert "release 1 still serves" in said
    assert "console.aws.amazon.com/eks/home?region=eu-central-1#/clusters/tiny-prod" in said
    assert tiny.pointed() == 1
    live = tiny.product().place("endpoint").live("tiny", "prod")
    assert live
    assert live.release == 1


def test_a_variant_that_ended_is_taken_away(tiny: Shop, ground: Ground) -> None:
    tiny.deploy()
    first = tiny.product().releases.live()
    assert first
    ground.others = {"variant-2": first}
    assert tiny.limit(5).deploy().live.release == 2
    assert ground.cluster.names("deployments") == ground.cluster.names("services") == ["primary", "variant-2"]
    ground.others = {}
    tiny.deploy()
    assert ground.cluster.names("deployments") == ground.cluster.names("services") == ["primary"]


def test_a_cluster_that_does_not_know_who_asks_says_so(tiny: Shop, ground: Ground) -> None:
    ground.cluster.refuses = 403
    with pytest.raises(
        PlaceError, match=r"cluster tiny-prod refuses GET /api/v1 \(403\): who are you\?\n  whoever applies needs an access"
    ):
        tiny.deploy()
    assert tiny.pointed() is None


def test_a_cluster_that_is_out_of_reach_says_from_where_it_can_be_reached(
    tiny: Shop, ground: Ground, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ground.cluster, "url", "https://127.0.0.1:9")
    with pytest.raises(
        PlaceError, match=r"cannot be reached from here: it is open to its network only\n  apply from within the network"
    ):
        tiny.deploy()


def test_only_the_clusters_own_authority_is_trusted(
    tiny: Shop, ground: Ground, monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory
) -> None:
    with kubernetes(tmp_path_factory.mktemp("other")) as other:
        monkeypatch.setattr(ground.cluster, "url", other.url)
        with pytest.raises(PlaceError, match="CERTIFICATE_VERIFY_FAILED"):
            tiny.deploy()
        assert other.patched == []


def test_an_authority_without_a_key_identifier_is_trusted_as_eks_makes_it(front: Ground, monkeypatch: pytest.MonkeyPatch) -> None:
    usual = ssl.create_default_context

    def strict(**named: Any) -> ssl.SSLContext:
        """As Python 3.13 makes it."""
        context = usual(**named)
        context.verify_flags |= ssl.VERIFY_X509_STRICT
        return context

    monkeypatch.setattr(ssl, "create_default_context", strict)
    cluster = Cluster(Aws(REGION), "tiny")
    cluster.__dict__["_told"] = {"certificateAuthority": {"data": front.cluster.authority}}
    context = cluster._pool.connection_pool_kw["ssl_context"]
    assert not context.verify_flags & ssl.VERIFY_X509_STRICT
    assert (context.verify_mode, context.check_hostname) == (ssl.CERT_REQUIRED, True)


def test_killed_between_the_pods_and_the_pointer_the_next_apply_changes_nothing(
    tiny: Shop, ground: Ground, monkeypatch: pytest.MonkeyPatch
) -> None:
    def killed(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Releases, "point", killed)
        with pytest.raises(KeyboardInterrupt):
            tiny.deploy()
    assert (tiny.pointed(), tiny.deploy().release.number, tiny.pointed()) == (None, 1, 1)
    assert ground.cluster.names("pods") == ["primary-1"]


def test_stop_takes_the_load_balancer_and_the_machines_away_before_the_cluster(
    tiny: Shop, ground: Ground, capsys: pytest.CaptureFixture[str]
) -> None:
    tiny.deploy()
    assert main(["stop", str(tiny.project.spec), "--target", "prod"]) == 0
    assert "Stopped." in capsys.readouterr().out
    assert (ground.cluster.names("ingresses"), ground.cluster.names("nodepools"), ground.record()) == ([], [], None)
    assert eks_backends[ACCOUNT][REGION].clusters == {}


def test_the_manifests_are_what_is_applied_word_for_word(tiny: Shop, ground: Ground) -> None:
    done = tiny.deploy()
    wanted = EksStack(ground, tiny.product().place("endpoint").site, done.release).up(print)["names"]["manifests"]
    for manifest in yaml.safe_load_all(wanted):
        name = manifest["metadata"]["name"]
        (path,) = [
            each
            for each in ground.cluster.patched
            if each.endswith(f"/{name}") and ground.cluster.objects[each]["kind"] == manifest["kind"]
        ]
        assert ground.cluster.objects[path].get("spec") == manifest.get("spec")
