"""TPC-H: a dump beside pg_dump and beside zstd alone, and a restore."""

import os
import subprocess
from pathlib import Path

from .. import databases
from ..measure import Sample, timed
from ..sides import (
    RESTORED,
    RESTORED_DEFAULT,
    UNCOMPRESSED,
    ZSTD,
    Dumped,
    Restores,
    dumped_by_pg_dump,
    dumped_by_pgark,
    dumped_by_zstd_pg_dump,
)
from ..work import Comparison, Side, Work, at_most

ZSTD_ALONE = "zstd -1"


class Tpch(Work):
    """The dump. zstd alone compresses the same text: what it costs is the least that a dump can cost its client."""

    name = "tpch"
    title = "TPC-H, dump"

    def prepare(self) -> None:
        cluster = self.bench.cluster
        database = databases.tpch(self.bench)
        counts = cluster.row_counts(database)
        self.dumped = Dumped(database, sum(counts.values()))
        self.text = self.bench.new_folder("text")
        with open(self.text, "wb") as text:
            for table in counts:
                command = cluster.psql_command(database, "-c", f"COPY {table} TO STDOUT")
                subprocess.run(command, stdout=text, env=cluster.environment, check=True)
        packed = self.bench.new_folder("text.zst")
        subprocess.run(["zstd", "-1", "-T1", "-q", "-f", self.text, "-o", packed], check=True)
        self.packed_bytes = packed.stat().st_size
        packed.unlink()

    def _by_zstd(self) -> Sample:
        command = ["sh", "-c", f"exec zstd -1 -T1 -q -c '{self.text}' >/dev/null"]
        sample, _ = timed(command, dict(os.environ), self.bench.folder)
        sample["stored_bytes"] = self.packed_bytes
        return sample

    def sides(self) -> list[Side]:
        return [
            dumped_by_pg_dump(self.bench, UNCOMPRESSED, self.dumped, "-Z0"),
            *dumped_by_zstd_pg_dump(self.bench, self.dumped, self.notes),
            Side(ZSTD_ALONE, self._by_zstd),
            dumped_by_pgark(self.bench, self.dumped),
        ]

    def comparisons(self) -> list[Comparison]:
        return [
            Comparison("wall_s", UNCOMPRESSED, at_most(0.8)),
            Comparison("wall_s", ZSTD),
            Comparison("cpu_s", ZSTD_ALONE, at_most(1.3)),
            Comparison("stored_bytes", ZSTD_ALONE, at_most(1.03)),
        ]

    def finish(self) -> None:
        Path(self.text).unlink(missing_ok=True)


class TpchRestore(Work):
    """The restore, with keys and indexes."""

    name = "tpch-restore"
    title = "TPC-H, restore"

    def prepare(self) -> None:
        self.restores = Restores(self.bench, databases.tpch(self.bench))

    def sides(self) -> list[Side]:
        return [
            self.restores.by_pg_restore(RESTORED, "-Z0"),
            self.restores.by_pg_restore(RESTORED_DEFAULT),
            self.restores.by_pgark(),
        ]

    def comparisons(self) -> list[Comparison]:
        return [
            Comparison("wall_s", RESTORED, at_most(0.8)),
            Comparison("wall_s", RESTORED_DEFAULT, at_most(0.8)),
        ]

    def finish(self) -> None:
        self.restores.finish()
