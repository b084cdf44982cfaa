//! Turns Rust files into what the rules look at: the functions, the paths they name, the uses of `unsafe`.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result};
use proc_macro2::{Delimiter, Group, TokenStream, TokenTree};

/// One file, as tokens; comments and strings are no part of it, macro bodies are.
#[derive(Debug)]
pub struct Source {
    /// Path below the workspace's root, with `/`.
    pub path: String,
    /// The whole text.
    pub text: String,
    tokens: TokenStream,
}

/// A function with a body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Function {
    /// Its name.
    pub name: String,
    /// Line of the word `fn`, from 1.
    pub line: usize,
    /// Lines from there to the closing brace.
    pub lines: usize,
}

/// A path of two segments or more, as `crate::model::Desired`; `self` and `super` at its start are resolved to `crate`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reference {
    /// Line, from 1.
    pub line: usize,
    /// Segments; `*` for a glob.
    pub segments: Vec<String>,
}

impl Source {
    /// Reads one file.
    pub fn read(root: &Path, file: &Path) -> Result<Self> {
        let text = fs::read_to_string(file).with_context(|| file.display().to_string())?;
        let path = file.strip_prefix(root).unwrap_or(file).to_string_lossy().into_owned();
        Self::parse(&path, &text)
    }

    /// Takes a file's text; an error when it is not made of Rust tokens.
    pub fn parse(path: &str, text: &str) -> Result<Self> {
        let tokens = text.parse().map_err(|error| anyhow::anyhow!("{path}: {error}"))?;
        Ok(Self { path: path.to_owned(), text: text.to_owned(), tokens })
    }

    /// The package's directory: the path's first segment.
    #[must_use]
    pub fn package(&self) -> &str {
        self.path.split('/').next().unwrap_or_default()
    }

    /// Path of the module below the crate's root, empty for `lib.rs` and `main.rs`; `None` for files outside `src`.
    #[must_use]
    pub fn module(&self) -> Option<Vec<String>> {
        let inside = self.path.split_once("/src/")?.1.strip_suffix(".rs")?;
        let mut segments: Vec<_> = inside.split('/').map(str::to_owned).collect();
        if matches!(inside, "lib" | "main") {
            segments.clear();
        }
        Some(segments)
    }

    /// Every function that has a body, also in impls, traits and modules.
    #[must_use]
    pub fn functions(&self) -> Vec<Function> {
        let mut found = Vec::new();
        collect_functions(&self.tokens, &mut found);
        found
    }

    /// Every path of two segments or more; `use` trees are taken apart.
    #[must_use]
    pub fn references(&self) -> Vec<Reference> {
        let mut walk = PathWalk { found: Vec::new() };
        walk.block(&self.tokens, &self.module().unwrap_or_default());
        walk.found
    }

    /// Lines with the word, from 1. Words in comments, strings and longer words do not count.
    #[must_use]
    pub fn word(&self, word: &str) -> Vec<usize> {
        let mut found = Vec::new();
        collect_words(&self.tokens, word, &mut found);
        found
    }
}

/// Every Rust file below the directories, sorted; build output is left out.
pub fn files(root: &Path, directories: &[&str]) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut pending: Vec<_> = directories.iter().map(|directory| root.join(directory)).collect();
    while let Some(directory) = pending.pop() {
        for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
            let path = entry.path();
            if path.is_dir() && entry.file_name() != "target" {
                pending.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                found.push(path);
            }
        }
    }
    found.sort();
    found
}

fn collect_functions(tokens: &TokenStream, found: &mut Vec<Function>) {
    let tokens: Vec<_> = tokens.clone().into_iter().collect();
    for (position, token) in tokens.iter().enumerate() {
        if let TokenTree::Group(group) = token {
            collect_functions(&group.stream(), found);
        }
        let (TokenTree::Ident(word), Some(TokenTree::Ident(name))) = (token, tokens.get(position + 1)) else {
            continue;
        };
        if word != "fn" {
            continue;
        }
        if let Some(body) = body_after(&tokens[position..]) {
            let line = word.span().start().line;
            let lines = body.span_close().end().line + 1 - line;
            found.push(Function { name: name.to_string(), line, lines });
        }
    }
}

fn body_after(tokens: &[TokenTree]) -> Option<&Group> {
    for token in tokens {
        match token {
            TokenTree::Group(group) if group.delimiter() == Delimiter::Brace => return Some(group),
            TokenTree::Punct(punct) if punct.as_char() == ';' => return None,
            TokenTree::Group(_) | TokenTree::Ident(_) | TokenTree::Punct(_) | TokenTree::Literal(_) => {}
        }
    }
    None
}

fn collect_words(tokens: &TokenStream, word: &str, found: &mut Vec<usize>) {
    for token in tokens.clone() {
        match token {
            TokenTree::Ident(ident) if ident == word => found.push(ident.span().start().line),
            TokenTree::Group(group) => collect_words(&group.stream(), word, found),
            TokenTree::Ident(_) | TokenTree::Punct(_) | TokenTree::Literal(_) => {}
        }
    }
}

/// A walk over a file's tokens that collects the paths it meets.
struct PathWalk {
    found: Vec<Reference>,
}

impl PathWalk {
    /// `module` is where the tokens stand.
    fn block(&mut self, tokens: &TokenStream, module: &[String]) {
        let tokens: Vec<_> = tokens.clone().into_iter().collect();
        let mut position = 0;
        while position < tokens.len() {
            position = match &tokens[position] {
                TokenTree::Ident(word) if word == "mod" => self.inline_module(&tokens, position, module),
                TokenTree::Ident(_) => self.path(&tokens, position, &[], module),
                TokenTree::Group(group) => {
                    self.block(&group.stream(), module);
                    position + 1
                }
                TokenTree::Punct(_) | TokenTree::Literal(_) => position + 1,
            };
        }
    }

    fn inline_module(&mut self, tokens: &[TokenTree], position: usize, module: &[String]) -> usize {
        let (Some(TokenTree::Ident(name)), Some(TokenTree::Group(body))) =
            (tokens.get(position + 1), tokens.get(position + 2))
        else {
            return position + 1;
        };
        let inside: Vec<_> = module.iter().cloned().chain([name.to_string()]).collect();
        self.block(&body.stream(), &inside);
        position + 3
    }

    /// Reads the path that starts at `position`, below `prefix`, and returns the position after it.
    fn path(&mut self, tokens: &[TokenTree], mut position: usize, prefix: &[String], module: &[String]) -> usize {
        let line = tokens[position].span().start().line;
        let mut segments = prefix.to_vec();
        loop {
            match tokens.get(position) {
                Some(TokenTree::Ident(word)) => segments.push(word.to_string()),
                Some(TokenTree::Punct(punct)) if punct.as_char() == '*' && !segments.is_empty() => {
                    segments.push("*".to_owned());
                }
                Some(TokenTree::Group(group)) if group.delimiter() == Delimiter::Brace && !segments.is_empty() => {
                    self.tree(group, &segments, module);
                    return position + 1;
                }
                _ => break,
            }
            position += 1;
            if !is_path_separator(tokens, position) {
                break;
            }
            position += 2;
        }
        if segments.len() > 1 {
            self.found.push(Reference { line, segments: resolve(segments, module) });
        }
        position
    }

    /// The branches of `{a, b::c}` in a `use`.
    fn tree(&mut self, group: &Group, prefix: &[String], module: &[String]) {
        let tokens: Vec<_> = group.stream().into_iter().collect();
        let is_comma = |token: &TokenTree| matches!(token, TokenTree::Punct(punct) if punct.as_char() == ',');
        for branch in tokens.split(is_comma).filter(|branch| !branch.is_empty()) {
            self.path(branch, 0, prefix, module);
        }
    }
}

fn is_path_separator(tokens: &[TokenTree], position: usize) -> bool {
    let is_colon = |token: Option<&TokenTree>| matches!(token, Some(TokenTree::Punct(punct)) if punct.as_char() == ':');
    is_colon(tokens.get(position)) && is_colon(tokens.get(position + 1))
}

fn resolve(segments: Vec<String>, module: &[String]) -> Vec<String> {
    let supers = segments.iter().take_while(|segment| *segment == "super").count();
    let selves = usize::from(segments[0] == "self");
    if supers == 0 && selves == 0 {
        return segments;
    }
    let above = module[..module.len().saturating_sub(supers)].iter().cloned();
    let below = segments.iter().skip(supers + selves).cloned();
    std::iter::once("crate".to_owned()).chain(above).chain(below).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn references(path: &str, text: &str) -> Vec<String> {
        let source = Source::parse(path, text).expect("sample is Rust");
        source.references().into_iter().map(|reference| reference.segments.join("::")).collect()
    }

    #[test]
    fn use_trees_are_taken_apart() {
        let text = "use crate::{model::{self, Desired}, config}; use aya::maps::*;";
        assert_eq!(
            references("p/src/a.rs", text),
            ["crate::model::self", "crate::model::Desired", "crate::config", "aya::maps::*"]
        );
    }

    #[test]
    fn paths_in_bodies_and_macros_count_but_not_in_comments_and_strings() {
        let text =
            "/// [`crate::no`]\nfn f() { // crate::no\n let x = \"crate::no\"; vec![crate::yes::A]; aya::load(); }";
        assert_eq!(references("p/src/a.rs", text), ["crate::yes::A", "aya::load"]);
    }

    #[test]
    fn super_is_resolved_from_where_it_stands() {
        let text = "use super::b::C; mod tests { use super::*; use super::super::d::E; }";
        assert_eq!(
            references("p/src/stage/a.rs", text),
            ["crate::stage::b::C", "crate::stage::a::*", "crate::stage::d::E"]
        );
    }

    #[test]
    fn function_lines_go_from_its_name_to_its_brace() {
        let source =
            Source::parse("p/src/a.rs", "trait T { fn none(&self); }\nimpl X {\n  fn two()\n  {}\n}\nfn one() {}\n")
                .expect("sample is Rust");
        let functions: Vec<_> =
            source.functions().into_iter().map(|function| (function.name, function.line, function.lines)).collect();
        assert_eq!(functions, [("two".to_owned(), 3, 2), ("one".to_owned(), 6, 1)]);
    }

    #[test]
    fn words_are_found_as_words_only() {
        let source =
            Source::parse("p/src/a.rs", "// unsafe\n#![forbid(unsafe_code)]\nfn f() { unsafe { g(\"unsafe\") } }")
                .expect("sample is Rust");
        assert_eq!(source.word("unsafe"), [3]);
    }

    #[test]
    fn modules_follow_the_file_names() {
        let module =
            |path: &str| Source::parse(path, "").expect("empty is Rust").module().map(|segments| segments.join("::"));
        assert_eq!(module("p/src/lib.rs").as_deref(), Some(""));
        assert_eq!(module("p/src/stage/parse.rs").as_deref(), Some("stage::parse"));
        assert_eq!(module("p/build.rs"), None);
    }
}
