"""`benches/compare` from beginning to end."""

import json
import os
import platform
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

from . import programs
from .bench import Bench
from .cluster import Cluster
from .options import ROOT, Options, parsed
from .outcome import Run
from .plot import svg
from .rounds import done, say
from .sizes import sizes
from .table import markdown
from .works import WORKS


def processor() -> str:
    """The processor's name, where the system tells it."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.machine()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.machine())


def build(options: Options, pgark: Path) -> str:
    """pgark's version, and which build of it."""
    version = subprocess.run([pgark, "--version"], capture_output=True, text=True, check=True).stdout.strip().removeprefix("pgark ")
    if options.pgark:
        return f"{version}, built {time.strftime('%Y-%m-%d %H:%M UTC', time.gmtime(pgark.stat().st_mtime))}"
    asked = subprocess.run(["git", "describe", "--always", "--dirty"], cwd=ROOT, capture_output=True, text=True, check=False)
    return f"{version}, sources at {asked.stdout.strip() or 'no commit'}"


def facts(options: Options, bench: Bench) -> dict[str, str]:
    """What a reader of the numbers must know."""
    memory_gib = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") >> 30
    cluster = bench.cluster
    return {
        "date": time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime()),
        "machine": f"{os.cpu_count()} cores, {processor()}, {memory_gib} GiB, load {os.getloadavg()[0]:.1f} at the beginning",
        "PostgreSQL": f"{cluster.version()}; clients {bench.programs.peer_version()}",
        "settings": ", ".join(
            f"{name} = {value}" for name, value in cluster.settings.items() if not name.endswith(("timezone", "addresses"))
        ),
        "pgark": build(options, bench.programs.pgark),
        "rounds": f"{options.rounds}, -j{options.jobs}, TPC-H scale {options.scale:g}",
    }


def write(run: Run, out: Path) -> None:
    """Results, table and plot, anew after each work."""
    out.mkdir(parents=True, exist_ok=True)
    (out / "results.json").write_text(json.dumps(run.as_json(), indent=1) + "\n")
    (out / "table.md").write_text(markdown(run))
    (out / "plot.svg").write_text(svg(run))


def measured(options: Options) -> Run:
    """Does all the works."""
    found = programs.found(options.major, options.pgark)
    size = sizes(options.scale, options.is_quick)
    home = options.cache / f"{options.major}{'-quick' if options.is_quick else ''}"
    folder = options.cache / f"run-{os.getpid()}"
    folder.mkdir(parents=True)
    # A copy, so that all rounds run the same build.
    found = replace(found, pgark=Path(shutil.copy2(found.pgark, folder / "pgark")))
    cluster = Cluster(home, found, {"shared_buffers": f"{size.shared_buffers_mb}MB", **options.settings})
    bench = Bench(options, found, cluster, size, folder)
    try:
        with cluster.running():
            run = Run(facts(options, bench))
            for name in options.works:
                run.outcomes.append(done(WORKS[name](bench), options.rounds, options.skipped))
                write(run, options.out)
            return run
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def saved(paths: list[Path]) -> Run:
    """Earlier results as one: the works of all, and each fact as often as it differs."""
    runs = [Run.from_json(json.loads(path.read_text())) for path in paths]
    values = {name: dict.fromkeys(run.facts[name] for run in runs) for name in runs[0].facts}
    return Run({name: "; ".join(different) for name, different in values.items()}, [outcome for run in runs for outcome in run.outcomes])


def main(arguments: list[str]) -> int:
    """Gives the exit code: 0, or 1 if something failed. A target that is not met is no failure."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    options = parsed(arguments, list(WORKS))
    try:
        run = saved(options.saved) if options.saved else measured(options)
    except programs.Unavailable as problem:
        say(str(problem))
        return 1
    write(run, options.out)
    print(markdown(run), end="")
    say(f"results.json, table.md and plot.svg are in {options.out}")
    return 1 if any(outcome.failures for outcome in run.outcomes) else 0
