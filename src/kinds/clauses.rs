//! Clauses that only some targets understand, and the forms of a statement that follow from them. Pure.

use std::collections::BTreeSet;

use super::DraftForm;
use crate::pg::version::{ServerVersion, V12, V13, V14, V15, V16, V17, V18};
use crate::sql::Sql;

/// A clause, and which targets understand it.
#[derive(Debug, Clone)]
pub(crate) struct Clause {
    /// The text.
    pub(crate) sql: Sql,
    /// The oldest target that understands it.
    pub(crate) since: ServerVersion,
    /// The first target that wants another text.
    pub(crate) until: Option<ServerVersion>,
    /// What an older target loses; `None` if it behaves so by itself.
    pub(crate) lost: Option<&'static str>,
}

impl Clause {
    /// A clause of every target.
    pub(crate) fn new(sql: Sql) -> Clause {
        Clause {
            sql,
            since: V12,
            until: None,
            lost: None,
        }
    }

    /// A clause since a version.
    pub(crate) fn since(since: ServerVersion, sql: Sql, lost: Option<&'static str>) -> Clause {
        Clause {
            sql,
            since,
            until: None,
            lost,
        }
    }

    fn serves(&self, target: ServerVersion) -> bool {
        target >= self.since && self.until.is_none_or(|until| target < until)
    }
}

/// One form per range of targets that understand the same clauses, newest first.
pub(crate) fn forms(clauses: &[Clause], render: impl Fn(&[&Sql]) -> DraftForm) -> Vec<DraftForm> {
    let since = clauses.iter().map(|clause| clause.since);
    let until = clauses.iter().filter_map(|clause| clause.until);
    let starts: BTreeSet<ServerVersion> = since.chain(until).chain([V12]).collect();
    let mut end = None;
    let mut out = Vec::new();
    for start in starts.into_iter().rev() {
        let understood: Vec<&Sql> = clauses
            .iter()
            .filter(|clause| clause.serves(start))
            .map(|clause| &clause.sql)
            .collect();
        let lost: Vec<&str> = clauses
            .iter()
            .filter(|clause| start < clause.since)
            .filter_map(|clause| clause.lost)
            .collect();
        let mut draft = render(&understood);
        draft.form.since = (start > V12).then_some(start);
        draft.form.until = end;
        draft.form.lost = (!lost.is_empty()).then(|| lost.join(", "));
        out.push(draft);
        end = Some(start);
    }
    out
}

/// The majors that are told apart.
const TARGETS: [ServerVersion; 7] = [V12, V13, V14, V15, V16, V17, V18];

/// One form per range of targets for which `write` gives the same, oldest first; none where it gives none.
///
/// What `write` gives has its `lost` set, but neither `since` nor `until`.
pub(crate) fn by_target(write: impl Fn(ServerVersion) -> Option<DraftForm>) -> Vec<DraftForm> {
    let mut ranges: Vec<(ServerVersion, Option<DraftForm>)> = Vec::new();
    for target in TARGETS {
        let draft = write(target);
        if ranges.last().is_none_or(|(_, before)| *before != draft) {
            ranges.push((target, draft));
        }
    }
    let starts: Vec<ServerVersion> = ranges.iter().map(|(since, _)| *since).collect();
    let form = |(i, (since, draft)): (usize, (ServerVersion, Option<DraftForm>))| {
        let mut draft = draft?;
        draft.form.since = (i > 0).then_some(since);
        draft.form.until = starts.get(i + 1).copied();
        Some(draft)
    };
    ranges.into_iter().enumerate().filter_map(form).collect()
}

/// What a form loses, as a report has it.
pub(crate) fn joined(lost: &[&str]) -> Option<String> {
    (!lost.is_empty()).then(|| lost.join("; "))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sql::sql;

    /// Each form as `[since, until) text; lost`.
    fn texts(clauses: &[Clause]) -> Vec<String> {
        let drafts = forms(clauses, |understood| {
            DraftForm::plain(vec![sql!["X ", Sql::list(understood)]], Vec::new())
        });
        let major = |version: Option<ServerVersion>| version.map_or(0, ServerVersion::major);
        let text = |DraftForm { form, .. }: &DraftForm| {
            let (since, until) = (major(form.since), major(form.until));
            let lost = form.lost.as_deref().unwrap_or("nothing");
            format!("{since}..{until} {}; {lost}", form.steps[0].sql[0].text())
        };
        drafts.iter().map(text).collect()
    }

    #[test]
    fn clauses_of_every_target_give_one_form() {
        let clauses = [Clause::new(sql!["a"]), Clause::new(sql!["b"])];
        assert_eq!(texts(&clauses), ["0..0 X a, b; nothing"]);
    }

    #[test]
    fn targets_with_the_same_text_share_a_form() {
        let drafts = by_target(|target| {
            let text = if target < V14 {
                sql!["old"]
            } else {
                sql!["new"]
            };
            (target < V17).then(|| DraftForm::plain(vec![text], Vec::new()))
        });
        let ranges = drafts
            .iter()
            .map(|draft| (draft.form.since, draft.form.until));
        let expected = [(None, Some(V14)), (Some(V14), Some(V17))];
        assert_eq!(ranges.collect::<Vec<_>>(), expected);
    }

    #[test]
    fn every_target_has_exactly_one_form_and_losses_are_named() {
        let old = Clause {
            until: Some(V16),
            ..Clause::since(V14, sql!["on"], Some("streaming"))
        };
        let clauses = [
            Clause::new(sql!["a"]),
            old,
            Clause::since(V16, sql!["parallel"], None),
        ];
        let expected = [
            "16..0 X a, parallel; nothing",
            "14..16 X a, on; nothing",
            "0..14 X a; streaming",
        ];
        assert_eq!(texts(&clauses), expected);
        let drafts = forms(&clauses, |_| DraftForm::default());
        let serving = |target| {
            drafts
                .iter()
                .filter(|draft| draft.form.serves(target))
                .count()
        };
        assert!(
            [V12, V13, V14, V16]
                .into_iter()
                .all(|target| serving(target) == 1)
        );
    }
}
