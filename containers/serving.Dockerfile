# The endpoint: docker build -f containers/serving.Dockerfile .
# On GPUs: --build-arg EXTRA=serve-gpu --build-arg BASE=<a CUDA runtime image with cuDNN and Python 3.11 to 3.13>
# From AWS's own copy of Docker Hub: a builder there shares its address with others, and the Hub counts pulls by address.
ARG BASE=public.ecr.aws/docker/library/python:3.12-slim-bookworm
# Inert but on Lambda, where it turns invocations into HTTP for port 8080.
ARG ADAPTER=public.ecr.aws/awsguru/aws-lambda-adapter:1.0.0

FROM ${ADAPTER} AS adapter

FROM ${BASE} AS python
RUN python3 -c "import ensurepip" || \
    (apt-get update && apt-get install -y --no-install-recommends python3 python3-venv && rm -rf /var/lib/apt/lists/*)

FROM python AS build
WORKDIR /src
RUN python3 -m venv /opt/llmspec
# What others made changes seldom, so it has a layer of its own, below ours.
COPY pyproject.toml requirements.lock containers/wanted.py ./
ARG EXTRA=serve
RUN python3 wanted.py ${EXTRA} otel s3 > wanted.txt && \
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

FROM python
LABEL com.amazonaws.sagemaker.capabilities.accept-bind-to-port=true
COPY --from=adapter /lambda-adapter /opt/extensions/lambda-adapter
COPY --from=build /opt/llmspec /opt/llmspec
ENV PATH=/opt/llmspec/bin:$PATH HOME=/tmp PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 \
    ORT_DISABLE_TELEMETRY=1 AWS_LWA_READINESS_CHECK_PATH=/ping
WORKDIR /tmp
USER 10001:10001
EXPOSE 8080
HEALTHCHECK --interval=10s --timeout=3s --start-period=8m CMD ["python", "-P", "-m", "backends.serving.probe"]
ENTRYPOINT ["python", "-P", "-m", "backends.serving.container"]
CMD ["serve"]
