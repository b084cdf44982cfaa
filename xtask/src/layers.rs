//! Turns the table of who may use whom into the list of places where a file uses more than that.

use std::{collections::BTreeSet, fs, path::Path};

use anyhow::{Context as _, Result};

use crate::{
    source::{self, Reference, Source},
    workspace::PACKAGES,
};

/// What one of our packages may use of ours.
struct Package {
    directory: &'static str,
    uses: &'static [&'static str],
}

const PACKAGE_LAYERS: [Package; 5] = [
    Package { directory: "balancer-common", uses: &[] },
    Package { directory: "balancer-ebpf", uses: &["balancer-common"] },
    Package { directory: "balancer-user", uses: &["balancer-common"] },
    Package { directory: "xtask", uses: &[] },
    Package { directory: "tests", uses: &["balancer-common", "balancer-user", "xtask"] },
];

/// What a module at the top of a package may use of that package. `lib` is the root of a library: it may use everything.
struct Module {
    package: &'static str,
    name: &'static str,
    uses: Uses,
}

enum Uses {
    Everything,
    Only(&'static [&'static str]),
}

const fn module(package: &'static str, name: &'static str, uses: &'static [&'static str]) -> Module {
    Module { package, name, uses: Uses::Only(uses) }
}

/// A package that stands here has all its modules here: a new module needs a line, and with it a thought.
const MODULE_LAYERS: [Module; 23] = [
    module("balancer-user", "model", &[]),
    module("balancer-user", "config", &["model"]),
    module("balancer-user", "reconcile", &["model"]),
    module("balancer-user", "datapath", &["model"]),
    module("balancer-user", "network", &["model"]),
    module("balancer-user", "health", &["model"]),
    module("balancer-user", "l7", &["model"]),
    module("balancer-user", "store", &["model", "config"]),
    module("balancer-user", "admin", &["model"]),
    module("balancer-user", "metrics", &["model"]),
    module(
        "balancer-user",
        "daemon",
        &["model", "config", "reconcile", "datapath", "network", "health", "l7", "store", "admin", "metrics"],
    ),
    Module { package: "balancer-user", name: "cli", uses: Uses::Everything },
    module("balancer-user", "main", &["cli"]),
    module("balancer-ebpf", "main", &["pipeline", "careful", "frame", "maps", "value"]),
    module("balancer-ebpf", "pipeline", &["cold", "frame", "maps", "stage", "value"]),
    module("balancer-ebpf", "careful", &["cold", "frame", "lookup", "maps", "stage", "value"]),
    module("balancer-ebpf", "cold", &["frame", "maps", "stage", "value"]),
    module("balancer-ebpf", "stage", &["cold", "frame", "lookup", "maps", "value"]),
    module("balancer-ebpf", "lookup", &["maps"]),
    module("balancer-ebpf", "value", &[]),
    module("balancer-ebpf", "maps", &["frame", "value"]),
    module("balancer-ebpf", "frame", &[]),
    module("balancer-ebpf", "bin", &["frame"]),
];

/// Modules whose parts never use each other: (package, module).
const STRANGERS: [(&str, &str); 1] = [("balancer-ebpf", "stage")];

/// Crates that one module alone may use: (package, module, crate).
const OWNED_CRATES: [(&str, &str, &str); 3] = [
    ("balancer-user", "datapath", "aya"),
    ("balancer-user", "network", "rtnetlink"),
    ("balancer-user", "network", "netlink_packet_route"),
];

/// Every place of the workspace that breaks the table, as `file:line: what`.
pub fn violations(root: &Path) -> Result<Vec<String>> {
    let mut found = Vec::new();
    for package in PACKAGE_LAYERS {
        let path = root.join(package.directory).join("Cargo.toml");
        let manifest = fs::read_to_string(&path).with_context(|| path.display().to_string())?;
        found.extend(manifest_violations(package.directory, &manifest));
    }
    let mut sources = Vec::new();
    for file in source::files(root, &PACKAGES) {
        sources.push(Source::read(root, &file)?);
    }
    let modules: BTreeSet<_> =
        sources.iter().filter_map(|source| Some((source.package().to_owned(), top(source)?))).collect();
    for source in &sources {
        found.extend(source_violations(source, &|package, module| {
            modules.contains(&(package.to_owned(), module.to_owned()))
        }));
    }
    Ok(found)
}

/// The dependencies of a manifest that the package may not have.
fn manifest_violations(package: &str, manifest: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut in_dependencies = false;
    for (index, line) in manifest.lines().enumerate() {
        let line = line.trim();
        if line.starts_with('[') {
            // `[dependencies.NAME]` is one dependency on its own.
            let section = line.trim_matches(['[', ']']);
            in_dependencies = section.ends_with("dependencies");
            if let Some((_, name)) = section.split_once("dependencies.") {
                found.extend(refused(package, name).map(|why| format!("{package}/Cargo.toml:{}: {why}", index + 1)));
            }
        } else if in_dependencies {
            let name = line.split(['=', '.', ' ']).next().unwrap_or_default();
            found.extend(refused(package, name).map(|why| format!("{package}/Cargo.toml:{}: {why}", index + 1)));
        }
    }
    found
}

/// The references of a file that its package or its module may not have.
fn source_violations(source: &Source, is_module: &dyn Fn(&str, &str) -> bool) -> Vec<String> {
    let mut found = Vec::new();
    if let Some(own) = top(source)
        && listed(source.package())
        && own != "lib"
        && uses_of(source.package(), &own).is_none()
    {
        found.push(format!(
            "{}:1: module `{own}` is not in the table of xtask/src/layers.rs: add it with what it may use",
            source.path
        ));
    }
    for reference in source.references() {
        found.extend(
            breaks(source, &reference, is_module).map(|why| format!("{}:{}: {why}", source.path, reference.line)),
        );
    }
    // A `use` with many branches breaks one rule once.
    found.dedup();
    found
}

/// Why the reference is not allowed where it stands, when it is not.
fn breaks(source: &Source, reference: &Reference, is_module: &dyn Fn(&str, &str) -> bool) -> Option<String> {
    let package = source.package();
    let own_crate = package.replace('-', "_");
    let first = reference.segments[0].as_str();
    if first != "crate" && first != own_crate {
        return refused(package, &first.replace('_', "-")).or_else(|| owned_elsewhere(source, first));
    }
    let own = top(source)?;
    let target = reference.segments[1].as_str();
    if STRANGERS.contains(&(package, target)) && own == target {
        return stranger(source, reference);
    }
    if !listed(package) || target == own || !(is_module(package, target) || target == "*") {
        return None;
    }
    match uses_of(package, &own)? {
        Uses::Everything => None,
        Uses::Only(allowed) if allowed.contains(&target) => None,
        Uses::Only(_) => Some(format!("`{own}` may not use `{target}`")),
    }
}

fn stranger(source: &Source, reference: &Reference) -> Option<String> {
    let module = source.module()?;
    let (own, target) = (module.get(1)?, reference.segments.get(2)?);
    let is_own = own == target || reference.segments.len() < 4 && target.starts_with(char::is_uppercase);
    if is_own {
        None
    } else {
        Some(format!("`{0}::{own}` may not use `{0}::{target}`: they meet in their parent", module[0]))
    }
}

fn owned_elsewhere(source: &Source, name: &str) -> Option<String> {
    let own = top(source)?;
    let (_, owner, _) =
        OWNED_CRATES.iter().find(|(package, _, owned)| *package == source.package() && *owned == name)?;
    if own == *owner { None } else { Some(format!("only `{owner}` may use the crate `{name}`")) }
}

fn refused(package: &str, dependency: &str) -> Option<String> {
    let ours = PACKAGE_LAYERS.iter().any(|layer| layer.directory == dependency && dependency != "tests");
    let allowed = PACKAGE_LAYERS.iter().find(|layer| layer.directory == package)?.uses.contains(&dependency);
    if ours && !allowed && package != dependency { Some(format!("{package} may not use {dependency}")) } else { None }
}

fn listed(package: &str) -> bool {
    MODULE_LAYERS.iter().any(|module| module.package == package)
}

fn uses_of(package: &str, name: &str) -> Option<&'static Uses> {
    MODULE_LAYERS.iter().find(|module| module.package == package && module.name == name).map(|module| &module.uses)
}

/// The file's module at the top of its package; `lib` or `main` for a root; `None` outside `src`.
fn top(source: &Source) -> Option<String> {
    match source.module()?.first() {
        Some(segment) => Some(segment.clone()),
        None if source.path.ends_with("/main.rs") => Some("main".to_owned()),
        None => Some("lib".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What the file breaks, in a workspace where every module that it names exists.
    fn check(path: &str, text: &str, expected: &[&str]) {
        let source = Source::parse(path, text).expect("sample is Rust");
        let found = source_violations(&source, &|_, name| name.starts_with(char::is_lowercase));
        assert_eq!(found, expected, "{path}: {text}");
    }

    #[test]
    fn siblings_meet_in_the_daemon_only() {
        check("balancer-user/src/health.rs", "use crate::model::Desired;", &[]);
        check(
            "balancer-user/src/health.rs",
            "use crate::datapath::Datapath;",
            &["balancer-user/src/health.rs:1: `health` may not use `datapath`"],
        );
        check(
            "balancer-user/src/reconcile/render.rs",
            "fn f() { crate::network::x() }",
            &["balancer-user/src/reconcile/render.rs:1: `reconcile` may not use `network`"],
        );
        check(
            "balancer-user/src/health.rs",
            "use super::network;",
            &["balancer-user/src/health.rs:1: `health` may not use `network`"],
        );
        check(
            "balancer-user/src/health.rs",
            "use super::*;",
            &["balancer-user/src/health.rs:1: `health` may not use `*`"],
        );
        check("balancer-user/src/daemon.rs", "use crate::{network, datapath};", &[]);
        check("balancer-user/src/store.rs", "use crate::config;", &[]);
    }

    #[test]
    fn only_cli_uses_the_daemon_and_only_main_uses_cli() {
        check("balancer-user/src/cli.rs", "use crate::daemon;", &[]);
        check(
            "balancer-user/src/admin.rs",
            "use crate::daemon::Status;",
            &["balancer-user/src/admin.rs:1: `admin` may not use `daemon`"],
        );
        check("balancer-user/src/main.rs", "fn main() { balancer_user::cli::run() }", &[]);
        check(
            "balancer-user/src/main.rs",
            "use balancer_user::daemon;",
            &["balancer-user/src/main.rs:1: `main` may not use `daemon`"],
        );
        check(
            "balancer-user/src/daemon.rs",
            "use crate::cli;",
            &["balancer-user/src/daemon.rs:1: `daemon` may not use `cli`"],
        );
    }

    #[test]
    fn crates_with_an_owner_stay_with_it() {
        check("balancer-user/src/datapath/load.rs", "use aya::Ebpf;", &[]);
        check(
            "balancer-user/src/daemon.rs",
            "use aya::Ebpf;",
            &["balancer-user/src/daemon.rs:1: only `datapath` may use the crate `aya`"],
        );
        check(
            "balancer-user/src/health.rs",
            "use rtnetlink::{Handle};",
            &["balancer-user/src/health.rs:1: only `network` may use the crate `rtnetlink`"],
        );
    }

    #[test]
    fn a_stage_never_uses_a_stage() {
        check("balancer-ebpf/src/stage/parse.rs", "use crate::{frame::Frame, maps};", &[]);
        check("balancer-ebpf/src/stage/parse.rs", "use crate::stage::parse::tags::Tag;", &[]);
        let expected = [
            "balancer-ebpf/src/stage/parse.rs:1: `stage::parse` may not use `stage::rewrite`: they meet in their parent",
        ];
        check("balancer-ebpf/src/stage/parse.rs", "use crate::stage::rewrite::run;", &expected);
        check("balancer-ebpf/src/stage/parse.rs", "use super::rewrite;", &expected);
        check(
            "balancer-ebpf/src/stage/parse.rs",
            "use crate::pipeline;",
            &["balancer-ebpf/src/stage/parse.rs:1: `stage` may not use `pipeline`"],
        );
    }

    #[test]
    fn packages_use_only_what_lies_below_them() {
        check(
            "balancer-common/src/flow.rs",
            "use balancer_user::model;",
            &["balancer-common/src/flow.rs:1: balancer-common may not use balancer-user"],
        );
        check("balancer-ebpf/src/maps.rs", "use balancer_common::abi;", &[]);
        let manifest = "[package]\nname = \"x\"\n[dev-dependencies]\nbalancer-user.workspace = true\n[dependencies.xtask]\npath = \"x\"\n";
        let expected = [
            "balancer-common/Cargo.toml:4: balancer-common may not use balancer-user",
            "balancer-common/Cargo.toml:5: balancer-common may not use xtask",
        ];
        assert_eq!(manifest_violations("balancer-common", manifest), expected);
        assert_eq!(manifest_violations("tests", manifest), Vec::<String>::new());
    }

    #[test]
    fn a_new_module_needs_a_line_in_the_table() {
        let expected = [
            "balancer-user/src/surprise.rs:1: module `surprise` is not in the table of xtask/src/layers.rs: add it with what it may use",
        ];
        check("balancer-user/src/surprise.rs", "", &expected);
        check("balancer-common/src/surprise.rs", "", &[]);
    }
}
