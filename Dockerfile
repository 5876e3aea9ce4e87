# Stage 1: everything that is needed to install, thrown away afterwards.
FROM python:3.12-slim-bookworm AS build
WORKDIR /src
COPY pyproject.toml README.md LICENSE ./
COPY proxy proxy
COPY policies policies
COPY config config
COPY load/__init__.py load/compile.py load/
# gcc is there to compile the hot part (load/compile.py), which then lies over the installed packages.
RUN apt-get update && apt-get install -y --no-install-recommends gcc libc6-dev \
 && python -m venv /opt/callgate \
 && /opt/callgate/bin/pip install --no-cache-dir '.[embedded]' \
 && python -m venv /opt/compiler \
 && /opt/compiler/bin/pip install --no-cache-dir . mypy setuptools types-PyYAML \
 && /opt/compiler/bin/python -m load.compile /compiled \
 && cp -r /compiled/. "$(/opt/callgate/bin/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')"

# Stage 2: the interpreter, the installed program, the example files, and a user who owns nothing but its data.
FROM python:3.12-slim-bookworm
RUN useradd --system --uid 10001 --home-dir /var/lib/callgate --create-home --shell /usr/sbin/nologin callgate
COPY --from=build /opt/callgate /opt/callgate
# The examples put their data into ../var, so they live in a folder beside it. Mount your own files over etc/.
COPY --chown=root:root config/*.yaml /var/lib/callgate/etc/
RUN install -d -o callgate -g callgate /var/lib/callgate/var
ENV PATH=/opt/callgate/bin:$PATH PYTHONUNBUFFERED=1
WORKDIR /var/lib/callgate
USER callgate
VOLUME /var/lib/callgate/var
# SIP over UDP, TCP and TLS, and the metrics address. What is really listened on is said by callgate.yaml.
EXPOSE 5060/udp 5060/tcp 5061/tcp 9105/tcp
# `metrics.listen` decides where /healthz is; the examples say 127.0.0.1:9105. Another port: set CALLGATE_HEALTH.
ENV CALLGATE_HEALTH=http://127.0.0.1:9105/healthz
HEALTHCHECK --interval=10s --timeout=3s --start-period=10s --retries=3 \
  CMD ["python", "-c", "import os, urllib.request as u; u.urlopen(os.environ['CALLGATE_HEALTH'], timeout=2)"]
# SIGTERM drains: give it longer than timers.drain_timeout before it is killed (docker stop --time).
STOPSIGNAL SIGTERM
ENTRYPOINT ["callgate"]
CMD ["serve", "-c", "etc/callgate.yaml"]
