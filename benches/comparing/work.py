"""What a work is: databases that it needs, sides that do it in turn, and what is compared of them."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import ClassVar

from .bench import Bench
from .measure import Sample

PGARK = "pgark"


@dataclass(frozen=True)
class Side:
    """A peer, or pgark, doing the work once: into a new place, checked afterwards."""

    name: str
    run: Callable[[], Sample]


@dataclass(frozen=True)
class Bound:
    """A target: a number, and which side of it is wanted."""

    value: float
    is_least: bool = False

    def is_met(self, value: float) -> bool:
        return value >= self.value if self.is_least else value <= self.value

    def used(self, value: float) -> float:
        """How much of what is allowed is used: met up to 1."""
        if self.is_least:
            return self.value / value if value > 0 else float("inf")
        return value / self.value

    def __str__(self) -> str:
        return f"{'≥' if self.is_least else '≤'} {self.value:.4g}"


def at_most(value: float) -> Bound:
    return Bound(value)


def at_least(value: float) -> Bound:
    return Bound(value, is_least=True)


@dataclass(frozen=True)
class Comparison:
    """One row of the table: a metric of a side, beside a peer's or alone, with its target where there is one."""

    metric: str
    peer: str | None = None
    bound: Bound | None = None
    side: str = PGARK


class Work(ABC):
    """One work of the bench. Its class says what it is, its instance does it on one bench."""

    name: ClassVar[str]
    title: ClassVar[str]
    """For people, in a few words; sizes stand in braces, under their names in Sizes."""
    n_rounds_max: ClassVar[int | None] = None
    """Set where every round must give the same, because bytes are counted and not time."""

    def __init__(self, bench: Bench) -> None:
        self.bench = bench
        self.notes: list[str] = []
        """What a reader of the table must know, such as a peer that is not to be had."""

    @property
    def heading(self) -> str:
        """The title with the sizes of this run."""
        return self.title.format(**asdict(self.bench.sizes))

    @abstractmethod
    def prepare(self) -> None:
        """Makes what the sides need; not timed."""

    @abstractmethod
    def sides(self) -> list[Side]:
        """Who does the work, in the order of a round."""

    @abstractmethod
    def comparisons(self) -> list[Comparison]:
        """What the table says of it."""

    def finish(self) -> None:
        """Removes what the next work does not need."""
