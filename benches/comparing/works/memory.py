"""Rows of many MB and millions of narrow ones in bounded memory, with the bound enforced by the system."""

from .. import databases
from ..sides import Dumped, Restores, dumped_by_pgark
from ..work import Comparison, Side, Work, at_most

DUMP = "pgark dump"
RESTORE = "pgark restore"


class Memory(Work):
    """Both run under RLIMIT_DATA at the bound: all private writable memory counts, stacks of threads included."""

    name = "memory"
    title = "rows of {wide_mb} MB, memory"

    def prepare(self) -> None:
        database = databases.wide(self.bench)
        n_objects = self.bench.cluster.number(database, "SELECT count(*) FROM pg_class WHERE oid >= 16384")
        self.bound_mib = 64 + self.bench.jobs * 4 * 12 + n_objects * 3 / 1024
        self.dumped = Dumped(database, sum(self.bench.cluster.row_counts(database).values()))
        self.restores = Restores(self.bench, database)
        self.notes.append(f"memory: dump and restore ran under prlimit --data={self.bound_mib:.0f} MiB, the bound at -j{self.bench.jobs}")

    def sides(self) -> list[Side]:
        limited = ("prlimit", f"--data={int(self.bound_mib * (1 << 20))}")
        return [
            Side(DUMP, dumped_by_pgark(self.bench, self.dumped, prefix=limited).run),
            Side(RESTORE, self.restores.by_pgark(prefix=limited).run),
        ]

    def comparisons(self) -> list[Comparison]:
        bound = at_most(round(self.bound_mib))
        return [Comparison("peak_mib", None, bound, side=DUMP), Comparison("peak_mib", None, bound, side=RESTORE)]

    def finish(self) -> None:
        self.restores.finish()
