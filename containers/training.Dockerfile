# Every job but the endpoint's: docker build -f containers/training.Dockerfile .
# PyPI's torch brings CUDA, and needs only the host's driver. For CPUs alone: --build-arg TORCH_INDEX=<PyTorch's index of CPU wheels>
ARG BASE=public.ecr.aws/docker/library/python:3.12-slim-bookworm

FROM ${BASE} AS build
WORKDIR /src
RUN python3 -m venv /opt/llmspec
COPY pyproject.toml requirements.lock containers/wanted.py ./
ARG TORCH_INDEX=
# First and by itself: it decides between CPU and CUDA, and is larger than all the rest.
RUN /opt/llmspec/bin/pip install --no-cache-dir --disable-pip-version-check \
    "torch==$(sed -n 's/^torch==//p' requirements.lock)" ${TORCH_INDEX:+--index-url "${TORCH_INDEX}"}
RUN python3 wanted.py spark train serve s3 > wanted.txt && \
    /opt/llmspec/bin/pip install --no-cache-dir --disable-pip-version-check -c requirements.lock -r wanted.txt
COPY README.md LICENSE ./
COPY containers containers
COPY specs/quickstart.yaml specs/llm.schema.json specs/
COPY specs/data/shop_faq.jsonl specs/data/
COPY llmspec llmspec
COPY assets assets
COPY backends backends
COPY infra_pulumi infra_pulumi
RUN /opt/llmspec/bin/pip install --no-cache-dir --disable-pip-version-check --no-deps . && \
    /opt/llmspec/bin/pip uninstall -y pip

FROM ${BASE}
COPY --from=build /opt/llmspec /opt/llmspec
ENV PATH=/opt/llmspec/bin:$PATH HOME=/tmp PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 ORT_DISABLE_TELEMETRY=1
WORKDIR /tmp
# A job ends, and says so by its exit code: there is nothing to probe.
HEALTHCHECK NONE
# 0:0 where the folders that it writes to belong to root, as they do on SageMaker.
ARG RUN_AS=10001:10001
USER ${RUN_AS}
ENTRYPOINT ["python", "-P", "-m", "backends.work.container"]
CMD ["train"]
