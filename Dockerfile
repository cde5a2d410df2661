# syntax=docker/dockerfile:1
# Two stages: the first exports a checkpoint, the second holds Python, what the three stages import, and the bundle.
#
#   make image                               the default model, from the hub
#   make image MODEL=models/minilm-qa        the checkpoint in this repository; needs no hub

ARG BASE=python:3.12-slim-bookworm

FROM ${BASE} AS export
ARG TORCH_INDEX=https://download.pytorch.org/whl/cpu
ARG MODEL=
ARG REVISION=
WORKDIR /build
COPY pyproject.toml constraints.txt LICENSE README.md ./
COPY export export
COPY runtime runtime
COPY samples samples
COPY models models
RUN python -m venv /opt/export \
    && pip() { /opt/export/bin/python -m pip install --no-cache-dir -c constraints.txt "$@"; } \
    && { pip --no-deps --retries 0 --timeout 15 --index-url "$TORCH_INDEX" torch || pip --no-deps torch; } \
    && pip onnxruntime tokenizers numpy onnx 'optimum[onnxruntime]' torch 'transformers<4.58' \
    && /opt/export/bin/python -m export ${MODEL} ${REVISION:+--revision "$REVISION"} --output /model

FROM ${BASE} AS packages
WORKDIR /build
COPY pyproject.toml constraints.txt LICENSE README.md ./
COPY benchmarks benchmarks
COPY export export
COPY pachyderm pachyderm
COPY runtime runtime
COPY stages stages
# Into a folder of its own, so that the image below gets packages and no installer; only two rooms are run there.
RUN python -m pip install --no-cache-dir -c constraints.txt --target /opt/answermill '.[stages]' \
    && cd /opt/answermill && rm -rf benchmarks export pachyderm bin

FROM ${BASE}
ENV PYTHONPATH=/opt/answermill PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 HF_HUB_OFFLINE=1 \
    ORT_DISABLE_TELEMETRY=1
COPY --from=packages /opt/answermill /opt/answermill
COPY --from=export /model /model
USER 10001:10001
WORKDIR /tmp
CMD ["python", "-m", "stages.answer", "--help"]
