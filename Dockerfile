# The bridge as an image: from the locks alone, no compiler, no package index at run time, no root.
#
#   docker build -t sales-crm-bridge .
#   docker run --read-only --tmpfs /tmp --env-file secrets.env \
#     -v ledger:/var/lib/sales-crm-bridge -v ./config:/var/lib/sales-crm-bridge/config:ro sales-crm-bridge
#
# It starts in the ledger's folder and finds config/bridge.yaml and config/tenants there; the variables that those refer to stand in
# secrets.env. (`run` expects a PostgreSQL ledger's schema to be there: `docker run … sales-crm-bridge migrate` first.)
#
# The base is pinned by tag, so that security fixes of Debian and Python come in with each build; a deployment that
# wants the very same bytes twice pins the image that it built by digest.
FROM python:3.13-slim-bookworm AS build

ENV PIP_DISABLE_PIP_VERSION_CHECK=1 \
    PIP_NO_CACHE_DIR=1 \
    PIP_ROOT_USER_ACTION=ignore
WORKDIR /src

# The dependencies first: they change less often than the code.
COPY requirements/ requirements/
RUN python -m venv /opt/build \
 && /opt/build/bin/pip install --require-hashes --only-binary :all: -r requirements/build.lock \
 && python -m venv --without-pip /opt/bridge \
 && pip --python /opt/bridge/bin/python install --no-compile --require-hashes --only-binary :all: \
      -r requirements/runtime.lock

COPY pyproject.toml README.md LICENSE ./
COPY adapters/ adapters/
COPY sales_crm_bridge/ sales_crm_bridge/
# Compiled once and for all: in a read-only file system nothing could be written beside the sources later.
RUN /opt/build/bin/pip wheel --no-deps --no-build-isolation --wheel-dir /wheels . \
 && pip --python /opt/bridge/bin/python install --no-compile --no-deps /wheels/*.whl \
 && /opt/bridge/bin/python -m compileall -q --invalidation-mode unchecked-hash /opt/bridge/lib


FROM python:3.13-slim-bookworm

LABEL org.opencontainers.image.title="sales-crm-bridge" \
      org.opencontainers.image.description="Keeps the leads of an event-driven Sales domain in an external CRM" \
      org.opencontainers.image.licenses="Apache-2.0"

ENV PATH=/opt/bridge/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1
# Where the bridge listens and where its health check asks: in the image this variable says it, whatever bridge.yaml says.
ENV PORT_HTTP=8080

COPY --from=build /opt/bridge /opt/bridge
# The embedded ledger's folder: the only place that the bridge writes to, apart from /tmp.
RUN install -d -o 65532 -g 65532 -m 0700 /var/lib/sales-crm-bridge
WORKDIR /var/lib/sales-crm-bridge
VOLUME ["/var/lib/sales-crm-bridge"]

# A number, so that Kubernetes can see that it is not root (runAsNonRoot).
USER 65532:65532
STOPSIGNAL SIGTERM

# This process alone, as Kubernetes' probes ask it: neither its replicas nor its ledger make it well or ill.
HEALTHCHECK --interval=10s --timeout=5s --start-period=30s --retries=3 CMD ["python", "-m", "sales_crm_bridge.alive"]
ENTRYPOINT ["sales-crm-bridge"]
CMD ["run"]
