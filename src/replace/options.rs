//! What a user may ask of a replacement, and what cannot be asked for with it. Plain data.

use crate::archive::Archive;
use crate::archive::manifest::Scope;
use crate::error::{Error, Result};
use crate::restore::RestoreOptions;
use crate::selection::{Omit, Selection};

/// How a database is replaced.
#[derive(Debug, Clone, Default)]
pub struct ReplaceOptions {
    /// How the archive is restored. The first failure ends it; nothing may be chosen of the archive.
    pub restore: RestoreOptions,
}

impl ReplaceOptions {
    /// Errors: [`Error::Usage`] for an archive or options with which a database would be replaced by less than a database.
    pub(super) fn check(&self, archive: &Archive) -> Result<()> {
        let scope = archive.manifest().group.scope;
        if scope != Scope::Full {
            return Err(Error::Usage(format!(
                "archive {} is {scope}, and only a whole one may replace a database; restore it into another database",
                archive.name()
            )));
        }
        let restore = &self.restore;
        // How things are kept may be left out, what is there may not.
        let harmless = [
            Omit::Owners,
            Omit::Privileges,
            Omit::Comments,
            Omit::SecurityLabels,
        ];
        let harmless = [
            &harmless[..],
            &[Omit::Tablespaces, Omit::AccessMethods, Omit::Statistics],
        ]
        .concat();
        let is_whole = Selection {
            omit: restore
                .selection
                .omit
                .iter()
                .copied()
                .filter(|omit| !harmless.contains(omit))
                .collect(),
            ..restore.selection.clone()
        } == Selection::default();
        let conflicts = [
            (
                !is_whole,
                "a database is replaced by a whole archive: leave out what chooses a part of it",
            ),
            (
                restore.create,
                "--create makes a database, and --replace makes one beside that which is there: leave one of them out",
            ),
            (
                restore.clean,
                "--clean drops objects of the database itself, and --replace leaves it alone: leave one of them out",
            ),
            (
                restore.single_transaction,
                "--replace changes nothing before all is restored: leave out --single-transaction",
            ),
            (
                restore.skip_unsupported,
                "what is left out would be missing from the new database: leave out --skip-unsupported",
            ),
            (
                !restore.map_schemas.is_empty(),
                "the new database has the archive's schemas: leave out --map-schema",
            ),
        ];
        let found = conflicts.into_iter().find(|(is_asked, _)| *is_asked);
        found.map_or(Ok(()), |(_, problem)| Err(Error::Usage(problem.to_owned())))
    }

    /// How the archive is restored into the database beside.
    pub(super) fn beside(&self) -> RestoreOptions {
        RestoreOptions {
            exit_on_error: true,
            database_properties: false,
            ..self.restore.clone()
        }
    }
}
