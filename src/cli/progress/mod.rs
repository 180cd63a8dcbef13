//! Progress on standard error: bars for people at a terminal, a line now and then elsewhere, or nothing.

mod bars;
mod count;
mod lines;

use std::collections::HashSet;
use std::io::{self, IsTerminal as _};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use clap::ValueEnum;

use super::human;
use super::output::diagnostic;
use crate::progress::{Event, Progress};
use crate::sql::shown;
use bars::Bars;
use lines::Lines;

/// How progress is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Style {
    /// Bars on a terminal, lines elsewhere, nothing with --json
    Auto,
    /// Bars
    Bars,
    /// A line every 10 seconds
    Lines,
    /// Nothing but warnings
    None,
}

/// After so many tries that failed each is shown: what passes within a second is of interest to few.
const TRIES_SHOWN: u32 = 3;

/// What is shown while the work goes on.
#[derive(Debug, Clone)]
pub(crate) struct Shown(Arc<Reporter>);

#[derive(Debug)]
struct Reporter {
    state: Mutex<State>,
    heard: Mutex<LastHeard>,
}

/// What was heard last of the work.
#[derive(Debug, Clone)]
pub(crate) struct LastHeard {
    /// When.
    pub(crate) at: Instant,
    /// The phase it is in.
    pub(crate) phase: Option<&'static str>,
    /// The step of it that ended last.
    pub(crate) task: Option<String>,
}

impl LastHeard {
    fn note(&mut self, event: &Event) {
        // To be told again what one waits for is no progress.
        if matches!(event, Event::Warning(_) | Event::Retry { .. }) {
            return;
        }
        self.at = Instant::now();
        match event {
            Event::Phase { name, .. } => (self.phase, self.task) = (Some(*name), None),
            Event::Task(task) => self.task = Some(task.clone()),
            _ => {}
        }
    }
}

#[derive(Debug)]
struct State {
    display: Display,
    /// Warnings that were shown, so that a report which repeats them is not.
    warned: HashSet<String>,
    /// Whether each retry is shown.
    verbose: bool,
}

#[derive(Debug)]
enum Display {
    Bars(Bars),
    Lines(Lines),
    Nothing,
}

impl Shown {
    pub(crate) fn new(style: Style, json: bool, verbose: bool) -> Shown {
        let display = match style {
            Style::Auto if json => Display::Nothing,
            Style::Auto if io::stderr().is_terminal() => Display::Bars(Bars::new()),
            Style::Bars => Display::Bars(Bars::new()),
            Style::Auto | Style::Lines => Display::Lines(Lines::default()),
            Style::None => Display::Nothing,
        };
        Shown(Arc::new(Reporter {
            state: Mutex::new(State {
                display,
                warned: HashSet::new(),
                verbose,
            }),
            heard: Mutex::new(LastHeard {
                at: Instant::now(),
                phase: None,
                task: None,
            }),
        }))
    }

    /// What was heard last.
    pub(crate) fn last_heard(&self) -> LastHeard {
        self.0.heard().clone()
    }

    /// For the library.
    pub(crate) fn progress(&self) -> Arc<dyn Progress> {
        Arc::clone(&self.0) as Arc<dyn Progress>
    }

    /// Shows a warning above the bars, unless it was shown before.
    pub(crate) fn warn_once(&self, warning: &str) {
        self.0.open().warn(warning);
    }

    /// Shows a line above the bars.
    pub(crate) fn say(&self, line: &str) {
        self.0.open().say(line);
    }

    /// Takes the bars away. What comes later is still shown.
    pub(crate) fn finish(&self) {
        let mut state = self.0.open();
        let display = std::mem::replace(&mut state.display, Display::Nothing);
        match display {
            Display::Bars(bars) => bars.finish(),
            Display::Lines(_) | Display::Nothing => {}
        }
    }
}

impl Reporter {
    fn open(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn heard(&self) -> MutexGuard<'_, LastHeard> {
        self.heard.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn warn(&mut self, warning: &str) {
        if !self.warned.insert(warning.to_owned()) {
            return;
        }
        self.say(&format!("warning: {warning}"));
    }

    fn say(&self, line: &str) {
        match &self.display {
            Display::Bars(bars) => bars.above(&shown(line)),
            Display::Lines(_) | Display::Nothing => diagnostic(line),
        }
    }
}

impl Progress for Reporter {
    fn event(&self, event: Event) {
        self.heard().note(&event);
        let mut state = self.open();
        if let Event::Warning(warning) = &event {
            state.warn(warning);
            return;
        }
        if let Event::Retry {
            what,
            problem,
            tries,
            pause,
        } = &event
        {
            if state.verbose || *tries >= TRIES_SHOWN {
                state.say(&again(what, problem, *tries, *pause));
            }
            return;
        }
        match &mut state.display {
            Display::Bars(bars) => bars.event(&event),
            Display::Lines(lines) => lines.event(&event),
            Display::Nothing => {}
        }
    }
}

/// A try that failed, in words.
fn again(what: &str, problem: &str, tries: u32, pause: Duration) -> String {
    let tries = human::things(u64::from(tries), "try").replace("trys", "tries");
    let pause = human::duration(pause);
    format!("{what}: {problem}; {tries} failed, the next in {pause}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_warning_is_shown_once() {
        let shown = Shown::new(Style::None, false, false);
        shown.progress().event(Event::Warning("x".to_owned()));
        shown.warn_once("x");
        assert_eq!(shown.0.open().warned.len(), 1);
    }
}
