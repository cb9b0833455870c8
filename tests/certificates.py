"""Certificates for tests, made by openssl(1): an authority, a server's for localhost, a client's,
and a stranger's.
"""

from __future__ import annotations

import functools
import subprocess
import tempfile
from pathlib import Path

import pytest

from .middleboxes import need


@functools.cache
def directory() -> Path:
    """NAME.pem and NAME.key of each; made once, and removed with the process's temporary files."""
    need("openssl")
    made = tempfile.TemporaryDirectory(prefix="meari-certificates-")
    _kept.append(made)
    where = Path(made.name)
    for name in ("ca", "other"):
        _openssl(
            where,
            "req",
            "-x509",
            *_NEW,
            "-keyout",
            f"{name}.key",
            "-out",
            f"{name}.pem",
            "-subj",
            f"/CN={name}",
            "-days",
            "2",
        )
    names = "subjectAltName=DNS:localhost,IP:127.0.0.1,IP:::1"
    for name, authority, extensions in (
        ("server", "ca", names),
        ("client", "ca", ""),
        ("stranger", "other", ""),
    ):
        _openssl(
            where,
            "req",
            *_NEW,
            "-keyout",
            f"{name}.key",
            "-out",
            f"{name}.csr",
            "-subj",
            f"/CN={name}",
        )
        (where / "extensions").write_text(extensions)
        signed = (
            "-CA",
            f"{authority}.pem",
            "-CAkey",
            f"{authority}.key",
            "-CAcreateserial",
            "-days",
            "2",
            "-extfile",
            "extensions",
        )
        _openssl(where, "x509", "-req", "-in", f"{name}.csr", "-out", f"{name}.pem", *signed)
    return where


_kept: list[tempfile.TemporaryDirectory[str]] = []
_NEW = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes")


def _openssl(where: Path, *words: str) -> None:
    done = subprocess.run(
        ["openssl", *words], cwd=where, capture_output=True, timeout=30, check=False
    )
    if done.returncode:
        pytest.fail(done.stderr.decode())


def path(name: str) -> str:
    return str(directory() / name)
