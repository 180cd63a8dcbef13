"""A table that is small in its heap and large beside it: cells by heap blocks alone would leave workers idle."""

from dataclasses import replace

from .. import databases
from ..measure import Sample
from ..sampler import Sampler, busy_share
from ..sides import UNCOMPRESSED, Dumped, dumped_by_pg_dump, dumped_by_pgark
from ..work import Comparison, Side, Work, at_least


class Toast(Work):
    name = "toast"
    title = "small heap, {toast_mb:,} MB of TOAST, dump"

    def prepare(self) -> None:
        database = databases.toast(self.bench)
        self.dumped = Dumped(database, sum(self.bench.cluster.row_counts(database).values()))

    def _sampled(self, side: Side) -> Side:
        def run() -> Sample:
            with Sampler(self.bench.cluster, self.dumped.database) as sampler:
                sample = side.run()
            sample["busy_percent"] = 100 * busy_share(sampler.counts, self.bench.jobs)
            return sample

        return replace(side, run=run)

    def sides(self) -> list[Side]:
        dumps = [dumped_by_pg_dump(self.bench, UNCOMPRESSED, self.dumped, "-Z0"), dumped_by_pgark(self.bench, self.dumped)]
        return [self._sampled(side) for side in dumps]

    def comparisons(self) -> list[Comparison]:
        return [Comparison("busy_percent", None, at_least(90)), Comparison("wall_s", UNCOMPRESSED)]
