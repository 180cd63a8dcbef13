"""The sample database: a mixed work without a target."""

from .. import databases
from ..sides import RESTORED, UNCOMPRESSED, Dumped, Restores, dumped_by_pg_dump, dumped_by_pgark
from ..work import Comparison, Side, Work


class Shop(Work):
    name = "shop"
    title = "shop, {shop_mb} MB, dump"

    def prepare(self) -> None:
        database = databases.shop(self.bench)
        self.dumped = Dumped(database, sum(self.bench.cluster.row_counts(database).values()))

    def sides(self) -> list[Side]:
        return [dumped_by_pg_dump(self.bench, UNCOMPRESSED, self.dumped, "-Z0"), dumped_by_pgark(self.bench, self.dumped)]

    def comparisons(self) -> list[Comparison]:
        return [Comparison("wall_s", UNCOMPRESSED), Comparison("stored_bytes", UNCOMPRESSED)]


class ShopRestore(Work):
    name = "shop-restore"
    title = "shop, {shop_mb} MB, restore"

    def prepare(self) -> None:
        self.restores = Restores(self.bench, databases.shop(self.bench))

    def sides(self) -> list[Side]:
        return [self.restores.by_pg_restore(RESTORED, "-Z0"), self.restores.by_pgark()]

    def comparisons(self) -> list[Comparison]:
        return [Comparison("wall_s", RESTORED)]

    def finish(self) -> None:
        self.restores.finish()
