# clipclean with all that it needs. No step after the build needs a network.
# VARIANT=gpu has the PyTorch that pip finds: on most machines the build for NVIDIA GPUs, which runs on CPUs as well.
# VARIANT=cpu takes it from TORCH_INDEX, an index of CPU builds: the image is small. A build with CUDA ends it with an error.
# EXTRAS are optional parts of clipclean, with commas between: all reads Parquet, draws maps and exports ONNX.
# BASE is one version, not a moving name; give one by its digest to fix every byte.
ARG BASE=python:3.12.11-slim-bookworm
ARG VARIANT=gpu

FROM ${BASE} AS wheel
WORKDIR /src
COPY pyproject.toml README.md LICENSE NOTICE ./
COPY clipclean clipclean
COPY docs docs
COPY ci/gate.sh ci/gate.sh
RUN python -m pip wheel --no-cache-dir --no-deps --wheel-dir /wheels .
RUN python -m venv /opt/clipclean \
    && install -m 0755 ci/gate.sh /opt/clipclean/bin/clipclean-gate

# Each pip command is given one index: with two, whoever can publish on either decides what is installed.
FROM wheel AS cpu-build
ARG TORCH_INDEX=
RUN /opt/clipclean/bin/python -m pip install --no-cache-dir ${TORCH_INDEX:+--index-url "${TORCH_INDEX}"} torch torchvision \
    && /opt/clipclean/bin/python -c "import sys, torch; sys.exit('This PyTorch has CUDA. For VARIANT=cpu give TORCH_INDEX, an index of CPU builds.' if torch.version.cuda else 0)"

FROM wheel AS gpu-build

FROM ${VARIANT}-build AS build
ARG EXTRAS=all
RUN /opt/clipclean/bin/python -m pip install --no-cache-dir "$(echo /wheels/*.whl)${EXTRAS:+[${EXTRAS}]}"

FROM ${BASE} AS cpu

FROM ${BASE} AS gpu
# What NVIDIA's container runtime reads, where nobody passes --gpus.
ENV NVIDIA_VISIBLE_DEVICES=all \
    NVIDIA_DRIVER_CAPABILITIES=compute,utility

FROM ${VARIANT}
ARG BASE
ARG REVISION=
LABEL org.opencontainers.image.title="clipclean" \
    org.opencontainers.image.description="Audit and clean CLIP checkpoints that somebody else trained, without ever executing them." \
    org.opencontainers.image.licenses="Apache-2.0" \
    org.opencontainers.image.base.name="${BASE}" \
    org.opencontainers.image.revision="${REVISION}"
COPY --from=build /opt/clipclean /opt/clipclean
# HOME is a place that any user may write to; open_clip is told not to ask for models.
ENV PATH=/opt/clipclean/bin:$PATH \
    HOME=/tmp \
    HF_HUB_OFFLINE=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1
RUN useradd --uid 10001 --no-create-home --home-dir /tmp --shell /usr/sbin/nologin clipclean
WORKDIR /data
# By number, so that a cluster can check that it is not root.
USER 10001
ENTRYPOINT ["clipclean"]
CMD ["--help"]
