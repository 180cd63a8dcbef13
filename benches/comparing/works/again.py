"""The next dump of a table that changed a little: what it adds to the repository."""

import json
import shutil
from pathlib import Path

from .. import databases
from ..measure import Failed, Sample
from ..work import PGARK, Comparison, Side, Work, at_most

DATABASE = "bench_again"


class Again(Work):
    name = "again"
    title = "TPC-H lineitem, dumped again"
    n_rounds_max = 1

    def prepare(self) -> None:
        self.original = databases.lineitem(self.bench)

    def _dumped(self, repository: Path, name: str) -> tuple[int, set[str]]:
        """Dumps, and gives the stored bytes that it added and the chunks of rows that are there now."""
        report = self.bench.asked("dump", "-d", DATABASE, "-r", repository, f"-j{self.bench.jobs}", "--name", name)
        counted = self.bench.cluster.number(DATABASE, "SELECT count(*) FROM lineitem")
        if report["rows"] != counted:
            raise Failed(f"{report['rows']} rows were dumped instead of {counted}")
        return report["new_bytes"], chunks_of_rows(repository)

    def _run(self) -> Sample:
        cluster = self.bench.cluster
        repository = self.bench.new_folder("repository")
        cluster.fresh(DATABASE, self.original)
        first_bytes, _ = self._dumped(repository, "first")
        one_percent = cluster.number(DATABASE, "SELECT count(*) / 100 FROM lineitem")
        cluster.sql(
            DATABASE, f"INSERT INTO lineitem SELECT * FROM lineitem ORDER BY l_partkey, l_orderkey, l_linenumber LIMIT {one_percent}"
        )
        appended_bytes, chunks_before = self._dumped(repository, "appended")
        middle = cluster.number(DATABASE, "SELECT pg_relation_size('lineitem') / 8192 / 2")
        cluster.sql(
            DATABASE,
            "UPDATE lineitem SET l_comment = 'changed' WHERE ctid = ANY (ARRAY(SELECT ctid FROM lineitem"
            f" WHERE ctid >= '({middle},1)' AND ctid < '({middle + 1},1)' LIMIT 10))",
        )
        _, chunks_after = self._dumped(repository, "updated")
        self.bench.asked("verify", "--all", "-r", repository)
        shutil.rmtree(repository)
        cluster.drop(DATABASE)
        return {"appended_percent": 100 * appended_bytes / first_bytes, "updated_chunks": len(chunks_after - chunks_before)}

    def sides(self) -> list[Side]:
        return [Side(PGARK, self._run)]

    def comparisons(self) -> list[Comparison]:
        return [Comparison("appended_percent", None, at_most(3)), Comparison("updated_chunks", None, at_most(6))]


def chunks_of_rows(repository: Path) -> set[str]:
    """The names of the chunks that hold rows: all but those of the archives' tables of contents and data indexes."""
    chunks = {path.name for path in (repository / "chunks").rglob("*") if path.is_file()}
    for path in (repository / "archives").glob("*.json"):
        manifest = json.loads(path.read_bytes().split(b"\n", 1)[0])
        for stream in ("toc", "data_index"):
            chunks -= {piece["chunk"] for piece in manifest[stream]}
    return chunks
