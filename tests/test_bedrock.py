"""A product whose model is hosted: its language, its plan, and what it costs."""

from pathlib import Path

import bedrock_parts
import pytest
from conftest import Project

from llmspec.errors import SpecError
from llmspec.load import load
from llmspec.plan import plan
from llmspec.present import plan_lines
from llmspec.stage import Product

GOOD = bedrock_parts.SPEC


@pytest.fixture
def shop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Project:
    monkeypatch.chdir(tmp_path)
    return Project(tmp_path).write(GOOD)


def fault(shop: Project, old: str, new: str) -> str:
    shop.edit(old, new)
    with pytest.raises(SpecError) as found:
        load(shop.spec)
    return str(found.value)


def test_a_hosted_base_chooses_engines_that_ask_and_none_that_compute(shop: Project) -> None:
    product = Product.open(shop.spec)
    engines = {name: type(stage.engine).__name__ for name, stage in product.stages.items() if name not in ("data", "monitors")}
    assert engines == {
        "features": "PromptBedrock",
        "model": "AskBedrock",
        "onnx": "BindBedrock",
        "evaluation": "ScoreBedrock",
        "endpoint": "ServeBedrock",
    }
    needed = {module for name in engines for module in type(product.stage(name).engine).requires}
    assert "boto3" in needed
    assert not needed & {"torch", "transformers", "onnxruntime", "tokenizers", "numpy"}


def test_what_has_no_effect_on_a_hosted_model_is_neither_said_nor_rendered(shop: Project) -> None:
    plain = load(shop.spec).plain
    assert set(plain["model"]) == {"engine", "base", "task", "method", "prompt"}
    assert (set(plain["features"]), set(plain["onnx"])) == ({"engine"}, {"engine"})
    assert "perplexity" not in plain["evaluation"]["metrics"]


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("method: prompt", "method: lora", "a hosted model cannot be trained here"),
        ("  prompt: {examples: 2}", "  training: {epochs: 2}", "training has no effect: a hosted model is not trained"),
        ("region: us-east-1\n", "", "Bedrock needs a region"),
        ("amazon.nova-lite-v1:0", "nova lite", "write a model's id, an inference profile's, or the ARN of either"),
        ("token_f1 >= 0.9", "perplexity <= 4", "perplexity needs the probability of each token, and Bedrock gives none"),
        ("  gates:", "  metrics: [perplexity, token_f1]\n  gates:", "measure and gate token_f1, exact_match or rouge_l instead"),
        ("model:\n", "features: {max_tokens: 64}\nmodel:\n", "max_tokens has no effect: a hosted model reads text"),
        ("model:\n", "onnx: {precision: int8}\nmodel:\n", "precision has no effect"),
        ("  port: 0", "  port: 0\n  prefix_cache: false", "prefix_cache has no effect"),
        ("timeout: 20s", "timeout: 20s, memory: 1GB", "memory has no effect: a hosted model has its own"),
        ("evaluation:\n", "evaluation:\n  engine: score_onnx\n", "score_onnx works on weights, and a hosted model shows none"),
        ("data:\n", "places: {model: sagemaker}\ndata:\n", "a machine at sagemaker would be paid for waiting"),
        ("data:\n", "places: {endpoint: sagemaker}\ndata:\n", "sagemaker serves weights, and a hosted model shows none"),
        ("{examples: 2}", "{temperature: 1.5}", "model.prompt.temperature"),
    ],
)
def test_what_cannot_be_with_a_hosted_model_is_refused_with_its_cure(shop: Project, old: str, new: str, said: str) -> None:
    assert said in fault(shop, old, new)


def test_a_base_with_weights_has_no_prompt_and_no_engine_that_asks(shop: Project) -> None:
    trained = GOOD.replace("region: us-east-1\n", "").replace(f"{{bedrock: {bedrock_parts.MODEL}}}", "{scratch: tiny}")
    shop.write(trained)
    with pytest.raises(SpecError, match="method: prompt trains nothing"):
        load(shop.spec)
    assert "prompt does nothing to a base that is trained" in fault(shop, "method: prompt", "method: full")
    assert "score_bedrock is for a hosted base" in fault(
        shop, "  prompt: {examples: 2}\nevaluation:\n", "evaluation:\n  engine: score_bedrock\n"
    )


def test_an_arn_and_a_profile_are_bases_too(shop: Project) -> None:
    arn = "arn:aws:bedrock:us-east-1:111122223333:application-inference-profile/a1b2c3"
    for written, profile in ((arn, True), ("us.amazon.nova-lite-v1:0", True), ("anthropic.claude-haiku-4-5-20251001-v1:0", False)):
        shop.write(GOOD.replace(bedrock_parts.MODEL, written))
        base = load(shop.spec).spec.hosted
        assert base
        assert base.is_profile == profile


def test_the_plan_prices_the_evaluation_at_most_and_never_says_that_questions_are_free(shop: Project) -> None:
    shop.edit("  gates:", "  rows: 10\n  gates:")
    made = plan(Product.open(shop.spec))
    assert made.costs
    bill = {line.need.what: line.most for line in made.costs.lines}
    assert bill == {
        "bedrock amazon.nova-lite-v1:0 input": pytest.approx(10 * 600 / 1000 * 0.00006),
        "bedrock amazon.nova-lite-v1:0 output": pytest.approx(10 * 64 / 1000 * 0.00024),
    }
    (use,) = made.costs.unpriced
    assert use == (
        "endpoint: questions to amazon.nova-lite-v1:0, by use, "
        "at $0.00006 per 1,000 tokens of input and $0.00024 per 1,000 tokens of output"
    )
    text = "\n".join(plan_lines(made))
    assert "less than $0.01 once" in text
    assert "a month" not in text


def test_a_model_without_a_price_is_unpriced_and_not_free(shop: Project) -> None:
    shop.edit(bedrock_parts.MODEL, "meta.llama3-2-3b-instruct-v1:0").edit("  gates:", "  rows: 10\n  gates:")
    made = plan(Product.open(shop.spec))
    assert made.costs
    assert made.costs.lines == []
    assert "evaluation: bedrock meta.llama3-2-3b-instruct-v1:0 input in us-east-1" in made.costs.unpriced
    assert "endpoint: bedrock meta.llama3-2-3b-instruct-v1:0 output in us-east-1" in made.costs.unpriced


def test_a_profile_within_a_geography_costs_what_its_model_does_and_a_global_one_is_not_known(shop: Project) -> None:
    shop.edit(bedrock_parts.MODEL, f"us.{bedrock_parts.MODEL}").edit("  gates:", "  rows: 10\n  gates:")
    priced = plan(Product.open(shop.spec)).costs
    shop.edit(f"us.{bedrock_parts.MODEL}", f"global.{bedrock_parts.MODEL}")
    unknown = plan(Product.open(shop.spec)).costs
    assert priced
    assert unknown
    assert (len(priced.lines), len(unknown.lines)) == (2, 0)
