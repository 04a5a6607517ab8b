"""In which order the files are run: those that take longest first, so that no worker is left alone with one at the end.

`make test` keeps xdist from its own order, which is by how many tests a file has.
"""

from pathlib import Path

import pytest

SECONDS = {
    "test_aws_end_to_end.py": 250,
    "test_specs.py": 170,
    "test_faults.py": 160,
    "test_store_s3.py": 100,
    "test_plan.py": 90,
    "test_places_sagemaker_job.py": 90,
    "test_places_emr_job.py": 65,
    "test_serving_swap.py": 60,
    "test_infra_stack.py": 60,
    "test_ui.py": 60,
    "test_serving_page.py": 55,
    "test_places_ecs_job.py": 50,
    "test_places_lambda_endpoint.py": 50,
    "test_container_work.py": 45,
    "test_model_resume.py": 45,
    "test_infra_commands.py": 45,
    "test_places_sagemaker_endpoint.py": 45,
    "test_container_serving.py": 42,
    "test_places_eks_endpoint.py": 40,
    "test_serving_batch.py": 39,
    "test_data_engines.py": 36,
    "test_plugin.py": 35,
    "test_container_s3.py": 35,
    "test_serving_classify.py": 33,
    "test_places_ecs_endpoint.py": 32,
    "test_candidate.py": 30,
    "test_serving_lm_eval.py": 28,
}
"""What a file took with two workers on two cores, where that was long. An estimate does: only the order is made of it."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    if gone := [name for name in SECONDS if not Path(__file__).with_name(name).exists()]:
        raise pytest.UsageError(f"{Path(__file__).name} names files that are not there: {', '.join(gone)}")
    items.sort(key=lambda item: -SECONDS.get(item.path.name, 0))
