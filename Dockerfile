# syntax=docker/dockerfile:1
# CPU:   docker build -t rlhf .
# CUDA:  docker build -t rlhf:cuda --build-arg BASE=nvidia/cuda:12.8.1-runtime-ubuntu24.04 \
#            --build-arg TORCH_INDEX=https://download.pytorch.org/whl/cu128 .
# Run:   docker run --rm --user "$(id -u)" -v "$PWD:/workspace" rlhf recipes copy pocket
#        docker run --rm --user "$(id -u)" -v "$PWD:/workspace" rlhf align \
#            --config recipes/pocket/align.yaml        (on a GPU: --gpus all --shm-size 1g)
ARG BASE=python:3.11-slim

FROM ${BASE} AS python
# CUDA images come without Python.
RUN python3 -m ensurepip --version >/dev/null 2>&1 \
    || { apt-get update \
         && apt-get install -y --no-install-recommends python3 python3-venv \
         && rm -rf /var/lib/apt/lists/*; }

FROM python AS build
ARG TORCH_INDEX=https://download.pytorch.org/whl/cpu
WORKDIR /src
COPY constraints.txt ./
# torch alone from its own index; what it depends on follows from PyPI with the rest.
RUN python3 -m venv /opt/venv \
    && /opt/venv/bin/pip install --no-cache-dir --no-deps -c constraints.txt \
         --index-url "${TORCH_INDEX}" torch
COPY . .
RUN /opt/venv/bin/pip install --no-cache-dir -c constraints.txt '.[eval,labels,postgres]'

FROM python
COPY --from=build /opt/venv /opt/venv
ENV PATH=/opt/venv/bin:${PATH} \
    HF_HOME=/workspace/.cache/huggingface
RUN useradd --create-home --uid 10001 rlhf && mkdir /workspace && chown rlhf /workspace
USER 10001
WORKDIR /workspace
EXPOSE 8000
ENTRYPOINT ["rlhf"]
CMD ["--help"]
