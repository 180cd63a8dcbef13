"""The command line, the sampler's share, what is read of a repository, and how a restore's difference is told."""

import contextlib
import io
import json
import tempfile
import unittest
from pathlib import Path

from ..measure import Failed, bytes_below, timed
from ..options import parsed
from ..sampler import busy_share
from ..sides import difference, kept
from ..sizes import sizes
from ..work import Side
from ..works import WORKS
from ..works.again import chunks_of_rows


class Commands(unittest.TestCase):
    def test_the_defaults_are_those_of_a_measurement(self) -> None:
        options = parsed([], list(WORKS))
        self.assertEqual((options.works, options.rounds, options.major, options.scale, options.jobs), (list(WORKS), 5, 15, 1.0, 2))

    def test_works_are_taken_in_the_given_order(self) -> None:
        options = parsed(["--work", "verify,tpch", "--work", "shop", "--quick", "--set", "fsync=off"], list(WORKS))
        self.assertEqual((options.works, options.rounds, options.settings), (["verify", "tpch", "shop"], 1, {"fsync": "off"}))

    def test_what_cannot_be_meant_is_refused(self) -> None:
        for arguments in (["--work", "nothing"], ["--rounds", "0"], ["--set", "fsync"], ["--set", "a b=1"], ["rest"]):
            with self.subTest(arguments), contextlib.redirect_stderr(io.StringIO()) as said, self.assertRaises(SystemExit) as ended:
                parsed(arguments, list(WORKS))
            self.assertEqual(ended.exception.code, 2)
            self.assertIn("error:", said.getvalue())

    def test_a_try_is_small_and_a_measurement_fits_the_buffers(self) -> None:
        full, quick = sizes(1.0, False), sizes(0.01, True)
        self.assertLess(quick.toast_mb * 10, full.toast_mb)
        self.assertLess(full.toast_mb, full.shared_buffers_mb)

    def test_peers_can_be_left_out_but_never_pgark(self) -> None:
        names = ["pg_dump -Z0", "pg_dump, gzip", "pgark", "pgark restore"]
        sides = [Side(name, dict) for name in names]
        self.assertEqual([side.name for side in kept(sides, ["gzip", "restore", "pgark"])], ["pg_dump -Z0", "pgark", "pgark restore"])


class Measures(unittest.TestCase):
    def test_the_processor_time_is_that_of_children_too(self) -> None:
        with tempfile.TemporaryDirectory() as folder:
            burn = "i=0; while [ $i -lt 200000 ]; do i=$((i+1)); done"
            sample, said = timed(["sh", "-c", f"sh -c '{burn}'; echo done"], {"PATH": "/usr/bin:/bin"}, Path(folder))
        self.assertEqual(said, "done\n")
        self.assertGreater(sample["cpu_s"], 0.02)
        self.assertGreaterEqual(sample["wall_s"], 0.02)

    def test_a_failure_has_the_command_and_its_words(self) -> None:
        with tempfile.TemporaryDirectory() as folder, self.assertRaisesRegex(Failed, "(?s)exit 7.*exit code 7: no room"):
            timed(["sh", "-c", "echo no room >&2; exit 7"], {"PATH": "/usr/bin:/bin"}, Path(folder))

    def test_bytes_are_those_of_all_files(self) -> None:
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            (folder / "deep").mkdir()
            (folder / "deep" / "a").write_bytes(b"12345")
            (folder / "b").write_bytes(b"67")
            self.assertEqual(bytes_below(folder), 7)

    def test_the_share_counts_from_the_first_to_the_last_at_work(self) -> None:
        self.assertEqual(busy_share([0, 0, 1, 2, 2, 2, 0, 0], 2), 0.75)
        self.assertEqual(busy_share([0, 2, 0, 2, 0], 2), 2 / 3)
        self.assertEqual(busy_share([0, 0], 2), 0.0)


class Checks(unittest.TestCase):
    def test_chunks_of_rows_are_those_that_no_stream_of_an_archive_names(self) -> None:
        with tempfile.TemporaryDirectory() as name:
            repository = Path(name)
            for chunk in ("aa1", "aa2", "bb3"):
                (repository / "chunks" / chunk[:2]).mkdir(parents=True, exist_ok=True)
                (repository / "chunks" / chunk[:2] / chunk).touch()
            (repository / "archives").mkdir()
            manifest = json.dumps({"toc": [{"chunk": "aa2"}], "data_index": [{"chunk": "bb3"}]})
            (repository / "archives" / "a.json").write_text(f"{manifest}\nseal\n")
            self.assertEqual(chunks_of_rows(repository), {"aa1"})

    def test_a_difference_names_tables_and_keys(self) -> None:
        expected = {"a": 1, "b": 2}, ["a_pkey"]
        self.assertEqual(difference(expected, ({"a": 1, "b": 3}, [])), "b: 3 rows instead of 2; a_pkey is missing")
        self.assertEqual(difference(expected, ({**expected[0], "c": 1}, ["a_pkey"])), "tables that are too many")
