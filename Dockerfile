# One image a program: `docker build --target operator|trader|sandbox .`; scripts/check-images builds and starts all three.
#
# An image holds its own package and tradingbot_api, and what its own lock names: the operator has no ccxt, the trader
# no kopf. The operator's has the kubectl plugin beside it. The foreign packages are never copied into the stage that
# builds the wheel, so nothing has to be taken out.
ARG PYTHON_IMAGE=python:3.13-slim

# ---- what all builds start from: an empty virtual environment, and the locked builder of our own wheel
FROM ${PYTHON_IMAGE} AS builder
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_INPUT=1 PIP_ROOT_USER_ACTION=ignore
WORKDIR /src
RUN python3 -m venv --without-pip /opt/hatch && python3 -m venv --without-pip /opt/tradingbot
COPY requirements/build.txt requirements/
RUN --mount=type=cache,target=/root/.cache/pip \
    python3 -m pip --python /opt/hatch/bin/python install --only-binary=:all: --require-hashes -r requirements/build.txt
COPY scripts/install-program scripts/

# ---- a program: its lock first (it changes rarely), then what the wheel is made of
FROM builder AS operator-builder
COPY requirements/operator.txt requirements/
RUN --mount=type=cache,target=/root/.cache/pip scripts/install-program dependencies requirements/operator.txt
COPY pyproject.toml README.md LICENSE ./
COPY crds/tradingbot_api crds/tradingbot_api
COPY operator/tradingbot_operator operator/tradingbot_operator
# The plugin as well: the chart's drills run it.
COPY operator/tradingbot_plugin operator/tradingbot_plugin
RUN scripts/install-program package tradingbot-operator kubectl-tradingbot

FROM builder AS trader-builder
COPY requirements/trader.txt requirements/
RUN --mount=type=cache,target=/root/.cache/pip scripts/install-program dependencies requirements/trader.txt
COPY pyproject.toml README.md LICENSE ./
COPY crds/tradingbot_api crds/tradingbot_api
COPY trader/tradingbot_trader trader/tradingbot_trader
RUN scripts/install-program package tradingbot-trader

FROM builder AS sandbox-builder
COPY requirements/sandbox.txt requirements/
RUN --mount=type=cache,target=/root/.cache/pip scripts/install-program dependencies requirements/sandbox.txt
COPY pyproject.toml README.md LICENSE ./
COPY crds/tradingbot_api crds/tradingbot_api
COPY sandbox/tradingbot_sandbox sandbox/tradingbot_sandbox
RUN scripts/install-program package tradingbot-sandbox

# ---- what all images start from
FROM ${PYTHON_IMAGE} AS runtime
ARG VERSION=0.0.0-dev
ARG REVISION=unknown
LABEL org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}" \
      org.opencontainers.image.licenses="Apache-2.0"
# The root file system is read-only in the pods, and the bytecode is in the image: Python has nothing to write.
# LOGNAME: libraries ask for the user's name, and no passwd has one for a number that a cluster may choose itself.
ENV LOGNAME=tradingbot \
    PATH=/opt/tradingbot/bin:/usr/local/bin:/usr/bin:/bin \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    LANG=C.UTF-8 \
    TZ=UTC
WORKDIR /
# A number, because `runAsNonRoot` cannot see that a name is not root.
USER 65532:65532

FROM runtime AS sandbox
LABEL org.opencontainers.image.title="tradingbot-sandbox" \
      org.opencontainers.image.description="Simulated exchanges for trying trading bots. Not for production."
COPY --from=sandbox-builder /opt/tradingbot /opt/tradingbot
ENTRYPOINT ["tradingbot-sandbox"]

FROM runtime AS trader
LABEL org.opencontainers.image.title="tradingbot-trader" \
      org.opencontainers.image.description="Runs one trading bot: feed, strategy, risk, orders, ledger."
COPY --from=trader-builder /opt/tradingbot /opt/tradingbot
ENTRYPOINT ["tradingbot-trader"]

# Last, so that a build without --target makes the operator.
FROM runtime AS operator
LABEL org.opencontainers.image.title="tradingbot-operator" \
      org.opencontainers.image.description="Reconciles TradingBots into workloads and grants their permits."
COPY --from=operator-builder /opt/tradingbot /opt/tradingbot
ENTRYPOINT ["tradingbot-operator"]
