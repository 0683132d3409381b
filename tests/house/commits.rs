//! The subject of a commit says where something changed, and what: `area: what changed`.

use std::process::Command;

use super::source::root;

#[test]
fn subjects_have_an_area() {
    // Older commits are as they are: the check begins with the commit that has added it.
    let Some(first) = git(&["log", "--diff-filter=A", "--format=%H", "-1", "--", "tests/house/commits.rs"])
    else {
        return;
    };
    if first.is_empty() {
        return println!("skipped: there is no commit of tests/house/commits.rs");
    }
    let range = format!("{}..HEAD", first.trim());
    let Some(log) = git(&["log", "--no-merges", "--format=%h %s", &range]) else { return };
    let wrong: Vec<_> =
        log.lines().filter(|line| !has_area(line.split_once(' ').map_or("", |(_, it)| it))).collect();
    assert!(wrong.is_empty(), "no `area: what changed`:\n{}", wrong.join("\n"));
}

fn git(arguments: &[&str]) -> Option<String> {
    let output = Command::new("git").args(arguments).current_dir(root()).output();
    match output {
        Ok(output) if output.status.success() => Some(String::from_utf8_lossy(&output.stdout).into_owned()),
        Ok(output) => {
            println!("skipped: git says {}", String::from_utf8_lossy(&output.stderr).trim());
            None
        }
        Err(error) => {
            println!("skipped: no git ({error})");
            None
        }
    }
}

fn has_area(subject: &str) -> bool {
    let Some((areas, what)) = subject.split_once(": ") else { return false };
    let is_area = |area: &str| {
        !area.is_empty()
            && area
                .chars()
                .all(|char| char.is_ascii_lowercase() || char.is_ascii_digit() || "_-/.".contains(char))
    };
    areas.split(", ").all(is_area) && !what.trim().is_empty() && !what.ends_with('.')
}

#[test]
fn areas_are_recognised() {
    assert!(has_area("process, worker: floods leave other tasks their turns"));
    for wrong in ["fixes", "Process: x", "process:x", "process: ", "a change of: x", "process: done.", ": x"]
    {
        assert!(!has_area(wrong), "{wrong}");
    }
}
