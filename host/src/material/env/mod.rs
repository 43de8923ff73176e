//! The environment of a container.
//!
//! Source: `makeEnvironmentVariables` of the kubelet. First whatever `envFrom` brings, then `env` in order, each later one
//! in place of an earlier one of its name, and behind them the variables of Services that nobody has set. A value sees
//! the variables before it and all those of Services; a command sees all.
//!
//! Names are checked as Kubernetes does since 1.34: any printable ASCII but `=`. A key of `envFrom` that is none is left
//! out, with the event of the kubelets that still checked.

mod built;

pub use built::Environment;

use super::{
    Fault, FaultKind, Kind, Notice, ServiceLinks, field,
    problem::{Cause, Problem, peer_reason},
    resolver::Resolver,
    resource, view,
};
use outrigger_plugin::{FileKey, Part, Value};
use std::sync::Arc;

/// A value, and whether it is a secret; `None` for a variable that is left out.
type Resolved = Result<Option<(Value, bool)>, Problem>;

impl Resolver<'_, '_> {
    /// A container's environment.
    ///
    /// # Errors
    /// The first fault that the kubelet meets. What comes behind it is looked at all the same, so that every object is
    /// asked for.
    pub fn environment(
        &mut self,
        container: &view::Container<'_>,
        links: &Arc<ServiceLinks>,
    ) -> Result<Environment, Problem> {
        let mut env = Environment::new(links.clone());
        let mut problem = None;
        for source in &container.env_from {
            if let Err(new) = self.env_from(source, &mut env) {
                problem.get_or_insert(new);
            }
        }
        for var in &container.env {
            match self.env_var(var, container, &env) {
                Ok(Some((value, secret))) => env.set(&var.name, value, secret),
                Ok(None) => {}
                Err(new) => {
                    problem.get_or_insert(new);
                }
            }
        }
        problem.map_or(Ok(env), Err)
    }

    fn env_from(&mut self, source: &view::EnvFrom<'_>, env: &mut Environment) -> Result<(), Problem> {
        if let Some(named) = &source.config_map_ref {
            if self.supports("envFrom.configMapRef") {
                match self.config_map(&named.name, named.optional)? {
                    Some(map) => {
                        let all = map.data.iter().map(|(key, value)| (key, value.as_bytes()));
                        self.set_all(source, env, all, Kind::ConfigMap, &named.name)?;
                    }
                    None => self.left_out(Kind::ConfigMap, &named.name, None),
                }
            }
        } else if let Some(named) = &source.secret_ref
            && self.supports("envFrom.secretRef")
        {
            match self.secret(&named.name, named.optional)? {
                Some(secret) => {
                    let all = secret.data.iter().map(|(key, value)| (key, &**value));
                    self.set_all(source, env, all, Kind::Secret, &named.name)?;
                }
                None => self.left_out(Kind::Secret, &named.name, None),
            }
        }
        Ok(())
    }

    fn set_all<'d>(
        &mut self,
        source: &view::EnvFrom<'_>,
        env: &mut Environment,
        data: impl Iterator<Item = (&'d String, &'d [u8])>,
        kind: Kind,
        object: &str,
    ) -> Result<(), Problem> {
        let mut skipped = Vec::new();
        for (key, value) in data {
            let name = format!("{}{key}", source.prefix);
            if is_name(&name) {
                let value = Value::Now(text(&name, value)?);
                env.set(&name, value, kind == Kind::Secret);
            } else {
                skipped.push(name);
            }
        }
        if !skipped.is_empty() {
            let message = format!(
                "Keys [{}] from the EnvFrom {kind} {}/{object} were skipped since they are considered invalid \
                 environment variable names.",
                skipped.join(", "),
                self.pod.metadata.namespace,
            );
            self.notice(Notice::warning("InvalidEnvironmentVariableNames", message));
        }
        Ok(())
    }

    fn env_var(&mut self, var: &view::EnvVar<'_>, container: &view::Container<'_>, env: &Environment) -> Resolved {
        if !var.value.is_empty() {
            return Ok(Some(env.expand(&var.value)));
        }
        let Some(source) = &var.value_from else {
            return Ok(Some((Value::Now(String::new()), false)));
        };
        if let Some(reference) = &source.field_ref {
            if !self.supports("env.fieldRef") {
                return Ok(None);
            }
            let value = field::in_env(self.pod, &reference.field_path, self.context.host_ips);
            return Ok(Some((value.map_err(Problem::manifest)?, false)));
        }
        if let Some(reference) = &source.resource_field_ref {
            if !self.supports("env.resourceFieldRef") {
                return Ok(None);
            }
            self.node = true;
            let value = resource::in_env(reference, self.pod, container, self.context.allocatable);
            return Ok(Some((Value::Now(value.map_err(Problem::manifest)?), false)));
        }
        if let Some(reference) = &source.config_map_key_ref {
            return self.config_map_key(&var.name, reference);
        }
        if let Some(reference) = &source.secret_key_ref {
            return self.secret_key(&var.name, reference);
        }
        if let Some(reference) = &source.file_key_ref {
            return Ok(self.supports("env.fileKeyRef").then(|| (file_key(reference), false)));
        }
        // A source from the future that the provider ignores.
        Ok(None)
    }

    fn config_map_key(&mut self, variable: &str, reference: &view::KeyRef<'_>) -> Resolved {
        let view::KeyRef { name, key, optional } = reference;
        if !self.supports("env.configMapKeyRef") {
            return Ok(None);
        }
        let Some(map) = self.config_map(name, *optional)? else {
            self.left_out(Kind::ConfigMap, name, None);
            return Ok(None);
        };
        match map.data.get(&**key) {
            Some(value) => Ok(Some((Value::Now(text(variable, value.as_bytes())?), false))),
            None => self.no_key(Kind::ConfigMap, reference),
        }
    }

    fn secret_key(&mut self, variable: &str, reference: &view::KeyRef<'_>) -> Resolved {
        let view::KeyRef { name, key, optional } = reference;
        if !self.supports("env.secretKeyRef") {
            return Ok(None);
        }
        let Some(secret) = self.secret(name, *optional)? else {
            self.left_out(Kind::Secret, name, None);
            return Ok(None);
        };
        match secret.data.get(&**key) {
            Some(value) => Ok(Some((Value::Now(text(variable, value)?), true))),
            None => self.no_key(Kind::Secret, reference),
        }
    }

    fn no_key(&mut self, kind: Kind, reference: &view::KeyRef<'_>) -> Resolved {
        let view::KeyRef { name, key, optional } = reference;
        if *optional {
            self.left_out(kind, name, Some(key));
            return Ok(None);
        }
        let title = title(kind);
        let message = format!(
            "couldn't find key {key} in {title} {}/{name}",
            self.pod.metadata.namespace
        );
        Err(Problem::object(kind, name, false, Cause::NoKey, message))
    }

    /// Says, as virtual-kubelet does, that something optional is not there.
    fn left_out(&mut self, kind: Kind, name: &str, key: Option<&str>) {
        let cause = if key.is_some() { Cause::NoKey } else { Cause::Missing };
        let Some(reason) = peer_reason(kind, true, cause) else {
            return;
        };
        let message = match key {
            Some(key) => format!("{kind} {name:?} has no key {key:?}, which is optional"),
            None => format!("{kind} {name:?} not found, which is optional"),
        };
        self.notice(Notice::warning(reason, message));
    }
}

/// What it does to the container.
pub fn fault(problem: Problem, container: &str) -> Fault {
    Fault {
        kind: match problem.cause {
            Cause::Unknown => FaultKind::Waiting,
            _ => FaultKind::Config {
                container: container.to_owned(),
            },
        },
        peer: problem.peer(),
        message: problem.message,
        object: problem.object.map(|(object, _)| object),
    }
}

/// The kind's name as the kubelet writes it of a key.
fn title(kind: Kind) -> &'static str {
    match kind {
        Kind::Secret => "Secret",
        _ => "ConfigMap",
    }
}

fn file_key(reference: &view::FileKeyRef<'_>) -> Value {
    Value::Late(vec![Part::FileKey(FileKey {
        volume: reference.volume_name.to_string(),
        path: reference.path.to_string(),
        key: reference.key.to_string(),
        optional: reference.optional,
        reference: String::new(),
    })])
}

fn is_name(name: &str) -> bool {
    !name.is_empty() && name.bytes().all(|byte| matches!(byte, b' '..=b'~') && byte != b'=')
}

/// The value of a variable. No process can be started with a zero byte in its environment; and what is no UTF-8, though
/// a container could have it, few backends can carry.
fn text(variable: &str, bytes: &[u8]) -> Result<String, Problem> {
    let fault = |what: &str| Problem::manifest(format!("the value of environment variable {variable:?} {what}"));
    if bytes.contains(&0) {
        return Err(fault("has a zero byte"));
    }
    let text = std::str::from_utf8(bytes).map_err(|_| fault("is no UTF-8 text"))?;
    Ok(text.to_owned())
}
