"""Builds the distribution of mtasts.py for pip (PEP 517), with nothing but the standard library.

The wheel has the module as a package, since only a package can say that it has type annotations (PEP 561).
"""

from __future__ import annotations

import base64
import hashlib
import io
import os
import re
import tarfile
import zipfile
from typing import Any, Dict, List, Mapping, Optional

HERE = os.path.dirname(os.path.abspath(__file__))
SOURCES = ["README.md", "build_mtasts.py", "mtasts.py", "pyproject.toml"]
# The same files give the same bytes: a ZIP has no time before this one.
TIME = (1980, 1, 1, 0, 0, 0)

Settings = Optional[Mapping[str, Any]]


def read(name: str) -> bytes:
    with open(os.path.join(HERE, name), "rb") as file:
        return file.read()


def version() -> str:
    found = re.search(rb'^__version__ = "([0-9.]+)"$', read("mtasts.py"), re.MULTILINE)
    if found is None:
        raise ValueError("mtasts.py: no __version__")
    return found.group(1).decode()


def metadata() -> bytes:
    lines = [
        "Metadata-Version: 2.1",
        "Name: mtasts",
        f"Version: {version()}",
        "Summary: MTA-STS (RFC 8461) by libmtasts",
        "License: MIT",
        "Requires-Python: >=3.9",
        "Description-Content-Type: text/markdown",
    ]
    return "\n".join(lines).encode() + b"\n\n" + read("README.md")


def info_directory() -> str:
    return f"mtasts-{version()}.dist-info"


def files() -> Dict[str, bytes]:
    tags = b"Wheel-Version: 1.0\nGenerator: build_mtasts\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
    return {
        "mtasts/__init__.py": read("mtasts.py"),
        "mtasts/py.typed": b"",
        f"{info_directory()}/METADATA": metadata(),
        f"{info_directory()}/WHEEL": tags,
    }


def digest(content: bytes) -> str:
    return base64.urlsafe_b64encode(hashlib.sha256(content).digest()).rstrip(b"=").decode()


def build_wheel(wheel_directory: str, config_settings: Settings = None, metadata_directory: Optional[str] = None) -> str:
    name = f"mtasts-{version()}-py3-none-any.whl"
    contents = files()
    record = f"{info_directory()}/RECORD"
    lines = [f"{path},sha256={digest(content)},{len(content)}" for path, content in contents.items()]
    contents[record] = ("\n".join([*lines, f"{record},,"]) + "\n").encode()
    with zipfile.ZipFile(os.path.join(wheel_directory, name), "w", zipfile.ZIP_DEFLATED) as wheel:
        for path, content in contents.items():
            entry = zipfile.ZipInfo(path, TIME)
            entry.external_attr = 0o100644 << 16
            entry.compress_type = zipfile.ZIP_DEFLATED
            wheel.writestr(entry, content)
    return name


def build_sdist(sdist_directory: str, config_settings: Settings = None) -> str:
    stem = f"mtasts-{version()}"
    with tarfile.open(os.path.join(sdist_directory, f"{stem}.tar.gz"), "w:gz", format=tarfile.PAX_FORMAT) as archive:
        contents = {source: read(source) for source in SOURCES}
        contents["PKG-INFO"] = metadata()
        for name, content in contents.items():
            entry = tarfile.TarInfo(f"{stem}/{name}")
            entry.size, entry.mode = len(content), 0o644
            archive.addfile(entry, io.BytesIO(content))
    return f"{stem}.tar.gz"


def get_requires_for_build_wheel(config_settings: Settings = None) -> List[str]:
    return []


def get_requires_for_build_sdist(config_settings: Settings = None) -> List[str]:
    return []
