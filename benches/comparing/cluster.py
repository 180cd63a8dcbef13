"""A server of the bench's own, with the settings of a real one, and questions to it. Its databases are kept between runs."""

import fcntl
import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from .programs import Programs

# As installed, but for what would make rounds differ: room for what is read, no checkpoint forced by volume in the middle of one
# run or another, no autovacuum beside a round. fsync stays on: restores pay for durability, on all sides.
SETTINGS = {
    "listen_addresses": "''",
    "fsync": "on",
    "synchronous_commit": "on",
    "max_wal_size": "4GB",
    "checkpoint_timeout": "30min",
    "maintenance_work_mem": "256MB",
    "max_connections": "50",
    "max_locks_per_transaction": "1024",
    "autovacuum": "off",
    "timezone": "UTC",
    "log_timezone": "UTC",
}


class Cluster:
    """A running server on a socket of its own; superuser postgres, without a password."""

    def __init__(self, home: Path, programs: Programs, settings: dict[str, str]) -> None:
        self.home = home
        self.programs = programs
        self.settings = {**SETTINGS, **settings}
        self.data = home / "data"
        self.socket_dir = home / "socket"
        self.port = 5432

    @property
    def environment(self) -> dict[str, str]:
        """What client programs find in their environment: nothing of the user's settings but his home and path."""
        kept = {name: os.environ[name] for name in ("PATH", "HOME", "TMPDIR") if name in os.environ}
        return {**kept, "LC_ALL": "C.UTF-8", "PGHOST": str(self.socket_dir), "PGPORT": str(self.port), "PGUSER": "postgres"}

    def _as_server_user(self, *command: str | Path) -> None:
        """PostgreSQL refuses to run as root."""
        prefix = ["runuser", "-u", "postgres", "--"] if os.geteuid() == 0 else []
        clean = {"PATH": "/usr/bin:/bin:/usr/sbin:/sbin", "LC_ALL": "C.UTF-8"}
        run = subprocess.run([*prefix, *command], cwd="/", env=clean, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        if run.returncode:
            raise RuntimeError(f"{' '.join(map(str, command))} failed:\n{run.stdout}")

    def _make(self) -> None:
        shutil.rmtree(self.home, ignore_errors=True)
        self.home.mkdir(parents=True)
        if os.geteuid() == 0:
            shutil.chown(self.home, "postgres", "postgres")
        self._as_server_user("mkdir", self.socket_dir)
        self._as_server_user(
            self.programs.server / "initdb",
            f"--pgdata={self.data}",
            "--no-sync",
            "--locale=C.UTF-8",
            "--encoding=UTF8",
            "--username=postgres",
            "--auth=trust",
        )

    @contextmanager
    def running(self) -> Iterator[None]:
        """Starts it, made anew if it is not there, and stops it at the end. Only one at a time uses the home."""
        self.home.parent.mkdir(parents=True, exist_ok=True)
        with open(f"{self.home}.lock", "w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not (self.data / "PG_VERSION").exists():
                self._make()
            elif (self.data / "postmaster.pid").exists():
                # Left by a run that was killed; where only the file is left there is nothing to stop, and the start copes with it.
                self._stop(check=False)
            lines = "".join(f"{name} = {value}\n" for name, value in self.settings.items())
            (self.data / "postgresql.auto.conf").write_text(lines)
            control = self.programs.server / "pg_ctl"
            options = f"-k {self.socket_dir} -p {self.port}"
            self._as_server_user(control, f"--pgdata={self.data}", f"--log={self.home}/log", "-o", options, "--wait", "start")
            try:
                yield
            finally:
                self._stop(check=True)

    def _stop(self, check: bool) -> None:
        try:
            self._as_server_user(self.programs.server / "pg_ctl", f"--pgdata={self.data}", "--mode=fast", "--wait", "--timeout=300", "stop")
        except RuntimeError:
            if check:
                raise

    def psql_command(self, database: str, *arguments: str) -> list[str]:
        """A psql that prints bare values and stops at the first error."""
        return [str(self.programs.client / "psql"), "-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1", "-d", database, *arguments]

    def sql(self, database: str, script: str) -> str:
        """Runs a script, outside of a transaction, and gives what it printed. A checkpoint makes it durable, before anything is timed."""
        environment = {**self.environment, "PGOPTIONS": "-c client_min_messages=warning -c synchronous_commit=off"}
        run = subprocess.run(self.psql_command(database), input=script, env=environment, capture_output=True, text=True)
        if run.returncode:
            raise RuntimeError(f"database {database}: {run.stderr.strip()}")
        return run.stdout.strip()

    def number(self, database: str, query: str) -> int:
        """One number."""
        return int(self.sql(database, query))

    def version(self) -> str:
        """The server's own words on its version."""
        return self.sql("postgres", "SHOW server_version")

    def fresh(self, database: str, template: str = "template0") -> None:
        """Makes the database anew."""
        self.drop(database)
        self.sql("postgres", f"CREATE DATABASE {database} TEMPLATE {template}")

    def drop(self, database: str) -> None:
        """Drops the database if it is there."""
        self.sql("postgres", f"DROP DATABASE IF EXISTS {database}")

    def is_filled(self, database: str) -> bool:
        """True if the database is there and was filled to the end."""
        query = f"SELECT count(*) FROM pg_database WHERE datname = '{database}' AND shobj_description(oid, 'pg_database') = 'filled'"
        return self.number("postgres", query) == 1

    def set_filled(self, database: str) -> None:
        """Notes that it is whole."""
        self.sql(database, "VACUUM (FREEZE, ANALYZE);\nCHECKPOINT")
        self.sql("postgres", f"COMMENT ON DATABASE {database} IS 'filled'")

    def checkpoint(self) -> None:
        """What was changed before lies on the disk, so that no later run pays for it."""
        self.sql("postgres", "CHECKPOINT")
        os.sync()

    def warm(self, database: str) -> None:
        """Every table with its TOAST lies in shared buffers."""
        self.sql(
            database,
            "CREATE EXTENSION pg_prewarm;"
            "SELECT sum(pg_prewarm(oid)) FROM pg_class WHERE relkind IN ('r', 't', 'm') AND pg_relation_size(oid) > 0;"
            "DROP EXTENSION pg_prewarm",
        )

    def row_counts(self, database: str) -> dict[str, int]:
        """The rows of each ordinary table."""
        said = self.sql(
            database,
            "SELECT format('SELECT %L, count(*) FROM ONLY %s', oid::regclass, oid::regclass) FROM pg_class"
            " WHERE relkind = 'r' AND relnamespace::regnamespace::text !~ '^(pg_|information_schema)' ORDER BY oid::regclass::text \\gexec",
        )
        return {table: int(count) for table, _, count in (line.rpartition("|") for line in said.splitlines())}

    def keys(self, database: str) -> list[str]:
        """Constraints and indexes, and whether they are valid: equal on both sides of a restore."""
        said = self.sql(
            database,
            "SELECT conrelid::regclass, conname, contype, convalidated FROM pg_constraint WHERE conrelid <> 0 ORDER BY 1, 2;"
            "SELECT i.indrelid::regclass, i.indexrelid::regclass, i.indisprimary, i.indisvalid FROM pg_index AS i JOIN pg_class AS c ON c.oid = i.indrelid"
            " WHERE c.relnamespace::regnamespace::text !~ '^(pg_|information_schema)'",
        )
        return sorted(said.splitlines())
