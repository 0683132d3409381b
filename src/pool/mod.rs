//! Pools: a bounded set of workers, by key or anonymous, lent to callers.
//!
//! [`ledger`] is the pure bookkeeping (who holds what, who is evicted next, who waits). Nothing in this folder
//! knows plugins.

pub mod ledger;
