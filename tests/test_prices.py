"""What a target costs: arithmetic on dated figures, nothing invented, and AWS's own list asked over HTTP."""
# ruff: noqa: E501  (a table reads best with one line for each case)

import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest
from conftest import ROOT
from moto_parts import Moto
from test_language_faults import GOOD
from test_policy import CLEAN

from llmspec.cli import main
from llmspec.errors import CallError, PlaceError, StoreError
from llmspec.load import load
from llmspec.present import dollars
from llmspec.prices import Costs, Price, costs, needs, table
from llmspec.spec import Spec

pytest_plugins = ["moto_parts"]
NAMED = "domain: bot.acme.example, zone: Z0123456789ABCDEFGHIJ"


@pytest.fixture(autouse=True)
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("LLMSPEC_HOME", raising=False)
    (tmp_path / "faq.jsonl").write_text('{"question": "q", "answer": "a"}\n')
    return tmp_path


def spec(text: str, target: str | None = None) -> Spec:
    Path("shop.yaml").write_text(text)
    return load("shop.yaml", target, env={}).spec


def at(places: str, more: str = "", region: str = "us-east-1") -> Spec:
    return spec(f"{GOOD}store: s3://acme-llm/bots\nregion: {region}\nplaces: {places}\n{more}")


def priced(found: Costs | None) -> dict[str, tuple[float, float]]:
    assert found is not None
    return {
        line.need.what: (round(line.least, 2), round(line.most, 2))
        for line in found.lines
        if line.need.stage not in ("network", "keys")
    }


KNOWN = {
    what: Price(1.0, "hour", "2026-01-01")
    for what in (
        "sagemaker ml.g5.xlarge",
        "fargate vcpu",
        "fargate gb",
        "ec2 m7i.xlarge",
        "eks cluster",
        "load balancer",
        "emr vcpu",
        "emr gb",
    )
} | {"lambda gb": Price(0.0001, "second", "2026-01-01")}
MONTHS: dict[str, tuple[str, str, dict[str, tuple[float, float]]]] = {
    "sagemaker": ("{endpoint: {sagemaker: {instance: ml.g5.xlarge}}}", "endpoint: {scale: {min: 2, max: 8}}\n", {"sagemaker ml.g5.xlarge": (1460, 5840)}),
    "without scale": ("{endpoint: {sagemaker: {instance: ml.g5.xlarge}}}", "", {"sagemaker ml.g5.xlarge": (730, 730)}),
    "a queue": ("{endpoint: {sagemaker: {form: async, instance: ml.g5.xlarge}}}", "endpoint: {scale: {min: 0, max: 1}}\n", {"sagemaker ml.g5.xlarge": (0, 730)}),
    "fargate": (f"{{endpoint: {{ecs: {{cpu: 4, memory: 16GB, {NAMED}}}}}}}", "endpoint: {scale: {min: 2, max: 3}}\n", {"load balancer": (730, 730), "fargate vcpu": (5840, 8760), "fargate gb": (23360, 35040)}),
    "eks": (f"{{endpoint: {{eks: {{{NAMED}}}}}}}", "endpoint: {scale: {min: 2, max: 3}}\n", {"load balancer": (730, 730), "eks cluster": (730, 730), "ec2 m7i.xlarge": (1460, 2190)}),
    "lambda": ("{endpoint: {lambda: {memory: 4GB}}}", "endpoint: {scale: {min: 0, max: 2}}\n", {"lambda gb": (0, 2102.4)}),
    "serverless": ("{endpoint: {sagemaker: {form: serverless}}}", "", {}),
}  # fmt: skip


@pytest.mark.parametrize("case", MONTHS)
def test_a_month_at_min_and_at_max_scale(case: str) -> None:
    places, more, expected = MONTHS[case]
    assert priced(costs(at(places, more), {}, KNOWN)) == expected


@pytest.mark.parametrize("case", ["sagemaker", "fargate", "eks"])
def test_an_ab_test_costs_the_copies_of_each_release(case: str) -> None:
    places, more, alone = MONTHS[case]
    sides = "variants: [{release: 3, weight: 50}, {release: 4, weight: 30}, {release: 5, weight: 20}]"
    found = costs(at(places, more.replace("{scale", f"{{{sides}, scale")), {}, KNOWN)
    once = {"load balancer", "eks cluster"}
    assert priced(found) == {what: both if what in once else (both[0] * 3, both[1] * 3) for what, both in alone.items()}
    assert found is not None
    assert any(line.need.note.endswith("copies of each of 3 releases" + ", at most" * (case == "eks")) for line in found.lines)


def test_a_job_costs_its_hours() -> None:
    found = costs(at("{model: {sagemaker: {instance: ml.g5.xlarge}}, features: ecs}"), {"model": 7200, "features": 1800}, KNOWN)
    assert priced(found) == {"sagemaker ml.g5.xlarge": (2, 2), "fargate vcpu": (1, 1), "fargate gb": (4, 4)}
    assert found is not None
    assert found.total(once=True) == (7, 7)


def test_a_cluster_of_workers_costs_each_of_them() -> None:
    text = (
        GOOD.replace("data:\n", "data:\n  engine: spark\n")
        + "store: s3://acme-llm/bots\nregion: us-east-1\nplaces: {data: {emr: {workers: 2, cpu: 4, memory: 16GB}}}\n"
    )
    assert priced(costs(spec(text), {"data": 3600}, KNOWN)) == {"emr vcpu": (12, 12), "emr gb": (48, 48)}


def test_what_auto_mode_takes_for_a_machine_is_told() -> None:
    told = "endpoint: what EKS Auto Mode takes for each machine, about 12 % of its price"
    for place, here in ((f"{{endpoint: {{eks: {{{NAMED}}}}}}}", True), (f"{{endpoint: {{ecs: {{{NAMED}}}}}}}", False)):
        found = costs(at(place), {}, KNOWN)
        assert found is not None
        assert (told in found.unpriced) is here


def test_what_is_not_known_is_listed_and_never_zero() -> None:
    found = costs(
        at("{model: {sagemaker: {instance: ml.p4d.24xlarge}}, endpoint: {sagemaker: {instance: ml.r7i.large}}}"), {"model": None}
    )
    assert found is not None
    assert priced(found) == {}
    assert "endpoint: sagemaker ml.r7i.large in us-east-1" in found.unpriced
    assert "model: nothing tells how long it takes" in found.unpriced
    assert "storage: artifacts that are made and older ones, versions and logs, by what is kept" in found.unpriced


def test_ways_out_are_paid_by_the_hour_and_what_goes_through_is_named() -> None:
    named = "domain: bot.acme.example, zone: Z0123456789ABCDEFGHIJ"
    found = costs(at(f"{{endpoint: {{ecs: {{{named}}}}}}}", "governance: {nat_gateways: 2}\n"), {})
    assert found is not None
    (line,) = [line for line in found.lines if line.need.what == "nat gateway"]
    assert line.least == line.most == pytest.approx(2 * 730 * 0.045)
    assert "network: what goes through the NAT gateways, by the gigabyte" in found.unpriced


def test_what_lies_in_the_store_is_paid_each_month() -> None:
    place = at("{endpoint: {sagemaker: {instance: ml.g5.xlarge}}}")
    found, unknown = costs(place, {}, kept=2_500_000_000), costs(place, {}, KNOWN, kept=2_500_000_000)
    assert found is not None
    assert unknown is not None
    (line,) = [line for line in found.lines if line.need.stage == "storage"]
    assert (line.least, line.most, line.need.once) == (2.5 * 0.023, 2.5 * 0.023, False)
    assert "storage: s3 gb in us-east-1" in unknown.unpriced


def test_another_region_has_no_price_of_ours() -> None:
    found = costs(at("{endpoint: {sagemaker: {instance: ml.g5.xlarge}}}", region="eu-north-1"), {})
    assert found is not None
    assert found.lines == []
    assert found.dates == ""
    assert "network: vpc endpoint in eu-north-1" in found.unpriced


def test_use_that_nobody_knows_is_named() -> None:
    more = "endpoint: {scale: {min: 1, max: 2}}\ngovernance: {audit: true, backup: {}}\n"
    found = costs(at("{endpoint: lambda}", more), {}, KNOWN)
    assert found is not None
    some = costs(at("{endpoint: lambda}", "governance: {audit: {security_hub: false}}\n"), {}, KNOWN)
    assert some is not None
    assert "audit: CloudTrail, Config, Inspector, by use" in some.unpriced
    for each in ("requests to the API", "provisioned concurrency", "audit: CloudTrail", "backup: by what is kept"):
        assert any(each in line for line in found.unpriced), found.unpriced


@pytest.mark.parametrize(
    ("monthly", "says"),
    [("700 USD", "above the budget of $700 even at min scale"), ("2000 USD", "what is priced is within the budget of $2,000 at min scale, and above it at max scale"), ("9000 USD", "what is priced is within the budget of $9,000; what is unpriced comes on top")],
)  # fmt: skip
def test_a_month_is_compared_with_the_budget(monthly: str, says: str) -> None:
    more = f"endpoint: {{scale: {{min: 1, max: 4}}}}\ngovernance: {{budget: {{monthly: {monthly}}}}}\n"
    found = costs(at("{endpoint: {sagemaker: {instance: ml.g5.xlarge}}}", more), {}, KNOWN)
    assert found is not None
    assert says in found.verdict


def test_a_sum_without_machines_says_so_before_it_is_within_anything() -> None:
    places = "{model: {sagemaker: {instance: ml.p4d.24xlarge}}, features: ecs, endpoint: {sagemaker: {instance: ml.r7i.large}}}"
    took = {"model": None, "features": 60.0}
    within = costs(at(places, "governance: {budget: {monthly: 500 USD}}\n"), took)
    assert within is not None
    assert within.verdict == (
        "the sum is not whole, since model and endpoint have no price: "
        "what is priced is within the budget of $500; what is unpriced comes on top"
    )
    assert "images: builds at CodeBuild, by the minute, for each new version of llmspec's own source" in within.unpriced
    unbounded = costs(at(places), took)
    assert unbounded is not None
    assert unbounded.verdict == "the sum is not whole: model and endpoint have no price"


def test_nothing_in_aws_has_no_costs() -> None:
    assert costs(spec(GOOD), {"model": 100.0}) is None


def test_every_shipped_figure_has_its_date_and_no_more_than_was_read() -> None:
    shipped = json.loads((files("llmspec") / "prices.json").read_text(encoding="utf-8"))["prices"]
    for region, things in shipped.items():
        for what, figure in things.items():
            assert set(figure) == {"usd", "per", "as_of"}, (region, what)
            assert figure["usd"] > 0
            assert figure["as_of"][:2] == "20"
    assert table("us-east-1")["sagemaker ml.g5.xlarge"] == Price(1.408, "hour", "2026-08-17")
    assert table("af-south-1") == {}


@pytest.mark.parametrize("path", sorted((ROOT / "specs").glob("aws-*.yaml")), ids=lambda path: path.stem)
def test_everything_that_a_shipped_spec_takes_by_the_hour_has_a_figure(path: Path) -> None:
    shipped = load(path, "prod", env={}).spec
    taken = {need.what for need in needs(shipped, shipped.in_aws, dict.fromkeys(shipped.in_aws, 3600.0))}
    assert taken
    assert taken - set(table(shipped.region or "")) == set()


def test_dollars_are_written_as_people_write_them() -> None:
    assert (dollars(0.5, 0.5), dollars(1028.2, 4112.9), dollars(0.0, 0.004)) == (
        "$0.50",
        "$1,028 to $4,113",
        "$0.00 to less than $0.01",
    )


@pytest.mark.aws
def test_plan_shows_costs_in_text_json_and_markdown(aws_here: Moto, capsys: pytest.CaptureFixture[str]) -> None:
    Path("shop.yaml").write_text(
        CLEAN.replace("eu-central-1", "us-east-1").replace("ml.m7i.xlarge", "ml.g5.xlarge").replace("eu-west-1", "us-west-2")
    )
    assert main(["plan", "shop.yaml", "--target", "prod"]) == 0
    text = capsys.readouterr().out
    assert "Costs in us-east-1 (prices of 2026-03 to 2026-08-17)" in text
    assert "$2,056 to $4,111 a month  sagemaker ml.g5.xlarge at $1.408 per hour (2 to 4 copies)" in text
    assert "above the budget of $500 even at min scale" in text
    assert "$0.04 once     sagemaker ml.g5.xlarge at $1.408 per hour (at most: spot is cheaper)" in text
    # What costs are told from is the spec: what stands in the cloud need not be asked again for each form.
    assert main(["plan", "shop.yaml", "--target", "prod", "-o", "markdown", "--offline"]) == 0
    assert "| endpoint | sagemaker ml.g5.xlarge | $2,056 to $4,111 |  |" in capsys.readouterr().out
    assert main(["plan", "shop.yaml", "--target", "prod", "-o", "json", "--offline"]) == 0
    told = json.loads(capsys.readouterr().out)["costs"]
    assert {line["stage"]: line["least_usd"] for line in told["lines"]}["endpoint"] == 2055.68
    assert told["budget_usd"] == 500


def test_a_plan_of_a_laptop_says_nothing_of_costs(capsys: pytest.CaptureFixture[str]) -> None:
    Path("shop.yaml").write_text(GOOD)
    assert main(["plan", "shop.yaml", "-o", "json"]) == 0
    assert "costs" not in json.loads(capsys.readouterr().out)


def test_what_a_target_costs_is_told_without_asking_anybody() -> None:
    Path("shop.yaml").write_text(CLEAN)
    code = "import sys; from llmspec.cli import main; main(['prices', 'shop.yaml', '--target', 'prod']); print([n for n in ('boto3', 'botocore', 'pulumi', 'dagster') if n in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], env={"PYTHONPATH": str(ROOT)}, capture_output=True, text=True, check=True)
    assert "vpc endpoint" in done.stdout
    assert done.stdout.splitlines()[-1] == "[]"


def product(usage: str, usd: str, unit: str = "Hrs", **more: str) -> str:
    part = {"unit": unit, "pricePerUnit": {"USD": usd}, "beginRange": "0", "endRange": "Inf"}
    terms = {"OnDemand": {"SKU.TERM": {"effectiveDate": "2026-11-01T00:00:00Z", "priceDimensions": {"SKU.TERM.PART": part}}}}
    return json.dumps({"product": {"attributes": {"usagetype": usage, **more}}, "terms": terms})


ANSWERS = {
    "AmazonSageMaker": [product("EUC1-Train:ml.g5.xlarge", "1.9"), product("EUC1-Host:ml.g5.xlarge", "1.761"), product("EUC1-Host:ml.g5.xlarge", "0.0")],
    "AmazonVPC": [product("EUC1-VpcEndpoint-Hours", "0.012")],
    "AmazonECS": [product("EUC1-Fargate-vCPU-Hours:perCPU", "0.04656", "hours"), product("EUC1-Fargate-GB-Hours", "0.00511", "hours"), product("EUC1-Fargate-GB-Hours", "0.00999", "hours")],
}  # fmt: skip


@pytest.fixture
def price_list(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[dict[str, Any]]]:
    """AWS's price list on loopback, a product a page: what was asked."""
    asked: list[dict[str, Any]] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            asked.append(body)
            listed = ANSWERS.get(body["ServiceCode"])
            page = int(body.get("NextToken", "0"))
            reply: dict[str, Any] = {"FormatVersion": "aws_v1", "PriceList": (listed or [])[page : page + 1]}
            if listed and page + 1 < len(listed):
                reply["NextToken"] = str(page + 1)
            if body["ServiceCode"] == "AWSLambda":
                reply = {"__type": "AccessDeniedException", "message": "not authorized to perform: pricing:GetProducts"}
            data = json.dumps(reply).encode()
            self.send_response(400 if "__type" in reply else 200)
            self.send_header("Content-Type", "application/x-amz-json-1.1")
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *args: Any) -> None:
            return

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    for name, value in {"AWS_ACCESS_KEY_ID": "a", "AWS_SECRET_ACCESS_KEY": "b", "AWS_ENDPOINT_URL": f"http://127.0.0.1:{server.server_port}"}.items():  # fmt: skip
        monkeypatch.setenv(name, value)
    yield asked
    server.shutdown()
    server.server_close()


@pytest.mark.aws
def test_refresh_asks_aws_and_its_answer_goes_before_ours(
    price_list: list[dict[str, Any]], capsys: pytest.CaptureFixture[str]
) -> None:
    both = "{features: {sagemaker: {instance: ml.r7i.large}}, endpoint: {sagemaker: {instance: ml.g5.xlarge}}}"
    at(both, region="eu-central-1")
    assert table("eu-central-1")["vpc endpoint"].as_of < "2026-11"
    assert main(["prices", "shop.yaml", "--refresh"]) == 0
    said, silent = capsys.readouterr()
    assert "no price of kms key in eu-central-1: there is no question for it, or AWS named none or several" in silent.splitlines()
    assert "ml.g5.xlarge" not in silent
    assert "sagemaker ml.g5.xlarge       $1.761        per hour    eu-central-1, 2026-11-01" in said
    assert "sagemaker ml.r7i.large       unpriced" in said
    assert "kms key                      $1            per month   eu-central-1, 2026-09\n" in said, "what AWS names no price of"
    assert table("eu-central-1")["vpc endpoint"] == Price(0.012, "hour", "2026-11-01")
    filters = {each["Field"]: each["Value"] for each in price_list[-1]["Filters"]}
    assert filters["regionCode"] == "eu-central-1"
    found = costs(load("shop.yaml", env={}).spec, {})
    assert found is not None
    assert [round(line.least) for line in found.lines if line.need.what == "sagemaker ml.g5.xlarge"] == [1286]


@pytest.mark.aws
def test_two_different_answers_are_no_answer(price_list: list[dict[str, Any]], capsys: pytest.CaptureFixture[str]) -> None:
    at(f"{{endpoint: {{ecs: {{{NAMED}}}}}}}", region="eu-north-1")
    assert main(["prices", "shop.yaml", "--refresh", "-o", "json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["fargate gb"] is None
    assert told["fargate vcpu"]["usd"] == 0.04656


@pytest.mark.aws
def test_a_second_refresh_keeps_what_the_first_one_found(price_list: list[dict[str, Any]]) -> None:
    at("{endpoint: {sagemaker: {instance: ml.g5.xlarge}}}", region="eu-central-1")
    main(["prices", "shop.yaml", "--refresh"])
    at(f"{{endpoint: {{ecs: {{{NAMED}}}}}}}", region="eu-central-1")
    main(["prices", "shop.yaml", "--refresh"])
    assert {"sagemaker ml.g5.xlarge", "fargate vcpu"} <= set(table("eu-central-1"))


@pytest.mark.aws
def test_who_may_not_ask_is_told_what_is_needed(price_list: list[dict[str, Any]]) -> None:
    from llmspec.price_list import refresh

    with pytest.raises(
        PlaceError, match=r"^pricing:GetProducts in us-east-1: access denied \(not authorized.*\n  whoever applies needs"
    ):
        refresh({"us-east-1": {"lambda gb"}})
    assert not Path(".llmspec/prices.json").exists()


def test_prices_of_a_laptop_are_refused_with_a_cure() -> None:
    from llmspec.cli.prices import run

    Path("shop.yaml").write_text(GOOD)
    with pytest.raises(CallError, match=r"nothing of shop\.yaml is in AWS.*\n.*--target prod"):
        run(__import__("argparse").Namespace(file="shop.yaml", target=None, refresh=False, output="text"))


def test_a_broken_table_of_one_s_own_is_an_error_with_a_cure() -> None:
    Path(".llmspec").mkdir()
    Path(".llmspec/prices.json").write_text("{")
    with pytest.raises(StoreError, match=r"cannot be read.*\n.*--refresh"):
        table("us-east-1")
