"""The pure core compiled: `python -m load.compile [FOLDER]` makes a copy of callgate with sip/ and engine/ compiled.

An option, never a need: the copy behaves the same and costs less CPU a call. It is made by mypyc and needs a C compiler
and the headers of the Python that runs it (`apt install gcc python3-dev`); it is for that Python alone:

    python -m load.compile build/compiled
    PYTHONPATH=build/compiled python -m proxy serve -c config/callgate.yaml

What mypyc is good at, and the code keeps to: a constant that says `Final` is a C variable, any other global a look-up
in a dict; str.find, count, strip and partition are plain C calls, str.index and the methods of bytes are not; a tuple
of floats cannot be Final (mypyc takes it for unset), so it stays a global.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = ("proxy", "policies", "config")
COMPILED = (
    "proxy/sip/*.py",
    "proxy/engine/*.py",
    "proxy/driver/driver.py",
    "proxy/net/udp.py",
    "proxy/ops/counters.py",
    "policies/counters.py",
    "policies/held.py",
    "policies/keys.py",
    "policies/lease.py",
    "policies/limiter.py",
    "policies/settlement.py",
)
"""What a call passes through."""
LEFT_AS_PYTHON = ("__init__.py", "flow.py")
"""Flows are referred to weakly, which a native class does not allow."""

_SETUP = """
from mypyc.build import mypycify
from setuptools import setup

setup(name="callgate-core", ext_modules=mypycify({modules!r}, opt_level="3"), packages=[])
"""
_MYPY = "[mypy]\nplugins = pydantic.mypy\nnamespace_packages = True\nexplicit_package_bases = True\n"


def modules() -> list[str]:
    """What is compiled: paths relative to the repository."""
    return [
        str(file.relative_to(ROOT))
        for pattern in COMPILED
        for file in sorted(ROOT.glob(pattern))
        if file.name not in LEFT_AS_PYTHON
    ]


def build(folder: Path) -> None:
    """Make the copy in `folder`, which is emptied first.

    Raises: CalledProcessError when mypyc or the C compiler fails; they have told why on standard error.
    """
    if folder.exists():
        shutil.rmtree(folder)
    for package in PACKAGES:
        shutil.copytree(ROOT / package, folder / package, ignore=shutil.ignore_patterns("__pycache__"))
    wanted = modules()
    (folder / "setup.py").write_text(_SETUP.format(modules=["--config-file", "mypy.ini", *wanted]))
    (folder / "mypy.ini").write_text(_MYPY)
    command = [sys.executable, "setup.py", "--quiet", "build_ext", "--inplace"]
    # mypy must see the copy, and nothing of the checkout.
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    subprocess.run(command, cwd=folder, env=environment, check=True, stdout=sys.stderr)
    for leftover in ("setup.py", "mypy.ini", "build", ".mypy_cache"):
        path = folder / leftover
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)
    print(f"{len(wanted)} modules compiled into {folder}")


if __name__ == "__main__":
    build(Path(sys.argv[1] if len(sys.argv) > 1 else ROOT / "build/compiled").resolve())
