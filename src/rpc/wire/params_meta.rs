//! Members that are added to the params of a request, and to `_meta` in them.

use serde_json::value::RawValue;

use crate::untrusted::borrowed_json::members;

/// A member to add: its name, and its value as JSON text.
pub(crate) type MetaMember<'a> = (&'a str, &'a str);
/// The same, kept.
pub(crate) type OwnMetaMember = (Box<str>, Box<str>);

/// These params with members added to their `_meta`, which is made if there is none. Members that are there
/// already stay as they are. `None` if nothing is added: the params are an array, or `_meta` is no object, or
/// has all of them.
pub(crate) fn with_meta(params: &RawValue, added: &[MetaMember<'_>]) -> Option<Box<RawValue>> {
    let text = params.get();
    if text == "null" {
        let meta = object_of(added.iter().copied())?;
        return RawValue::from_string(format!(r#"{{"_meta":{meta}}}"#)).ok();
    }
    let [meta] = members(params, ["_meta"])?;
    let text = match meta {
        None => {
            let meta = object_of(added.iter().copied())?;
            with_first_member(text, &format!(r#""_meta":{meta}"#))?
        }
        Some(meta) => {
            let mut is_object = true;
            let missing = added.iter().copied().filter(|(name, _)| match members(meta, [*name]) {
                Some([found]) => found.is_none(),
                None => {
                    is_object = false;
                    false
                }
            });
            let mut amended = meta.get().to_owned();
            for (name, value) in missing {
                amended = with_first_member(&amended, &format!("{}:{value}", quoted(name)?))?;
            }
            if !is_object || amended.len() == meta.get().len() {
                return None;
            }
            // It is a part of that text.
            let at = meta.get().as_ptr().addr().checked_sub(text.as_ptr().addr())?;
            let (before, rest) = text.split_at_checked(at)?;
            let after = rest.strip_prefix(meta.get())?;
            format!("{before}{amended}{after}")
        }
    };
    RawValue::from_string(text).ok()
}

/// These params with one more member; `None` if they are no object (or `null`), or have it already.
pub(crate) fn with_member(params: &RawValue, (name, value): MetaMember<'_>) -> Option<Box<RawValue>> {
    let text = match params.get() {
        "null" => "{}",
        text => text,
    };
    if params.get() != "null" && members(params, [name])?[0].is_some() {
        return None;
    }
    RawValue::from_string(with_first_member(text, &format!("{}:{value}", quoted(name)?))?).ok()
}

/// The text of an object with one more member, before all others.
fn with_first_member(object: &str, member: &str) -> Option<String> {
    let rest = object.strip_prefix('{')?.trim_start();
    let comma = if rest.starts_with('}') { "" } else { "," };
    Some(format!("{{{member}{comma}{rest}"))
}

/// The text of an object with these members; `None` without any.
fn object_of<'a>(members: impl Iterator<Item = MetaMember<'a>>) -> Option<String> {
    let mut text = String::new();
    for (name, value) in members {
        text.push(if text.is_empty() { '{' } else { ',' });
        text.push_str(&quoted(name)?);
        text.push(':');
        text.push_str(value);
    }
    if text.is_empty() {
        return None;
    }
    text.push('}');
    Some(text)
}

fn quoted(name: &str) -> Option<String> {
    serde_json::to_string(name).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(params: &str, added: &[MetaMember<'_>]) -> Option<String> {
        let params = RawValue::from_string(params.to_owned()).unwrap();
        with_meta(&params, added).map(|params| params.get().to_owned())
    }

    #[test]
    fn members_are_added_where_they_are_missing() {
        // C-14
        let added = [("a", "1"), ("b/c", r#"{"d":2}"#)];
        for (params, expected) in [
            ("null", Some(r#"{"_meta":{"a":1,"b/c":{"d":2}}}"#)),
            ("{}", Some(r#"{"_meta":{"a":1,"b/c":{"d":2}}}"#)),
            (r#"{ "x":1}"#, Some(r#"{"_meta":{"a":1,"b/c":{"d":2}},"x":1}"#)),
            (r#"{"x":1,"_meta":{},"y":2}"#, Some(r#"{"x":1,"_meta":{"b/c":{"d":2},"a":1},"y":2}"#)),
            (r#"{"_meta":{"a":9}}"#, Some(r#"{"_meta":{"b/c":{"d":2},"a":9}}"#)),
            (r#"{"_meta":{"a":9,"b/c":8}}"#, None),
            (r#"{"_meta":7}"#, None),
            (r#"{"_meta":null}"#, None),
            ("[1]", None),
            ("7", None),
        ] {
            assert_eq!(with(params, &added).as_deref(), expected, "{params}");
        }
        assert_eq!(with("{}", &[]), None);
        assert_eq!(with("null", &[]), None);
    }
}
