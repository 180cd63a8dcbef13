//! Progress as bars at a terminal: one for the phase, its numbers behind it, the object that ended last below.

use std::time::{Duration, Instant};

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};

use super::super::human;
use super::count::Count;
use crate::progress::Event;

/// How often the bars are drawn anew.
const TICK: Duration = Duration::from_millis(100);
/// The bar's length when all is done.
const FULL: u64 = 1000;

/// The bars.
#[derive(Debug)]
pub(super) struct Bars {
    all: MultiProgress,
    phase: Option<Phase>,
    count: Count,
}

#[derive(Debug)]
struct Phase {
    bar: ProgressBar,
    task: ProgressBar,
    began: Instant,
    drawn: Instant,
}

impl Bars {
    pub(super) fn new() -> Bars {
        Bars {
            all: MultiProgress::new(),
            phase: None,
            count: Count::default(),
        }
    }

    pub(super) fn event(&mut self, event: &Event) {
        if matches!(event, Event::Phase { .. }) {
            self.end_phase();
        }
        if self.count.add(event) {
            self.begin_phase();
        }
        let Some(phase) = &mut self.phase else {
            return;
        };
        // Events come by the thousand; a line that changes more often than it is drawn is work for nothing.
        if phase.drawn.elapsed() >= TICK {
            phase.drawn = Instant::now();
            phase.draw(&self.count);
        }
    }

    fn begin_phase(&mut self) {
        let bar = if self.count.share().is_some() {
            ProgressBar::new(FULL).with_style(style(
                "{spinner:.cyan} {prefix:<10.bold} [{bar:24.cyan/blue}] {percent:>3} %  {msg}",
            ))
        } else {
            ProgressBar::new_spinner()
                .with_style(style("{spinner:.cyan} {prefix:<10.bold} {msg} {elapsed}"))
        };
        let bar = self.all.add(bar.with_prefix(self.count.phase));
        let task = self
            .all
            .add(ProgressBar::new_spinner().with_style(style("  {wide_msg:.dim}")));
        bar.enable_steady_tick(TICK);
        self.phase = Some(Phase {
            bar,
            task,
            began: Instant::now(),
            drawn: Instant::now(),
        });
    }

    /// Leaves one line that says how long the phase took.
    fn end_phase(&mut self) {
        let Some(phase) = self.phase.take() else {
            return;
        };
        let elapsed = phase.began.elapsed();
        phase.clear();
        if elapsed >= Duration::from_secs(1) {
            let Count { bytes, rows, .. } = self.count;
            let mut parts = vec![human::duration(elapsed)];
            parts.extend((bytes > 0).then(|| human::bytes(bytes)));
            parts.extend((rows > 0).then(|| human::things(rows, "row")));
            self.above(&format!("  {:<10} {}", self.count.phase, parts.join(", ")));
        }
    }

    /// Prints a line above the bars.
    pub(super) fn above(&self, line: &str) {
        // Without a terminal indicatif prints nothing at all.
        if self.all.is_hidden() || self.all.println(line).is_err() {
            super::diagnostic(line);
        }
    }

    /// Takes the bars away.
    pub(super) fn finish(mut self) {
        self.end_phase();
    }
}

impl Phase {
    fn draw(&self, count: &Count) {
        if let Some(share) = count.share() {
            #[allow(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                reason = "0 to 1000"
            )]
            self.bar.set_position((share * FULL as f64) as u64);
        }
        self.bar.set_message(count.text(self.began.elapsed()));
        self.task.set_message(count.last_task.clone());
    }

    fn clear(self) {
        self.task.finish_and_clear();
        self.bar.finish_and_clear();
    }
}

fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template).expect("the templates above are right")
}
