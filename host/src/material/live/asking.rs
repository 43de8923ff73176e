//! A pod while it is resolved: what it asks for is answered from what is known, and remembered.

use super::{Live, Subject, ThingId, What, follow::Content, groups::Groups};
use crate::material::{
    ConfigMapData, Found, Objects, PodCertificate, PodCertificateSpec, SecretData, ServiceLinks, Token, TokenSpec,
    TrustBundleSpec,
};
use std::{cell::RefCell, sync::Arc};

/// A pod that is being resolved: answers from what is known, and remembers what was asked.
pub struct Asking<'l, 'p> {
    live: &'l Live,
    pod: Subject<'p>,
    asked: RefCell<Asked>,
}

#[derive(Default)]
pub struct Asked {
    pub known: Vec<ThingId>,
    pub new: Vec<New>,
    /// Services are not known yet.
    pub services: bool,
}

/// What nobody has asked for before.
pub enum New {
    ConfigMap(Arc<str>),
    Secret(Arc<str>),
    Token(TokenSpec),
    /// And the node's UID.
    Certificate(Arc<str>, PodCertificateSpec),
    Bundles,
}

impl<'l, 'p> Asking<'l, 'p> {
    /// Nothing is asked yet.
    pub fn new(live: &'l Live, pod: Subject<'p>) -> Self {
        Self {
            live,
            pod,
            asked: RefCell::default(),
        }
    }

    /// What was asked.
    pub fn asked(self) -> Asked {
        self.asked.into_inner()
    }

    fn thing<T: Content>(&self, all: &Groups<T>, name: &str, new: impl FnOnce(Arc<str>) -> New) -> Found<Arc<T>> {
        let mut asked = self.asked.borrow_mut();
        let Some(id) = all.find(&self.pod.identity.namespace, name) else {
            asked.new.push(new(name.into()));
            return Found::Unknown;
        };
        asked.known.push(id);
        let known = self.live.things.get(&id).and_then(|thing| T::known(&thing.what));
        known.cloned().unwrap_or(Found::Unknown)
    }

    /// What a pod that runs has of one that is missing now.
    fn last<T: Content>(&self, all: &Groups<T>, name: &str) -> Option<Arc<T>> {
        let id = all.find(&self.pod.identity.namespace, name).filter(|_| self.pod.runs)?;
        self.live
            .things
            .get(&id)
            .and_then(|thing| T::last(&thing.what))
            .cloned()
    }

    /// The pod's own things.
    fn own(&self) -> impl Iterator<Item = (ThingId, &What)> {
        let own = self.live.pods.get(self.pod.uid).map(|things| &**things);
        own.unwrap_or_default()
            .iter()
            .filter_map(|id| Some((*id, &self.live.things.get(id)?.what)))
    }
}

impl Objects for Asking<'_, '_> {
    fn config_map(&self, name: &str) -> Found<Arc<ConfigMapData>> {
        self.thing(&self.live.config_maps, name, New::ConfigMap)
    }

    fn secret(&self, name: &str) -> Found<Arc<SecretData>> {
        self.thing(&self.live.secrets, name, New::Secret)
    }

    fn last_config_map(&self, name: &str) -> Option<Arc<ConfigMapData>> {
        self.last(&self.live.config_maps, name)
    }

    fn last_secret(&self, name: &str) -> Option<Arc<SecretData>> {
        self.last(&self.live.secrets, name)
    }

    fn token(&self, wanted: &TokenSpec) -> Found<Arc<Token>> {
        let own = self.own().find_map(|(id, what)| match what {
            What::Token { spec, known } if **spec == *wanted => Some((id, known)),
            _ => None,
        });
        let mut asked = self.asked.borrow_mut();
        if let Some((id, known)) = own {
            asked.known.push(id);
            return known.clone();
        }
        let again = |new: &New| matches!(new, New::Token(spec) if spec == wanted);
        if !asked.new.iter().any(again) {
            asked.new.push(New::Token(wanted.clone()));
        }
        Found::Unknown
    }

    fn trust_bundles(&self, spec: &TrustBundleSpec) -> Found<Vec<Arc<str>>> {
        let mut asked = self.asked.borrow_mut();
        let Some(id) = self.live.bundles else {
            asked.new.push(New::Bundles);
            return Found::Unknown;
        };
        asked.known.push(id);
        match self.live.things.get(&id).map(|thing| &thing.what) {
            Some(What::Bundles(bundles)) => bundles.find(spec),
            _ => Found::Unknown,
        }
    }

    fn pod_certificate(&self, wanted: &PodCertificateSpec) -> Found<Arc<PodCertificate>> {
        let own = self.own().find_map(|(id, what)| match what {
            // One that names a Node of the same name before this one would not be renewed.
            What::Certificate { node, spec, known }
                if **spec == *wanted && self.pod.node.is_none_or(|present| **node == *present) =>
            {
                Some((id, known))
            }
            _ => None,
        });
        let mut asked = self.asked.borrow_mut();
        if let Some((id, known)) = own {
            asked.known.push(id);
            return known.clone();
        }
        let Some(node) = self.pod.node else {
            return Found::Unavailable("the node's UID is not known yet".to_owned());
        };
        asked.new.push(New::Certificate(node.into(), wanted.clone()));
        Found::Unknown
    }

    fn service_links(&self, namespace: bool) -> Found<Arc<ServiceLinks>> {
        let links = match &self.live.services {
            Some(services) => services.table.links(&self.pod.identity.namespace, namespace),
            None => Found::Unknown,
        };
        self.asked.borrow_mut().services = matches!(links, Found::Unknown | Found::Unavailable(_));
        links
    }
}
