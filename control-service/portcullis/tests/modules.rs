//! Within a crate imports run one way: no file knows one that knows it.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::sync::LazyLock;

use portcullis_mesh::paths::root;
use regex::Regex;

/// The place of a module in its crate; the root has an empty one.
type Module = Vec<String>;

/// A name that a module takes from elsewhere.
struct Import {
    path: Vec<String>,
    name: String,
    /// It is there for others, as a sign at the door is.
    shown: bool,
}

/// What the modules of a crate say, without tests, comments, and who may see it.
struct Crate {
    code: BTreeMap<Module, String>,
    imports: BTreeMap<Module, Vec<Import>>,
}

/// What does not count: tests, comments, who may see something, and a module that says where its file is, since it has
/// that from another crate.
const LEFT_OUT: [&str; 3] =
    [r"(?s)#\[cfg\(test\)\]\n(?:pub\S* )?mod \w+(?:;\n| \{.*)", r"//.*|\(in [\w:]+\)", r"#\[path = .*\]\n.*"];
static UNCOUNTED: LazyLock<[Regex; 3]> = LazyLock::new(|| LEFT_OUT.map(regex));
static MODULE: LazyLock<Regex> = LazyLock::new(|| regex(r"(?m)^(?:pub(?:\([^)]*\))? )?mod (\w+);"));
static USE: LazyLock<Regex> = LazyLock::new(|| regex(r"(?m)^\s*(pub(?:\([^)]*\))? )?use ([^;]+);"));
static MADE: LazyLock<Regex> = LazyLock::new(|| regex(r"\b(?:const|enum|fn|static|struct|trait|type) (\w+)"));
static PATH: LazyLock<Regex> = LazyLock::new(|| regex(r"\b\w+(?:::\w+)+"));

fn regex(pattern: &str) -> Regex {
    Regex::new(pattern).unwrap()
}

/// The paths of a `use`, one for each name.
fn paths(tree: &str) -> Vec<(Vec<String>, String)> {
    let tree = tree.trim();
    let Some((before, list)) = tree.split_once('{') else {
        let (path, name) = tree.split_once(" as ").unwrap_or((tree, ""));
        let mut path: Vec<_> = path.split("::").map(|part| part.trim().to_owned()).collect();
        if path.last().is_some_and(|last| last == "self") {
            path.pop();
        }
        let name = if name.is_empty() { path.last().unwrap().as_str() } else { name.trim() };
        return vec![(path.clone(), name.to_owned())];
    };
    let list = list.trim_end().strip_suffix('}').unwrap();
    let (mut depth, mut parts) = (0, vec![String::new()]);
    for letter in list.chars() {
        depth += i32::from(letter == '{') - i32::from(letter == '}');
        match letter {
            ',' if depth == 0 => parts.push(String::new()),
            _ => parts.last_mut().unwrap().push(letter),
        }
    }
    let parts = parts.iter().filter(|part| !part.trim().is_empty());
    parts.flat_map(|part| paths(&[before, part.trim()].concat())).collect()
}

impl Crate {
    fn read(root: &Path) -> Self {
        let mut files = BTreeMap::new();
        read(&mut files, Vec::new(), root, root.parent().unwrap());
        Self::of(files)
    }

    fn of(files: BTreeMap<Module, String>) -> Self {
        let (mut code, mut imports) = (BTreeMap::new(), BTreeMap::new());
        for (module, text) in files {
            let own: BTreeSet<_> = MADE.captures_iter(&text).map(|found| found[1].to_owned()).collect();
            let of_use = USE.captures_iter(&text).flat_map(|found| {
                let shown = found.get(1).is_some();
                paths(&found[2]).into_iter().map(move |(path, name)| Import { path, name, shown })
            });
            // What it makes itself, a module within the file takes from above.
            let of_use = of_use.filter(|import| !own.contains(&import.name)).collect();
            imports.insert(module.clone(), of_use);
            code.insert(module, USE.replace_all(&text, "").into_owned());
        }
        Self { code, imports }
    }

    /// The module that says what stands at a path, seen from a module; `None` of what is in no module of this crate.
    fn resolve(&self, from: &Module, path: &[String], steps: u8) -> Option<Module> {
        let mut at = from.clone();
        let mut rest = path;
        let imported = |module: &Module, name: &String| {
            self.imports[module].iter().find(|import| import.name == *name).filter(|_| steps > 0)
        };
        match path.first()?.as_str() {
            "crate" => (at, rest) = (Vec::new(), &path[1..]),
            "self" => rest = &path[1..],
            "super" => {
                while rest.first().is_some_and(|part| part == "super") {
                    at.pop()?;
                    rest = &rest[1..];
                }
            }
            _ if self.code.contains_key(&[from.as_slice(), &path[..1]].concat()) => {}
            _ => {
                let import = imported(from, &path[0]).filter(|import| import.path[0] != path[0])?;
                return self.resolve(from, &[&import.path, &path[1..]].concat(), steps - 1);
            }
        }
        while let Some(name) = rest.first() {
            let below = [at.as_slice(), std::slice::from_ref(name)].concat();
            if !self.code.contains_key(&below) {
                let import = imported(&at, name);
                return import.map_or(Some(at.clone()), |import| self.resolve(&at, &import.path, steps - 1));
            }
            (at, rest) = (below, &rest[1..]);
        }
        Some(at)
    }

    /// The modules that each module knows. What one only shows to others from below it does not count.
    fn known(&self) -> BTreeMap<&Module, BTreeSet<Module>> {
        let known = |module: &Module| {
            let code = &self.code[module];
            let words: BTreeSet<_> = code.split(|c: char| !c.is_alphanumeric() && c != '_').collect();
            let imported = self.imports[module].iter().filter_map(|import| {
                let target = self.resolve(module, &import.path, 16)?;
                let is_sign = import.shown && target.starts_with(module);
                (!is_sign || words.contains(import.name.as_str())).then_some(target)
            });
            let in_code = PATH.find_iter(code).filter_map(|path| {
                let path: Vec<_> = path.as_str().split("::").map(str::to_owned).collect();
                self.resolve(module, &path, 16)
            });
            imported.chain(in_code).filter(|target| target != module).collect()
        };
        self.code.keys().map(|module| (module, known(module))).collect()
    }

    /// Those that stand in circles, or between two of them, each with what it knows of the others.
    fn circles(&self) -> Vec<String> {
        let mut known = self.known();
        loop {
            let all: BTreeSet<Module> = known.keys().map(|module| (*module).clone()).collect();
            let wanted: BTreeSet<Module> = known.values().flatten().cloned().collect();
            known.values_mut().for_each(|targets| targets.retain(|target| all.contains(target)));
            let before = known.len();
            known.retain(|module, targets| !targets.is_empty() && wanted.contains(*module));
            if known.len() == before {
                break;
            }
        }
        let named = |module: &Module| {
            ["crate"].into_iter().chain(module.iter().map(String::as_str)).collect::<Vec<_>>().join("::")
        };
        let line = |(module, targets): (&Module, BTreeSet<Module>)| {
            format!("{} knows {}", named(module), targets.iter().map(named).collect::<Vec<_>>().join(", "))
        };
        known.into_iter().map(line).collect()
    }
}

/// Takes in a file, and those of the modules that it names.
fn read(files: &mut BTreeMap<Module, String>, module: Module, file: &Path, folder: &Path) {
    let text = fs::read_to_string(file).unwrap();
    let text = UNCOUNTED.iter().fold(text, |text, what| what.replace_all(&text, "").into_owned());
    for found in MODULE.captures_iter(&text) {
        let below = folder.join(&found[1]);
        let files_of_it = [below.with_extension("rs"), below.join("mod.rs")];
        let file = files_of_it.iter().find(|file| file.is_file());
        let file = file.unwrap_or_else(|| panic!("no file of {}", below.display()));
        read(files, [module.as_slice(), &[found[1].to_owned()]].concat(), file, &below);
    }
    files.insert(module, MODULE.replace_all(&text, "").into_owned());
}

#[test]
fn no_file_knows_one_that_knows_it() {
    let root = root();
    let manifest = fs::read_to_string(root.join("Cargo.toml")).unwrap();
    let members = manifest.split("members = [").nth(1).unwrap().split(']').next().unwrap();
    let members: Vec<_> = members.split('"').skip(1).step_by(2).collect();
    let (mut modules, mut circles) = (0, Vec::new());
    for member in &members {
        for target in ["lib.rs", "main.rs"] {
            let file = root.join(member).join("src").join(target);
            if file.is_file() {
                let read = Crate::read(&file);
                modules += read.code.len();
                circles.extend(read.circles().into_iter().map(|line| [member, ": ", &line].concat()));
            }
        }
    }
    assert!(circles.is_empty(), "{}", circles.join("\n"));
    assert!(members.len() > 30 && modules > 500, "{} crates, {modules} modules", members.len());
}

#[test]
fn a_circle_is_found_by_whichever_way_a_name_comes() {
    let circles = |files: &[(&str, &str)]| {
        let module =
            |path: &str| path.split("::").filter(|part| !part.is_empty()).map(str::to_owned).collect();
        let files = files.iter().map(|(path, text)| (module(path), (*text).to_owned()));
        !Crate::of(files.collect()).circles().is_empty()
    };
    let above = ("a", "use super::b::B;\nstruct A(B);");
    assert!(!circles(&[("", "pub use a::A;\nmod a;\nmod b;"), above, ("b", "struct B;")]));
    for below in
        ["use crate::a::A;", "use super::{a::A, other};", "use crate::A;", "fn f() -> crate::a::A {}"]
    {
        assert!(circles(&[("", "pub use a::A;"), above, ("b", below)]), "{below}");
    }
    // What a module makes of its own children is no sign.
    let child = ("a::c", "use super::A;\nstruct C(A);");
    assert!(circles(&[("", ""), ("a", "pub use c::C;\nstruct A(Vec<C>);"), child]));
    assert!(!circles(&[("", ""), ("a", "pub use c::C;\nstruct A;"), child]));
}
