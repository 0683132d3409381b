//! The revisions of MCP that this client speaks, and what is particular to each era on the wire.

use serde_json::value::RawValue;

use crate::untrusted::{
    ID_BYTES,
    borrowed_json::{display_text, elements, text},
};

/// The revisions with a handshake, newest first. The first is offered.
pub(super) const INITIALIZED: [&str; 4] = ["2025-11-25", "2025-06-18", "2025-03-26", "2024-11-05"];
/// The revisions without a handshake, newest first.
pub(super) const STATELESS: [&str; 1] = ["2026-07-28"];

/// The server needs a capability that the client has not declared; `data.requiredCapabilities` names it.
pub(super) const MISSING_CAPABILITY: i64 = -32021;
/// The server does not speak the version of the request; `data.supported` lists those that it speaks.
pub(super) const UNSUPPORTED_VERSION: i64 = -32022;

/// How many versions of a server are looked at.
const MAX_VERSIONS: usize = 64;

/// The newest version in a server's list that this client speaks; without one, the list as a text. `None` if
/// it is no list of strings.
pub(super) fn newest_common(list: &RawValue) -> Option<Result<&'static str, String>> {
    let mut theirs = Vec::new();
    let only_texts = elements(list, |version| {
        let version = text(version, ID_BYTES);
        theirs.extend(version);
        theirs.len() <= MAX_VERSIONS
    });
    if only_texts.is_none() || theirs.is_empty() {
        return None;
    }
    let mut ours = STATELESS.iter().chain(&INITIALIZED).copied();
    let common = ours.find(|version| theirs.iter().any(|other| other == version));
    Some(common.ok_or_else(|| display_text(list, 400)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_common_version_is_taken() {
        // W-10
        let of = |list: &str| newest_common(&RawValue::from_string(list.to_owned()).unwrap());
        assert_eq!(of(r#"["2025-11-25","2026-07-28"]"#), Some(Ok("2026-07-28")));
        assert_eq!(of(r#"["2024-11-05","2025-06-18","2099-01-01"]"#), Some(Ok("2025-06-18")));
        assert_eq!(of(r#"["2099-01-01"]"#), Some(Err(r#"["2099-01-01"]"#.to_owned())));
        for no_list in ["{}", "7", "null", "[]", "[7]"] {
            assert_eq!(of(no_list), None, "{no_list}");
        }
    }
}
