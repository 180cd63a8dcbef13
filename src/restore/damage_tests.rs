//! Every damage of every file of a small archive, through what a restore does before it looks at its target: no damage may pass.

use super::*;
use crate::archive::damaged::{every_case, two_archives};
use crate::archive::{ArchiveName, Repository};
use crate::pg::Environment;
use crate::progress::Silent;
use crate::store::{MemoryStore, Store};

/// What a restore would say of an archive before its first change.
#[derive(Debug, PartialEq)]
enum Said {
    /// It would be refused.
    Refused(String),
    /// It would go on with warnings.
    Warned(Vec<String>),
    Nothing,
}

/// Opens, reads and proves as [`restore`] and the program do, by the same functions.
async fn prove_as_a_restore_does(store: &Arc<MemoryStore>, name: &str) -> Said {
    match try_proving(store, name).await {
        Ok((damages, _)) if !damages.is_empty() => Said::Refused(damages.join("; ")),
        Ok((_, warnings)) if !warnings.is_empty() => Said::Warned(warnings),
        Ok(_) => Said::Nothing,
        Err(error) => Said::Refused(error.to_string()),
    }
}

async fn try_proving(store: &Arc<MemoryStore>, name: &str) -> Result<(Vec<String>, Vec<String>)> {
    let store = Arc::clone(store) as Arc<dyn Store>;
    let repository = Repository::open_for_reading(store).await?;
    let name: ArchiveName = name.parse().expect("a name");
    let archive = repository.read(&name).await?;
    let target = ConnSettings::resolve(&Environment::of_process(), Some("nowhere"), &[])?;
    let options = RestoreOptions::default();
    let mut chosen = globals::of_database(&archive, &target, &options).await?;
    let progress: Arc<dyn Progress> = Arc::new(Silent);
    let proved = prove(&archive, &options, &mut chosen, &progress).await?;
    let mut warnings = preflight::repository_warnings(&archive);
    warnings.extend(proved.doubts);
    Ok((proved.damages, warnings))
}

#[tokio::test]
#[allow(clippy::print_stdout, reason = "the numbers are what it shows")]
async fn no_damage_of_any_file_passes() {
    let (store, repository) = two_archives().await;
    for name in ["shop-1", "shop-2"] {
        assert_eq!(prove_as_a_restore_does(&store, name).await, Said::Nothing);
    }
    let cases = every_case(&store, &repository).await;
    let (mut n_refused, mut n_warned, mut n_beside) = (0, 0, 0);
    for case in &cases {
        let undo = case.apply(&store).await;
        let said = prove_as_a_restore_does(&store, case.archive.as_str()).await;
        let key = case.key.as_str();
        let is_refused = matches!(said, Said::Refused(_));
        if key.starts_with("archives/") || key.starts_with("chunks/") {
            assert!(is_refused, "{}: {said:?}", case.what);
            n_refused += 1;
        } else if key.starts_with("records/verified-") {
            // What no restore reads.
            assert_eq!(said, Said::Nothing, "{}", case.what);
            n_beside += 1;
        } else {
            // Not part of an archive: it says of itself that something proves less than it could, or is refused.
            assert!(said != Said::Nothing, "{}", case.what);
            n_warned += 1;
        }
        undo.apply(&store).await;
    }
    let n_noticed = n_refused + n_warned + n_beside;
    assert_eq!(n_noticed, cases.len());
    assert!(n_refused > 3_000, "{n_refused}");
    println!(
        "{} damages: {n_refused} of archives, all refused; {n_warned} of marker and announcements, all refused or warned of; \
         {n_beside} of stamps, which no restore reads",
        cases.len()
    );
}
