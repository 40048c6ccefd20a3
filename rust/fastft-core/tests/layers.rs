//! Each module imports only `error` and modules that stand above it in the list of `lib.rs`.

#![expect(clippy::unwrap_used, reason = "a panic is how a test says no")]

use std::fs;
use std::path::{Path, PathBuf};

/// `error`, and the modules in the order of the numbered list at the head of `lib.rs`.
fn modules(src: &Path) -> Vec<String> {
    let text = fs::read_to_string(src.join("lib.rs")).unwrap();
    let numbered = text.lines().filter_map(|line| {
        let (number, rest) = line.strip_prefix("//! ")?.split_once(". [`")?;
        number.parse::<usize>().ok()?;
        Some(rest.split_once('`')?.0.to_owned())
    });
    std::iter::once("error".to_owned())
        .chain(numbered)
        .collect()
}

/// The files of a module: one file, or all files of its folder.
fn files(src: &Path, module: &str) -> Vec<PathBuf> {
    let file = src.join(format!("{module}.rs"));
    if file.is_file() {
        return vec![file];
    }
    let entries = fs::read_dir(src.join(module)).unwrap();
    entries.map(|entry| entry.unwrap().path()).collect()
}

/// The names that follow `crate::` in a file, `use crate::{a, b}` included.
fn imports(text: &str) -> Vec<String> {
    let is_name = |c: char| c.is_alphanumeric() || c == '_';
    text.split("crate::")
        .skip(1)
        .flat_map(|rest| match rest.strip_prefix('{') {
            Some(group) => group.split('}').next().unwrap_or("").split(',').collect(),
            None => vec![rest],
        })
        .map(|name| name.trim().split(|c| !is_name(c)).next().unwrap_or(""))
        .map(str::to_owned)
        .collect()
}

#[test]
fn modules_import_only_modules_above_them() {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let modules = modules(&src);
    let declared = fs::read_to_string(src.join("lib.rs")).unwrap();
    assert_eq!(declared.matches("pub mod ").count(), modules.len());
    let layer = |name: &str| modules.iter().position(|module| module == name);
    for module in &modules {
        for file in files(&src, module) {
            let text = fs::read_to_string(&file).unwrap();
            for import in imports(&text) {
                // Re-exports of the crate root (`crate::Error`) belong to `error`, layer 0.
                let imported = layer(&import).unwrap_or(0);
                assert!(
                    imported <= layer(module).unwrap(),
                    "{}: {module} imports {import}, which stands below it",
                    file.display()
                );
            }
        }
    }
}

#[test]
fn imports_are_found() {
    let text = "use crate::error::Error;\nuse crate::{sampler::Order, collator};\n";
    assert_eq!(imports(text), ["error", "sampler", "collator"]);
}
