"""Verification at full depth: every stored byte hashed again, decoded, rows counted and fingerprints compared."""

import shutil

from .. import databases
from ..measure import Sample, timed
from ..work import PGARK, Comparison, Side, Work, at_least


class Verify(Work):
    name = "verify"
    title = "TPC-H, verify on two cores"

    def prepare(self) -> None:
        database = databases.tpch(self.bench)
        self.repository = self.bench.new_folder("verified")
        self.raw_bytes = self.bench.asked("dump", "-d", database, "-r", self.repository, f"-j{self.bench.jobs}")["raw_bytes"]

    def _verify(self) -> Sample:
        command = ["taskset", "--cpu-list", "0,1", self.bench.pgark, "verify", "-r", str(self.repository), "--depth", "full"]
        sample, _ = timed(command, self.bench.cluster.environment, self.bench.folder)
        sample["gb_per_s"] = self.raw_bytes / sample["wall_s"] / 1e9
        return sample

    def sides(self) -> list[Side]:
        return [Side(PGARK, self._verify)]

    def comparisons(self) -> list[Comparison]:
        return [Comparison("gb_per_s", None, at_least(1.0)), Comparison("cpu_s")]

    def finish(self) -> None:
        shutil.rmtree(self.repository, ignore_errors=True)
