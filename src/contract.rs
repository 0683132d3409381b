//! The numbered rules that documentation, comments and tests cite.
//!
#![doc = include_str!("../docs/CONTRACT.md")]
