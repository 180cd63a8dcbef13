//! Restoring what somebody else may have made: what of it is left out, and who must not run it. An archive is statements; no list of
//! what they may say would hold, so what counts is the rights of the user who runs them.

use std::borrow::Cow;

use super::options::RestoreOptions;
use crate::error::Result;
use crate::pg::Session;
use crate::selection::Omit;
use crate::sql::Ident;

/// What the user can do that reaches beyond the database. The archive's statements can undo `SET ROLE`, so who connected counts.
const POWERS: &str = "
SELECT u.rolname, pg_catalog.array_remove(ARRAY[
         CASE WHEN u.rolsuper THEN 'is a superuser' END,
         CASE WHEN u.rolcreaterole THEN 'may make roles' END,
         CASE WHEN u.rolreplication THEN 'may replicate' END,
         CASE WHEN u.rolbypassrls THEN 'is above row security' END], NULL)
       || ARRAY(SELECT 'is a member of ' || p.rolname FROM pg_catalog.pg_roles p
                 WHERE p.rolname IN ('pg_execute_server_program', 'pg_read_server_files', 'pg_write_server_files',
                                     'pg_read_all_data', 'pg_write_all_data', 'pg_signal_backend', 'pg_create_subscription')
                   AND NOT u.rolsuper AND pg_catalog.pg_has_role(u.oid, p.oid, 'MEMBER') ORDER BY 1)
  FROM pg_catalog.pg_roles u WHERE u.rolname = SESSION_USER";

/// The options with what is not taken from an archive that nobody vouches for: planner statistics, which the planner reads unproved, and
/// subscriptions, which connect to other servers.
pub(super) fn narrowed(options: &RestoreOptions) -> Cow<'_, RestoreOptions> {
    if !options.untrusted {
        return Cow::Borrowed(options);
    }
    let mut narrowed = options.clone();
    let omit = &mut narrowed.selection.omit;
    omit.extend([Omit::Statistics, Omit::Subscriptions]);
    Cow::Owned(narrowed)
}

/// Finds what the user could do to others by running statements that he does not know.
pub(super) async fn check_user(
    session: &Session,
    options: &RestoreOptions,
    findings: &mut Vec<String>,
) -> Result<()> {
    if !options.untrusted {
        return Ok(());
    }
    for row in session
        .query("looking at the user's rights", POWERS, &[])
        .await?
    {
        let (user, powers): (String, Vec<String>) = (row.get(0), row.get(1));
        if !powers.is_empty() {
            findings.push(format!(
                "the archive is not trusted, and user {} {}: its statements could do the same; connect as a user who owns the target database and has no rights elsewhere",
                Ident::new(&user).quoted(),
                powers.join(", ")
            ));
        }
    }
    Ok(())
}
