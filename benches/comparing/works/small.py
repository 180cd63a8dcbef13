"""Very many small tables: what each costs beside its rows."""

from .. import databases
from ..sides import RESTORED, UNCOMPRESSED, Dumped, Restores, dumped_by_pg_dump, dumped_by_pgark
from ..work import Comparison, Side, Work, at_most


class Small(Work):
    name = "small"
    title = "{n_small:,} small tables, dump"

    def prepare(self) -> None:
        self.dumped = Dumped(databases.small(self.bench), self.bench.sizes.n_small * 10)

    def sides(self) -> list[Side]:
        return [dumped_by_pg_dump(self.bench, UNCOMPRESSED, self.dumped, "-Z0"), dumped_by_pgark(self.bench, self.dumped)]

    def comparisons(self) -> list[Comparison]:
        return [Comparison("wall_s", UNCOMPRESSED, at_most(0.5))]


class SmallRestore(Work):
    name = "small-restore"
    title = "{n_small:,} small tables, restore"

    def prepare(self) -> None:
        self.restores = Restores(self.bench, databases.small(self.bench))

    def sides(self) -> list[Side]:
        return [self.restores.by_pg_restore(RESTORED, "-Z0"), self.restores.by_pgark()]

    def comparisons(self) -> list[Comparison]:
        return [Comparison("wall_s", RESTORED, at_most(0.5))]

    def finish(self) -> None:
        self.restores.finish()
