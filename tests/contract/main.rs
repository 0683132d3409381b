//! The contract and its tests belong together: each rule of `docs/CONTRACT.md` has a test that
//! `docs/CONTRACT-TESTS.md` names, or is listed there as not built. Every citation is
//! of a rule that exists, and every file that a document names exists.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod citations_are_of_rules;
mod constants_are_those_of_the_rules;
mod documents;
mod documents_name_files_that_exist;
mod each_rule_has_a_test;
mod sources;
