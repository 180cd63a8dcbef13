//! Classes of objects and properties that can be left out of a dump or a restore as a whole.

/// What is left out, by the option that says so. The names are `pg_dump`'s.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Omit {
    /// `ALTER … OWNER TO`
    Owners,
    /// `GRANT`, `REVOKE`
    Privileges,
    /// `COMMENT ON`
    Comments,
    /// `SECURITY LABEL`
    SecurityLabels,
    /// Policies, and that row security is on.
    Policies,
    /// Publications and what is in them.
    Publications,
    /// Subscriptions.
    Subscriptions,
    /// In which tablespace something is.
    Tablespaces,
    /// Which table access method stores a table.
    AccessMethods,
    /// How columns are compressed. Only a dump can leave it out: in an archive it is part of a table's definition.
    ToastCompression,
    /// Rows of unlogged tables.
    UnloggedRows,
    /// Planner statistics that an archive has. A dump takes them only if it is told to.
    Statistics,
}

impl Omit {
    /// Every class.
    pub const ALL: [Omit; 12] = [
        Omit::Owners,
        Omit::Privileges,
        Omit::Comments,
        Omit::SecurityLabels,
        Omit::Policies,
        Omit::Publications,
        Omit::Subscriptions,
        Omit::Tablespaces,
        Omit::AccessMethods,
        Omit::ToastCompression,
        Omit::UnloggedRows,
        Omit::Statistics,
    ];

    /// The option that leaves it out.
    pub fn option(self) -> &'static str {
        match self {
            Omit::Owners => "--no-owner",
            Omit::Privileges => "--no-privileges",
            Omit::Comments => "--no-comments",
            Omit::SecurityLabels => "--no-security-labels",
            Omit::Policies => "--no-policies",
            Omit::Publications => "--no-publications",
            Omit::Subscriptions => "--no-subscriptions",
            Omit::Tablespaces => "--no-tablespaces",
            Omit::AccessMethods => "--no-table-access-method",
            Omit::ToastCompression => "--no-toast-compression",
            Omit::UnloggedRows => "--no-unlogged-table-data",
            Omit::Statistics => "--no-statistics",
        }
    }
}
