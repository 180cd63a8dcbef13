"""What fills the databases. Each is made once and kept in the bench's cluster, under a name that has its size."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from .bench import Bench
from .options import ROOT
from .programs import tpchgen

TPCH = Path(__file__).with_name("tpch.sql")
TPCH_KEYS = Path(__file__).with_name("tpch_keys.sql")
TABLES = ("region", "nation", "supplier", "customer", "part", "partsupp", "orders", "lineitem")


def _made(bench: Bench, name: str, fill: Callable[[str], None]) -> str:
    cluster = bench.cluster
    if bench.options.is_fresh or not cluster.is_filled(name):
        print(f"compare: filling {name}", file=sys.stderr)
        cluster.fresh(name)
        fill(name)
        cluster.set_filled(name)
    return name


def _script(bench: Bench, script: str) -> Callable[[str], None]:
    def fill(database: str) -> None:
        bench.cluster.sql(database, script)

    return fill


def _load_tpch(bench: Bench, database: str, tables: tuple[str, ...]) -> None:
    cluster = bench.cluster
    for table in tables:
        rows = [str(tpchgen()), "csv", "--quiet", "--stdout", "--scale-factor", str(bench.sizes.scale), "--tables", table]
        load = cluster.psql_command(database, "-c", f"COPY {table} FROM STDIN (FORMAT csv, HEADER)")
        with subprocess.Popen(rows, stdout=subprocess.PIPE) as generator:
            subprocess.run(load, stdin=generator.stdout, env=cluster.environment, check=True)
        if generator.returncode:
            raise RuntimeError(f"{' '.join(rows)} failed")


def scale_name(scale: float) -> str:
    """A scale as a part of a name: 1, 0_01."""
    return f"{scale:g}".replace(".", "_")


def lineitem(bench: Bench) -> str:
    """TPC-H's largest table alone, without keys: at scale 1 six million rows, 1 GB of heap."""

    def fill(database: str) -> None:
        bench.cluster.sql(database, TPCH.read_text() + "DROP TABLE region, nation, supplier, customer, part, partsupp, orders;")
        _load_tpch(bench, database, ("lineitem",))

    return _made(bench, f"lineitem_{scale_name(bench.sizes.scale)}", fill)


def tpch(bench: Bench) -> str:
    """TPC-H's eight tables with primary and foreign keys and three more indexes."""

    def fill(database: str) -> None:
        bench.cluster.sql(database, TPCH.read_text())
        _load_tpch(bench, database, TABLES)
        bench.cluster.sql(database, TPCH_KEYS.read_text())

    return _made(bench, f"tpch_{scale_name(bench.sizes.scale)}", fill)


def accounts(bench: Bench) -> str:
    """The table that `pgbench -i -I dtGp` makes of this scale, 100,000 rows each."""
    scale = bench.sizes.accounts_scale
    script = f"""
        CREATE TABLE pgbench_accounts (aid int NOT NULL, bid int, abalance int, filler char(84)) WITH (fillfactor = 100);
        INSERT INTO pgbench_accounts SELECT aid, (aid - 1) / 100000 + 1, 0, '' FROM generate_series(1, {scale} * 100000) AS aid;
        ALTER TABLE pgbench_accounts ADD PRIMARY KEY (aid);
    """
    return _made(bench, f"accounts_{scale}", _script(bench, script))


def small(bench: Bench) -> str:
    """Many tables of ten rows, each with a primary key."""
    n_tables = bench.sizes.n_small

    def fill(database: str) -> None:
        for begin in range(1, n_tables + 1, 1000):
            end = min(begin + 999, n_tables)
            bench.cluster.sql(
                database,
                f"""DO $$ BEGIN FOR i IN {begin}..{end} LOOP
                        EXECUTE format('CREATE TABLE t%1$s (id int PRIMARY KEY, amount numeric(10,2), day date, note varchar(40));
                                        INSERT INTO t%1$s SELECT k, k * 1.5, date ''2026-01-01'' + k, ''row '' || k FROM generate_series(1, 10) AS k', i);
                    END LOOP; END $$""",
            )

    return _made(bench, f"small_{n_tables}", fill)


# Hexadecimal text that comes again too far away for zstd's window at level 1 to notice; slices of it are cheap.
BLOCKS = """
    CREATE TABLE block (data bytea);
    ALTER TABLE block ALTER data SET STORAGE EXTERNAL;
    INSERT INTO block SELECT string_agg(sha512(i::text::bytea), '') FROM generate_series(1, 250000) AS i;
"""


def toast(bench: Bench) -> str:
    """A table with one part of its bytes in the heap and a hundred in TOAST: rows of 80 bytes with 8 KiB elsewhere."""
    n_rows = bench.sizes.toast_mb * (1 << 20) // 8192
    script = f"""{BLOCKS}
        CREATE TABLE documents (id bigint, title char(32), body text);
        ALTER TABLE documents ALTER body SET STORAGE EXTERNAL;
        INSERT INTO documents SELECT i, 'document ' || i, encode(substr(data, 1 + (i::bigint * 7919 * 64 % 15990000)::int, 4096), 'hex')
          FROM generate_series(1, {n_rows}) AS i, block;
        DROP TABLE block;
    """
    return _made(bench, f"toast_{bench.sizes.toast_mb}", _script(bench, script))


def link(bench: Bench) -> str:
    """One table of so many MB of COPY text."""
    n_rows = bench.sizes.link_mb * 11_500
    script = f"""
        CREATE TABLE readings (id bigint, at timestamptz, sensor int, value numeric(12,4), note text);
        INSERT INTO readings SELECT i, timestamptz '2026-01-01 00:00:00+00' + i * interval '1 second', i % 977, (i::bigint * 7919 % 1000003) / 10000.0,
               left(md5(i::text), 36) || ' of sensor'
          FROM generate_series(1, {n_rows}) AS i;
    """
    return _made(bench, f"link_{bench.sizes.link_mb}", _script(bench, script))


def wide(bench: Bench) -> str:
    """Twenty rows of so many MB of text each, and a table of narrow rows."""
    script = f"""
        CREATE TABLE wide AS SELECT i AS id, repeat('0123456789abcde' || chr(64 + i), {bench.sizes.wide_mb} * 65536) AS data FROM generate_series(1, 20) AS i;
        CREATE TABLE narrow AS SELECT i AS id, md5(i::text) AS note FROM generate_series(1, {bench.sizes.wide_mb} * 100000) AS i;
    """
    return _made(bench, f"wide_{bench.sizes.wide_mb}", _script(bench, script))


def shop(bench: Bench) -> str:
    """The sample database of fixtures/shop: a hundred tables, partitions, triggers, views, large objects."""

    def fill(database: str) -> None:
        for script in sorted((ROOT / "fixtures" / "shop").glob("*.sql")):
            bench.cluster.sql(database, script.read_text())
        bench.cluster.sql(database, f"CALL shop_admin.generate({bench.sizes.shop_mb})")

    return _made(bench, f"shop_{bench.sizes.shop_mb}", fill)
