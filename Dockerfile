# syntax=docker/dockerfile:1
# One image for api, worker, relay, migrate and seed: docker-compose.yml says which one it is.
ARG PYTHON=python:3.11.14-slim-bookworm

FROM ${PYTHON} AS build
COPY requirements-image.lock /build/requirements-image.lock
# Wheels alone: nothing is compiled, and nothing of a package runs while it is installed.
RUN python -m venv --without-pip /venv \
    && python -m pip --disable-pip-version-check --no-input --python /venv/bin/python install \
       --no-cache-dir --require-hashes --no-deps --only-binary :all: \
       --requirement /build/requirements-image.lock
COPY . /app
# Each workflow's sandbox imports its files anew: without bytecode it would compile them each time.
RUN python -m compileall -q --invalidation-mode unchecked-hash /app

FROM ${PYTHON}
ARG HOSPITAL_BUILD
# Temporal knows workers by it; unnamed, two releases would look like one.
RUN test -n "${HOSPITAL_BUILD}" \
    && groupadd --gid 10001 hospital \
    && useradd --uid 10001 --gid 10001 --no-create-home --home-dir /nonexistent \
       --shell /usr/sbin/nologin hospital \
    && install --directory --owner hospital --group hospital --mode 700 /files
COPY --from=build /venv /venv
COPY --from=build /app /app
ENV PATH=/venv/bin:${PATH} \
    PYTHONPATH=/app \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    HOSPITAL_BUILD=${HOSPITAL_BUILD}
WORKDIR /app
USER 10001:10001
EXPOSE 8000
ENTRYPOINT ["python", "-P", "-m", "cli"]
CMD ["api", "--host", "0.0.0.0"]
HEALTHCHECK --interval=10s --timeout=5s --start-period=20s --retries=3 \
    CMD ["python", "-I", "-c", "import urllib.request as r; r.urlopen('http://127.0.0.1:8000/healthz', timeout=4)"]
