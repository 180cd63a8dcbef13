//! Progress on standard error: bars for people at a terminal, a line now and then elsewhere, or nothing.

mod bars;
mod count;
mod lines;

use std::collections::HashSet;
use std::io::{self, IsTerminal as _};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use clap::ValueEnum;

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

/// What is shown while the work goes on.
#[derive(Debug, Clone)]
pub(crate) struct Shown(Arc<Reporter>);

#[derive(Debug)]
struct Reporter(Mutex<State>);

#[derive(Debug)]
struct State {
    display: Display,
    /// Warnings that were shown, so that a report which repeats them is not.
    warned: HashSet<String>,
}

#[derive(Debug)]
enum Display {
    Bars(Bars),
    Lines(Lines),
    Nothing,
}

impl Shown {
    pub(crate) fn new(style: Style, json: bool) -> Shown {
        let display = match style {
            Style::Auto if json => Display::Nothing,
            Style::Auto if io::stderr().is_terminal() => Display::Bars(Bars::new()),
            Style::Bars => Display::Bars(Bars::new()),
            Style::Auto | Style::Lines => Display::Lines(Lines::default()),
            Style::None => Display::Nothing,
        };
        Shown(Arc::new(Reporter(Mutex::new(State {
            display,
            warned: HashSet::new(),
        }))))
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
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
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
        let mut state = self.open();
        if let Event::Warning(warning) = &event {
            state.warn(warning);
            return;
        }
        match &mut state.display {
            Display::Bars(bars) => bars.event(&event),
            Display::Lines(lines) => lines.event(&event),
            Display::Nothing => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_warning_is_shown_once() {
        let shown = Shown::new(Style::None, false);
        shown.progress().event(Event::Warning("x".to_owned()));
        shown.warn_once("x");
        assert_eq!(shown.0.open().warned.len(), 1);
    }
}
