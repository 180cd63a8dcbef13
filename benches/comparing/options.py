"""The command line of `benches/compare`."""

import argparse
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
CACHE = Path("/var/tmp/pgark-bench")


@dataclass(frozen=True)
class Options:
    """What a user asks for."""

    works: list[str]
    rounds: int
    major: int
    scale: float
    jobs: int
    pgark: Path | None
    out: Path
    skipped: list[str]
    settings: dict[str, str]
    cache: Path
    is_fresh: bool
    is_quick: bool
    saved: list[Path]


def setting(text: str) -> tuple[str, str]:
    """NAME=VALUE, as given to --set."""
    name, equals, value = text.partition("=")
    if not (equals and name.replace(".", "_").isidentifier() and "\n" not in value):
        raise argparse.ArgumentTypeError(f"{text!r} is not NAME=VALUE")
    return name, value


def positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError("at least 1")
    return number


def parsed(arguments: list[str], work_names: list[str]) -> Options:
    """Reads the command line; ends the program where it cannot be meant."""
    parser = argparse.ArgumentParser(
        prog="benches/compare",
        description="Times pgark beside PostgreSQL's own tools on the same databases, in turn, and prints medians and ratios.",
        epilog=f"Works: {', '.join(work_names)}. benches/README.md says what each one is and how to read the table.",
    )
    option = parser.add_argument
    option("--work", action="append", metavar="NAME[,NAME…]", help="only these works, in the given order; may be repeated")
    option("--rounds", type=positive, help="rounds of each work (default: 5)")
    option("--major", type=int, choices=(15, 18), default=15, help="the server's version (default: 15)")
    option("--scale", type=float, help="scale of the TPC-H data (default: 1, about 1 GB)")
    option("--jobs", type=positive, default=2, help="connections of each tool, but for the link (default: 2)")
    option("--pgark", type=Path, help="the program to measure (default: cargo build --release)")
    option(
        "--out",
        type=Path,
        default=ROOT / "target" / "compare",
        metavar="DIR",
        help="where results.json, table.md and plot.svg go (default: target/compare)",
    )
    option("--skip", action="append", default=[], metavar="TEXT", help="leave out peers whose name has TEXT, such as gzip; may be repeated")
    option(
        "--set",
        action="append",
        default=[],
        type=setting,
        metavar="NAME=VALUE",
        dest="settings",
        help="a setting of the server, for all sides alike; may be repeated",
    )
    option("--cache", type=Path, help=f"where the server and its databases are kept between runs (default: {CACHE})")
    option("--fresh", action="store_true", help="load the databases anew")
    option("--quick", action="store_true", help="tiny databases, one round: shows that the bench works, measures nothing")
    option(
        "--from",
        nargs="+",
        default=[],
        type=Path,
        metavar="RESULTS.JSON",
        dest="saved",
        help="measure nothing: table and plot of earlier results together",
    )
    given = parser.parse_args(arguments)
    works = [name for names in given.work or [",".join(work_names)] for name in names.split(",") if name]
    for name in works:
        if name not in work_names:
            parser.error(f"there is no work {name!r}; there are {', '.join(work_names)}")
    return Options(
        works=works,
        rounds=given.rounds or (1 if given.quick else 5),
        major=given.major,
        scale=given.scale or (0.01 if given.quick else 1.0),
        jobs=given.jobs,
        pgark=given.pgark,
        out=given.out,
        skipped=given.skip,
        settings=dict(given.settings),
        cache=(given.cache or CACHE).absolute(),
        is_fresh=given.fresh,
        is_quick=given.quick,
        saved=given.saved,
    )
