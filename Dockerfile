FROM python:3.11-slim AS build
WORKDIR /source
COPY . .
RUN python -m venv /opt/aegisray \
    && /opt/aegisray/bin/pip install --no-cache-dir ".[fec,yaml]"

FROM python:3.11-slim
LABEL org.opencontainers.image.title="AegisRay" \
      org.opencontainers.image.description="A peer-to-peer mesh VPN with no server to run" \
      org.opencontainers.image.licenses="Apache-2.0"
RUN apt-get update \
    && apt-get install -y --no-install-recommends curl libcap2-bin \
    && rm -rf /var/lib/apt/lists/* \
    && useradd --uid 1000 --user-group --no-create-home --shell /usr/sbin/nologin aegisray \
    && install -d -o aegisray -g aegisray -m 0700 \
        /etc/aegisray /etc/aegisray/certs /var/lib/aegisray /var/log/aegisray /run/aegisray
# Nobody else reaches a container's loopback: /health and /metrics are for the network around it.
RUN printf '[api]\nlisten = "0.0.0.0:8080"\n' >/etc/aegisray/node.toml
COPY --from=build /opt/aegisray /opt/aegisray
COPY --chmod=0755 deploy/docker/entrypoint /usr/local/bin/entrypoint
# A second interpreter, the only file that carries a capability; the entrypoint says why.
RUN cp /usr/local/bin/python3.11 /usr/local/bin/python-net-admin \
    && setcap cap_net_admin=ep /usr/local/bin/python-net-admin \
    && ln -s /usr/local/bin/python-net-admin /opt/aegisray/bin/python-net-admin
ENV PATH=/opt/aegisray/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1
USER 1000:1000
EXPOSE 443/udp 443/tcp 8080/tcp
VOLUME ["/etc/aegisray/certs", "/var/lib/aegisray", "/var/log/aegisray", "/run/aegisray"]
HEALTHCHECK --interval=30s --timeout=10s --start-period=60s --retries=3 \
    CMD ["curl", "-fsS", "http://127.0.0.1:8080/health"]
STOPSIGNAL SIGTERM
ENTRYPOINT ["/usr/local/bin/entrypoint"]
CMD ["up"]
