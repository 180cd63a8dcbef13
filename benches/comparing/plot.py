"""A run as a picture: wall times of all sides by work, and how much of each target is used. SVG, for light and dark."""

from html import escape

from .outcome import Run, WorkOutcome, rows
from .table import shown, what
from .work import PGARK

WIDTH, LABEL, BAR, STEP, TOP = 960, 240, 600, 18, 34
TARGET_LABEL, ALLOWED, USED_MAX = 430, 200, 1.9
STYLE = """
  svg { --back: #ffffff; --text: #1f2328; --faint: #6e7781; --line: #d0d7de; --peer: #9aa4b0; --ours: #2563c9; --good: #2f8f4e; --bad: #c9372c; }
  @media (prefers-color-scheme: dark) {
    svg { --back: #14181d; --text: #e6edf3; --faint: #9aa4b0; --line: #39424d; --peer: #6b7683; --ours: #5b9bff; --good: #46b36a; --bad: #f0655a; }
  }
  text { font: 12px system-ui, sans-serif; fill: var(--text); }
  .head { font-weight: 600; }
  .faint { fill: var(--faint); }
"""


class Canvas:
    """Lines of the picture, from the top down."""

    def __init__(self) -> None:
        self.parts: list[str] = []
        self.y = TOP

    def text(self, x: float, text: str, kind: str = "", anchor: str = "start") -> None:
        self.parts.append(f'<text x="{x:.1f}" y="{self.y}" class="{kind}" text-anchor="{anchor}">{escape(text)}</text>')

    def bar(self, x: float, width: float, colour: str, tip: str) -> None:
        self.parts.append(
            f'<rect x="{x:.1f}" y="{self.y - 11}" width="{max(width, 1):.1f}" height="13" rx="2" style="fill: var(--{colour})">'
            f"<title>{escape(tip)}</title></rect>"
        )

    def mark(self, x: float, height: float) -> None:
        self.parts.append(
            f'<line x1="{x:.1f}" x2="{x:.1f}" y1="{self.y - 14}" y2="{self.y - 14 + height}" style="stroke: var(--text)" stroke-dasharray="3 2"/>'
        )

    def next(self, step: int = STEP) -> None:
        self.y += step


def times(canvas: Canvas, outcome: WorkOutcome) -> None:
    """A bar for each side's median of the wall time; the longest fills the width."""
    medians = {side: outcome.median(side, "wall_s") for side in outcome.samples}
    known = {side: value for side, value in medians.items() if value is not None}
    if len(known) < 2:
        return
    canvas.text(12, outcome.title, "head")
    canvas.next()
    for side, value in known.items():
        width = BAR * value / max(known.values())
        canvas.text(LABEL - 8, side, "faint", "end")
        canvas.bar(LABEL, width, "ours" if side.startswith(PGARK) else "peer", f"{outcome.title}, {side}: {value:.2f} s")
        canvas.text(LABEL + width + 6, f"{value:.2f} s")
        canvas.next()
    canvas.next(8)


def targets(canvas: Canvas, run: Run) -> None:
    """A bar for each target: how much of what is allowed is used; what ends before the mark is met."""
    judged = [row for outcome in run.outcomes for row in rows(outcome) if row.used is not None]
    if not judged:
        return
    canvas.text(12, "Targets: what ends before the mark is met", "head")
    canvas.next()
    canvas.mark(TARGET_LABEL + ALLOWED, STEP * len(judged))
    for row in judged:
        used, judged_value = row.used or 0.0, row.judged or 0.0
        peer = row.comparison.peer
        value = f"{judged_value:.2f}" if peer else shown(row.comparison.metric, judged_value)
        canvas.text(TARGET_LABEL - 8, f"{row.work}: {what(row.comparison)}" + (f" / {peer}" if peer else ""), "faint", "end")
        width = min(used, USED_MAX) * ALLOWED
        canvas.bar(TARGET_LABEL, width, "good" if row.is_met else "bad", f"{value}, target {row.comparison.bound}")
        canvas.text(TARGET_LABEL + USED_MAX * ALLOWED + 8, f"{value} ({row.comparison.bound})")
        canvas.next()


def svg(run: Run) -> str:
    """The whole picture."""
    canvas = Canvas()
    for outcome in run.outcomes:
        times(canvas, outcome)
    targets(canvas, run)
    canvas.next(6)
    for name, value in run.facts.items():
        if name != "settings":
            canvas.text(12, f"{name}: {value}", "faint")
            canvas.next()
    height = canvas.y + 16
    body = "\n".join(canvas.parts)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" height="{height}" role="img">\n'
        f"<title>pgark beside its peers: medians of wall times, and targets</title>\n<style>{STYLE}</style>\n"
        f'<rect width="{WIDTH}" height="{height}" style="fill: var(--back)"/>\n{body}\n</svg>\n'
    )
