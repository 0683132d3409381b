//! [`Limits`]: resource limits of a process (P-6), as plain data.

use std::{ops::RangeInclusive, time::Duration};

use rustix::process::Resource;
use serde::{Deserialize, Serialize};

/// What a process may use. Nothing is limited by default: a limit that is not set stays as the host has it.
///
/// The process sets its limits itself before it executes its program, so the program never runs without
/// them. All but `no_new_privileges`, `nice` and `oom_score_adj` bind each process separately: descendants
/// inherit the limits, each with a count of its own. Bounding a process together with its descendants takes
/// a control group.
///
/// A limit that cannot be applied is never ignored. Values above the host's own hard limits or below its
/// niceness and OOM score need privileges, and systems without `clone3` (see
/// [`Technique`](crate::process::Technique)) have no limits at all. If this shows without a process, it is
/// a mistake of the declaration and is reported with all others. Otherwise the launch fails
/// ([`Exit::NeverStarted`](crate::exit::Exit::NeverStarted) at stage `command`, with the limit's name).
///
/// # What the program sees, and how its end is reported
///
/// | limit | beyond it the program sees | the incarnation ends with |
/// |---|---|---|
/// | `address_space` | allocations and mappings fail (`ENOMEM`); most programs abort | depends on the program: `Signalled` or `Failed` |
/// | `open_files` | `open`, `socket` and so on fail (`EMFILE`) | it may go on; else depends on the program |
/// | `cpu_seconds` | `SIGXCPU`, `SIGKILL` a second later | `LimitExceeded` |
/// | `core_size` | nothing; the core image is cut off, or is not written | the same as without the limit |
/// | `processes` | `fork` and new threads fail (`EAGAIN`) | it may go on; else depends on the program |
///
/// Only `cpu_seconds` can be told apart from other causes; for the others read the tail of stderr. A value
/// that is too small for the program to start does not fail the launch. The launch succeeds, and the
/// program (or its dynamic loader) fails at once in its own way, often with exit code 127 or by `SIGSEGV`,
/// again at each restart.
///
/// ```
/// use procession::process::{Command, Limits};
/// let limits = Limits { address_space: Some(2 << 30), cpu_seconds: Some(60), ..Limits::default() };
/// let command = Command::new("convert").limits(limits);
/// let same: Command = serde_json::from_str(
///     r#"{"program": "convert", "limits": {"address_space": 2147483648, "cpu_seconds": 60}}"#,
/// )?;
/// assert_eq!(command, same);
/// # Ok::<(), serde_json::Error>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, try_from = "LimitsForm")]
pub struct Limits {
    /// Address space, in bytes: what is mapped, not what is used. Allocations beyond it fail.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub address_space: Option<u64>,
    /// Open files: every descriptor has a number below this one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub open_files: Option<u64>,
    /// Processor time, in seconds, at least 1. Beyond it comes `SIGXCPU`, a second later `SIGKILL`; both
    /// are reported as [`Exit::LimitExceeded`](crate::exit::Exit::LimitExceeded) with `cpu_seconds`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cpu_seconds: Option<u64>,
    /// The size of a core image, in bytes; 0 for none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub core_size: Option<u64>,
    /// Processes and threads of the *user* that it runs as, including those of other programs: the process
    /// cannot create more once the user has this many. Users with privileges are not bound.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub processes: Option<u64>,
    /// Niceness, -20 (first in line) to 19 (last). Absolute, not in addition to the host's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub nice: Option<i32>,
    /// How early the process is killed when memory runs out: -1000 (never) to 1000 (first).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub oom_score_adj: Option<i32>,
    /// Neither the process nor its descendants can gain privileges by executing a program: setuid bits and
    /// file capabilities have no effect. Cannot be undone; needs no privilege.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub no_new_privileges: bool,
}

/// A limit whose value is out of range on every system. Always misuse: the value must be changed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("limit `{field}` is {value}, but must be {from} to {to}")]
pub struct LimitsError {
    /// The limit.
    pub field: &'static str,
    /// The value that it was set to.
    pub value: i64,
    /// The smallest value allowed.
    pub from: i64,
    /// The largest value allowed.
    pub to: i64,
}

impl Limits {
    /// The time between the signal that can be caught and the one that cannot, in which a program can
    /// report the limit.
    pub(in crate::process) const CPU_GRACE: Duration = Duration::from_secs(1);

    /// Whether nothing is limited.
    pub fn is_none(&self) -> bool {
        *self == Limits::default()
    }

    /// # Errors
    /// The first value out of its range.
    pub(in crate::process) fn check(&self) -> Result<(), LimitsError> {
        self.mistakes().next().map_or(Ok(()), Err)
    }

    /// All values that are out of range.
    pub(super) fn mistakes(&self) -> impl Iterator<Item = LimitsError> {
        let outside = |field, value: Option<i64>, range: RangeInclusive<i64>| {
            let value = value.filter(|value| !range.contains(value))?;
            Some(LimitsError { field, value, from: *range.start(), to: *range.end() })
        };
        let cpu = self.cpu_seconds.map(|seconds| i64::try_from(seconds).unwrap_or(i64::MAX));
        [
            outside("nice", self.nice.map(i64::from), -20..=19),
            outside("oom_score_adj", self.oom_score_adj.map(i64::from), -1000..=1000),
            outside("cpu_seconds", cpu, 1..=i64::from(u32::MAX)),
        ]
        .into_iter()
        .flatten()
    }

    /// The limits that this host may not set because it would need privileges, each with the reason. Those
    /// that this check misses fail the launch.
    #[cfg(target_os = "linux")]
    pub(in crate::process) fn beyond_privileges(&self) -> Vec<(&'static str, String)> {
        use rustix::thread::{CapabilitySet, capabilities};
        if self.is_none() {
            return Vec::new();
        }
        let Ok(own) = capabilities(None) else { return Vec::new() };
        let mut forbidden = Vec::new();
        if !own.effective.contains(CapabilitySet::SYS_RESOURCE) {
            for (resource, [_, hard]) in self.rlimits() {
                // Without a maximum, no value is above it.
                let most = rustix::process::getrlimit(resource).maximum.unwrap_or(u64::MAX);
                if hard > most {
                    let problem = format!("is above the host's own hard limit, which is {most}");
                    forbidden.push((Limits::name(resource as usize), problem));
                }
            }
        }
        if let Some(nice) = self.nice
            && !own.effective.contains(CapabilitySet::SYS_NICE)
            && let Ok(host) = rustix::process::getpriority_process(None)
        {
            let floor = rustix::process::getrlimit(Resource::Nice).current.unwrap_or(40);
            let least = host.min(20 - i32::try_from(floor.min(40)).unwrap_or(0));
            if nice < least {
                forbidden.push((
                    "nice",
                    format!("is below the lowest niceness that this host may set, which is {least}"),
                ));
            }
        }
        forbidden
    }

    #[cfg(not(target_os = "linux"))]
    pub(in crate::process) fn beyond_privileges(&self) -> Vec<(&'static str, String)> {
        Vec::new()
    }

    /// Those that are resource limits of the system, each with a soft and a hard bound.
    #[cfg_attr(not(target_os = "linux"), allow(dead_code))]
    pub(in crate::process) fn rlimits(&self) -> impl Iterator<Item = (Resource, [u64; 2])> {
        let both = |resource, value: Option<u64>| value.map(|value| (resource, [value; 2]));
        let grace = Limits::CPU_GRACE.as_secs();
        let cpu = self.cpu_seconds.map(|value| (Resource::Cpu, [value, value.saturating_add(grace)]));
        [
            both(Resource::Core, self.core_size),
            both(Resource::Nofile, self.open_files),
            both(Resource::Nproc, self.processes),
            cpu,
            // The tightest one last.
            both(Resource::As, self.address_space),
        ]
        .into_iter()
        .flatten()
    }

    /// The name of the field that sets a resource.
    #[cfg_attr(not(target_os = "linux"), allow(dead_code))]
    pub(in crate::process) fn name(resource: usize) -> &'static str {
        let is = |other: Resource| resource == other as usize;
        match () {
            () if is(Resource::Core) => "core_size",
            () if is(Resource::Nofile) => "open_files",
            () if is(Resource::Nproc) => "processes",
            () if is(Resource::Cpu) => "cpu_seconds",
            () => "address_space",
        }
    }

    /// Processor time after which the system ends the process.
    pub(in crate::process) fn cpu_time(&self) -> Option<Duration> {
        self.cpu_seconds.map(Duration::from_secs)
    }
}

/// The serialised form, before its values are checked.
#[derive(Deserialize)]
#[serde(deny_unknown_fields, default, rename = "Limits")]
#[derive(Default)]
struct LimitsForm {
    address_space: Option<u64>,
    open_files: Option<u64>,
    cpu_seconds: Option<u64>,
    core_size: Option<u64>,
    processes: Option<u64>,
    nice: Option<i32>,
    oom_score_adj: Option<i32>,
    no_new_privileges: bool,
}

impl TryFrom<LimitsForm> for Limits {
    type Error = LimitsError;
    fn try_from(form: LimitsForm) -> Result<Limits, LimitsError> {
        let limits = Limits {
            address_space: form.address_space,
            open_files: form.open_files,
            cpu_seconds: form.cpu_seconds,
            core_size: form.core_size,
            processes: form.processes,
            nice: form.nice,
            oom_score_adj: form.oom_score_adj,
            no_new_privileges: form.no_new_privileges,
        };
        limits.check().map(|()| limits)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_are_read_and_written_and_checked() {
        // P-6
        let text = r#"{"address_space":1,"open_files":2,"cpu_seconds":3,"core_size":0,"processes":5,"nice":-20,"oom_score_adj":1000,"no_new_privileges":true}"#;
        let limits: Limits = serde_json::from_str(text).unwrap();
        assert_eq!(serde_json::to_string(&limits).unwrap(), text);
        assert_eq!(serde_json::to_string(&Limits::default()).unwrap(), "{}");
        for bad in [
            r#"{"nice": 20}"#,
            r#"{"nice": -21}"#,
            r#"{"oom_score_adj": 1001}"#,
            r#"{"cpu_seconds": 0}"#,
            r#"{"cpu_seconds": -1}"#,
            r#"{"memory": 1}"#,
        ] {
            assert!(serde_json::from_str::<Limits>(bad).is_err(), "{bad}");
        }
        let error = Limits { nice: Some(30), ..Limits::default() }.check().unwrap_err();
        assert_eq!(error.to_string(), "limit `nice` is 30, but must be -20 to 19");
    }

    #[test]
    fn the_processor_has_a_second_between_its_bounds() {
        // P-6
        let limits = Limits { cpu_seconds: Some(2), core_size: Some(0), ..Limits::default() };
        let rows: Vec<_> = limits.rlimits().collect();
        assert_eq!(rows, [(Resource::Core, [0, 0]), (Resource::Cpu, [2, 3])]);
        assert_eq!(Limits::name(Resource::Cpu as usize), "cpu_seconds");
    }
}
