"""Apache httpd, Varnish and Squid as reverse proxies, as their documentation begins with them."""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from meari.sockets import free_port

from .middleboxes import need, running


@contextlib.contextmanager
def apache(port: int, directory: Path) -> Iterator[int]:
    """ProxyPass and ProxyPassReverse."""
    need("apache2")
    own = free_port()
    names = ("mpm_event", "authz_core", "proxy", "proxy_http")
    modules = "".join(
        f"LoadModule {name}_module /usr/lib/apache2/modules/mod_{name}.so\n" for name in names
    )
    # Of root it wants another user.
    user = "User www-data\nGroup www-data\n" if os.getuid() == 0 else ""
    (directory / "httpd.conf").write_text(
        f"ServerRoot {directory}\nServerName localhost\nListen 127.0.0.1:{own}\n"
        f"PidFile {directory}/httpd.pid\nErrorLog {directory}/error.log\n{user}{modules}"
        f'ProxyPass "/" "http://127.0.0.1:{port}/"\n'
        f'ProxyPassReverse "/" "http://127.0.0.1:{port}/"\n'
    )
    words = ("apache2", "-d", str(directory), "-f", str(directory / "httpd.conf"))
    with running(own, *words, "-D", "FOREGROUND"):
        yield own


@contextlib.contextmanager
def varnish(port: int, directory: Path) -> Iterator[int]:
    """One backend, and the built-in VCL."""
    need("varnishd")
    own = free_port()
    words = ("varnishd", "-F", "-j", "none", "-n", str(directory / "varnish"))
    listen = ("-a", f"127.0.0.1:{own}", "-b", f"127.0.0.1:{port}", "-s", "malloc,50m")
    with running(own, *words, *listen):
        yield own


@contextlib.contextmanager
def squid(port: int, directory: Path) -> Iterator[int]:
    """An accelerator of one origin server."""
    need("squid")
    own = free_port()
    # It does not run as root, and its user may not read a test's own directory.
    with tempfile.TemporaryDirectory(prefix="meari-squid-") as name:
        os.chmod(name, 0o755)
        user = "cache_effective_user proxy\n" if os.getuid() == 0 else ""
        if user:
            shutil.chown(name, "proxy", "proxy")
        Path(name, "squid.conf").write_text(
            f"http_port 127.0.0.1:{own} accel defaultsite=127.0.0.1\n"
            f"cache_peer 127.0.0.1 parent {port} 0 no-query originserver name=far\n"
            f"http_access allow all\ncache_mem 16 MB\npid_filename {name}/squid.pid\n{user}"
            f"cache_log {name}/cache.log\naccess_log none\ncoredump_dir {name}\n"
            "shutdown_lifetime 1 seconds\n"
        )
        service = f"meari{own}"  # its shared memory is of that name
        with running(own, "squid", "-n", service, "-N", "-f", f"{name}/squid.conf"):
            yield own
