"""What the cards of AWS share: how instances are written, which sizes go together, what brings their tools."""

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

from pydantic import AfterValidator, Field
from pydantic_core import PydanticCustomError

from llmspec.section import Like, wrong

if TYPE_CHECKING:
    from llmspec.spec.traffic import Rollout

REQUIRES = ("boto3", "pulumi", "pulumi_aws")
INSTALL = "pip install 'llmspec[aws]'"
GB = 10**9
_SIZE = r"(nano|micro|small|medium|large|[0-9]*xlarge|metal)"
_IDLE = re.compile(r"(ml\.)?(inf|trn|dl|vt|f)[0-9][a-z0-9-]*\..*|g4ad\..*")
"""Families with chips that nothing of ours computes on: Inferentia, Trainium, Gaudi, video, FPGA, and GPUs without CUDA."""
_ARM = re.compile(r"(ml\.)?(a1|[a-z]+[0-9]+g[a-z]*|p6e-gb[0-9]+)\..*")
"""Families with ARM processors: AWS's own, by the `g` after the number, and NVIDIA's Grace."""


def _for_our_images(instance: str) -> str:
    """CodeBuild makes images for x86 and CUDA: on another processor no copy ever starts, and another chip is paid for in vain."""
    if found := _ARM.fullmatch(instance):
        fault = f"{instance} has an ARM processor, and the images are for x86"
        raise wrong(fault, f"choose one of Intel's or AMD's: `{found[1] or ''}m7i.large`")
    if found := _IDLE.fullmatch(instance):
        fault = f"{instance} has a chip that nothing here computes on, and it is paid for"
        raise wrong(fault, f"choose one of NVIDIA's, `{found[1] or ''}g5.xlarge`, or one without: `{found[1] or ''}m7i.large`")
    return instance


def _begins(written: str) -> str:
    """AWS takes a range by its first address only."""
    from ipaddress import AddressValueError, IPv4Network, NetmaskValueError

    try:
        network = IPv4Network(written, strict=False)
    except (AddressValueError, NetmaskValueError):
        raise wrong(f"{written} is no range of addresses", "write one: `10.0.0.0/8`") from None
    if str(network) != written:
        raise wrong(f"{written} does not begin where its range begins", f"write `{network}`")
    return written


def _each_once(networks: list[str]) -> list[str]:
    if again := next((network for network in networks if networks.count(network) > 1), ""):
        raise wrong(f"{again} is there twice, and a firewall takes a rule once", "keep one")
    return networks


Machine = Annotated[
    str,
    Field(pattern=rf"^[a-z][a-z0-9-]*\.{_SIZE}$"),
    AfterValidator(_for_our_images),
    Like("write an EC2 instance: `g5.xlarge`, `m7i.large`"),
]
MlMachine = Annotated[
    str,
    Field(pattern=rf"^ml\.[a-z][a-z0-9-]*\.{_SIZE}$"),
    AfterValidator(_for_our_images),
    Like("write a SageMaker instance: `ml.g5.xlarge`, `ml.m7i.large`"),
]
Certificate = Annotated[
    str,
    Field(pattern=r"^arn:aws[a-z-]*:acm:[a-z0-9-]+:[0-9]{12}:certificate/[A-Za-z0-9-]+$"),
    Like("write the ARN that ACM shows for it"),
]
Domain = Annotated[
    str, Field(pattern=r"^([a-z0-9]([a-z0-9-]*[a-z0-9])?\.)+[a-z]{2,}$"), Like("write a host's name: `bot.acme.example`")
]
_REGION = r"[a-z]{2}(-[a-z]+)+-[0-9]+"
Balancer = Annotated[
    str,
    Field(pattern=rf"^([a-z0-9-]+\.)+({_REGION}\.elb|elb\.{_REGION})\.amazonaws\.com(\.cn)?$"),
    Like("write a load balancer's own name, as AWS shows it: `bot-prod-1234567890.eu-west-1.elb.amazonaws.com`"),
]
Zone = Annotated[str, Field(pattern=r"^Z[A-Z0-9]{5,31}$"), Like("write the id that Route 53 shows: `Z0123456789ABCDEFGHIJ`")]
Network = Annotated[
    str,
    Field(pattern=r"^[0-9]{1,3}(\.[0-9]{1,3}){3}/[0-9]{1,2}$"),
    AfterValidator(_begins),
    Like("write a range of addresses: `10.0.0.0/8`"),
]
Networks = Annotated[list[Network], Field(min_length=1), AfterValidator(_each_once)]
SERVERLESS_SIZES: dict[float, tuple[float, float, float]] = {
    0.25: (0.5, 2, 0.5),
    0.5: (1, 4, 1),
    1: (2, 8, 1),
    2: (4, 16, 1),
    4: (8, 30, 1),
    8: (16, 60, 4),
    16: (32, 120, 8),
}
"""vCPU -> least and most GB of memory, and the step between: of Fargate and, from 1 vCPU on, of EMR Serverless."""


PRIVATE = ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16")
"""Addresses that no request from the internet has."""
INSIDE = ("ecr.api", "ecr.dkr", "logs", "kms")
"""Services that a container of ours asks from inside a private network: for its image, its log, its keys."""


def size_fault(cpu: float, memory: int, least_cpu: float) -> PydanticCustomError | None:
    """What is wrong with a pair of vCPU and memory."""
    sizes = [size for size in SERVERLESS_SIZES if size >= least_cpu]
    if cpu not in sizes:
        return wrong(f"there is no size with {cpu:g} vCPU", f"use {', '.join(f'{size:g}' for size in sizes)}", "cpu")
    least, most, step = SERVERLESS_SIZES[cpu]
    if cpu == 0.25 and memory / GB not in (0.5, 1, 2):
        return wrong(f"0.25 vCPU have 0.5, 1 or 2 GB, and not {memory / GB:g}", "change cpu or memory", "memory")
    if not least <= memory / GB <= most or (memory / GB - least) % step:
        by = f" in steps of {step:g}" if step != 1 else ""
        return wrong(f"{cpu:g} vCPU have {least:g} to {most:g} GB{by}, and not {memory / GB:g}", "change cpu or memory", "memory")
    return None


def shut(name: str, public: bool, open_to: Sequence[str]) -> PydanticCustomError | None:
    """What is wrong with a door to the internet that lets in private addresses only: none of them comes from there."""
    from ipaddress import IPv4Network

    def private(written: str) -> bool:
        return any(IPv4Network(written).subnet_of(IPv4Network(inside)) for inside in PRIVATE)

    if not public or not all(private(network) for network in open_to):
        return None
    fault = "the internet may ask, and open_to lets in private networks only: nobody could ask"
    cure = "name the networks that ask: `open_to: [203.0.113.0/24]`; or take public out"
    return wrong(fault, cure, f"places.endpoint.{name}.open_to")


def doorless(
    name: str, certificate: str | None, domain: str | None, zone: str | None, region: str | None
) -> PydanticCustomError | None:
    """What is wrong with the names of an endpoint behind a load balancer: it speaks HTTPS and nothing else."""
    at = f"places.endpoint.{name}"
    if domain is None and zone is not None:
        return wrong("a zone without a name in it has no effect", "add `domain: …`", f"{at}.zone")
    if certificate is None and (domain is None or zone is None):
        cure = "add `certificate: …`, or `domain: …` and `zone: …` to have one made"
        return wrong(f"{name} speaks HTTPS, and there is no certificate", cure, "places.endpoint")
    if certificate and region and (other := certificate.split(":")[3]) != region:
        cure = "name one of this region; or take it out, and have one made for `domain` and `zone`"
        return wrong(f"it is a certificate of {other}, and this is {region}", cure, f"{at}.certificate")
    return None


def unwaited(name: str, rollout: "Rollout | None") -> PydanticCustomError | None:
    """What is wrong with a wait at a place that swaps all at once in one move, with nothing kept beside it."""
    if rollout is None or rollout.strategy != "all_at_once" or "wait" not in rollout.said:
        return None
    fault = f"all_at_once at {name} has no steps to wait between"
    return wrong(fault, "use strategy: canary or linear, or take it out", "endpoint.rollout.wait")
