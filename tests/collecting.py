"""In which order the files are run: those that take longest first, so that no worker is left alone with one at the end.

`make test` keeps xdist from its own order, which is by how many tests a file has.
"""

from pathlib import Path

import pytest

SECONDS = {
    "test_aws_end_to_end.py": 350,
    "test_faults.py": 235,
    "test_specs.py": 220,
    "test_places_sagemaker_job.py": 150,
    "test_store_s3.py": 135,
    "test_serving_swap.py": 115,
    "test_places_emr_job.py": 115,
    "test_infra_stack.py": 104,
    "test_plan.py": 100,
    "test_serving_page.py": 60,
    "test_places_ecs_job.py": 93,
    "test_ci_jobs.py": 78,
    "test_infra_commands.py": 75,
    "test_places_sagemaker_endpoint.py": 70,
    "test_ui.py": 67,
    "test_container_work.py": 65,
    "test_plugin.py": 64,
    "test_model_resume.py": 60,
    "test_container_s3.py": 53,
    "test_data_engines.py": 53,
    "test_places_eks_endpoint.py": 53,
    "test_serving_classify.py": 47,
    "test_serving_batch.py": 45,
    "test_places_ecs_endpoint.py": 43,
    "test_container_serving.py": 39,
    "test_places_lambda_endpoint.py": 38,
    "test_bedrock_endpoint.py": 37,
    "test_serving_api.py": 36,
    "test_candidate.py": 35,
    "test_serving_sampling.py": 34,
    "test_serving_load.py": 31,
}
"""What a file took with two workers on two cores, where that was long. An estimate does: only the order is made of it."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    if gone := [name for name in SECONDS if not Path(__file__).with_name(name).exists()]:
        raise pytest.UsageError(f"{Path(__file__).name} names files that are not there: {', '.join(gone)}")
    items.sort(key=lambda item: -SECONDS.get(item.path.name, 0))
