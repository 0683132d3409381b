//! [`Environment`]: the variables that a process sees (P-2).

use std::{
    collections::{BTreeMap, BTreeSet},
    ffi::{OsStr, OsString},
    fmt,
    ops::RangeInclusive,
    os::unix::ffi::OsStrExt,
};

/// Variables that are passed by default: where programs, the user and temporary files are, which language
/// and time zone to use, and how to reach the network.
const PASSED: [&str; 19] = [
    "PATH",
    "HOME",
    "USER",
    "LANG",
    "TZ",
    "TMPDIR",
    "HTTP_PROXY",
    "HTTPS_PROXY",
    "NO_PROXY",
    "ALL_PROXY",
    "http_proxy",
    "https_proxy",
    "no_proxy",
    "all_proxy",
    "SSL_CERT_FILE",
    "SSL_CERT_DIR",
    "NODE_EXTRA_CA_CERTS",
    "REQUESTS_CA_BUNDLE",
    "CURL_CA_BUNDLE",
];
const PASSED_PREFIXES: [&str; 2] = ["LC_", "XDG_"];

/// The variable that counts how many shells a process is nested in.
///
/// `bash -c` with a socket as stdin believes that `rshd` has started it, and reads `~/.bashrc`, unless this
/// variable says that it runs inside another shell, with a value of at least 1. From 1,000 on bash assumes
/// an error and starts at 1.
const SHELL_LEVEL: &str = "SHLVL";
const SHELL_LEVELS: RangeInclusive<u16> = 1..=99;

/// How the environment of a process is built from the host's.
///
/// A process gets only a short list of the host's variables (`PATH`, `HOME`, `USER`, `LANG`, `LC_*`, `TZ`,
/// `TMPDIR`, `XDG_*`, and the proxy and CA variables) and those that the caller passes by name. Values that
/// the caller sets win over both.
///
/// `SHLVL` is 1, or the host's value if that is passed and lies between 1 and 99. `bash -c` reads
/// `~/.bashrc` if its stdin is a socket and `SHLVL` does not say that it runs inside another shell. That
/// file could print into the channel, take long, and bring back variables that are kept out here. If the
/// caller removes `SHLVL` or sets it to another value, that is respected, and the process gets pipes, with
/// which bash does not check. A program that clears its environment and then runs a shell (`env -i bash -c
/// …`) needs [`StdioTransport::Pipes`](super::StdioTransport::Pipes).
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Environment {
    pub(super) inherit: bool,
    pub(super) pass: BTreeSet<OsString>,
    pub(super) remove: BTreeSet<OsString>,
    pub(super) set: BTreeMap<OsString, OsString>,
}

impl Environment {
    /// Whether all of the host's variables are passed, not only the short list.
    pub fn inherit(&mut self, inherit: bool) {
        self.inherit = inherit;
    }

    /// Passes one more variable of the host, if it is set there.
    pub fn pass(&mut self, name: impl Into<OsString>) {
        let name = name.into();
        self.remove.remove(&name);
        self.pass.insert(name);
    }

    /// Sets a variable; the last of several values wins.
    pub fn set(&mut self, name: impl Into<OsString>, value: impl Into<OsString>) {
        let name = name.into();
        self.remove.remove(&name);
        self.set.insert(name, value.into());
    }

    /// Removes a variable, whether it was set, passed or inherited.
    pub fn remove(&mut self, name: impl Into<OsString>) {
        let name = name.into();
        self.set.remove(&name);
        self.pass.remove(&name);
        self.remove.insert(name);
    }

    /// The variables that the process sees if those of the host are `host`, sorted by name.
    pub fn resolve(
        &self,
        host: impl IntoIterator<Item = (OsString, OsString)>,
    ) -> BTreeMap<OsString, OsString> {
        let mut result: BTreeMap<_, _> =
            host.into_iter().filter(|(name, _)| self.passes(name) && !self.remove.contains(name)).collect();
        if !self.remove.contains(OsStr::new(SHELL_LEVEL)) {
            let level = result.entry(SHELL_LEVEL.into()).or_default();
            if !is_inner_level(level) {
                *level = "1".into();
            }
        }
        result.extend(self.set.iter().map(|(name, value)| (name.clone(), value.clone())));
        result
    }

    /// Whether `SHLVL` tells bash that a socket as stdin does not mean a remote shell.
    pub(in crate::process) fn is_fit_for_sockets(&self) -> bool {
        let name = OsStr::new(SHELL_LEVEL);
        !self.remove.contains(name) && self.set.get(name).is_none_or(|level| is_inner_level(level))
    }

    fn passes(&self, name: &OsStr) -> bool {
        self.inherit
            || PASSED.iter().any(|passed| name == *passed)
            || PASSED_PREFIXES.iter().any(|prefix| name.as_bytes().starts_with(prefix.as_bytes()))
            || self.pass.contains(name)
    }
}

fn is_inner_level(level: &OsStr) -> bool {
    let digits = level.to_str().filter(|text| text.bytes().all(|byte| byte.is_ascii_digit()));
    digits.and_then(|digits| digits.parse().ok()).is_some_and(|level| SHELL_LEVELS.contains(&level))
}

/// Shows names only: values are often secrets.
impl fmt::Debug for Environment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        struct Redacted<'a>(&'a BTreeMap<OsString, OsString>);
        impl fmt::Debug for Redacted<'_> {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.debug_map().entries(self.0.keys().map(|name| (name, format_args!("…")))).finish()
            }
        }
        f.debug_struct("Environment")
            .field("inherit", &self.inherit)
            .field("pass", &self.pass)
            .field("remove", &self.remove)
            .field("set", &Redacted(&self.set))
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn host() -> Vec<(OsString, OsString)> {
        let vars = ["PATH", "LC_TIME", "XDG_DATA_HOME", "https_proxy", "CURL_CA_BUNDLE", "AWS_SECRET", "LCX"];
        vars.iter().map(|name| (OsString::from(name), OsString::from("host"))).collect()
    }

    fn names(environment: &Environment) -> Vec<String> {
        environment.resolve(host()).into_keys().map(|name| name.into_string().unwrap()).collect()
    }

    #[test]
    fn secrets_do_not_pass_and_the_necessary_does() {
        // P-2
        assert_eq!(
            names(&Environment::default()),
            ["CURL_CA_BUNDLE", "LC_TIME", "PATH", "SHLVL", "XDG_DATA_HOME", "https_proxy"]
        );
    }

    #[test]
    fn the_callers_values_win() {
        // P-2
        let mut environment = Environment::default();
        environment.pass("AWS_SECRET");
        environment.set("PATH", "/opt/bin");
        environment.remove("LC_TIME");
        let result = environment.resolve(host());
        assert_eq!(result["AWS_SECRET".as_ref() as &OsStr], "host");
        assert_eq!(result["PATH".as_ref() as &OsStr], "/opt/bin");
        assert!(!result.contains_key("LC_TIME".as_ref() as &OsStr));
    }

    #[test]
    fn inheriting_passes_all_but_what_is_removed() {
        // P-2
        let mut environment = Environment::default();
        environment.inherit(true);
        environment.remove("AWS_SECRET");
        assert_eq!(names(&environment).len(), host().len() - 1 + 1);
    }

    #[test]
    fn a_shell_is_always_inside_of_another() {
        // P-2
        let level = |environment: &Environment, host: &str| {
            let mut seen = environment.resolve([("SHLVL".into(), host.into())]);
            seen.remove("SHLVL".as_ref() as &OsStr).map(|level| level.into_string().unwrap())
        };
        let mut inheriting = Environment::default();
        inheriting.inherit(true);
        let mut passing = Environment::default();
        passing.pass("SHLVL");
        for environment in [&inheriting, &passing] {
            for (host, seen) in
                [("0", "1"), ("", "1"), ("-3", "1"), ("x", "1"), ("999", "1"), (" 7", "1"), ("7", "7")]
            {
                assert_eq!(level(environment, host).as_deref(), Some(seen), "{host:?}");
            }
            assert!(environment.is_fit_for_sockets());
        }
        assert_eq!(level(&Environment::default(), "7").as_deref(), Some("1"));
        // What the caller wants stands, and then there are no sockets.
        for (value, fit) in [("0", false), ("", false), ("+5", false), ("1000", false), ("3", true)] {
            let mut environment = Environment::default();
            environment.set("SHLVL", value);
            assert_eq!(level(&environment, "7").as_deref(), Some(value));
            assert_eq!(environment.is_fit_for_sockets(), fit, "{value:?}");
        }
        inheriting.remove("SHLVL");
        assert_eq!(level(&inheriting, "7"), None);
        assert!(!inheriting.is_fit_for_sockets());
    }
}
