//! Names of things in a tree: [`ChildId`], [`TreePath`], [`Incarnation`].

use std::{collections::HashMap, fmt, sync::Arc};

use serde::{Deserialize, Deserializer, Serialize};

use crate::untrusted;

/// A map from the id of a child. Ids may come from strangers (keys of a pool), so the hash is
/// seeded.
pub(crate) type IdMap<T> = HashMap<ChildId, T, foldhash::fast::RandomState>;

/// The name of a child, unique within its supervisor. Cheap to clone.
///
/// Any non-empty string of at most 1 KiB ([`MAX_BYTES`](ChildId::MAX_BYTES)) is valid, including
/// slashes: [`TreePath`] escapes them. Ids may come from strangers, such as the keys of a pool, and
/// are stored, logged and shown. So `Display` is for people: one line, with line breaks and control
/// characters escaped. [`as_str`](ChildId::as_str) returns the id itself.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(transparent)]
pub struct ChildId(Arc<str>);

impl ChildId {
    /// How long an id may be.
    pub const MAX_BYTES: usize = untrusted::ID_BYTES;

    /// A child id; one that is empty or too long is accepted here and refused where a child is declared.
    pub fn new(id: impl AsRef<str>) -> ChildId {
        ChildId(id.as_ref().into())
    }

    /// Whether it is a clone of `other`; an equal id need not be.
    pub(crate) fn is_same(&self, other: &ChildId) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }

    /// The id as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl<'de> Deserialize<'de> for ChildId {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(d)?;
        if text.is_empty() {
            return Err(serde::de::Error::custom("a child id must not be empty"));
        }
        if text.len() > ChildId::MAX_BYTES {
            return Err(serde::de::Error::custom("a child id must not be longer than 1 KiB"));
        }
        Ok(ChildId::new(text))
    }
}

impl fmt::Display for ChildId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        untrusted::one_line(&self.0).fmt(f)
    }
}

impl From<&str> for ChildId {
    fn from(id: &str) -> ChildId {
        ChildId::new(id)
    }
}

impl From<String> for ChildId {
    fn from(id: String) -> ChildId {
        ChildId::new(id)
    }
}

impl From<&ChildId> for ChildId {
    fn from(id: &ChildId) -> ChildId {
        id.clone()
    }
}

impl std::borrow::Borrow<str> for ChildId {
    fn borrow(&self) -> &str {
        &self.0
    }
}

/// The number of one incarnation of a child: 1 for the first of a declared child, and never reused
/// while the tree exists.
///
/// The first one of a child that was added at run time may be above 1: numbers continue from those
/// of children that have left the same supervisor, so that a path and an incarnation are never used
/// twice.
///
/// Every exit, timer, reply, stream and event carries the incarnation it belongs to, and anything
/// that carries an old one is dropped.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Incarnation(pub u64);

impl Incarnation {
    /// What a child has before its first start.
    pub const NONE: Incarnation = Incarnation(0);

    /// The next incarnation.
    #[must_use]
    pub fn next(self) -> Incarnation {
        Incarnation(self.0.saturating_add(1))
    }
}

impl fmt::Display for Incarnation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "#{}", self.0)
    }
}

/// Where a child is in the tree, such as `/agents/team-a->team-b`. Cheap to clone.
///
/// The root is `/`. A slash inside the id of a child is written `~1` and a tilde `~0`, as in JSON
/// Pointer (RFC 6901), so that every path has one spelling and every spelling names one node.
/// `Display` is for people, as for ids; [`as_str`](TreePath::as_str) returns the path itself.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(transparent)]
pub struct TreePath(Arc<str>);

/// Why a text is not a [`TreePath`]. Always misuse, never retryable.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TreePathError {
    /// Paths are absolute.
    #[error("path `{}` must begin with a slash", untrusted::one_line(.0))]
    NotAbsolute(String),
    /// Two slashes in a row, or one at the end.
    #[error("path `{}` has an empty segment", untrusted::one_line(.0))]
    EmptySegment(String),
    /// A tilde must be followed by `0` or `1`.
    #[error("path `{}` has a `~` that is not followed by 0 or 1", untrusted::one_line(.0))]
    BadEscape(String),
}

impl TreePath {
    /// The root of every tree, `/`.
    pub fn root() -> TreePath {
        TreePath("/".into())
    }

    /// Parses a path.
    ///
    /// # Errors
    /// When the text is not absolute, has empty segments, or a tilde that escapes nothing.
    pub fn parse(text: &str) -> Result<TreePath, TreePathError> {
        let Some(rest) = text.strip_prefix('/') else { return Err(TreePathError::NotAbsolute(text.into())) };
        if rest.is_empty() {
            return Ok(TreePath::root());
        }
        for segment in rest.split('/') {
            if segment.is_empty() {
                return Err(TreePathError::EmptySegment(text.into()));
            }
            let mut chars = segment.chars();
            while let Some(c) = chars.next() {
                if c == '~' && !matches!(chars.next(), Some('0' | '1')) {
                    return Err(TreePathError::BadEscape(text.into()));
                }
            }
        }
        Ok(TreePath(text.into()))
    }

    /// The path of the child `id` of the supervisor at this path.
    #[must_use]
    pub fn join(&self, id: &ChildId) -> TreePath {
        let parent = if self.is_root() { "" } else { &*self.0 };
        if !id.as_str().bytes().any(|byte| matches!(byte, b'~' | b'/')) {
            return TreePath([parent, "/", id.as_str()].concat().into());
        }
        let mut text = String::with_capacity(self.0.len() + id.as_str().len() + 1);
        text.push_str(parent);
        text.push('/');
        for c in id.as_str().chars() {
            match c {
                '~' => text.push_str("~0"),
                '/' => text.push_str("~1"),
                c => text.push(c),
            }
        }
        TreePath(text.into())
    }

    /// The path as text, escapes included.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether this is `/`.
    pub fn is_root(&self) -> bool {
        &*self.0 == "/"
    }

    /// The ids from the root down, unescaped; none for the root itself.
    pub fn ids(&self) -> impl Iterator<Item = ChildId> + '_ {
        self.0
            .split('/')
            .filter(|s| !s.is_empty())
            .map(|s| ChildId::from(s.replace("~1", "/").replace("~0", "~")))
    }

    /// The id of the last segment; `None` for the root.
    pub fn last(&self) -> Option<ChildId> {
        self.ids().last()
    }
}

impl fmt::Display for TreePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        untrusted::one_line(&self.0).fmt(f)
    }
}

impl std::str::FromStr for TreePath {
    type Err = TreePathError;
    fn from_str(text: &str) -> Result<TreePath, TreePathError> {
        TreePath::parse(text)
    }
}

impl<'de> Deserialize<'de> for TreePath {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(d)?;
        TreePath::parse(&text).map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slash_inside_an_id_is_escaped_and_comes_back() {
        // T-2
        for id in ["a/b", "~", "~1", "a->b", "/", "~/~"] {
            let path = TreePath::root().join(&"pool".into()).join(&id.into());
            assert_eq!(TreePath::parse(path.as_str()).unwrap(), path);
            assert_eq!(path.ids().collect::<Vec<_>>(), ["pool".into(), ChildId::from(id)]);
            assert_eq!(path.last(), Some(id.into()));
        }
    }

    #[test]
    fn ids_and_paths_are_shown_on_one_line() {
        // E-4
        let id = ChildId::new("a\n ERROR b\u{1b}[2J\u{202e}");
        let shown = "a\\n ERROR b\\u{1b}[2J\\u{202e}";
        assert_eq!(id.to_string(), shown);
        let path = TreePath::root().join(&id);
        assert_eq!((path.to_string(), path.last()), (format!("/{shown}"), Some(id)));
        assert_eq!(TreePath::parse(path.as_str()).unwrap(), path);
        assert!(ChildId::new("x".repeat(1 << 20)).to_string().len() < 3000);
        for (bytes, valid) in [(ChildId::MAX_BYTES, true), (ChildId::MAX_BYTES + 1, false)] {
            let json = serde_json::to_string(&"x".repeat(bytes)).unwrap();
            assert_eq!(serde_json::from_str::<ChildId>(&json).is_ok(), valid);
        }
    }

    #[test]
    fn bad_paths_are_refused() {
        for bad in ["", "a", "a/b", "//", "/a/", "/a//b", "/a~2", "/a~"] {
            assert!(TreePath::parse(bad).is_err(), "{bad}");
        }
        assert_eq!(TreePath::parse("/").unwrap().ids().count(), 0);
    }
}
