//! The modules of `src/`: which file each is in, what it declares, and what it imports from where.
//!
//! Names are followed through `use` and `pub use` to the file that declares them, so it makes no difference
//! whether a name is imported from there or by a shorter path. Test modules (`#[cfg(test)]`) declare and
//! import nothing here.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
};

use super::source::{self, Token, files, normal, tokens};

#[derive(Debug)]
pub(crate) struct Type {
    pub(crate) name: String,
    pub(crate) file: String,
    pub(crate) line: usize,
    /// The conditions (`cfg`) of the type and of all modules around it.
    conditions: Vec<String>,
}

impl Type {
    /// Whether the two are never in the same build.
    pub(crate) fn is_alternative_of(&self, other: &Type) -> bool {
        let excludes =
            |one: &[String], other: &[String]| one.iter().any(|one| other.contains(&format!("not({one})")));
        excludes(&self.conditions, &other.conditions) || excludes(&other.conditions, &self.conditions)
    }
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Import {
    pub(crate) from: String,
    pub(crate) line: usize,
    pub(crate) to: String,
    /// As it is written, for messages.
    pub(crate) path: String,
}

#[derive(Debug, Default)]
struct Module {
    file: String,
    parent: Option<usize>,
    conditions: Vec<String>,
    /// It is built for tests only: what it declares and imports does not count.
    test: bool,
    children: BTreeMap<String, usize>,
    items: BTreeSet<String>,
    uses: Vec<Use>,
    paths: Vec<(usize, Vec<String>)>,
}

#[derive(Debug)]
struct Use {
    line: usize,
    path: Vec<String>,
    /// The name that it binds; `*` for all.
    name: String,
    public: bool,
}

#[derive(Debug)]
pub(crate) struct Crate {
    modules: Vec<Module>,
    pub(crate) types: Vec<Type>,
}

impl Crate {
    pub(crate) fn read() -> Crate {
        let mut read = Crate { modules: vec![Module::default()], types: Vec::new() };
        read.modules[0].file = "src/lib.rs".into();
        read.file(0);
        let known: BTreeSet<_> = read.modules.iter().map(|module| &*module.file).collect();
        assert!(known.len() > 10, "only {known:?} were found");
        read
    }

    /// The names of the modules at the root.
    pub(crate) fn roots(&self) -> impl Iterator<Item = &str> {
        self.modules[0].children.keys().map(String::as_str)
    }

    /// All imports of one file from another, in order.
    pub(crate) fn imports(&self) -> BTreeSet<Import> {
        let mut found = BTreeSet::new();
        for (at, module) in self.modules.iter().enumerate().filter(|(_, module)| !module.test) {
            let uses = module.uses.iter().filter(|used| !used.public).map(|used| (&used.line, &used.path));
            let paths = module.paths.iter().filter(|(_, path)| {
                matches!(&*path[0], "crate" | "super" | "self") || module.children.contains_key(&path[0])
            });
            for (&line, path) in uses.chain(paths.map(|(line, path)| (line, path))) {
                let Some(to) = self.resolve(at, path, 0) else { continue };
                let to = &self.modules[to].file;
                if *to != module.file {
                    let (from, to, path) = (module.file.clone(), to.clone(), path.join("::"));
                    found.insert(Import { from, line, to, path });
                }
            }
        }
        found
    }

    /// The module that declares what `path` names in module `at`, or the module that it names.
    fn resolve(&self, at: usize, path: &[String], depth: usize) -> Option<usize> {
        if depth > 20 {
            return None;
        }
        let mut at = at;
        for (index, name) in path.iter().enumerate() {
            let (module, last) = (&self.modules[at], index + 1 == path.len());
            match &**name {
                "crate" if index == 0 => at = 0,
                "self" => {}
                "super" => at = module.parent?,
                "*" => return Some(at),
                name if last && module.items.contains(name) => return Some(at),
                name if module.children.contains_key(name) => at = module.children[name],
                name if module.items.contains(name) => return Some(at),
                name => {
                    let bound =
                        module.uses.iter().filter(|used| used.name == name && used.path[..] != path[..]);
                    let globs = module.uses.iter().filter(|used| used.name == "*");
                    let mut found = bound.map(|used| self.resolve(at, &used.path, depth + 1));
                    if let Some(found) = found.next() {
                        let found = found?;
                        if last || self.modules[found].items.contains(name) {
                            return Some(found);
                        }
                        at = found;
                        continue;
                    }
                    let declares = |used: &Use| {
                        let found = self.resolve(at, &used.path, depth + 1)?;
                        let module = &self.modules[found];
                        let bound = module.uses.iter().any(|used| used.name == name);
                        (found != at
                            && (bound || module.items.contains(name) || module.children.contains_key(name)))
                        .then_some(found)
                    };
                    if let Some(found) = globs.filter_map(declares).next() {
                        return self.resolve(found, &path[index..], depth + 1);
                    }
                    // At the start of a path: another crate, or what a prelude or a macro declares.
                    return (index > 0).then_some(at);
                }
            }
        }
        Some(at)
    }

    fn file(&mut self, at: usize) {
        let file = self.modules[at].file.clone();
        let source = source::read(&file);
        let tokens: Vec<_> =
            tokens(&source).into_iter().filter(|(_, token)| !matches!(token, Token::Comment(_))).collect();
        Parser { read: self, tokens: &tokens, at: 0, file: &file }.block(at, Kind::Module, &[]);
    }

    fn module(
        &mut self,
        parent: usize,
        name: &str,
        file: String,
        conditions: Vec<String>,
        test: bool,
    ) -> usize {
        let (at, test) = (self.modules.len(), test || self.modules[parent].test);
        self.modules.push(Module { file, parent: Some(parent), conditions, test, ..Module::default() });
        // Of alternatives for different systems the first is what paths lead to.
        self.modules[parent].children.entry(name.to_owned()).or_insert(at);
        at
    }
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Kind {
    Module,
    /// Of an `impl` or a `trait`: the types in it are associated ones.
    Associated,
    Other,
}

struct Parser<'a, 'b> {
    read: &'a mut Crate,
    tokens: &'a [(usize, Token<'b>)],
    at: usize,
    file: &'a str,
}

impl Parser<'_, '_> {
    fn peek(&self, ahead: usize) -> Option<Token<'_>> {
        self.tokens.get(self.at + ahead).map(|(_, token)| *token)
    }

    fn word(&self, ahead: usize) -> Option<String> {
        match self.peek(ahead) {
            Some(Token::Word(word)) => Some(word.to_owned()),
            _ => None,
        }
    }

    fn is(&self, ahead: usize, punct: char) -> bool {
        self.peek(ahead) == Some(Token::Punct(punct))
    }

    fn is_path_separator(&self, ahead: usize) -> bool {
        self.is(ahead, ':') && self.is(ahead + 1, ':')
    }

    fn line(&self) -> usize {
        self.tokens[self.at.min(self.tokens.len() - 1)].0
    }

    /// Reads up to the brace that ends the block, or to the end of the file.
    fn block(&mut self, module: usize, kind: Kind, conditions: &[String]) {
        // What the next item is to be: its attributes, whether it is public, and what its braces will mean.
        let (mut attributes, mut public, mut next) = (Vec::<String>::new(), false, Kind::Other);
        let mut nested = 0_usize;
        while let Some(token) = self.peek(0) {
            match token {
                Token::Punct('}') => {
                    self.at += 1;
                    return;
                }
                Token::Punct('{') => {
                    self.at += 1;
                    if attributes.iter().any(|attribute| is_test(attribute)) {
                        self.skip_block();
                    } else {
                        let conditions = [conditions, &self::conditions(&attributes)].concat();
                        self.block(module, next, &conditions);
                    }
                    if nested == 0 {
                        (attributes, public, next) = (Vec::new(), false, Kind::Other);
                    }
                }
                Token::Punct('#') if self.is(1, '[') || (self.is(1, '!') && self.is(2, '[')) => {
                    let inner = self.is(1, '!');
                    self.at += if inner { 3 } else { 2 };
                    let attribute = self.attribute();
                    if !inner {
                        attributes.push(attribute);
                    }
                }
                Token::Punct('(' | '[') => {
                    nested += 1;
                    self.at += 1;
                }
                Token::Punct(')' | ']') => {
                    nested = nested.saturating_sub(1);
                    self.at += 1;
                }
                Token::Punct(end @ (';' | ',')) if nested == 0 => {
                    (attributes, public) = (Vec::new(), false);
                    // (A comma may be one of the generics of an `impl`.)
                    next = if end == ';' { Kind::Other } else { next };
                    self.at += 1;
                }
                Token::Word("pub") => {
                    public = true;
                    self.at += 1;
                    if self.is(0, '(')
                        && matches!(self.peek(1), Some(Token::Word("crate" | "super" | "self" | "in")))
                    {
                        while !self.is(0, ')') {
                            self.at += 1;
                        }
                        self.at += 1;
                    }
                }
                Token::Word("use") if nested == 0 => {
                    self.at += 1;
                    if self.is_path_separator(0) {
                        self.at += 2;
                    }
                    let line = self.line();
                    let mut found = Vec::new();
                    // (`use<'a>` of a return type ends at once: it has no path.)
                    if !self.is(0, '<') {
                        self.use_tree(Vec::new(), &mut found);
                    }
                    if !attributes.iter().any(|attribute| is_test(attribute)) {
                        let uses = found.into_iter().map(|(path, name)| Use { line, path, name, public });
                        self.read.modules[module].uses.extend(uses);
                    }
                }
                Token::Word("mod") if nested == 0 && self.word(1).is_some() => {
                    let name = self.word(1).unwrap();
                    let (declared, inline) = (self.is(2, ';'), self.is(2, '{'));
                    self.at += 2;
                    if !(declared || inline) {
                        continue;
                    }
                    self.at += 1;
                    let test = attributes.iter().any(|attribute| is_test(attribute));
                    let parents = &self.read.modules[module].conditions;
                    let all = [&parents[..], conditions, &self::conditions(&attributes)].concat();
                    if inline {
                        let child = self.read.module(module, &name, self.file.to_owned(), all, test);
                        self.block(child, Kind::Module, &[]);
                    } else if let Some(file) = self.file_of(&name, &attributes) {
                        let child = self.read.module(module, &name, file, all, test);
                        self.read.file(child);
                    }
                    (attributes, public) = (Vec::new(), false);
                }
                Token::Word(keyword @ ("struct" | "enum" | "union" | "trait" | "type"))
                    if self.word(1).is_some() =>
                {
                    let (keyword, name, line) = (keyword.to_owned(), self.word(1).unwrap(), self.line());
                    let test = self.read.modules[module].test
                        || attributes.iter().any(|attribute| is_test(attribute));
                    if !(test || keyword == "type" && kind == Kind::Associated) {
                        let parents = &self.read.modules[module].conditions;
                        let conditions = [&parents[..], conditions, &self::conditions(&attributes)].concat();
                        if kind == Kind::Module {
                            self.read.modules[module].items.insert(name.clone());
                        }
                        self.read.types.push(Type { name, file: self.file.to_owned(), line, conditions });
                    }
                    if keyword == "trait" {
                        next = Kind::Associated;
                    }
                    self.at += 2;
                }
                Token::Word("fn" | "const" | "static") if self.word(1).is_some() => {
                    let name = self.word(1).unwrap();
                    self.at += 1;
                    if kind == Kind::Module && !matches!(&*name, "fn" | "unsafe" | "async" | "extern" | "mut")
                    {
                        self.read.modules[module].items.insert(name);
                        self.at += 1;
                    }
                }
                Token::Word("macro_rules") if self.is(1, '!') => {
                    let name = self.word(2);
                    self.read.modules[module].items.extend(name);
                    self.at += 2;
                }
                Token::Word("impl") => {
                    next = if nested == 0 { Kind::Associated } else { next };
                    self.at += 1;
                }
                Token::Word(word) => {
                    let (line, mut path) = (self.line(), vec![word.to_owned()]);
                    self.at += 1;
                    while self.is_path_separator(0) {
                        let Some(word) = self.word(2) else { break };
                        path.push(word);
                        self.at += 3;
                    }
                    if path.len() > 1 && !attributes.iter().any(|attribute| is_test(attribute)) {
                        self.read.modules[module].paths.push((line, path));
                    }
                }
                _ => self.at += 1,
            }
        }
    }

    fn skip_block(&mut self) {
        let mut depth = 1;
        while depth > 0 {
            match self.peek(0) {
                Some(Token::Punct('{')) => depth += 1,
                Some(Token::Punct('}')) => depth -= 1,
                Some(_) => {}
                None => return,
            }
            self.at += 1;
        }
    }

    /// The text of an attribute, without blanks; what is quoted keeps its quotes.
    fn attribute(&mut self) -> String {
        let (mut depth, mut text) = (1, String::new());
        while let Some(token) = self.peek(0) {
            match token {
                Token::Punct('[') => depth += 1,
                Token::Punct(']') => depth -= 1,
                _ => {}
            }
            if depth == 0 {
                self.at += 1;
                break;
            }
            match token {
                Token::Word(word) | Token::Literal(word) => text.push_str(word),
                Token::Punct(punct) => text.push(punct),
                Token::Comment(_) => {}
            }
            self.at += 1;
        }
        text
    }

    fn use_tree(&mut self, prefix: Vec<String>, found: &mut Vec<(Vec<String>, String)>) {
        let mut path = prefix;
        loop {
            if let Some(word) = self.word(0) {
                path.push(word);
                self.at += 1;
            } else if self.is(0, '*') {
                self.at += 1;
                found.push((path, "*".into()));
                return;
            } else if self.is(0, '{') {
                self.at += 1;
                while !self.is(0, '}') {
                    self.use_tree(path.clone(), found);
                    if self.is(0, ',') {
                        self.at += 1;
                    }
                }
                self.at += 1;
                return;
            }
            if !self.is_path_separator(0) {
                break;
            }
            self.at += 2;
        }
        if path.last().is_some_and(|last| last == "self") {
            path.pop();
        }
        let mut name = path.last().cloned().expect("a path has a name");
        if self.word(0).is_some_and(|word| word == "as") {
            name = self.word(1).expect("a name follows `as`");
            self.at += 2;
        }
        found.push((path, name));
    }

    /// The file of `mod name;`, if it is in `src/`.
    fn file_of(&self, name: &str, attributes: &[String]) -> Option<String> {
        let file = Path::new(self.file);
        let folder = file.parent().unwrap();
        let path =
            attributes.iter().find_map(|attribute| attribute.strip_prefix("path=\"")?.strip_suffix('"'));
        if let Some(path) = path {
            return Some(normal(&folder.join(path))).filter(|path| path.starts_with("src/"));
        }
        let folder = match file.file_stem().unwrap().to_str().unwrap() {
            "mod" | "lib" => folder.to_owned(),
            stem => folder.join(stem),
        };
        let candidates = [folder.join(format!("{name}.rs")), folder.join(name).join("mod.rs")];
        let found = candidates.into_iter().find(|path| source::root().join(path).exists());
        let found = found.unwrap_or_else(|| panic!("{}: module `{name}` has no file", self.file));
        Some(found.to_str().unwrap().to_owned())
    }
}

fn conditions(attributes: &[String]) -> Vec<String> {
    let conditions =
        attributes.iter().filter_map(|attribute| attribute.strip_prefix("cfg(")?.strip_suffix(')'));
    conditions.map(str::to_owned).collect()
}

fn is_test(attribute: &str) -> bool {
    let Some(condition) = attribute.strip_prefix("cfg(") else { return false };
    let words = || condition.split(|char: char| !char.is_alphanumeric() && char != '_');
    words().any(|word| word == "test") && !words().any(|word| word == "not")
}

#[test]
fn every_file_of_the_sources_is_a_module() {
    let read = Crate::read();
    let modules: BTreeSet<_> = read.modules.iter().map(|module| module.file.clone()).collect();
    let missing: Vec<_> = files("src", ".rs").into_iter().filter(|file| !modules.contains(file)).collect();
    assert!(missing.is_empty(), "no `mod` leads to {missing:?}");
}
