//! Compares the layouts of tables, in the direction that keeps the promise: *a plugin built for ABI 1.n loads in every
//! host with ABI 1.m, m ≥ n*, and a newer plugin loads too, without its additions.
//!
//! abi_stable's check takes an interface and an implementation and lets the implementation have more fields. Whoever is
//! older is the interface: its fields are those that both have.

use outrigger_wire::TypeLayout;
use outrigger_wire::abi_checking::AbiInstability;
use outrigger_wire::abi_checking::AbiInstabilityError;
use outrigger_wire::abi_checking::AbiInstabilityErrors;
use outrigger_wire::abi_checking::check_layout_compatibility;
use outrigger_wire::type_layout::TLFieldOrFunction;
use std::fmt::Display;

/// A table's layout on one side, with the number of additions it has had.
#[derive(Clone, Copy)]
pub struct Side {
    /// Counts appended fields.
    pub minor: u32,
    /// The layout of the table's prefix reference.
    pub layout: &'static TypeLayout,
}

/// Faults that are named in a report; the rest is counted.
const NAMED: usize = 3;

/// Checks that both sides mean the same table; otherwise says where they differ, in one line.
pub fn check(host: Side, plugin: Side) -> Result<(), String> {
    let plugin_is_older = plugin.minor <= host.minor;
    let (older, newer) = if plugin_is_older {
        (plugin, host)
    } else {
        (host, plugin)
    };
    let report = |errors: AbiInstabilityErrors| Report { plugin_is_older }.of(&errors);
    check_layout_compatibility(older.layout, newer.layout).map_err(report)
}

/// Says what abi_stable found. It speaks of hundreds of lines about what is expected (the older side) and found.
struct Report {
    plugin_is_older: bool,
}

impl Report {
    fn of(&self, errors: &AbiInstabilityErrors) -> String {
        let mut faults: Vec<String> = Vec::new();
        for error in &errors.errors {
            let place = place(error);
            for fault in &error.errs {
                let fault = self.describe(fault);
                let line = if place.is_empty() {
                    fault
                } else {
                    format!("at {place}: {fault}")
                };
                if !faults.contains(&line) {
                    faults.push(line);
                }
            }
        }
        let more = faults.len().saturating_sub(NAMED);
        faults.truncate(NAMED);
        let mut text = faults.join(", ");
        if more > 0 {
            text.push_str(&format!(", and {more} more"));
        }
        text
    }

    fn describe(&self, fault: &AbiInstability) -> String {
        use AbiInstability as Fault;
        match fault {
            Fault::Size(sizes) => self.differ("size", &sizes.expected, &sizes.found),
            Fault::Alignment(both) => self.differ("alignment", &both.expected, &both.found),
            Fault::FieldCountMismatch(counts) => self.differ("number of fields", &counts.expected, &counts.found),
            Fault::MismatchedPrefixSize(sizes) => self.differ("number of base fields", &sizes.expected, &sizes.found),
            Fault::UnexpectedField(fields) => self.differ("field", &fields.expected.name(), &fields.found.name()),
            Fault::Name(names) => self.differ("type", &names.expected, &names.found),
            Fault::Package(names) => self.differ("package", &names.expected, &names.found),
            Fault::PackageVersion(both) => self.differ("package version", &both.expected, &both.found),
            Fault::MismatchedPrimitive(types) => {
                let (expected, found) = (format!("{:?}", types.expected), format!("{:?}", types.found));
                self.differ("type", &expected, &found)
            }
            Fault::TooManyVariants(counts) => self.differ("number of variants", &counts.expected, &counts.found),
            other => {
                let debug = format!("{other:?}");
                let name = debug.split(['(', ' ', '{']).next().unwrap_or("mismatch");
                format!("different types ({name})")
            }
        }
    }

    fn differ(&self, what: &str, older: &dyn Display, newer: &dyn Display) -> String {
        let (host, plugin) = if self.plugin_is_older {
            (newer, older)
        } else {
            (older, newer)
        };
        format!("{what} is {host} in the host and {plugin} in the plugin")
    }
}

/// The way to a fault: table, field, parameter. Steps through abi_stable's own wrappers tell nobody anything, and it
/// gives the first parameter of a function the names of all.
fn place(error: &AbiInstabilityError) -> String {
    let steps = error.stack_trace.iter().map(|step| match &step.found {
        TLFieldOrFunction::Field(field) if field.name().contains(',') => "param_0".to_owned(),
        TLFieldOrFunction::Field(field) => field.name().to_owned(),
        TLFieldOrFunction::Function(function) => function.name.to_string(),
    });
    let mut named: Vec<_> = steps.filter(|step| step.parse::<u32>().is_err()).collect();
    named.dedup();
    named.join(".")
}
