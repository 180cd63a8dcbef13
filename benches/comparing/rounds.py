"""Runs works: all sides of a round in turn, round after round."""

import sys

from .measure import Failed
from .outcome import WorkOutcome
from .programs import Unavailable
from .sides import kept
from .table import shown
from .work import Work

TITLE = "the work"


def done(work: Work, n_rounds: int, skipped: list[str]) -> WorkOutcome:
    """Does a work. What fails is noted: a side that failed is left out of later rounds, and the others go on."""
    outcome = WorkOutcome(work.name, work.heading, [])
    try:
        work.prepare()
        sides = kept(work.sides(), skipped)
        outcome.comparisons = work.comparisons()
        for number in range(1, min(n_rounds, work.n_rounds_max or n_rounds) + 1):
            for side in sides:
                if side.name in outcome.failures:
                    continue
                try:
                    sample = side.run()
                except Failed as problem:
                    outcome.failures[side.name] = str(problem)
                    say(f"{work.name}, round {number}: {side.name} failed: {problem}")
                    continue
                outcome.samples.setdefault(side.name, []).append(sample)
                say(
                    f"{work.name}, round {number}: {side.name}: {', '.join(f'{name} {shown(name, value)}' for name, value in sample.items())}"
                )
    except (Failed, RuntimeError, Unavailable) as problem:
        outcome.failures[TITLE] = str(problem)
        say(f"{work.name} failed: {problem}")
    finally:
        work.finish()
    outcome.notes = work.notes
    return outcome


def say(text: str) -> None:
    print(f"compare: {text}", file=sys.stderr, flush=True)
