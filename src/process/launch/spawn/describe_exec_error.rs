//! Describes why a program could not be executed.

use std::io::Read;

use rustix::io::Errno;

use crate::process::launch::exec_plan::ExecPlan;

/// Names what could not be executed: the program, or the interpreter that its first line names.
pub(super) fn describe_exec_error(plan: &ExecPlan, errno: i32) -> String {
    let program = plan.path.to_string_lossy();
    if errno == Errno::NOENT.raw_os_error()
        && let Some(interpreter) = interpreter(&program)
    {
        return format!("interpreter `{interpreter}` of program `{program}`");
    }
    let hint = match Errno::from_raw_os_error(errno) {
        Errno::TOOBIG => {
            " (one of its arguments or environment variables is too long, or all of them together are)"
        }
        Errno::NOEXEC => not_executable(&program),
        _ => "",
    };
    format!("program `{program}`{hint}")
}

/// Why the system cannot execute a file that has the permission.
fn not_executable(path: &str) -> &'static str {
    match head(path).as_deref() {
        Some([]) => ", which is empty",
        // A binary of another system, or a truncated file: the system's own error is clear enough.
        Some([0x7f, b'E', b'L', b'F', ..] | [b'#', b'!', ..]) | None => "",
        Some(_) => ", which is not a binary of this system (a script needs a first line like `#!/bin/sh`)",
    }
}

fn head(path: &str) -> Option<Vec<u8>> {
    let mut head = Vec::new();
    std::fs::File::open(path).ok()?.take(256).read_to_end(&mut head).ok()?;
    Some(head)
}

fn interpreter(path: &str) -> Option<String> {
    let head = head(path)?;
    let line = head.strip_prefix(b"#!")?.split(|byte| *byte == b'\n').next()?;
    let line = String::from_utf8_lossy(line);
    line.split_whitespace().next().map(str::to_owned)
}
