"""What a run found: samples, their medians and ratios, and whether targets are met. Pure, and kept as JSON."""

from dataclasses import dataclass, field
from statistics import median
from typing import Any

from .measure import Sample
from .work import Bound, Comparison


@dataclass
class WorkOutcome:
    """The samples of one work: for each side, one of each round."""

    name: str
    title: str
    comparisons: list[Comparison]
    samples: dict[str, list[Sample]] = field(default_factory=dict)
    failures: dict[str, str] = field(default_factory=dict)
    """What went wrong, by side; a side that failed once is not tried again."""
    notes: list[str] = field(default_factory=list)

    def values(self, side: str, metric: str) -> list[float]:
        """A metric of every round."""
        return [sample[metric] for sample in self.samples.get(side, []) if metric in sample]

    def median(self, side: str, metric: str) -> float | None:
        values = self.values(side, metric)
        return median(values) if values and side not in self.failures else None


@dataclass(frozen=True)
class Row:
    """One row of the table."""

    work: str
    comparison: Comparison
    own: float | None
    peers: float | None
    failure: str | None

    @property
    def ratio(self) -> float | None:
        """pgark's by the peer's."""
        return self.own / self.peers if self.own is not None and self.peers else None

    @property
    def judged(self) -> float | None:
        """What the target speaks of: the ratio where there is a peer, else the value."""
        return self.ratio if self.comparison.peer else self.own

    @property
    def is_met(self) -> bool | None:
        """None: there is no target, or nothing to judge it by."""
        if self.comparison.bound is None or (self.judged is None and self.failure is None):
            return None
        return self.judged is not None and self.comparison.bound.is_met(self.judged)

    @property
    def used(self) -> float | None:
        """How much of the target is used: met up to 1."""
        if self.comparison.bound is None or self.judged is None:
            return None
        return self.comparison.bound.used(self.judged)


def rows(outcome: WorkOutcome) -> list[Row]:
    """The rows of a work."""
    return [
        Row(
            outcome.title,
            comparison,
            outcome.median(comparison.side, comparison.metric),
            outcome.median(comparison.peer, comparison.metric) if comparison.peer else None,
            outcome.failures.get(comparison.side),
        )
        for comparison in outcome.comparisons
    ]


@dataclass
class Run:
    """All works of a run, and what it ran on."""

    facts: dict[str, str]
    outcomes: list[WorkOutcome] = field(default_factory=list)

    def as_json(self) -> dict[str, Any]:
        return {
            "facts": self.facts,
            "works": [
                {
                    "name": outcome.name,
                    "title": outcome.title,
                    "samples": outcome.samples,
                    "failures": outcome.failures,
                    "notes": outcome.notes,
                    "comparisons": [
                        {
                            "metric": comparison.metric,
                            "side": comparison.side,
                            "peer": comparison.peer,
                            "bound": comparison.bound and {"value": comparison.bound.value, "is_least": comparison.bound.is_least},
                        }
                        for comparison in outcome.comparisons
                    ],
                }
                for outcome in self.outcomes
            ],
        }

    @staticmethod
    def from_json(saved: dict[str, Any]) -> "Run":
        def comparison(text: dict[str, Any]) -> Comparison:
            bound = Bound(**text["bound"]) if text["bound"] else None
            return Comparison(text["metric"], text["peer"], bound, text["side"])

        return Run(
            saved["facts"],
            [
                WorkOutcome(
                    work["name"],
                    work["title"],
                    [comparison(text) for text in work["comparisons"]],
                    work["samples"],
                    work["failures"],
                    work["notes"],
                )
                for work in saved["works"]
            ],
        )
