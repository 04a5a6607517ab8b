"""The Price List API of AWS: what it says of the things that a spec needs goes into the project's own table of prices."""

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

from llmspec.aws import Aws
from llmspec.prices import Price, own_table
from llmspec.shelf import write_atomically

REGION = "us-east-1"
"""Where the API is served, whatever region is asked about."""
_UNITS = dict.fromkeys(("Hrs", "hours", "Hours", "vCPU-Hours", "GB-Hours"), "hour")
_UNITS |= {"Lambda-GB-Second": "second", "GB-Mo": "month"}
_SERVICES: dict[str, tuple[str, str]] = {
    "fargate vcpu": ("AmazonECS", "Fargate-vCPU-Hours:perCPU"),
    "fargate gb": ("AmazonECS", "Fargate-GB-Hours"),
    "emr vcpu": ("ElasticMapReduce", "EMR-SERVERLESS-vCPUHours"),
    "emr gb": ("ElasticMapReduce", "EMR-SERVERLESS-MemoryGBHours"),
    "eks cluster": ("AmazonEKS", "AmazonEKS-Hours:perCluster"),
    "load balancer": ("AWSELB", "LoadBalancerUsage"),
    "vpc endpoint": ("AmazonVPC", "VpcEndpoint-Hours"),
    "nat gateway": ("AmazonEC2", "NatGateway-Hours"),
    "lambda gb": ("AWSLambda", "Lambda-GB-Second"),
    "s3 gb": ("AmazonS3", "TimedStorage-ByteHrs"),
}
"""The table's word -> the service, and how its usage type ends."""
_LINUX = {"operatingSystem": "Linux", "tenancy": "Shared", "preInstalledSw": "NA", "capacitystatus": "Used"}


def refresh(wanted: dict[str, set[str]]) -> tuple[dict[str, dict[str, Price]], list[str]]:
    """Region -> things: their prices, and what AWS says nothing of. Found ones are written down; others stay as they were."""
    aws = Aws(REGION)
    found: dict[str, dict[str, Price]] = {}
    silent = []
    for region, things in wanted.items():
        for what in sorted(things):
            if price := _ask(aws, region, what):
                found.setdefault(region, {})[what] = price
            else:
                silent.append(f"{what} in {region}")
    _write(found)
    return found, silent


def _ask(aws: Aws, region: str, what: str) -> Price | None:
    """The one on-demand price of a thing; None when there is none, or several that differ."""
    query = _query(what)
    if query is None:
        return None
    service, fields, ending = query
    filters = [{"Type": "TERM_MATCH", "Field": key, "Value": value} for key, value in {"regionCode": region, **fields}.items()]
    listed = aws.pages("pricing", "get_products", "PriceList", ServiceCode=service, Filters=filters)
    prices = {price for item in listed for price in _prices(json.loads(item), ending)}
    return prices.pop() if len(prices) == 1 else None


def _query(what: str) -> tuple[str, dict[str, str], tuple[str, ...]] | None:
    """Service, filters, and how the usage type may end."""
    kind, _, name = what.partition(" ")
    if kind == "sagemaker":
        return "AmazonSageMaker", {"instanceName": name}, (f"Host:{name}",)
    if kind == "ec2":
        return "AmazonEC2", {"instanceType": name, **_LINUX}, (f"BoxUsage:{name}",)
    if what in _SERVICES:
        service, ending = _SERVICES[what]
        return service, {}, (ending,)
    return None


def _prices(item: dict[str, Any], ending: tuple[str, ...]) -> Iterator[Price]:
    """On-demand figures of one product, from the first unit on."""
    if not str(item["product"]["attributes"].get("usagetype", "")).endswith(ending):
        return
    for term in item.get("terms", {}).get("OnDemand", {}).values():
        for part in term["priceDimensions"].values():
            usd, unit = float(part["pricePerUnit"].get("USD", 0)), _UNITS.get(part["unit"])
            if usd > 0 and unit and part.get("beginRange", "0") == "0":
                yield Price(usd, unit, term["effectiveDate"][:10])


def _write(found: dict[str, dict[str, Price]]) -> None:
    if not found:
        return
    path = own_table()
    before = json.loads(path.read_text(encoding="utf-8"))["prices"] if path.exists() else {}
    merged = {
        region: {**before.get(region, {}), **{what: vars(price) for what, price in things.items()}}
        for region, things in found.items()
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    told = {"asked": datetime.now(UTC).strftime("%Y-%m-%d"), "prices": {**before, **merged}}
    write_atomically(path, json.dumps(told, indent=1))
