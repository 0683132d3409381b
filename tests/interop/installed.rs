//! Finds what is installed, and says what is not: [`program`], [`node_script`], [`python_script`].

use std::{env, io::Write, path::PathBuf};

use procession::process::Command;

/// A folder with `node_modules` and `python` (a virtual environment, or what `pip install --target` makes).
const FOLDER: &str = "PROCESSION_INTEROP";
/// Set where a missing program is an error.
const REQUIRED: &str = "PROCESSION_INTEROP_REQUIRED";

fn folder() -> Option<PathBuf> {
    env::var_os(FOLDER).map(|folder| std::path::absolute(folder).unwrap())
}

/// Says that a test is skipped, or fails it.
pub(crate) fn missing<T>(name: &str) -> Option<T> {
    assert!(env::var_os(REQUIRED).is_none(), "{name} is not installed; see tests/interop/README.md");
    // Not by a macro: the test harness keeps what those write to itself.
    let line = format!("skipped: {name} is not installed; see tests/interop/README.md\n");
    std::io::stderr().write_all(line.as_bytes()).unwrap();
    None
}

pub(crate) fn on_path(name: &str) -> Option<PathBuf> {
    env::split_paths(&env::var_os("PATH")?).map(|folder| folder.join(name)).find(|path| path.is_file())
}

/// The command that runs an installed program; from the folder, else from `PATH`.
pub(crate) fn program(name: &str) -> Option<Command> {
    let Some(folder) = folder() else {
        return match on_path(name) {
            Some(path) => Some(Command::new(path)),
            None => missing(name),
        };
    };
    let places = [folder.join("node_modules/.bin"), folder.join("python/bin")];
    match places.iter().map(|place| place.join(name)).find(|path| path.is_file()) {
        Some(path) => Some(with_python(Command::new(path))),
        None => missing(name),
    }
}

/// Where packages that were installed without a virtual environment are found.
fn with_python(command: Command) -> Command {
    match folder().map(|folder| folder.join("python")) {
        Some(python) if !python.join("bin/python").exists() => command.env("PYTHONPATH", python),
        _ => command,
    }
}

fn script(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/interop/peers").join(name)
}

/// The command that runs one of our scripts with this package of Node's.
pub(crate) fn node_script(package: &str, name: &str) -> Option<Command> {
    let modules = folder().map(|folder| folder.join("node_modules"));
    match (modules, on_path("node")) {
        (Some(modules), Some(node)) if modules.join(package).is_dir() => {
            Some(Command::new(node).env("NODE_PATH", modules).arg(script(name)))
        }
        _ => missing(package),
    }
}

/// The command that runs one of our scripts with this package of Python's.
pub(crate) fn python_script(package: &str, name: &str) -> Option<Command> {
    let own = folder().map(|folder| folder.join("python/bin/python")).filter(|python| python.exists());
    let Some(python) = own.or_else(|| on_path("python3")) else { return missing(package) };
    let command = with_python(Command::new(&python));
    let mut probe = std::process::Command::new(python);
    if let Some(folder) = folder() {
        probe.env("PYTHONPATH", folder.join("python"));
    }
    let found =
        probe.args(["-c", &format!("import {package}")]).output().is_ok_and(|out| out.status.success());
    if found { Some(command.arg(script(name))) } else { missing(package) }
}
