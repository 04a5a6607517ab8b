"""Policy checks: each one fires on its fault, names the line and the cure, and is silent on the harmless neighbour."""
# ruff: noqa: E501  (a table reads best with one line for each case)

import json
from pathlib import Path
from typing import get_args

import pytest

from llmspec import policy
from llmspec.base_size import parameters
from llmspec.cli import main
from llmspec.errors import SpecError
from llmspec.load import load
from llmspec.machines import machine
from llmspec.policy import RULES, Finding
from llmspec.policy.memory import activations
from llmspec.spec.governance import Check

CLEAN = """\
llmspec: 1
name: shop
region: eu-central-1
places: {model: {sagemaker: {instance: ml.g5.xlarge, spot: true}}, endpoint: {sagemaker: {instance: ml.m7i.xlarge}}}
data:
  sources: [{path: faq.jsonl}]
  clean: [redact]
model:
  base: {hub: Qwen/Qwen3-0.6B, revision: c1899de289a04d12100db370d81485cdf75e47ca}
  method: qlora
onnx: {precision: int4}
evaluation: {gates: [token_f1 >= 0.8]}
endpoint:
  limits: {requests_per_minute: 60}
  guards: [prompt_injection, pii]
  scale: {min: 2, max: 4, concurrency_per_copy: 8}
  rollout: {strategy: canary, rollback_on: [error_rate > 2%]}
monitors:
  alarms: [error_rate > 1%, p95_latency > 5s for 5m]
  notify: {email: oncall@acme.example}
governance:
  audit: true
  retention: {journal: 30d}
  backup: {copy_to: eu-west-1}
  budget: {monthly: 500 USD}
store: s3://acme-llm/bots
targets:
  prod: {}
"""
FETCHED = "may reach the network, since the base is fetched from the hub"


def findings(folder: Path, text: str, target: str = "prod") -> list[Finding]:
    """But for the one that a base from the hub always has at SageMaker; it has a test of its own."""
    return [it for it in every(folder, text, target) if not it.problem.fault.endswith(FETCHED)]


def every(folder: Path, text: str, target: str = "prod") -> list[Finding]:
    (folder / "shop.yaml").write_text(text)
    return policy.check(load(folder / "shop.yaml", target, env={}))


def test_a_spec_that_leaves_nothing_to_wish_is_silent(tmp_path: Path) -> None:
    assert findings(tmp_path, CLEAN) == []


def test_where_nothing_is_in_aws_nothing_is_checked(tmp_path: Path) -> None:
    text = "llmspec: 1\nname: shop\ndata: {sources: [{path: a.jsonl}]}\nmodel: {base: {scratch: tiny}}\n"
    assert findings(tmp_path, text, "local") == []


ENDPOINT = "endpoint: {sagemaker: {instance: ml.m7i.xlarge}}"
SERVERLESS = "endpoint: {sagemaker: {form: serverless, memory: 3GB}}"
LIMITS = "limits: {requests_per_minute: 60}"
SCALE = "scale: {min: 2, max: 4, concurrency_per_copy: 8}"
ROLLOUT = "  rollout: {strategy: canary, rollback_on: [error_rate > 2%]}\n"
BIG = ("Qwen/Qwen3-0.6B", "acme/bot-32B")
NAMED = "domain: bot.acme.example, zone: Z0123456789ABCDEFGHIJ"
FUNCTION = [(ENDPOINT, "endpoint: {lambda: {memory: 4GB}}"), (SCALE, "scale: {min: 1, max: 9}")]
SMALL_SERVER = (ENDPOINT, "endpoint: {sagemaker: {instance: ml.r7i.4xlarge}}")

# the check; what is replaced by what; what it says, the line it points at, the severity
FIRES: list[tuple[Check, list[tuple[str, str]], str, int, str]] = [
    ("copies", [(SCALE, "scale: {min: 1, max: 4}")], "1 copy at least", 16, "error"),
    ("copies", [(f"  {SCALE}\n", "")], "1 copy at least", 4, "error"),
    ("zones", [("concurrency_per_copy: 8", "zones: 1")], "all copies are in one zone", 16, "error"),
    ("autoscaling", [("max: 4, concurrency_per_copy: 8", "max: 2")], "always 2 copies", 16, "warning"),
    ("concurrency", [("per_copy: 8", "per_copy: 17")], "comes at 17 requests, and one copy answers 16", 16, "warning"),
    ("alarms", [("error_rate > 1%, ", "")], "no alarm on errors", 19, "warning"),
    ("alarms", [(", p95_latency > 5s for 5m", "")], "no alarm on latency", 19, "warning"),
    ("notify", [("  notify: {email: oncall@acme.example}\n", ""), ("targets:", "owner: a@acme.example\ntargets:")], "nobody is told", 19, "warning"),
    ("timeout", [(LIMITS, "limits: {requests_per_minute: 60, timeout: 9m}")], "sagemaker ends it after 8m", 14, "error"),
    ("timeout", [(LIMITS, "limits: {requests_per_minute: 60, timeout: 2m}")], "one that is not streamed after 1m", 14, "warning"),
    ("payload", [(LIMITS, "limits: {requests_per_minute: 60, input_tokens: 2000000}")], "about 12 MB, and 6 MB fit", 14, "error"),
    ("gates", [("evaluation: {gates: [token_f1 >= 0.8]}\n", "")], "no score is asked for", 4, "error"),
    ("guards", [("[prompt_injection, pii]", "[pii]")], "guard prompt_injection is off", 15, "warning"),
    ("guards", [("[prompt_injection, pii]", "[prompt_injection]")], "guard pii is off", 15, "warning"),
    ("rate-limit", [(f"  {LIMITS}\n", "")], "a caller may ask without end", 13, "warning"),
    ("purification", [("[redact]", "[drop_missing]")], "personal data is left", 7, "warning"),
    ("network-isolation", [("ml.m7i.xlarge", "ml.m7i.xlarge, network_isolation: false")], "endpoint may reach the network", 4, "warning"),
    ("public", [(ENDPOINT, f"endpoint: {{ecs: {{public: true, open_to: [203.0.113.0/24], {NAMED}}}}}")], "an address on the internet", 4, "warning"),
    ("plain-secret", [("{email: oncall@acme.example}", "{email: oncall@acme.example, webhook: 'https://hooks.slack.com/services/T/B/X'}")], "webhook is a secret, and is written for all to read", 20, "warning"),
    ("plain-secret", [("base: {hub: Qwen/Qwen3-0.6B,", "base: {hub: Qwen/Qwen3-0.6B, token: hf_abc,")], "token is a secret, and is written for all to read", 9, "warning"),
    ("public", FUNCTION, "asked through an address on the internet", 4, "warning"),
    ("audit", [("audit: true", "audit: false")], "nothing records who did what", 22, "warning"),
    ("backup", [("  backup: {copy_to: eu-west-1}\n", "")], "there is no second copy", 21, "warning"),
    ("retention", [("journal: 30d", "data: 30d")], "what users ask is kept for ever", 23, "warning"),
    ("residency", [("copy_to: eu-west-1", "copy_to: us-west-2")], "a copy leaves eu for us-west-2", 24, "warning"),
    ("residency", [("audit: true", "audit: true\n  replicate_to: us-west-2")], "a copy leaves eu for us-west-2", 23, "warning"),
    ("journal", [(f"  {LIMITS}\n", f"  {LIMITS}\n  journal: {{content: full}}\n")], "as they were said", 15, "warning"),
    ("journal", [("ml.m7i.xlarge", "ml.m7i.xlarge, capture_percent: 5")], "capture keeps them in full", 4, "warning"),
    ("local-address", [(f"  {LIMITS}\n", f"  {LIMITS}\n  port: 9000\n")], "port has no effect at sagemaker", 15, "warning"),
    ("budget", [("  budget: {monthly: 500 USD}\n", "")], "nobody watches what a month costs", 21, "warning"),
    ("budget", [("{email: oncall@acme.example}", "{webhook: '${secret.HOOK}'}")], "it warns nobody", 25, "warning"),
    ("spot-checkpoints", [("method: qlora", "method: qlora\n  training: {checkpoint_every: 1h}")], "up to 1h of training are lost", 11, "warning"),
    ("idle-gpu", [("ml.m7i.xlarge", "ml.g5.xlarge")], "precision int4 is computed on processors", 4, "warning"),
    ("idle-gpu", [("ml.m7i.xlarge", "ml.g5.12xlarge"), ("int4", "fp16")], "it has 4 GPUs, and a copy uses one", 4, "warning"),
    ("idle-gpu", [("instance: ml.g5.xlarge", "instance: ml.g5.12xlarge")], "has 4 GPUs, and training uses one", 4, "warning"),
    ("idle-gpu", [("places: {", "places: {features: {sagemaker: {instance: ml.g5.xlarge}}, ")], "features computes on processors", 4, "warning"),
    ("no-gpu", [("instance: ml.g5.xlarge", "instance: ml.m7i.large")], "0.6 B parameters are trained on processors", 4, "warning"),
    ("training-memory", [("method: qlora", "method: full"), ("Qwen3-0.6B", "Qwen3-4B"), SMALL_SERVER], "need about 61 GiB before the first row, and a GPU of ml.g5.xlarge has 22", 4, "error"),
    ("training-memory", [("Qwen3-0.6B", "Qwen3-8B"), SMALL_SERVER], "and 3,500 tokens at once need about", 4, "warning"),
    ("training-memory", [("Qwen/Qwen3-0.6B", "acme/bot")], "nothing says how large the base is", 4, "warning"),
    ("endpoint-memory", [BIG, ("ml.g5.xlarge", "ml.p5.48xlarge")], "32 B parameters in int4 need about 22.3 GB, and a copy has 17.2", 4, "error"),
    ("endpoint-memory", [("Qwen3-0.6B", "Qwen3-4B"), (ENDPOINT, SERVERLESS), (f"  {SCALE}\n", "  scale: {min: 0, max: 4}\n"), (ROLLOUT, "")], "4 B parameters in int4 need about 4.1 GB, and a copy has 3.0", 4, "error"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("check", "edits", "says", "line", "severity"), FIRES, ids=[f"{case[0]}-{at}" for at, case in enumerate(FIRES)]
)
def test_a_check_fires_with_its_line_its_reason_and_its_cure(
    tmp_path: Path, check: Check, edits: list[tuple[str, str]], says: str, line: int, severity: str
) -> None:
    text = CLEAN
    for old, new in edits:
        assert old in text
        text = text.replace(old, new, 1)
    found = [it for it in findings(tmp_path, text) if it.check == check]
    assert len(found) == 1, found
    assert says in found[0].problem.fault
    assert (found[0].problem.line, found[0].severity) == (line, severity)
    assert found[0].problem.cure
    assert found[0].reason.endswith(".")
    others = {it.check for it in findings(tmp_path, text)} - {check}
    assert others <= {"idle-gpu"}, others


HUB = "{hub: Qwen/Qwen3-0.6B, revision: c1899de289a04d12100db370d81485cdf75e47ca}"


@pytest.mark.parametrize("said", ["spot: true", "network_isolation: false"])
def test_a_job_that_fetches_its_base_is_told_of_the_network_it_needs_for_it_once_and_may_be_waived(
    tmp_path: Path, said: str
) -> None:
    (found,) = every(tmp_path, CLEAN.replace("spot: true", said))
    assert (found.check, found.severity, found.problem.line, found.problem.fault) == (
        "network-isolation",
        "warning",
        9,
        f"model {FETCHED}",
    )
    assert "copy it into a folder and name that: `base: {path: …}`" in found.problem.cure
    both = CLEAN.replace("places: {", "places: {features: sagemaker, ")
    assert [it.problem.fault for it in every(tmp_path, both)] == [f"features and model {FETCHED}"]
    waived = CLEAN.replace("audit: true", "audit: true\n  waive: [{check: network-isolation, reason: It is public.}]")
    assert [(it.check, it.waived) for it in every(tmp_path, waived)] == [("network-isolation", "It is public.")]


def test_a_job_that_is_given_its_base_goes_without_the_network_and_is_told_where_it_does_not(tmp_path: Path) -> None:
    given = CLEAN.replace(HUB, "{path: base}")
    assert [it for it in every(tmp_path, given) if it.check == "network-isolation"] == []
    open_to_all = given.replace("spot: true", "network_isolation: false")
    (found,) = [it for it in every(tmp_path, open_to_all) if it.check == "network-isolation"]
    assert "take it out: inputs come and outputs go without it" in found.problem.cure


def test_what_a_copy_fetches_has_to_fit_its_disk(tmp_path: Path) -> None:
    function, at_ecs = "lambda: {memory: 8GB%s}", f"ecs: {{cpu: 8, memory: 60GB, disk: %s, {NAMED}}}"
    for place, size, says in (
        (function % "", 4, "4 B parameters in int4 are about 2.6 GB in files, and a copy's disk has 2.0"),
        (function % ", disk: 3GB", 4, ""),
        (at_ecs % "21GB", 40, "40 B parameters in int4 are about 26.0 GB in files, and a copy's disk has 21.0"),
        (at_ecs % "50GB", 40, ""),
    ):
        text = CLEAN.replace(ENDPOINT, f"endpoint: {{{place}}}").replace("Qwen3-0.6B", f"Qwen3-{size}B")
        found = [it for it in findings(tmp_path, text.replace(f"  {SCALE}\n", "")) if it.check == "endpoint-memory"]
        assert [it.problem.fault for it in found] == ([says] if says else [])
        assert [it.severity for it in found] == (["error"] if says else [])


def test_a_copy_has_to_fit_the_machine_that_it_is_given(tmp_path: Path) -> None:
    at_ecs, at_eks = f"ecs: {{gpus: 1, instance: g5.xlarge, %s, {NAMED}}}", f"eks: {{%s, {NAMED}}}"
    for place, says in (
        (at_ecs % "cpu: 64", "a copy asks for 64 vCPU, and g5.xlarge has 4"),
        (at_ecs % "memory: 16GB", "a copy asks for 16 GB, and g5.xlarge has 14.72 to give away"),
        (at_ecs.replace("gpus: 1", "gpus: 2") % "cpu: 4", "a copy asks for 2 GPUs, and g5.xlarge has 1"),
        (at_ecs % "disk: 21GB", "the image that g5.xlarge starts from takes 30 GB, and disk is 21"),
        (at_ecs % "cpu: 4, memory: 14GB, disk: 30GB", ""),
        (at_eks % "cpu: 4", "a copy asks for 4 vCPU, and m7i.xlarge has 4, some of which the cluster takes itself"),
        (at_eks % "memory: 15GB", "a copy asks for 15 GB, and m7i.xlarge has 14.72 to give away"),
        (at_eks % "cpu: 3, memory: 14GB, disk: 20GB", ""),
        (at_eks % "cpu: 64, instance: x9.large", ""),
    ):
        text = CLEAN.replace(ENDPOINT, f"endpoint: {{{place}}}").replace(f"  {SCALE}\n", "").replace(ROLLOUT, "")
        found = [it for it in findings(tmp_path, text) if it.check == "endpoint-memory"]
        assert [it.problem.fault for it in found] == ([says] if says else [])
        assert all(it.severity == "error" and it.problem.line == 4 for it in found)


def test_a_rollout_that_nothing_turns_back_is_an_error(tmp_path: Path) -> None:
    text = CLEAN.replace(", rollback_on: [error_rate > 2%]", "").replace(
        "  alarms: [error_rate > 1%, p95_latency > 5s for 5m]\n", ""
    )
    assert {"rollback", "alarms"} == {it.check for it in findings(tmp_path, text)}
    assert [it.severity for it in findings(tmp_path, text) if it.check == "rollback"] == ["error"]
    watched = CLEAN.replace(", rollback_on: [error_rate > 2%]", "")
    assert findings(tmp_path, watched) == []


def test_every_check_is_in_the_language_and_is_tested_here(tmp_path: Path) -> None:
    assert set(RULES) == set(get_args(Check))
    assert {case[0] for case in FIRES} | {"rollback"} == set(RULES)


NEIGHBOURS = {
    "a function answers one request at a time": [*FUNCTION, ("audit: true", "audit: true\n  waive: [{check: public, reason: Customers ask from the internet.}]")],
    "an address in the network": [(ENDPOINT, f"endpoint: {{ecs: {{public: false, {NAMED}}}}}")],
    "a queue may have no copies": [(ENDPOINT, "endpoint: {sagemaker: {form: async, instance: ml.m7i.xlarge}}"), ("min: 2", "min: 0"), (LIMITS, "limits: {requests_per_minute: 60, timeout: 20m, input_tokens: 200000}")],
    "fp16 is what a GPU is for": [("ml.m7i.xlarge", "ml.g5.xlarge"), ("int4", "fp16")],
    "checkpoints are often enough": [("method: qlora", "method: qlora\n  training: {checkpoint_every: 15m}")],
    "no spot, no hurry": [(", spot: true", ""), ("method: qlora", "method: qlora\n  training: {checkpoint_every: 1h}")],
    "tokens are a limit too": [("requests_per_minute", "tokens_per_minute")],
    "another host of the same union": [("copy_to: eu-west-1", "copy_to: eu-north-1")],
    "replication is a second copy": [("backup: {copy_to: eu-west-1}", "replicate_to: eu-west-1")],
    "a larger GPU": [("Qwen3-0.6B", "Qwen3-8B"), ("ml.g5.xlarge", "ml.p5.48xlarge"), SMALL_SERVER],
    "one minute": [(LIMITS, "limits: {requests_per_minute: 60, timeout: 60s}")],
    "a tiny model needs no GPU": [("{hub: Qwen/Qwen3-0.6B, revision: c1899de289a04d12100db370d81485cdf75e47ca}", "{scratch: tiny}"), ("method: qlora", "method: full"), ("ml.g5.xlarge", "ml.m7i.large")],
}  # fmt: skip


@pytest.mark.parametrize("case", NEIGHBOURS)
def test_a_harmless_neighbour_is_left_in_peace(tmp_path: Path, case: str) -> None:
    text = CLEAN
    for old, new in NEIGHBOURS[case]:
        assert old in text
        text = text.replace(old, new, 1)
    assert [it.check for it in findings(tmp_path, text) if it.check != "idle-gpu" and not it.waived] == []


def test_what_is_an_error_for_prod_is_a_warning_where_people_try_things(tmp_path: Path) -> None:
    text = CLEAN.replace("min: 2", "min: 1").replace("  prod: {}", "  prod: {}\n  staging: {}")
    assert [it.severity for it in findings(tmp_path, text)] == ["error"]
    assert [it.severity for it in findings(tmp_path, text, "staging")] == ["warning"]


def test_a_waiver_with_its_reason_lets_a_check_be(tmp_path: Path) -> None:
    text = CLEAN.replace("min: 2", "min: 1").replace(
        "audit: true", "audit: true\n  waive: [{check: copies, reason: Nobody waits for it.}]"
    )
    (found,) = findings(tmp_path, text)
    assert (found.check, found.waived, found.stops) == ("copies", "Nobody waits for it.", False)


def test_a_waiver_that_waives_nothing_is_told(tmp_path: Path) -> None:
    (found,) = findings(
        tmp_path, CLEAN.replace("audit: true", "audit: true\n  waive: [{check: copies, reason: Nobody waits for it.}]")
    )
    assert (found.check, found.severity, found.problem.line) == ("waiver", "warning", 23)
    assert "this waives nothing" in found.problem.fault
    assert found.problem.cure == "take it out"


def test_validate_prints_warnings_and_is_content(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "shop.yaml").write_text(CLEAN.replace("audit: true", "audit: false"))
    assert main(["validate", str(tmp_path / "shop.yaml"), "--target", "prod"]) == 0
    said = capsys.readouterr()
    assert "ok  (target prod)" in said.out
    assert "nothing records who did what" in said.err
    assert "warning audit (target prod): Who changed what" in said.err


def test_validate_ends_with_2_on_an_error_of_any_target(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    prod = "\ntargets:\n  prod:\n    store: s3://acme-llm/bots\n    region: eu-central-1\n    places: {endpoint: sagemaker}\n"
    (tmp_path / "shop.yaml").write_text(
        "llmspec: 1\nname: shop\ndata: {sources: [{path: a.jsonl}]}\nmodel: {base: {scratch: tiny}}" + prod
    )
    assert main(["validate", str(tmp_path / "shop.yaml")]) == 2
    said = capsys.readouterr().err
    assert "error copies (target prod)" in said
    assert said.endswith("2 problems. Nothing was run.\n")
    assert main(["validate", str(tmp_path / "shop.yaml"), "--target", "local"]) == 0


def test_validate_says_what_is_waived_and_why(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = CLEAN.replace("min: 2", "min: 1").replace(
        "audit: true", "audit: true\n  waive: [{check: copies, reason: Nobody waits for it.}]"
    )
    (tmp_path / "shop.yaml").write_text(text)
    assert main(["validate", str(tmp_path / "shop.yaml"), "--target", "prod"]) == 0
    assert "waived at prod: copies (Nobody waits for it.)" in capsys.readouterr().err


def test_validate_in_json_has_each_finding(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "shop.yaml").write_text(CLEAN.replace("min: 2", "min: 1"))
    assert main(["validate", str(tmp_path / "shop.yaml"), "--target", "prod", "-o", "json"]) == 2
    (told,) = json.loads(capsys.readouterr().out)
    (finding,) = [it for it in told["policy"]["prod"] if not it["problem"]["fault"].endswith(FETCHED)]
    assert (finding["check"], finding["severity"], finding["problem"]["line"]) == ("copies", "error", 16)
    assert [problem["fault"] for problem in told["problems"]] == ["1 copy at least"]


def test_apply_refuses_what_policy_refuses_before_anything_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "shop.yaml").write_text(CLEAN.replace("min: 2", "min: 1"))
    (tmp_path / "faq.jsonl").write_text('{"question": "q", "answer": "a"}\n')
    assert main(["apply", str(tmp_path / "shop.yaml"), "--target", "prod", "--yes"]) == 2
    assert "1 copy at least" in capsys.readouterr().err
    assert not (tmp_path / ".llmspec").exists()


def test_errors_are_raised_together(tmp_path: Path) -> None:
    text = CLEAN.replace("min: 2", "min: 1").replace("evaluation: {gates: [token_f1 >= 0.8]}\n", "")
    (tmp_path / "shop.yaml").write_text(text)
    with pytest.raises(SpecError) as caught:
        policy.require(load(tmp_path / "shop.yaml", "prod", env={}))
    assert [problem.fault for problem in caught.value.problems] == ["no score is asked for", "1 copy at least"]


def test_machines_have_what_aws_says(tmp_path: Path) -> None:
    told = {"ml.g5.xlarge": (1, 22, 16), "g5.12xlarge": (4, 22, 192), "g6e.48xlarge": (8, 44, 1536), "p4d.24xlarge": (8, 40, 1152), "ml.m7i.large": (0, 0, 8), "c7i.xlarge": (0, 0, 8)}  # fmt: skip
    for name, facts in told.items():
        found = machine(name)
        assert found is not None
        assert (found.gpus, found.gpu_gib, found.memory_gib) == facts
    assert machine("ml.trn1.32xlarge") is None
    assert machine("g5.huge") is None


def test_the_size_of_a_base_is_what_its_name_says(tmp_path: Path) -> None:
    for name, size in {"Qwen/Qwen3-0.6B": 0.6e9, "acme/Llama-3.1-8B-Instruct": 8e9, "HuggingFaceTB/SmolLM2-135M": 135e6, "acme/bot": None, "acme/v2-best": None}.items():  # fmt: skip
        (tmp_path / "shop.yaml").write_text(CLEAN.replace("Qwen/Qwen3-0.6B", name))
        assert parameters(load(tmp_path / "shop.yaml", "prod", env={}).spec) == size
    assert 3e6 < activations(7e9, 1) < 7e6
