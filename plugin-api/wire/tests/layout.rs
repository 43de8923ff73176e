//! The golden layout: what crosses the boundary, as text, field by field.
//!
//! `layout.golden.txt` changes only on purpose: run this test with `OUTRIGGER_BLESS=1`, and before that decide which
//! version follows. A line that was added at the end of a table is a minor; anything else breaks every plugin there is.
#![cfg(target_pointer_width = "64")]

use abi_stable::type_layout::{TLData, TLField, TLFunction, TypeLayout};
use outrigger_wire::{
    CapabilityEntry, HostServicesRef, PluginRef, StableAbiTrait,
    capability::{AttachRef, ExecRef, ImagesRef, LogsRef, PortForwardRef, StatsRef},
};
use std::{collections::BTreeSet, fmt::Write, path::Path};

const OURS: &str = "outrigger-wire";

/// Prints every type that can be reached, once, in the order in which it is met.
#[derive(Default)]
struct Printer {
    seen: BTreeSet<String>,
    text: String,
}

impl Printer {
    fn visit(&mut self, layout: &'static TypeLayout) {
        let name = one_line(&layout.full_type());
        let ours = layout.package() == OURS;
        // References to different tables share a name; types of ours don't.
        let known = if ours { name.clone() } else { format!("{layout:p}") };
        if !self.seen.insert(known) {
            return;
        }
        let fields: Vec<TLField> = layout
            .get_fields()
            .map(|fields| fields.iter().collect())
            .unwrap_or_default();
        if ours {
            self.print(&name, layout, &fields);
        }
        let references: Vec<TLField> = layout.phantom_fields().iter().collect();
        for field in fields.iter().chain(&references) {
            self.visit(field.layout());
            for function in field.function_range().iter() {
                function
                    .param_type_layouts
                    .iter()
                    .for_each(|parameter| self.visit(parameter()));
                if let Some(returned) = function.return_type_layout() {
                    self.visit(returned());
                }
            }
        }
    }

    fn print(&mut self, name: &str, layout: &'static TypeLayout, fields: &[TLField]) {
        let kind = match layout.data() {
            TLData::PrefixType(prefix) => format!("table, {} base fields", prefix.first_suffix_field),
            TLData::Struct { .. } => format!("struct, size {}, alignment {}", layout.size(), layout.alignment()),
            other => one_line(&other),
        };
        let _ = writeln!(self.text, "{name}: {kind}, {:?}", layout.repr_attr());
        for field in fields {
            let functions: Vec<_> = field.function_range().iter().map(signature).collect();
            let meaning = if functions.is_empty() {
                let inner = field.layout();
                format!(
                    "{} (size {}, of {})",
                    one_line(&field.full_type()),
                    inner.size(),
                    inner.package()
                )
            } else {
                functions.join(" | ")
            };
            let _ = writeln!(self.text, "    {}: {meaning}", field.name());
        }
    }
}

/// abi_stable's own text of a function puts all names before the first type.
fn signature(function: TLFunction) -> String {
    let names = function
        .param_names
        .as_str()
        .split([',', ';'])
        .filter(|name| !name.is_empty());
    let types = function
        .param_type_layouts
        .iter()
        .map(|layout| one_line(&layout().full_type()));
    let parameters: Vec<_> = names.zip(types).map(|(name, kind)| format!("{name}: {kind}")).collect();
    assert_eq!(parameters.len(), function.param_type_layouts.len());
    let returned = function
        .return_type_layout()
        .map_or_else(String::new, |layout| format!(" -> {}", one_line(&layout().full_type())));
    format!("fn({}){returned}", parameters.join(", "))
}

fn one_line(item: &impl ToString) -> String {
    item.to_string().split_whitespace().collect::<Vec<_>>().join(" ")
}

fn layout() -> String {
    let mut printer = Printer::default();
    let (package, version) = <CapabilityEntry as StableAbiTrait>::LAYOUT.package_and_version();
    let version = version.parsed().expect("the package has a version");
    let _ = writeln!(printer.text, "{package} {}.{}", version.major, version.minor);
    for layout in [
        <PluginRef as StableAbiTrait>::LAYOUT,
        <HostServicesRef as StableAbiTrait>::LAYOUT,
        <CapabilityEntry as StableAbiTrait>::LAYOUT,
        <LogsRef as StableAbiTrait>::LAYOUT,
        <ExecRef as StableAbiTrait>::LAYOUT,
        <AttachRef as StableAbiTrait>::LAYOUT,
        <PortForwardRef as StableAbiTrait>::LAYOUT,
        <StatsRef as StableAbiTrait>::LAYOUT,
        <ImagesRef as StableAbiTrait>::LAYOUT,
    ] {
        printer.visit(layout);
    }
    printer.text
}

#[test]
fn what_crosses_the_boundary_is_what_the_golden_file_says() {
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("layout.golden.txt");
    let now = layout();
    if std::env::var_os("OUTRIGGER_BLESS").is_some() {
        std::fs::write(&golden, &now).expect("unable to write the golden file");
    }
    let expected = std::fs::read_to_string(&golden).unwrap_or_default();
    let differing = expected
        .lines()
        .zip(now.lines())
        .find(|(expected, now)| expected != now);
    assert!(
        now == expected,
        "the layout has changed, first at {differing:?}; if that is on purpose, choose the version and run this test \
         with OUTRIGGER_BLESS=1"
    );
}

#[test]
fn the_version_constants_are_the_packages() {
    let version = outrigger_wire::ABI_MAJOR.to_string() + "." + &outrigger_wire::ABI_MINOR.to_string() + ".";
    assert!(env!("CARGO_PKG_VERSION").starts_with(&version));
}
