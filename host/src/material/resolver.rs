//! One pod while it is resolved.

use super::{
    Context, Found, Kind, Notice, Objects,
    model::{ConfigMapData, SecretData},
    problem::{Cause, Problem},
    view,
};
use outrigger_plugin::Level;
use std::sync::Arc;

/// What is needed everywhere, and what is collected everywhere.
pub struct Resolver<'r, 'a> {
    pub pod: &'r view::Pod<'a>,
    pub objects: &'r dyn Objects,
    pub context: Context<'r>,
    pub notices: Vec<Notice>,
    /// The node's allocatable resources were asked for.
    pub node: bool,
}

impl Resolver<'_, '_> {
    /// Whether the provider carries a field. One that it ignores is not there.
    pub fn supports(&self, key: &str) -> bool {
        self.context.support.level(key) == Level::Supported
    }

    /// A ConfigMap; `None` if it is optional and missing.
    pub fn config_map(&self, name: &str, optional: bool) -> Result<Option<Arc<ConfigMapData>>, Problem> {
        let found = match name {
            // Allowed by the API for its history; there is none of that name.
            "" => Found::Missing,
            name => self.objects.config_map(name),
        };
        let last = || self.objects.last_config_map(name);
        settle(found, last, Kind::ConfigMap, name, optional)
    }

    /// A Secret; `None` if it is optional and missing.
    pub fn secret(&self, name: &str, optional: bool) -> Result<Option<Arc<SecretData>>, Problem> {
        let found = match name {
            "" => Found::Missing,
            name => self.objects.secret(name),
        };
        let last = || self.objects.last_secret(name);
        settle(found, last, Kind::Secret, name, optional)
    }

    /// Adds a notice, once however many containers have reason for it.
    pub fn notice(&mut self, notice: Notice) {
        if !self.notices.contains(&notice) {
            self.notices.push(notice);
        }
    }
}

/// One that is missing, and must not be, is what it was last for a pod that runs: a certificate or a token of that pod would not
/// be renewed any more because another of its objects was deleted.
fn settle<T>(
    found: Found<T>,
    last: impl FnOnce() -> Option<T>,
    kind: Kind,
    name: &str,
    optional: bool,
) -> Result<Option<T>, Problem> {
    let found = match found {
        Found::Missing if !optional => last().map_or(Found::Missing, Found::Here),
        found => found,
    };
    let problem = |cause, message| Err(Problem::object(kind, name, optional, cause, message));
    match found {
        Found::Here(object) => Ok(Some(object)),
        Found::Missing if optional => Ok(None),
        Found::Missing => problem(Cause::Missing, format!("{kind} {name:?} not found")),
        Found::Unknown => problem(Cause::Unknown, format!("{kind} {name:?} is not known yet")),
        Found::Unavailable(why) => problem(Cause::Unreadable, format!("failed to sync {kind} cache: {why}")),
    }
}
