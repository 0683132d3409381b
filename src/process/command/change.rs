//! A change of a part of a command: [`CommandChange`].

use std::{ffi::OsString, path::PathBuf};

use super::Command;

/// A change of a command in part. What it does not mention stays as it is.
///
/// Changes that are made one after the other add up: a variable that the first one sets stays set, unless a
/// later one sets or removes it; the last directory counts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[must_use]
pub struct CommandChange {
    env: Vec<(OsString, Option<OsString>)>,
    args: Option<Vec<OsString>>,
    more_args: Vec<OsString>,
    cwd: Option<PathBuf>,
}

impl CommandChange {
    /// Nothing changes.
    pub fn new() -> CommandChange {
        CommandChange::default()
    }

    /// Sets an environment variable.
    pub fn env(mut self, name: impl Into<OsString>, value: impl Into<OsString>) -> CommandChange {
        self.env.push((name.into(), Some(value.into())));
        self
    }

    /// Removes an environment variable.
    pub fn env_remove(mut self, name: impl Into<OsString>) -> CommandChange {
        self.env.push((name.into(), None));
        self
    }

    /// Replaces all arguments.
    pub fn args<A: Into<OsString>>(mut self, args: impl IntoIterator<Item = A>) -> CommandChange {
        self.args = Some(args.into_iter().map(Into::into).collect());
        self.more_args.clear();
        self
    }

    /// Appends arguments to those that are there.
    pub fn append_args<A: Into<OsString>>(mut self, args: impl IntoIterator<Item = A>) -> CommandChange {
        self.more_args.extend(args.into_iter().map(Into::into));
        self
    }

    /// Sets the working directory.
    pub fn cwd(mut self, directory: impl Into<PathBuf>) -> CommandChange {
        self.cwd = Some(directory.into());
        self
    }

    /// The command with this change.
    pub fn apply(&self, command: &Command) -> Command {
        let mut command = command.clone();
        for (name, value) in &self.env {
            command = match value {
                Some(value) => command.env(name, value),
                None => command.env_remove(name),
            };
        }
        if let Some(args) = &self.args {
            command.args.clone_from(args);
        }
        command.args.extend(self.more_args.iter().cloned());
        if let Some(cwd) = &self.cwd {
            command.cwd = Some(cwd.clone());
        }
        command
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_mentioned_stays_and_changes_add_up() {
        // G-13
        let command = Command::new("x").args(["a", "b"]).cwd("/tmp").env("A", "1").env("B", "2");
        let nothing = CommandChange::new().apply(&command);
        assert_eq!(nothing.get_args(), command.get_args());
        let first = CommandChange::new().env("A", "3").append_args(["c"]).apply(&command);
        assert_eq!(
            (first.get_args(), first.get_cwd()),
            (&["a", "b", "c"].map(OsString::from)[..], command.get_cwd())
        );
        let second =
            CommandChange::new().env_remove("B").args(["d"]).append_args(["e"]).cwd("/").apply(&first);
        assert_eq!(second.get_args(), ["d", "e"]);
        assert_eq!(second, Command::new("x").args(["d", "e"]).cwd("/").env("A", "3").env_remove("B"));
    }
}
