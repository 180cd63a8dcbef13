//! The three sections that users know: a view of the stages.

use std::str::FromStr;

use crate::error::{Error, Result};
use crate::toc::Stage;

/// `--section`: what comes before the rows, the rows, and what comes after them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Section {
    /// Definitions that rows need.
    PreData,
    /// Rows, sequence values, large objects.
    Data,
    /// Indexes, keys, triggers, policies, default privileges, event triggers, refreshes.
    PostData,
}

impl Section {
    /// All of them.
    pub const ALL: [Section; 3] = [Section::PreData, Section::Data, Section::PostData];

    /// The section of a stage. Grants and comments go with the object that they are about.
    pub fn of_stage(stage: Stage) -> Section {
        match stage {
            Stage::PreData | Stage::Database => Section::PreData,
            Stage::Data => Section::Data,
            Stage::PostData | Stage::Privileges | Stage::Final => Section::PostData,
        }
    }

    /// The name that users type.
    pub fn name(self) -> &'static str {
        match self {
            Section::PreData => "pre-data",
            Section::Data => "data",
            Section::PostData => "post-data",
        }
    }
}

impl FromStr for Section {
    type Err = Error;

    fn from_str(text: &str) -> Result<Section> {
        let found = Section::ALL
            .into_iter()
            .find(|section| section.name() == text);
        found.ok_or_else(|| {
            Error::Usage(format!(
                "{text:?} is no section; there are pre-data, data and post-data"
            ))
        })
    }
}
