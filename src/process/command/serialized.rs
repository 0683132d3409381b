//! The serialised form of a [`Command`], in which every string is text.

use std::{
    collections::{BTreeMap, BTreeSet},
    ffi::{OsStr, OsString},
    path::PathBuf,
};

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::{Command, CommandSerdeError, Limits, StdioTransport};

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename = "Command")]
struct CommandForm {
    program: String,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    args: Vec<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    cwd: Option<String>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    env: BTreeMap<String, String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pass_env: Vec<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    env_remove: Vec<String>,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    inherit_env: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    transport: Option<StdioTransport>,
    #[serde(default, skip_serializing_if = "Limits::is_none")]
    limits: Limits,
}

impl TryFrom<CommandForm> for Command {
    type Error = CommandSerdeError;
    fn try_from(form: CommandForm) -> Result<Command, CommandSerdeError> {
        if form.program.is_empty() {
            return Err(CommandSerdeError::EmptyProgram);
        }
        let mut command = Command::new(form.program).args(form.args).inherit_env(form.inherit_env);
        command.cwd = form.cwd.map(PathBuf::from);
        command.transport = form.transport;
        command.limits = form.limits;
        // A name may be in several lists. In this order a value wins over a removal, and a removal over
        // passing.
        for name in form.pass_env {
            command.environment.pass(name);
        }
        for name in form.env_remove {
            command.environment.remove(name);
        }
        for (name, value) in form.env {
            command.environment.set(name, value);
        }
        Ok(command)
    }
}

impl TryFrom<&Command> for CommandForm {
    type Error = CommandSerdeError;
    fn try_from(command: &Command) -> Result<CommandForm, CommandSerdeError> {
        let text = |field: &'static str, value: &OsStr| {
            let not_utf8 = || CommandSerdeError::NotUtf8 { field, program: command.program.clone() };
            value.to_str().map(String::from).ok_or_else(not_utf8)
        };
        let list = |field: &'static str, names: &BTreeSet<OsString>| {
            names.iter().map(|name| text(field, name)).collect::<Result<Vec<_>, _>>()
        };
        let environment = &command.environment;
        let pair = |(name, value): (&OsString, &OsString)| Ok((text("env", name)?, text("env", value)?));
        Ok(CommandForm {
            program: text("program", &command.program)?,
            args: command.args.iter().map(|arg| text("args", arg)).collect::<Result<_, _>>()?,
            cwd: command.cwd.as_deref().map(|cwd| text("cwd", cwd.as_os_str())).transpose()?,
            env: environment.set.iter().map(pair).collect::<Result<_, CommandSerdeError>>()?,
            pass_env: list("pass_env", &environment.pass)?,
            env_remove: list("env_remove", &environment.remove)?,
            inherit_env: environment.inherit,
            transport: command.transport,
            limits: command.limits.clone(),
        })
    }
}

impl Serialize for Command {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        CommandForm::try_from(self).map_err(serde::ser::Error::custom)?.serialize(s)
    }
}

impl<'de> Deserialize<'de> for Command {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Command, D::Error> {
        Command::try_from(CommandForm::deserialize(d)?).map_err(serde::de::Error::custom)
    }
}
