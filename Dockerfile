# syntax=docker/dockerfile:1
# One image for every part: web (the default), worker, beat and the one-shot migrate. See docs/operations.md.
ARG PYTHON=3.13

FROM python:${PYTHON}-slim AS packages
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_INPUT=1
RUN python -m venv /opt/venv
COPY requirements.txt .
# Wheels only: what would need a compiler stops the build here.
RUN --mount=type=cache,target=/root/.cache/pip /opt/venv/bin/pip install --only-binary :all: -r requirements.txt

FROM python:${PYTHON}-slim
ENV PATH=/opt/venv/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONFAULTHANDLER=1 \
    HOST=0.0.0.0 \
    PORT=8000 \
    DATA_DIR=/data \
    STATIC_ROOT=/srv/static
RUN useradd --system --uid 10001 --no-create-home --shell /usr/sbin/nologin portal \
    && install -d -o portal -g portal /data /private/argus/metric/prometheus
WORKDIR /srv/portal
COPY --from=packages /opt/venv /opt/venv
COPY . .
# Modules are compiled once here, since the user below may not write beside them.
RUN python -m compileall -q /opt/venv/lib /srv/portal \
    && SECRET_KEY=only-for-this-step python manage.py collectstatic --no-input
USER portal
EXPOSE 8000
# The supervisor drains and ends within 5 s of it: docker's default grace of 10 s is enough.
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=5s --start-period=30s --retries=3 CMD ["python", "deploy/healthcheck.py"]
CMD ["python", "manage.py", "web"]
