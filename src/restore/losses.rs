//! What the target's version cannot have of the chosen entries, known before the first change. Pure.
//! Two kinds: what an object loses (its form says so), and objects that no form serves, which are refused or left out.

use super::forbidden::keeper;
use super::plan::PlanCx;
use super::report::{Ledger, Loss, object_of};
use super::wanted::form_for;
use crate::sql::{Grantee, Ident, Sql};
use crate::toc::{After, Entry, Grant, Part};

impl PlanCx<'_> {
    /// True if the object is made, and so may have an owner, comments and privileges.
    pub(super) fn is_made(&self, entry: &Entry) -> bool {
        let form = form_for(entry, self.version);
        entry.forms.is_empty() || form.is_some_and(|form| !form.leaves_out())
    }

    /// True if the owner is a role of the target.
    pub(super) fn keeps_owner(&self, entry: &Entry) -> bool {
        let owner = entry.owner.as_ref();
        owner.is_some_and(|owner| !self.absent_roles.contains(&owner.role.0))
    }

    /// True if a statement that follows the creation is for the target.
    pub(super) fn keeps_after(&self, after: &After) -> bool {
        after.targets.serve(self.version) && self.absent_in(&after.sql).is_none()
    }

    /// True if a grant is for the target.
    pub(super) fn keeps_grant(&self, grant: &Grant) -> bool {
        grant.targets.serve(self.version) && self.absent_in_grant(grant).is_none()
    }

    fn absent_in<'s>(&self, statement: &'s Sql) -> Option<&'s str> {
        let mut roles = statement.roles();
        roles.find(|role| self.absent_roles.contains(*role))
    }

    fn absent_in_grant<'g>(&self, grant: &'g Grant) -> Option<&'g str> {
        let grantee = match &grant.grantee {
            Grantee::Role(role) => Some(role.0.as_str()),
            Grantee::Public => None,
        };
        let grantor = grant.grantor.as_ref().map(|role| role.0.as_str());
        let named = grantee.into_iter().chain(grantor);
        let mut roles = named.chain(grant.prefix.roles());
        roles.find(|role| self.absent_roles.contains(*role))
    }

    fn why_absent(&self, what: &str, role: &str) -> String {
        let quoted = Ident::new(role).quoted();
        match keeper(role).filter(|_| !role.starts_with("pg_")) {
            Some(provider) => format!("{what} {quoted} of {provider}, which is not on this server"),
            None => format!("{what} {quoted}, which PostgreSQL {} lacks", self.version),
        }
    }
}

/// What the target's version cannot have of the chosen entries, but for those that are missing altogether.
pub(super) fn losses(cx: &PlanCx<'_>, ledger: &Ledger) -> Vec<Loss> {
    let of_entry = |entry| {
        let object = object_of(entry);
        of(cx, entry).into_iter().map(move |what| Loss {
            object: object.clone(),
            what,
        })
    };
    let made = cx.selection.iter();
    let made = made.filter(|entry| !ledger.is_bad(entry.id));
    made.flat_map(of_entry).collect()
}

fn of(cx: &PlanCx<'_>, entry: &Entry) -> Vec<String> {
    let form = form_for(entry, cx.version);
    let mut out: Vec<String> = form
        .and_then(|form| form.lost.clone())
        .into_iter()
        .collect();
    if !cx.is_made(entry) {
        return out;
    }
    let choice = &cx.options.selection;
    if let Some(owner) = entry
        .owner
        .as_ref()
        .filter(|_| choice.wants_part(Part::Owner))
        && !cx.keeps_owner(entry)
    {
        out.push(cx.why_absent("the owner", &owner.role.0));
    }
    let after = cx.wanted_after(entry);
    for after in after.filter(|after| !cx.keeps_after(after)) {
        let role = cx.absent_in(&after.sql);
        out.extend(role.map(|role| cx.why_absent("what names role", role)));
        out.extend(after.targets.lost.clone());
    }
    let grants = entry.grants.iter().filter(|_| choice.wants_part(Part::Acl));
    for grant in grants.filter(|grant| !cx.keeps_grant(grant)) {
        let role = cx.absent_in_grant(grant);
        out.extend(role.map(|role| cx.why_absent("privileges of role", role)));
        if !grant.targets.serve(cx.version) {
            out.extend(grant.targets.lost.clone());
        }
    }
    out.dedup();
    out
}

/// Why the target cannot hold an entry; `None` if it can.
fn unserved(cx: &PlanCx<'_>, entry: &Entry) -> Option<String> {
    if entry.forms.is_empty() {
        return None;
    }
    let version = cx.version;
    let Some(form) = form_for(entry, version) else {
        return Some(format!("PostgreSQL {version} cannot hold it"));
    };
    let mut statements = form.steps.iter().flat_map(|step| &step.sql);
    let role = statements.find_map(|statement| cx.absent_in(statement))?;
    Some(cx.why_absent("it names role", role))
}

/// Notes in the ledger the entries that the target cannot hold, with all that needs them. The user has agreed to it.
pub(super) fn leave_out(cx: &PlanCx<'_>, ledger: &mut Ledger) {
    for entry in cx.selection.iter() {
        if let Some(why) = unserved(cx, entry) {
            ledger.skip_because(entry, why);
            continue;
        }
        let needs = cx.needs(entry);
        if let Some(cause) = needs.into_iter().find(|need| ledger.is_bad(*need)) {
            ledger.skip(entry, cause);
        }
    }
}
