"""A run as text: the table of targets, and that of all medians."""

from .outcome import Row, Run, WorkOutcome, rows
from .work import PGARK, Comparison

# metric: what it is called, what it is divided by, digits
METRICS: dict[str, tuple[str, float, int]] = {
    "wall_s": ("wall, s", 1, 2),
    "cpu_s": ("client's processor, s", 1, 2),
    "peak_mib": ("peak memory, MiB", 1, 0),
    "stored_bytes": ("stored, MB", 1e6, 1),
    "raw_bytes": ("raw, MB", 1e6, 1),
    "mb_per_s": ("throughput, MB/s", 1, 1),
    "gb_per_s": ("raw bytes, GB/s", 1, 2),
    "busy_percent": ("all workers busy, %", 1, 1),
    "appended_percent": ("new after 1 % more rows, %", 1, 2),
    "updated_chunks": ("new chunks after 10 updates", 1, 0),
}
NOTHING = "—"


def shown(metric: str, value: float | None) -> str:
    """A value in the metric's unit; what pgark says of itself and no table has is in seconds."""
    if value is None:
        return NOTHING
    _, unit, digits = METRICS.get(metric, (metric, 1, 2))
    return f"{value / unit:.{digits}f}"


def what(comparison: Comparison) -> str:
    """The metric, and of what where it is not pgark as a whole."""
    name = METRICS[comparison.metric][0]
    return name if comparison.side == PGARK else f"{comparison.side}: {name}"


def verdict(row: Row) -> str:
    if row.failure:
        return "failed"
    return {True: "met", False: "**not met**", None: ""}[row.is_met]


def target_line(row: Row) -> str:
    comparison = row.comparison
    cells = [
        row.work,
        what(comparison),
        comparison.peer or NOTHING,
        shown(comparison.metric, row.peers),
        shown(comparison.metric, row.own),
        f"{row.ratio:.2f}" if row.ratio is not None else NOTHING,
        str(comparison.bound or NOTHING),
        verdict(row),
    ]
    return f"| {' | '.join(cells)} |"


def median_line(outcome: WorkOutcome, side: str) -> str:
    wall = outcome.values(side, "wall_s")
    spread = f"{shown('wall_s', min(wall))} … {shown('wall_s', max(wall))}" if wall else NOTHING
    cells = [
        outcome.title,
        side,
        *(shown(metric, outcome.median(side, metric)) for metric in ("wall_s", "cpu_s", "peak_mib", "stored_bytes")),
    ]
    cells.insert(3, spread)
    return f"| {' | '.join(cells)} |"


def markdown(run: Run) -> str:
    """Facts, the table of targets, the table of medians, notes and failures."""
    lines = [f"{name}: {value}  " for name, value in run.facts.items()]
    lines += ["", "| work | what | peer | peer's | pgark's | ratio | target | |", "|---|---|---|---:|---:|---:|---:|---|"]
    lines += [target_line(row) for outcome in run.outcomes for row in rows(outcome)]
    lines += ["", "Medians of all sides:", ""]
    lines += [
        "| work | side | wall, s | least … most | client's processor, s | peak memory, MiB | stored, MB |",
        "|---|---|---:|---:|---:|---:|---:|",
    ]
    lines += [median_line(outcome, side) for outcome in run.outcomes for side in outcome.samples if outcome.values(side, "wall_s")]
    notes = dict.fromkeys(note for outcome in run.outcomes for note in outcome.notes)
    failures = [f"{outcome.title}, {side}: {text}" for outcome in run.outcomes for side, text in outcome.failures.items()]
    if notes or failures:
        lines += ["", *(f"- {line}" for line in [*notes, *failures])]
    return "\n".join(lines) + "\n"
