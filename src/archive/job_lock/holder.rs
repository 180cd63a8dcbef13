//! Who holds a lock: a process, told apart from all others of its machine, so that its death can be proved there.

use std::fmt;

use serde::{Deserialize, Serialize};

/// A process. What the system does not tell is empty, and then its death is never proved.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Holder {
    /// The machine's name.
    pub(super) host: String,
    /// The process's number.
    pub(super) pid: u32,
    /// When it began, in the kernel's ticks since the machine did: numbers are used again.
    pub(super) started: String,
    /// This start of this machine.
    pub(super) boot: String,
    /// In which namespace the number counts: containers of one machine do not see each other's.
    pub(super) namespace: String,
}

impl fmt::Display for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let host = crate::toc::printable(&self.host);
        write!(f, "process {} on {host}", self.pid)
    }
}

impl Holder {
    pub(super) async fn of_this_process() -> Holder {
        let pid = std::process::id();
        Holder {
            host: line("/proc/sys/kernel/hostname").await,
            pid,
            started: started(pid).await.unwrap_or_default(),
            boot: line("/proc/sys/kernel/random/boot_id").await,
            namespace: namespace().await,
        }
    }

    /// True only if the process ran where this one runs, and is no more.
    pub(super) async fn is_dead(&self) -> bool {
        let told = [&self.boot, &self.namespace, &self.started];
        if told.iter().any(|text| text.is_empty()) {
            return false;
        }
        let is_here = self.boot == line("/proc/sys/kernel/random/boot_id").await
            && self.namespace == namespace().await;
        is_here
            && started(self.pid)
                .await
                .is_none_or(|started| started != self.started)
    }
}

async fn line(file: &str) -> String {
    let text = tokio::fs::read_to_string(file).await.unwrap_or_default();
    text.trim().to_owned()
}

async fn namespace() -> String {
    let link = tokio::fs::read_link("/proc/self/ns/pid").await;
    link.map(|path| path.display().to_string())
        .unwrap_or_default()
}

/// Field 22 of `/proc/PID/stat` (proc(5)), of a process that lives: a zombie has ended. The name in field 2 may hold anything, but ends with
/// the last parenthesis.
async fn started(pid: u32) -> Option<String> {
    let text = tokio::fs::read_to_string(format!("/proc/{pid}/stat")).await;
    let text = text.ok()?;
    let (_, rest) = text.rsplit_once(") ")?;
    let fields: Vec<&str> = rest.split(' ').collect();
    if matches!(fields.first(), Some(&"Z" | &"X")) {
        return None;
    }
    fields.get(19).map(|field| (*field).to_owned())
}
