"""Dumps of one large table."""

from collections.abc import Callable
from typing import ClassVar

from .. import databases
from ..bench import Bench
from ..sides import DEFAULT, UNCOMPRESSED, ZSTD, Dumped, dumped_by_pg_dump, dumped_by_pgark, dumped_by_zstd_pg_dump
from ..work import Comparison, Side, Work, at_most


class OneTable(Work):
    """A table that pg_dump reads with one connection, and pgark with all."""

    database: ClassVar[Callable[[Bench], str]]

    def prepare(self) -> None:
        name = type(self).database(self.bench)
        self.dumped = Dumped(name, sum(self.bench.cluster.row_counts(name).values()))

    def sides(self) -> list[Side]:
        return [
            dumped_by_pg_dump(self.bench, UNCOMPRESSED, self.dumped, "-Z0"),
            dumped_by_pg_dump(self.bench, DEFAULT, self.dumped),
            *dumped_by_zstd_pg_dump(self.bench, self.dumped, self.notes),
            dumped_by_pgark(self.bench, self.dumped),
        ]

    def comparisons(self) -> list[Comparison]:
        return [
            Comparison("wall_s", UNCOMPRESSED, at_most(0.6)),
            Comparison("wall_s", DEFAULT, at_most(0.12)),
            Comparison("wall_s", ZSTD, at_most(0.75)),
            Comparison("stored_bytes", ZSTD),
        ]


class Lineitem(OneTable):
    name = "lineitem"
    title = "TPC-H lineitem, dump"
    database = databases.lineitem


class Accounts(OneTable):
    name = "accounts"
    title = "pgbench_accounts, dump"
    database = databases.accounts
