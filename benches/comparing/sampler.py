"""How many connections of a database are at work, asked of the server 50 times a second while something else runs."""

import subprocess
import threading
import time
from types import TracebackType
from typing import Self

from .cluster import Cluster

PERIOD_S = 0.02


class Sampler:
    """Counts the connections whose COPY is running, from entering to leaving the `with`."""

    def __init__(self, cluster: Cluster, database: str) -> None:
        self.counts: list[int] = []
        self._query = (
            "SELECT count(*) FROM pg_stat_activity"
            f" WHERE datname = '{database}' AND state = 'active' AND query ~ '(^|;)\\s*COPY' AND pid <> pg_backend_pid();\n"
        )
        self._psql = subprocess.Popen(
            cluster.psql_command("postgres"), env=cluster.environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1
        )
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._sample)

    def _sample(self) -> None:
        assert self._psql.stdin and self._psql.stdout
        due = time.monotonic()
        while not self._ended.wait(max(0.0, due - time.monotonic())):
            self._psql.stdin.write(self._query)
            self._psql.stdin.flush()
            self.counts.append(int(self._psql.stdout.readline()))
            due += PERIOD_S

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None) -> None:
        self._ended.set()
        self._thread.join()
        self._psql.communicate()


def busy_share(counts: list[int], n_workers: int) -> float:
    """The share of the samples with all workers at work, of those from the first with any to the last."""
    at_work = [index for index, count in enumerate(counts) if count]
    if not at_work:
        return 0.0
    phase = counts[at_work[0] : at_work[-1] + 1]
    return sum(count >= n_workers for count in phase) / len(phase)
