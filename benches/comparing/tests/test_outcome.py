"""Medians, ratios, targets, and what is made of them."""

import json
import unittest
from xml.etree import ElementTree

from ..outcome import Run, WorkOutcome, rows
from ..plot import svg
from ..table import markdown
from ..work import Comparison, at_least, at_most


def outcome(own: list[float], peers: list[float]) -> WorkOutcome:
    return WorkOutcome(
        "copy",
        "a copy & more",
        [
            Comparison("wall_s", "pg_dump", at_most(0.6)),
            Comparison("gb_per_s", None, at_least(1.0)),
            Comparison("wall_s", "absent", at_most(1)),
        ],
        {
            "pg_dump": [{"wall_s": wall} for wall in peers],
            "pgark": [{"wall_s": wall, "gb_per_s": 2.0} for wall in own],
        },
    )


class Outcomes(unittest.TestCase):
    def test_a_ratio_is_of_medians_and_bounds_are_met_at_their_edge(self) -> None:
        wall, speed, absent = rows(outcome([9.0, 6.0, 1.0], [2.0, 10.0, 11.0]))
        self.assertEqual((wall.own, wall.peers, wall.ratio, wall.is_met), (6.0, 10.0, 0.6, True))
        self.assertEqual((speed.judged, speed.is_met, speed.used), (2.0, True, 0.5))
        self.assertEqual((absent.ratio, absent.is_met, absent.used), (None, None, None))

    def test_a_median_of_an_even_number_lies_between(self) -> None:
        [wall, *_] = rows(outcome([6.0, 8.0], [10.0, 10.0]))
        self.assertEqual((wall.own, wall.is_met), (7.0, False))

    def test_a_least_is_missed_below_it(self) -> None:
        self.assertFalse(at_least(3.0).is_met(2.9))
        self.assertEqual(at_least(3.0).used(1.5), 2.0)
        self.assertFalse(at_most(3.0).is_met(3.1))

    def test_a_failure_is_never_met_though_earlier_rounds_were_fast(self) -> None:
        failed = outcome([1.0], [10.0])
        failed.failures["pgark"] = "exit code 1"
        [wall, *_] = rows(failed)
        self.assertEqual((wall.own, wall.is_met), (None, False))
        self.assertIn("| failed |", markdown(Run({}, [failed])))
        self.assertIn("a copy & more, pgark: exit code 1", markdown(Run({}, [failed])))

    def test_a_run_is_the_same_after_json(self) -> None:
        run = Run({"date": "today"}, [outcome([6.0], [10.0])])
        again = Run.from_json(json.loads(json.dumps(run.as_json())))
        self.assertEqual(again, run)

    def test_the_table_says_what_was_met(self) -> None:
        text = markdown(Run({"date": "today"}, [outcome([6.0], [10.0])]))
        self.assertIn("| a copy & more | wall, s | pg_dump | 10.00 | 6.00 | 0.60 | ≤ 0.6 | met |", text)
        self.assertIn("| a copy & more | raw bytes, GB/s | — | — | 2.00 | — | ≥ 1 | met |", text)
        slow = markdown(Run({}, [outcome([6.1], [10.0])]))
        self.assertIn("| 0.61 | ≤ 0.6 | **not met** |", slow)
        widths = {line.count("|") for line in text.splitlines() if line.startswith("| a copy")}
        self.assertEqual(widths, {9, 8})


class Plots(unittest.TestCase):
    def test_the_picture_is_sound_and_for_light_and_dark(self) -> None:
        picture = svg(Run({"date": "today"}, [outcome([6.0], [10.0])]))
        root = ElementTree.fromstring(picture)
        space = "{http://www.w3.org/2000/svg}"
        bars = [rect for rect in root.iter(f"{space}rect") if rect.find(f"{space}title") is not None]
        tips = [bar.findtext(f"{space}title") for bar in bars]
        self.assertEqual(
            tips, ["a copy & more, pg_dump: 10.00 s", "a copy & more, pgark: 6.00 s", "0.60, target ≤ 0.6", "2.00, target ≥ 1"]
        )
        widths = [float(bar.attrib["width"]) for bar in bars[:2]]
        self.assertAlmostEqual(widths[1] / widths[0], 0.6, places=2)
        self.assertIn("prefers-color-scheme: dark", picture)
        height = float(root.attrib["height"])
        self.assertTrue(all(float(text.attrib["y"]) < height for text in root.iter(f"{space}text")))


if __name__ == "__main__":
    unittest.main()
