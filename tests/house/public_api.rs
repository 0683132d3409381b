//! The public surface is written down: `api/public.txt` has a line for each item that a user can name.
//!
//! `api/check` makes the description of the documentation (rustdoc's JSON) that this reads, and names it in
//! `PROCESSION_API_JSON`. Without that there is nothing to compare.

use std::{
    collections::{BTreeMap, BTreeSet},
    env, fs,
};

use serde_json::Value;

use super::source::{read, root};

const LIST: &str = "api/public.txt";

#[test]
fn the_list_of_the_public_surface_is_true() {
    let Some(json) = env::var_os("PROCESSION_API_JSON") else {
        return println!("skipped: api/check runs this");
    };
    let json = serde_json::from_slice(&fs::read(json).unwrap()).unwrap();
    let surface = Surface::of(&json);
    assert!(
        surface.lines.len() > 100,
        "only {} items: the format of the JSON has changed",
        surface.lines.len()
    );

    if env::var_os("PROCESSION_API_UPDATE").is_some() {
        // By path, so that a reader finds an item beside what belongs to it.
        let mut lines: Vec<_> = surface.lines.into_iter().map(|line| line + "\n").collect();
        lines.sort_by(|one, other| path(one).cmp(path(other)));
        return fs::write(root().join(LIST), lines.concat()).unwrap();
    }
    let list = read(LIST);
    let listed: BTreeSet<_> = list.lines().map(str::to_owned).collect();
    let added = surface.lines.difference(&listed).map(|line| format!("+ {line}"));
    let removed = listed.difference(&surface.lines).map(|line| format!("- {line}"));
    let changes: Vec<_> = added.chain(removed).collect();
    assert!(
        changes.is_empty(),
        "the public surface has changed; if that is meant, run `api/check --update` and commit {LIST}:\n{}",
        changes.join("\n")
    );
}

/// The items that can be named from outside, as rustdoc describes them. What is hidden from the documentation
/// is not among them.
struct Surface<'a> {
    index: &'a Value,
    /// Each item with its public paths.
    paths: BTreeMap<u64, BTreeSet<String>>,
    lines: BTreeSet<String>,
}

impl<'a> Surface<'a> {
    fn of(json: &'a Value) -> Surface<'a> {
        let mut surface = Surface { index: &json["index"], paths: BTreeMap::new(), lines: BTreeSet::new() };
        let root = json["root"].as_u64().unwrap();
        let name = of_crate(surface.index, root).unwrap()["name"].as_str().unwrap();
        surface.module(root, name);
        for (id, paths) in surface.paths.clone() {
            surface.members(id, &paths);
        }
        surface
    }

    fn module(&mut self, id: u64, path: &str) {
        if !self.paths.entry(id).or_default().insert(path.to_owned()) {
            return;
        }
        for item in ids(&of_crate(self.index, id).unwrap()["inner"]["module"]["items"]) {
            self.named(item, path, None);
        }
    }

    /// An item of a module, under another name if it is imported so.
    fn named(&mut self, id: u64, module: &str, name: Option<&str>) {
        let Some(item) = of_crate(self.index, id) else { return };
        let (kind, inner) = kind(item);
        let path = |name: Option<&str>| format!("{module}::{}", name.or(item["name"].as_str()).unwrap());
        match (kind, inner["id"].as_u64()) {
            ("use", target) => {
                let (source, name) = (inner["source"].as_str().unwrap(), inner["name"].as_str());
                match target.filter(|target| of_crate(self.index, *target).is_some()) {
                    Some(target) if inner["is_glob"] == true => {
                        let (kind, inner) = kind_of(of_crate(self.index, target));
                        let list = if kind == "enum" { "variants" } else { "items" };
                        for item in ids(&inner[list]) {
                            self.named(item, module, None);
                        }
                    }
                    Some(target) => self.named(target, module, name),
                    None => drop(self.lines.insert(format!("use {} = {source}", path(name)))),
                }
            }
            ("module", _) => self.module(id, &path(name)),
            ("impl", _) => {}
            _ => drop(self.paths.entry(id).or_default().insert(path(name))),
        }
    }

    /// The item under each of its paths, and what belongs to it under the shortest.
    fn members(&mut self, id: u64, paths: &BTreeSet<String>) {
        let index = self.index;
        let item = of_crate(index, id).unwrap();
        let (kind, inner) = kind(item);
        let word = match kind {
            "module" => "mod",
            "function" => "fn",
            "constant" => "const",
            "type_alias" => "type",
            other => other,
        };
        self.lines.extend(paths.iter().map(|path| format!("{word} {path}{}", suffix(item, kind))));
        let path = paths.iter().min_by_key(|path| (path.matches("::").count(), path.len())).unwrap();
        match kind {
            "struct" => self.fields(&inner["kind"], path),
            "union" => self.fields(inner, path),
            "enum" => {
                for variant in ids(&inner["variants"]).filter_map(|id| of_crate(index, id)) {
                    let path = format!("{path}::{}", variant["name"].as_str().unwrap());
                    self.lines.insert(format!("variant {path}{}", suffix(variant, "variant")));
                    self.fields(&variant["inner"]["variant"]["kind"], &path);
                }
            }
            "trait" => ids(&inner["items"]).for_each(|id| self.associated(id, path, true)),
            _ => {}
        }
        for id in ids(&inner["impls"]) {
            let Some(own) = of_crate(index, id).map(|item| &item["inner"]["impl"]) else { continue };
            if own["trait"].is_null() {
                ids(&own["items"]).for_each(|id| self.associated(id, path, false));
            }
        }
    }

    /// The public fields of a struct or a variant. (Those that are not are stripped, or null where they have
    /// no name.)
    fn fields(&mut self, kind: &Value, path: &str) {
        let plain = kind["plain"].as_object().or(kind["struct"].as_object()).map(|plain| &plain["fields"]);
        let fields = plain.or(kind.get("fields")).or(kind.get("tuple")).unwrap_or(&Value::Null);
        let index = self.index;
        for field in ids(fields).filter_map(|id| of_crate(index, id)) {
            self.lines.insert(format!("field {path}::{}", field["name"].as_str().unwrap()));
        }
    }

    fn associated(&mut self, id: u64, path: &str, of_trait: bool) {
        let Some(item) = of_crate(self.index, id).filter(|item| of_trait || item["visibility"] == "public")
        else {
            return;
        };
        let (kind, inner) = kind(item);
        let (word, provided) = match kind {
            "function" => ("fn", &inner["has_body"]),
            "assoc_const" => ("const", &inner["value"]),
            _ => ("type", &inner["type"]),
        };
        let provided = if of_trait && !matches!(provided, Value::Null | Value::Bool(false)) {
            " (provided)"
        } else {
            ""
        };
        self.lines.insert(format!("{word} {path}::{}{provided}", item["name"].as_str().unwrap()));
    }
}

/// The item, if it is of this crate.
fn of_crate(index: &Value, id: u64) -> Option<&Value> {
    index.get(id.to_string()).filter(|item| item["crate_id"] == 0)
}

fn path(line: &str) -> &str {
    line.split_once(' ').map_or(line, |(_, path)| path)
}

fn kind_of(item: Option<&Value>) -> (&str, &Value) {
    kind(item.expect("the item is of this crate"))
}

fn kind(item: &Value) -> (&str, &Value) {
    let (kind, inner) =
        item["inner"].as_object().and_then(|inner| inner.iter().next()).expect("an item is something");
    (kind, inner)
}

/// Whether more fields or variants may come.
fn suffix(item: &Value, kind: &str) -> &'static str {
    let open =
        item["attrs"].as_array().is_some_and(|attributes| attributes.iter().any(|it| it == "non_exhaustive"));
    if open && matches!(kind, "struct" | "enum" | "variant") { " (non-exhaustive)" } else { "" }
}

fn ids(list: &Value) -> impl Iterator<Item = u64> {
    list.as_array().map_or(&[][..], Vec::as_slice).iter().filter_map(Value::as_u64)
}
