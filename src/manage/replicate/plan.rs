//! Which archives are to be copied, in which order, and what is settled before anything is read. Pure.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use jiff::Timestamp;

use super::ReplicateOptions;
use super::choose::{Candidate, chosen};
use super::report::{CopyState, Replicated};
use crate::archive::manifest::{Group, Manifest};
use crate::archive::name::ArchiveName;
use crate::archive::repository::Listed;

/// What is known of both repositories.
#[derive(Debug)]
pub(super) struct Known {
    /// The source's archives, oldest first.
    pub(super) here: Vec<Listed>,
    /// The target's archives.
    pub(super) there: Vec<Listed>,
    /// Archives whose removal is on record at the target.
    pub(super) removed: BTreeSet<ArchiveName>,
}

/// What is to be done about an archive that was chosen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Step {
    /// It is copied.
    Copy(ArchiveName),
    /// Nothing can or must be done.
    Settled(Replicated),
}

/// The steps in order: oldest first, and an archive that closes a set after all of that set.
pub(super) fn steps(known: &Known, options: &ReplicateOptions) -> Vec<Step> {
    let wanted = wanted(known, options);
    let created: HashMap<&ArchiveName, Option<Timestamp>> = known
        .here
        .iter()
        .map(|one| (&one.name, one.created))
        .collect();
    let mut ordered: Vec<&Listed> = known
        .here
        .iter()
        .filter(|one| wanted.contains(&one.name))
        .collect();
    ordered.sort_by_key(|one| {
        let members = members(one);
        let of_members = members
            .iter()
            .filter_map(|name| created.get(name).copied().flatten());
        let last = of_members.chain(one.created).max();
        (last, !members.is_empty(), one.name.clone())
    });
    ordered.into_iter().map(|one| step(one, known)).collect()
}

/// The names of the archives that are chosen: by name, else by the filter and the rules; with a set's end all of the set.
fn wanted(known: &Known, options: &ReplicateOptions) -> BTreeSet<ArchiveName> {
    let mut wanted = BTreeSet::new();
    if options.only.is_everything() {
        // Of a damaged archive the group may be unknown: it is named rather than passed over.
        let fits = |one: &&Listed| {
            let group = one.group.as_ref();
            group.is_none_or(|group| options.filter.fits(group))
        };
        wanted.extend(known.here.iter().filter(fits).map(|one| one.name.clone()));
    } else {
        for candidates in candidates(known, options).values() {
            wanted.extend(chosen(&options.only, candidates, &options.zone));
        }
    }
    if !options.names.is_empty() {
        wanted.retain(|name| options.names.contains(name));
    }
    let ends = known.here.iter().filter(|one| wanted.contains(&one.name));
    let of_sets: Vec<ArchiveName> = ends.flat_map(members).cloned().collect();
    wanted.extend(of_sets);
    wanted
}

/// The readable archives of either side, each once, by group.
fn candidates<'a>(
    known: &'a Known,
    options: &ReplicateOptions,
) -> BTreeMap<&'a Group, Vec<Candidate<'a>>> {
    let mut names = BTreeSet::new();
    let mut groups: BTreeMap<&Group, Vec<Candidate<'_>>> = BTreeMap::new();
    for one in known.here.iter().chain(&known.there) {
        let Ok(manifest) = &one.manifest else {
            continue;
        };
        if options.filter.fits(&manifest.group) && names.insert(&one.name) {
            groups.entry(&manifest.group).or_default().push(Candidate {
                name: &one.name,
                created: manifest.created,
                tags: &manifest.tags,
            });
        }
    }
    groups
}

/// The archives of the set that this one closes.
fn members(one: &Listed) -> Vec<&ArchiveName> {
    let manifest: Option<&Manifest> = one.manifest.as_deref().ok();
    let set = manifest.and_then(Manifest::closes);
    set.map_or_else(Vec::new, |set| {
        set.members.iter().map(|member| &member.name).collect()
    })
}

fn step(one: &Listed, known: &Known) -> Step {
    let name = &one.name;
    let failed = |problem: String| Step::Settled(Replicated::failed(name, problem));
    if let Err(error) = &one.manifest {
        return failed(error.to_string());
    }
    let Some(there) = known.there.iter().find(|there| there.name == *name) else {
        return if known.removed.contains(name) {
            Step::Settled(Replicated::new(name, CopyState::Removed))
        } else {
            Step::Copy(name.clone())
        };
    };
    match &there.manifest {
        Err(error) => failed(format!(
            "the target has an archive of this name, and it is damaged: {error}"
        )),
        Ok(_) if there.seal == one.seal => {
            Step::Settled(Replicated::new(name, CopyState::Present))
        }
        Ok(_) => failed(
            "the target has another archive under this name: their seals differ; copy to another place".to_owned(),
        ),
    }
}
