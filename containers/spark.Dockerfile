# What Spark at EMR Serverless unpacks on driver and workers: a Python that may lie anywhere, with our code and what it needs. It is no
# image of the application: that is set for all runs at once, only while none runs, and must be made from EMR's own for each release.
# docker build -f containers/spark.Dockerfile --output OUT .   leaves OUT/spark.tar.gz
ARG BASE=public.ecr.aws/amazonlinux/amazonlinux:2023

FROM ${BASE} AS build
WORKDIR /src
RUN dnf install -y python3-pip tar gzip && dnf clean all
# Its Pythons are built to be moved, and ask for no library of the system but glibc.
ARG UV=0.9.7
RUN python3 -m pip install --no-cache-dir "uv==${UV}" && \
    uv python install --install-dir /pythons --no-bin 3.12 && mv /pythons/cpython-3.12*-linux-* /environment
ENV UV_BREAK_SYSTEM_PACKAGES=1 UV_PYTHON=/environment/bin/python3 UV_NO_CACHE=1 UV_LINK_MODE=copy
COPY pyproject.toml requirements.lock containers/wanted.py ./
RUN /environment/bin/python3 wanted.py spark-workers s3 > wanted.txt && uv pip install -c requirements.lock -r wanted.txt
COPY README.md LICENSE ./
COPY containers containers
COPY specs/quickstart.yaml specs/llm.schema.json specs/
COPY specs/data/shop_faq.jsonl specs/data/
COPY llmspec llmspec
COPY assets assets
COPY backends backends
COPY infra_pulumi infra_pulumi
RUN uv pip install --no-deps . && \
    rm -rf /environment/share /environment/include && find /environment -name __pycache__ -prune -exec rm -rf {} + && \
    ln -sf python3 /environment/bin/python && tar czf /spark.tar.gz -C /environment .

FROM scratch
COPY --from=build /spark.tar.gz /
