//! The words for a program that could not be executed.

use std::io::Read;

use rustix::io::Errno;

use crate::process::launch::exec_plan::ExecPlan;

/// What could not be executed: the program, or the interpreter that its first line names.
pub(super) fn executed(plan: &ExecPlan, errno: i32) -> String {
    let program = plan.path.to_string_lossy();
    if errno == Errno::NOENT.raw_os_error()
        && let Some(interpreter) = interpreter(&program)
    {
        return format!("interpreter `{interpreter}` of program `{program}`");
    }
    let hint = match Errno::from_raw_os_error(errno) {
        Errno::TOOBIG => {
            " with its arguments and environment, which are too long together, or one of them is"
        }
        Errno::NOEXEC => no_image(&program),
        _ => "",
    };
    format!("program `{program}`{hint}")
}

/// Why a file that may be executed is no program.
fn no_image(path: &str) -> &'static str {
    match head(path).as_deref() {
        Some([]) => ", which is empty",
        // For another system, or cut off.
        Some([0x7f, b'E', b'L', b'F', ..] | [b'#', b'!', ..]) | None => "",
        Some(_) => ", which is no binary of this system; a script needs a first line like `#!/bin/sh`",
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
