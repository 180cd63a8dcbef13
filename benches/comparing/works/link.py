"""A far server: what one connection carries is bounded by its window and the round trip, whatever both ends can do."""

from contextlib import ExitStack

from .. import databases
from ..link import delaying_link
from ..measure import Sample
from ..sides import UNCOMPRESSED, Dumped, dumped_by_pg_dump, dumped_by_pgark
from ..work import Comparison, Side, Work, at_least

ROUND_TRIP_MS = 40
WINDOW_BYTES = 256 << 10
JOBS = 8


class Link(Work):
    name = "link"
    title = f"{{link_mb}} MB over a link, -j{JOBS}, dump"

    def prepare(self) -> None:
        self.links = ExitStack()
        cluster = self.bench.cluster
        database = databases.link(self.bench)
        # The text that COPY sends, which is what the link carries on both sides.
        self.n_bytes = cluster.number(database, "SELECT sum(length(readings::text) + 1 - 4) FROM readings")
        port = self.links.enter_context(delaying_link(cluster.socket_dir / f".s.PGSQL.{cluster.port}", ROUND_TRIP_MS, WINDOW_BYTES))
        n_rows = sum(cluster.row_counts(database).values())
        self.dumped = Dumped(database, n_rows, host=("-h", "127.0.0.1", "-p", str(port)), jobs=JOBS)
        self.notes.append(f"the link has a round trip of {ROUND_TRIP_MS} ms and a window of {WINDOW_BYTES >> 10} KiB for each connection")

    def _with_throughput(self, side: Side) -> Side:
        def run() -> Sample:
            sample = side.run()
            sample["mb_per_s"] = self.n_bytes / sample["wall_s"] / 1e6
            return sample

        return Side(side.name, run)

    def sides(self) -> list[Side]:
        dumps = [dumped_by_pg_dump(self.bench, UNCOMPRESSED, self.dumped, "-Z0"), dumped_by_pgark(self.bench, self.dumped)]
        return [self._with_throughput(side) for side in dumps]

    def comparisons(self) -> list[Comparison]:
        return [Comparison("mb_per_s", UNCOMPRESSED, at_least(3.0))]

    def finish(self) -> None:
        self.links.close()
