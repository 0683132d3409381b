//! [`Containment`]: what keeps a process from outliving its host. Plain data.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Which layers contain a process and its descendants, decided at its launch (P-12).
///
/// Whatever these layers are, an orderly end of the host, a panic in it, and a stop of the tree
/// leave no member of the process's group behind. The layers are about what is beyond that:
/// descendants that leave the group, and a host that is killed by `SIGKILL` and can do nothing
/// more.
///
/// | layer | a killed host's child | its grandchildren | grandchildren in other sessions |
/// |---|---|---|---|
/// | `session` alone | survives unless it ends when its stdin does | survive | survive |
/// | `death_signal` | is killed | survive | survive |
/// | `cgroup` | found by a guardian or an operator that looks into it | the same | the same; and a stop of the worker reaches them |
/// | `guardian` | is killed | are killed | are killed |
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Containment {
    /// The process leads a session of its own; otherwise it leads only a process group.
    pub session: bool,
    /// The kernel kills the process when its host ends. A program whose execution changes its credentials
    /// (setuid, file capabilities) is exempt: the kernel disarms the signal then.
    pub death_signal: bool,
    /// The host runs under a guardian process that kills all that is left when the host is gone.
    pub guardian: bool,
    /// The control group of the process, as a path below the root of the cgroup file system.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cgroup: Option<String>,
}

impl fmt::Display for Containment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.session { "session" } else { "group" })?;
        for (active, name) in [(self.death_signal, ", death signal"), (self.guardian, ", guardian")] {
            if active {
                f.write_str(name)?;
            }
        }
        match &self.cgroup {
            Some(path) => write!(f, ", cgroup {path}"),
            None => Ok(()),
        }
    }
}
