//! The methods that the other side has announced: [`AnnouncedMethods`].
//!
//! Consulted at every call. Most workers announce a handful, and comparing with a handful is faster
//! than hashing.

use std::collections::HashSet;

use foldhash::fast::RandomState;

const A_HANDFUL: usize = 8;

#[derive(Debug)]
pub(crate) enum AnnouncedMethods {
    Few(Vec<String>),
    Many(HashSet<String, RandomState>),
}

impl AnnouncedMethods {
    pub(crate) fn contains(&self, method: &str) -> bool {
        match self {
            AnnouncedMethods::Few(methods) => methods.iter().any(|announced| announced == method),
            AnnouncedMethods::Many(methods) => methods.contains(method),
        }
    }
}

impl FromIterator<String> for AnnouncedMethods {
    fn from_iter<I: IntoIterator<Item = String>>(methods: I) -> AnnouncedMethods {
        let methods: HashSet<String, RandomState> = methods.into_iter().collect();
        if methods.len() <= A_HANDFUL {
            AnnouncedMethods::Few(methods.into_iter().collect())
        } else {
            AnnouncedMethods::Many(methods)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn few_and_many_are_found_alike() {
        // G-2
        for count in [0, 1, A_HANDFUL, A_HANDFUL + 1, 100] {
            let announced: AnnouncedMethods = (0..count).map(|n| format!("m{n}")).collect();
            assert_eq!(matches!(announced, AnnouncedMethods::Few(_)), count <= A_HANDFUL);
            assert!((0..count).all(|n| announced.contains(&format!("m{n}"))));
            assert!(!announced.contains(&format!("m{count}")) && !announced.contains(""));
        }
    }
}
