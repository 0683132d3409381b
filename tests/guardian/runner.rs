//! Runs tests as a harness does: those whose name contains one of the arguments, or all.

use std::{panic::catch_unwind, process::ExitCode};

pub(crate) type Test = (&'static str, fn());

/// Names the tests of a module: `tests![one, another]`.
macro_rules! tests {
    ($($test:ident),+ $(,)?) => {
        pub(crate) const TESTS: &[crate::runner::Test] =
            &[$((concat!(module_path!(), "::", stringify!($test)), $test)),+];
    };
}
pub(crate) use tests;

pub(crate) fn run(modules: &[&[Test]], args: &[String]) -> ExitCode {
    let has = |flag: &str| args.iter().any(|arg| arg == flag);
    let filters: Vec<&String> = args.iter().filter(|arg| !arg.starts_with('-')).collect();
    let wanted = |name: &str| {
        filters.is_empty()
            || filters.iter().any(|f| if has("--exact") { name == *f } else { name.contains(f.as_str()) })
    };
    // Nothing here is ignored by default.
    let chosen = modules.iter().copied().flatten().filter(|(name, _)| wanted(name) && !has("--ignored"));
    let mut failed = Vec::new();
    for (name, test) in chosen {
        let name = name.trim_start_matches("guardian::");
        if has("--list") {
            println!("{name}: test");
        } else if catch_unwind(test).is_ok() {
            println!("test {name} ... ok");
        } else {
            println!("test {name} ... FAILED");
            failed.push(name);
        }
    }
    println!("\n{} failed {failed:?}", failed.len());
    if failed.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
