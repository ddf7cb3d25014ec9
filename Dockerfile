# One image for every process: serve, worker, migrate and all other commands.

ARG PYTHON_IMAGE=python:3.13-slim

# --- The locked packages and our wheel, in an environment without pip ---
FROM ${PYTHON_IMAGE} AS build

ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1 PIP_ROOT_USER_ACTION=ignore
WORKDIR /build

RUN python -m venv --without-pip /opt/gatepost && python -m venv tools
COPY requirements.lock requirements-run.lock requirements-extras.lock ./
# Anything: with what traces need (docs/operations/observability.md).
ARG WITH_EXTRAS=
# Wheels alone: a source package would run code of its own here, and want a compiler.
RUN tools/bin/pip --python /opt/gatepost/bin/python install --quiet --no-compile \
        --require-hashes --no-deps --only-binary :all: -r requirements.lock \
        ${WITH_EXTRAS:+-r requirements-extras.lock} \
    && tools/bin/pip install --quiet --require-hashes --no-deps -r requirements-run.lock

COPY pyproject.toml README.md LICENSE pytest_gatepost.py ./
COPY src src
RUN tools/bin/pip wheel --quiet --no-build-isolation --no-deps --wheel-dir dist . \
    && tools/bin/pip --python /opt/gatepost/bin/python install --quiet --no-compile --no-deps \
        dist/*.whl \
    # Taken unchecked: nothing in a read-only file system grows old.
    && python -m compileall -q -j 0 --invalidation-mode unchecked-hash /opt/gatepost/lib

# --- What catches mails in compose.yaml; no part of the image that runs ---
FROM ${PYTHON_IMAGE} AS mail

RUN --mount=type=bind,source=requirements-mail.lock,target=/requirements.lock \
    pip install --quiet --no-cache-dir --root-user-action ignore --disable-pip-version-check \
        --require-hashes --no-deps --only-binary :all: -r /requirements.lock \
    && install -d -o 10001 -g 10001 /var/lib/mail
COPY deploy/compose/mail.py /mail.py
WORKDIR /var/lib/mail
USER 10001:10001
EXPOSE 1025 8025
CMD ["python", "-u", "/mail.py"]

# --- What runs ---
FROM ${PYTHON_IMAGE}

ARG VERSION=unknown
ARG REVISION=unknown
ARG CREATED=unknown
ARG PYTHON_IMAGE
LABEL org.opencontainers.image.title="Gatepost" \
      org.opencontainers.image.description="A self-hosted identity service" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}" \
      org.opencontainers.image.created="${CREATED}" \
      org.opencontainers.image.base.name="${PYTHON_IMAGE}"

# What the base brings for installing has no place beside what runs. Mounts of the folder take over
# its owner.
RUN rm -rf /usr/local/bin/pip* /usr/local/lib/python3*/site-packages/pip* \
        /usr/local/lib/python3*/ensurepip \
    && groupadd --gid 10001 gatepost \
    && useradd --uid 10001 --gid 10001 --no-create-home --home-dir /var/lib/gatepost \
        --shell /usr/sbin/nologin gatepost \
    && install -d -o 10001 -g 10001 -m 0700 /var/lib/gatepost
COPY --from=build /opt/gatepost /opt/gatepost

ENV PATH=/opt/gatepost/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    GATEPOST_ENVIRONMENT=production \
    GATEPOST_DATA_DIR=/var/lib/gatepost \
    GATEPOST_HTTP__HOST=0.0.0.0
WORKDIR /var/lib/gatepost
USER 10001:10001
EXPOSE 8000 9000
STOPSIGNAL SIGTERM
# Alive, not ready: a restart mends no database. A worker listens nowhere; switch this off there.
HEALTHCHECK --interval=10s --timeout=3s --start-period=20s --retries=3 CMD \
    ["python", "-c", "import os, urllib.request as r; r.urlopen('http://127.0.0.1:' + os.environ.get('PORT', '8000') + '/livez', timeout=2)"]
ENTRYPOINT ["gatepost"]
CMD ["serve"]
