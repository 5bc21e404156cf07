# clipclean with all it needs, for a CPU or an NVIDIA GPU. No step after the build needs a network.
ARG BASE=python:3.12-slim

FROM ${BASE} AS build
WORKDIR /src
COPY pyproject.toml README.md LICENSE NOTICE ./
COPY clipclean clipclean
COPY recipes recipes
COPY docs docs
COPY ci/gate.sh ci/gate.sh
RUN python -m pip wheel --no-cache-dir --no-deps --wheel-dir /wheels .
RUN python -m venv /opt/clipclean \
    && /opt/clipclean/bin/python -m pip install --no-cache-dir /wheels/*.whl \
    && install -m 0755 ci/gate.sh /opt/clipclean/bin/clipclean-gate

FROM ${BASE}
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
