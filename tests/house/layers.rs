//! No import goes upwards or sideways: ARCHITECTURE.md says which module may import which.

use std::collections::{BTreeMap, BTreeSet};

use super::{modules::Crate, tables};

#[test]
fn imports_follow_the_arrows() {
    let read = Crate::read();
    let layers = Layers::read();

    let declared: BTreeSet<_> = layers.0.keys().map(String::as_str).collect();
    let real: BTreeSet<_> = read.roots().collect();
    assert_eq!(declared, real, "the layers of ARCHITECTURE.md are not the modules of src/lib.rs");

    let mut wrong = Vec::new();
    for import in read.imports() {
        let (from, to) = (top(&import.from), top(&import.to));
        // The root declares the modules; what is declared in the root itself belongs to no layer.
        if from != to && from != "lib" && !layers.allowed(from).contains(to) {
            wrong.push(format!(
                "{}:{}: `{}` is in `{to}`, which `{from}` must not import",
                import.from, import.line, import.path
            ));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

fn top(file: &str) -> &str {
    let file = file.strip_prefix("src/").unwrap();
    file.split_once('/').map_or_else(|| file.strip_suffix(".rs").unwrap(), |(top, _)| top)
}

/// Each module with those that its row names.
struct Layers(BTreeMap<String, Vec<String>>);

impl Layers {
    fn read() -> Layers {
        let mut layers = Layers(BTreeMap::new());
        for (line, row) in tables::rows("ARCHITECTURE.md", &["module", "may import"]) {
            for module in tables::quoted(&row[0]) {
                let below = tables::quoted(&row[1]).map(str::to_owned).collect();
                let twice = layers.0.insert(module.to_owned(), below);
                assert!(twice.is_none(), "ARCHITECTURE.md:{line}: `{module}` has two rows");
            }
        }
        for module in layers.0.keys() {
            assert!(!layers.allowed(module).contains(&**module), "`{module}` may import what may import it");
        }
        layers
    }

    /// Those that its row names, those that their rows name, and so on.
    fn allowed<'a>(&'a self, module: &'a str) -> BTreeSet<&'a str> {
        let (mut found, mut open) = (BTreeSet::new(), vec![module]);
        while let Some(module) = open.pop() {
            let row =
                self.0.get(module).unwrap_or_else(|| panic!("ARCHITECTURE.md: layer `{module}` has no row"));
            open.extend(row.iter().map(String::as_str).filter(|module| found.insert(*module)));
        }
        found
    }
}
