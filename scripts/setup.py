#!/usr/bin/env python3
"""Sets up what cargo cannot fetch: libtorch in .libtorch, and Python packages for some tests in .venv.

It needs Python 3.8 or newer, but neither pip nor venv: without pip this script fetches the wheels from the
package index, and without venv the tests that need Python are skipped.
"""

import hashlib
import http.client
import json
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import urllib.error
import urllib.parse
import urllib.request
import zipfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
LIBTORCH = ROOT / ".libtorch"
VENV = ROOT / ".venv"
REQUIREMENTS = ROOT / "tests" / "python" / "requirements.txt"
LIBRARY = Path("torch") / "lib" / "libtorch_cpu.so"

# libtorch_cpu links against these two CUDA libraries, though it computes without a GPU. The file names
# are those that a machine on the oldest platform below can load. The SHA-256 of each is pinned here, so
# that no index and no mirror decides what is run.
WHEELS = [
    (
        "torch",
        "2.11.0",
        "cp312-cp312-manylinux_2_28_x86_64",
        "0f68f4ac6d95d12e896c3b7a912b5871619542ec54d3649cf48cc1edd4dd2756",
    ),
    (
        "nvidia-cuda-cupti",
        "13.0.85",
        "py3-none-manylinux_2_25_x86_64",
        "4eb01c08e859bf924d222250d2e8f8b8ff6d3db4721288cf35d14252a4d933c8",
    ),
    (
        "nvidia-cuda-runtime",
        "13.0.96",
        "py3-none-manylinux2014_x86_64.manylinux_2_17_x86_64",
        "7f82250d7782aa23b6cfe765ecc7db554bd3c2870c43f3d1821f1d18aebf0548",
    ),
]
PLATFORMS = [
    "manylinux_2_28_x86_64",
    "manylinux_2_25_x86_64",
    "manylinux_2_17_x86_64",
    "manylinux2014_x86_64",
]
# What is left of the torch package: libraries, headers, CMake files, the version.
KEPT = {"lib", "include", "share", "version.py"}


class SetupError(Exception):
    """An error whose text has the problem, and on the line below what can be done about it."""


def say(message):
    print(message, flush=True)


def run(*command):
    """Runs a command, showing its output, and returns whether it succeeded."""
    return subprocess.run([str(word) for word in command], check=False).returncode == 0


def has_pip():
    command = [sys.executable, "-m", "pip", "--version"]
    return subprocess.run(command, check=False, capture_output=True).returncode == 0


def set_up_libtorch():
    own = os.environ.get("LIBTORCH")
    if own:
        if not (Path(own) / "lib").is_dir():
            raise SetupError(
                f"LIBTORCH is {own}, which has no folder lib\n"
                "hint: it names the folder that holds lib and include; unset it to have libtorch fetched"
            )
        say(f"libtorch: {own}, as LIBTORCH says")
        return
    if (LIBTORCH / LIBRARY).exists():
        say(f"libtorch: {LIBTORCH / 'torch'} stands")
        return
    system = f"{platform.system()} on {platform.machine()}"
    if system not in ("Linux on x86_64", "Linux on AMD64"):
        raise SetupError(
            f"libtorch 2.11.0 is fetched for Linux on x86_64, this is {system}\n"
            "hint: set LIBTORCH to the folder of a libtorch 2.11.0 of your own"
        )
    # Everything happens in a folder beside it: an interrupted download is never taken for a whole one.
    partial = ROOT / ".libtorch.partial"
    shutil.rmtree(partial, ignore_errors=True)
    say("libtorch: fetching 0.5 GB, once")
    if not (has_pip() and fetch_by_pip(partial)):
        shutil.rmtree(partial, ignore_errors=True)
        say("libtorch: without pip, from the package index")
        fetch_by_hand(partial)
    prune(partial)
    check_loads(partial)
    if LIBTORCH.is_symlink():
        LIBTORCH.unlink()
    elif LIBTORCH.exists():
        shutil.rmtree(LIBTORCH)
    partial.rename(LIBTORCH)
    say(f"libtorch: {LIBTORCH / 'torch'}")


def fetch_by_pip(partial):
    platforms = [word for name in PLATFORMS for word in ("--platform", name)]
    with tempfile.TemporaryDirectory() as folder:
        pins = Path(folder) / "requirements.txt"
        lines = [f"{name}=={version} --hash=sha256:{sha256}\n" for name, version, _, sha256 in WHEELS]
        pins.write_text("".join(lines), encoding="utf-8")
        return run(
            *[sys.executable, "-m", "pip", "install", "--no-deps", "--target", partial],
            *["--only-binary=:all:", "--python-version", "3.12", *platforms],
            *["--require-hashes", "--requirement", pins],
        )


def fetch_by_hand(partial):
    for name, version, tags, sha256 in WHEELS:
        url = find_wheel(name, version, tags)
        wheel = partial / "wheels" / Path(urllib.parse.urlparse(url).path).name
        wheel.parent.mkdir(parents=True, exist_ok=True)
        say(f"libtorch: {wheel.name}")
        download(url, sha256, wheel)
        with zipfile.ZipFile(wheel) as archive:
            archive.extractall(partial)
        wheel.unlink()


def find_wheel(name, version, tags):
    """Returns the address of a wheel, found in the JSON pages of the package index (PEP 691)."""
    index = (os.environ.get("PIP_INDEX_URL") or "https://pypi.org/simple").rstrip("/")
    page = f"{index}/{name}/"
    accept = {"Accept": "application/vnd.pypi.simple.v1+json"}
    try:
        with urllib.request.urlopen(urllib.request.Request(page, headers=accept), timeout=60) as answer:
            files = json.load(answer)["files"]
    except (OSError, ValueError, KeyError) as error:
        raise SetupError(
            f"{page} gave no list of files: {error}\n"
            "hint: the index must speak the JSON API; name another by PIP_INDEX_URL, or install pip"
        ) from error
    wanted = f"{name.replace('-', '_')}-{version}-{tags}.whl"
    for file in files:
        if file["filename"] == wanted:
            return urllib.parse.urljoin(page, file["url"])
    raise SetupError(f"{page} lists no {wanted}\nhint: name another index by PIP_INDEX_URL")


def download(url, sha256, path):
    """Fetches a file; after a broken connection it goes on from the bytes that have come."""
    error = None
    for _ in range(5):
        have = path.stat().st_size if path.exists() else 0
        headers = {"Range": f"bytes={have}-"} if have else {}
        try:
            with urllib.request.urlopen(urllib.request.Request(url, headers=headers), timeout=60) as answer:
                length = int(answer.headers.get("Content-Length") or 0)
                resumed = answer.status == 206
                with open(path, "ab" if resumed else "wb") as file:
                    shutil.copyfileobj(answer, file, 1 << 20)
        except (OSError, http.client.HTTPException) as broken:
            error = broken
            continue
        if path.stat().st_size < length + (have if resumed else 0):
            error = "the connection closed early"
            continue
        if digest(path) == sha256:
            return
        error = f"its SHA-256 is not {sha256}"
        path.unlink()
    raise SetupError(f"{url} could not be fetched: {error}\nhint: check the connection, and try again")


def digest(path):
    sha = hashlib.sha256()
    with open(path, "rb") as file:
        for block in iter(lambda: file.read(1 << 20), b""):
            sha.update(block)
    return sha.hexdigest()


def prune(partial):
    """Removes the files that only Python needs; licences stay."""
    for path in partial.iterdir():
        if path.name not in ("torch", "nvidia") and not path.name.endswith(".dist-info"):
            remove(path)
    for path in (partial / "torch").iterdir():
        if path.name not in KEPT:
            remove(path)
    for path in (partial / "torch" / "lib").glob("libtorch_python.*"):
        remove(path)
    for path in partial.glob("nvidia/*/include"):
        remove(path)


def remove(path):
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink()


def check_loads(folder):
    """Checks that libtorch loads: it finds the libraries beside it by paths relative to its own."""
    library = folder / LIBRARY
    code = "import ctypes, sys; ctypes.CDLL(sys.argv[1])"
    loaded = subprocess.run(
        [sys.executable, "-c", code, str(library)], check=False, capture_output=True, text=True
    )
    if loaded.returncode != 0:
        reason = (loaded.stderr.strip().splitlines() or ["no reason given"])[-1]
        raise SetupError(
            f"{library} was fetched, and cannot be loaded: {reason}\nhint: glibc 2.28 or newer is needed"
        )


def set_up_python_tests():
    wanted = digest(REQUIREMENTS)
    stamp = VENV / "requirements.sha256"
    if stamp.exists() and stamp.read_text(encoding="utf-8") == wanted:
        say(f"Python tests: {VENV} stands")
        return
    partial = ROOT / ".venv.partial"
    shutil.rmtree(partial, ignore_errors=True)
    say("Python tests: making .venv")
    made = run(sys.executable, "-m", "venv", partial) and run(
        *[partial / "bin" / "python", "-m", "pip", "install", "--quiet", "--disable-pip-version-check"],
        *["--only-binary=:all:", "--require-hashes", "--requirement", REQUIREMENTS],
    )
    if not made:
        shutil.rmtree(partial, ignore_errors=True)
        say("Python tests: will be skipped, as venv or its packages could not be set up (see above)")
        say("hint: install python3-venv, or let TOMOFLOW_PYTHON name an interpreter that has the packages of")
        say(f"      {REQUIREMENTS.relative_to(ROOT)}")
        return
    (partial / stamp.name).write_text(wanted, encoding="utf-8")
    shutil.rmtree(VENV, ignore_errors=True)
    partial.rename(VENV)
    say(f"Python tests: {VENV}")


def main():
    try:
        set_up_libtorch()
        set_up_python_tests()
    except SetupError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(1)


if __name__ == "__main__":
    main()
