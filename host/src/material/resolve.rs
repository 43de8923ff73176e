//! A pod's materials, and what they are made of.

use super::{
    ConfigMapData, Context, Fault, FaultKind, Found, Held, Objects, PodCertificate, PodCertificateSpec, References,
    Resolved, SecretData, ServiceLinks, Token, TokenSpec, TrustBundleSpec, env, problem::Problem, resolver::Resolver,
    view,
};
use outrigger_plugin::{Materials, Support};
use std::{cell::RefCell, collections::BTreeMap, net::IpAddr, sync::Arc};

/// Resolves a pod, given as the JSON of its `v1.Pod`.
///
/// # Errors
/// Why it can't be made now.
pub fn resolve(pod: &[u8], objects: &dyn Objects, context: &Context<'_>) -> Result<Resolved, Held> {
    let pod = read(pod)?;
    run(&mut resolver(&pod, objects, context))
}

/// Which objects a pod needs. Objects that `support` says are ignored are not among them.
///
/// # Errors
/// When the bytes are no pod.
pub fn references(pod: &[u8], support: &Support) -> Result<References, Held> {
    let pod = read(pod)?;
    // Resolving with nothing known asks for everything, so the two can't differ.
    let recorder = Recorder::default();
    let context = Context {
        support,
        host_ips: &[IpAddr::V4(std::net::Ipv4Addr::UNSPECIFIED)],
        allocatable: &BTreeMap::new(),
        cluster_dns: &[],
        cluster_domain: "",
        node_dns: None,
    };
    let node = {
        let mut resolver = resolver(&pod, &recorder, &context);
        // Nothing comes of it, nor is it meant to.
        let _ = run(&mut resolver);
        resolver.node
    };
    Ok(References {
        node,
        ..recorder.asked.into_inner()
    })
}

fn read(pod: &[u8]) -> Result<view::Pod<'_>, Held> {
    view::pod(pod).map_err(|error| {
        // The text of such an error can quote a value.
        let message = format!(
            "unable to read the pod's manifest, at line {} column {}",
            error.line(),
            error.column()
        );
        Held {
            faults: vec![Fault {
                kind: FaultKind::Sandbox,
                message,
                object: None,
                peer: None,
            }],
        }
    })
}

fn resolver<'r, 'a>(pod: &'r view::Pod<'a>, objects: &'r dyn Objects, context: &Context<'r>) -> Resolver<'r, 'a> {
    Resolver {
        pod,
        objects,
        context: *context,
        notices: Vec::new(),
        node: false,
    }
}

/// Everything in the kubelet's order: volumes, the pod's own names, then container by container. All of it is looked at,
/// whatever comes out at first; what is said is the first stage that has a fault.
fn run(resolver: &mut Resolver<'_, '_>) -> Result<Resolved, Held> {
    let mut materials = Materials::default();
    let files = resolver.files();
    materials.dns = resolver.dns();
    let names = resolver.names(&mut materials);
    let registries = resolver.registries();
    let containers = containers(resolver, &mut materials);
    match files {
        Ok(files) => materials.files = files,
        Err(faults) => return Err(Held { faults }),
    }
    if let Err(message) = names {
        return held(FaultKind::Sandbox, message);
    }
    let registries = registries.or_else(|Problem { message, .. }| held(FaultKind::Waiting, message))?;
    if !containers.is_empty() {
        return Err(Held { faults: containers });
    }
    materials.registries = registries.credentials;
    Ok(Resolved {
        materials,
        notices: std::mem::take(&mut resolver.notices),
        if_pull_fails: registries.if_pull_fails,
    })
}

fn held<T>(kind: FaultKind, message: String) -> Result<T, Held> {
    let fault = Fault {
        kind,
        message,
        object: None,
        peer: None,
    };
    Err(Held { faults: vec![fault] })
}

/// The environments, commands and paths of all containers. Returns the first fault of each.
fn containers(resolver: &mut Resolver<'_, '_>, materials: &mut Materials) -> Vec<Fault> {
    let spec = &resolver.pod.spec;
    let waiting = |message: &str| Fault {
        kind: FaultKind::Waiting,
        message: message.to_owned(),
        object: None,
        peer: None,
    };
    let mut faults = Vec::new();
    let links = match resolver.objects.service_links(spec.enable_service_links != Some(false)) {
        Found::Here(links) => links,
        Found::Missing => Arc::default(),
        Found::Unknown => {
            let message = "services have not yet been read at least once, cannot construct envvars";
            faults.push(waiting(message));
            Arc::default()
        }
        Found::Unavailable(why) => {
            // Every container needs them.
            let message = format!("failed to list services when setting up env vars: {why}");
            let fault = |container: &view::Container<'_>| env::fault(Problem::manifest(&*message), &container.name);
            faults.extend(spec.all_containers().map(fault));
            Arc::default()
        }
    };
    for container in spec.all_containers() {
        let name = || container.name.to_string();
        let env = match resolver.environment(container, &links) {
            Ok(env) => env,
            Err(problem) => {
                faults.push(env::fault(problem, &container.name));
                continue;
            }
        };
        match env.sub_paths(container) {
            Ok(paths) if paths.is_empty() => {}
            Ok(paths) => {
                materials.sub_paths.insert(name(), paths);
            }
            Err(message) => faults.push(env::fault(Problem::manifest(message), &container.name)),
        }
        if let Some(command) = env.command(container) {
            materials.commands.insert(name(), command);
        }
        materials.env.insert(name(), env.finish());
    }
    faults
}

/// Knows nothing, and remembers what it was asked.
#[derive(Default)]
struct Recorder {
    asked: RefCell<References>,
}

impl Objects for Recorder {
    fn config_map(&self, name: &str) -> Found<Arc<ConfigMapData>> {
        self.asked.borrow_mut().config_maps.insert(name.to_owned());
        Found::Unknown
    }

    fn secret(&self, name: &str) -> Found<Arc<SecretData>> {
        self.asked.borrow_mut().secrets.insert(name.to_owned());
        Found::Unknown
    }

    fn token(&self, spec: &TokenSpec) -> Found<Arc<Token>> {
        self.asked.borrow_mut().tokens.insert(spec.clone());
        Found::Unknown
    }

    fn trust_bundles(&self, spec: &TrustBundleSpec) -> Found<Vec<Arc<str>>> {
        self.asked.borrow_mut().trust_bundles.insert(spec.clone());
        Found::Unknown
    }

    fn pod_certificate(&self, spec: &PodCertificateSpec) -> Found<Arc<PodCertificate>> {
        self.asked.borrow_mut().pod_certificates.insert(spec.clone());
        Found::Unknown
    }

    fn service_links(&self, namespace: bool) -> Found<Arc<ServiceLinks>> {
        self.asked.borrow_mut().service_links = namespace;
        // So that the environments are looked at.
        Found::Here(Arc::default())
    }
}
