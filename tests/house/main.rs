//! The house is in order: what a reader relies on when moving about in this repository is checked against its
//! files.
//!
//! Each check reads the tree as it is. None keeps a list of files that has to be edited when one is renamed
//! or moved.

mod circles;
mod citations;
mod comments;
mod commits;
mod dependencies;
mod glossary;
mod headers;
mod layers;
mod modules;
mod public_api;
mod source;
mod tables;
