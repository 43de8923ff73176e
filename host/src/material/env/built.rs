//! An environment while it is built, and what it expands.

use crate::material::{
    ServiceLinks,
    expand::{self, Composed, Piece},
    view,
};
use outrigger_plugin::{Command, EnvVar, Part, Value};
use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::Arc,
};

/// A container's environment as far as it is built.
pub struct Environment {
    vars: Vec<EnvVar>,
    places: HashMap<String, usize>,
    links: Arc<ServiceLinks>,
}

impl Environment {
    pub fn new(links: Arc<ServiceLinks>) -> Self {
        Self {
            vars: Vec::new(),
            places: HashMap::new(),
            links,
        }
    }

    /// Sets a variable, in place of an earlier one of its name.
    pub fn set(&mut self, name: &str, value: Value, secret: bool) {
        let var = EnvVar {
            name: name.to_owned(),
            value,
            secret,
        };
        match self.places.get(name).and_then(|place| self.vars.get_mut(*place)) {
            Some(earlier) => *earlier = var,
            None => {
                self.places.insert(var.name.clone(), self.vars.len());
                self.vars.push(var);
            }
        }
    }

    fn get(&self, name: &str) -> Option<&EnvVar> {
        self.vars.get(*self.places.get(name)?)
    }

    /// Adds the value of `name` to what is being composed. Returns whether it is a secret; `None` if there is none.
    fn append(&self, name: &str, to: &mut Composed) -> Option<bool> {
        if let Some(var) = self.get(name) {
            to.value(&var.value, name);
            return Some(var.secret);
        }
        to.text(self.links.get(name)?);
        Some(false)
    }

    /// A text with its references replaced, and whether a secret is in it.
    pub fn expand(&self, text: &str) -> (Value, bool) {
        if !text.contains('$') {
            return (Value::Now(text.to_owned()), false);
        }
        let mut value = Composed::default();
        let mut secret = false;
        for piece in expand::pieces(text) {
            match piece {
                Piece::Text(text) => value.text(text),
                Piece::Variable(name) => match self.append(name, &mut value) {
                    Some(tainted) => secret |= tainted,
                    None => {
                        value.text("$(");
                        value.text(name);
                        value.text(")");
                    }
                },
            }
        }
        (value.finish(), secret)
    }

    /// `command` and `args`; `None` for a container that has none.
    pub fn command(&self, container: &view::Container<'_>) -> Option<Command> {
        if container.command.is_empty() && container.args.is_empty() {
            return None;
        }
        let mut secret = false;
        let mut expand = |text: &String| {
            let (value, tainted) = self.expand(text);
            secret |= tainted;
            value
        };
        let command = container.command.iter().map(&mut expand).collect();
        let args = container.args.iter().map(&mut expand).collect();
        Some(Command { command, args, secret })
    }

    /// What each `subPathExpr` expands to, by mount path.
    ///
    /// # Errors
    /// The kubelet's message: a variable that is missing or empty, or a path that leaves its volume.
    pub fn sub_paths(&self, container: &view::Container<'_>) -> Result<BTreeMap<String, Value>, String> {
        let mut paths = BTreeMap::new();
        for mount in &container.volume_mounts {
            if !mount.sub_path_expr.is_empty() {
                let value = self.sub_path(&mount.sub_path_expr)?;
                paths.insert(mount.mount_path.to_string(), value);
            }
        }
        Ok(paths)
    }

    fn sub_path(&self, expression: &str) -> Result<Value, String> {
        let mut missing = BTreeSet::new();
        let mut secret = false;
        let mut value = Composed::default();
        for piece in expand::pieces(expression) {
            match piece {
                Piece::Text(text) => value.text(text),
                Piece::Variable(name) if self.is_empty(name) => {
                    missing.insert(name);
                }
                Piece::Variable(name) => secret |= self.append(name, &mut value) == Some(true),
            }
        }
        if !missing.is_empty() {
            let missing: Vec<_> = missing.into_iter().collect();
            return Err(format!("missing value for {}", missing.join(", ")));
        }
        let value = value.finish();
        let path = match &value {
            Value::Now(path) => path.clone(),
            // An address or a key's value stands for a name; what comes of the latter is for the provider to check.
            Value::Late(parts) => parts.iter().map(placeholder).collect(),
        };
        // The kubelet shows even a Secret here.
        let shown = if secret { expression } else { &path };
        if path.starts_with('/') {
            return Err(format!("error SubPath `{shown}` must not be an absolute path"));
        }
        if path.split('/').any(|name| name == "..") {
            return Err(format!("unable to provision SubPath `{shown}`: must not contain '..'"));
        }
        Ok(value)
    }

    fn is_empty(&self, name: &str) -> bool {
        match self.get(name) {
            Some(var) => var.value == Value::Now(String::new()),
            None => self.links.get(name).unwrap_or_default().is_empty(),
        }
    }

    /// All variables, those of Services that nobody has set behind the others.
    pub fn finish(self) -> Vec<EnvVar> {
        let Self {
            mut vars,
            places,
            links,
        } = self;
        let unset = links.iter().filter(|(name, _)| !places.contains_key(*name));
        vars.extend(unset.map(|(name, value)| EnvVar {
            name: name.to_owned(),
            value: Value::Now(value.to_owned()),
            secret: false,
        }));
        vars
    }
}

fn placeholder(part: &Part) -> &str {
    match part {
        Part::Text(text) => text,
        Part::PodIp | Part::PodIps | Part::FileKey(_) => "x",
    }
}
