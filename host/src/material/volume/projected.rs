//! Projected volumes: several sources in one.

use super::{Attributes, Owners, Payload};
use crate::material::{
    Found, Kind, LabelSelector, Operator, PodCertificate, PodCertificateSpec, Requirement, TokenSpec, TrustBundleSpec,
    problem::{Cause, Problem},
    resolver::Resolver,
    view,
};
use std::sync::Arc;

use super::trust;

/// What the API server writes for an `expirationSeconds` that is not given.
const DEFAULT_EXPIRATION: u64 = 3_600;
/// The mode of what only one user, or one group, may read.
const PRIVATE_MODE: u32 = 0o600;

impl Resolver<'_, '_> {
    /// The files of all sources.
    pub(super) fn projected_files(
        &mut self,
        volume: &view::ProjectedVolume<'_>,
        name: &str,
        owners: Owners,
    ) -> Result<Payload, Vec<Problem>> {
        let defaults = Attributes::new(volume.default_mode, volume.default_user);
        let mut payload = Payload::default();
        let mut problems = Vec::new();
        for (index, source) in volume.sources.iter().flatten().enumerate() {
            match self.source(source, (name, index), defaults, owners) {
                Ok(files) => payload.extend(files),
                Err(more) => problems.extend(more),
            }
        }
        if problems.is_empty() {
            Ok(payload)
        } else {
            Err(problems)
        }
    }

    fn source(
        &mut self,
        source: &view::Source<'_>,
        place: (&str, usize),
        defaults: Attributes,
        owners: Owners,
    ) -> Result<Payload, Vec<Problem>> {
        let one = |made: Result<Payload, Problem>| made.map_err(|problem| vec![problem]);
        if let Some(source) = &source.secret {
            return one(self.secret_files(source, defaults));
        }
        if let Some(source) = &source.config_map {
            return one(self.config_map_files(source, defaults));
        }
        if let Some(source) = &source.downward_api {
            return self.downward_files(&source.items, defaults);
        }
        // Nobody but the pod is to read these.
        let private = |user: Option<u32>| {
            let user = user.or(defaults.user).or(owners.user);
            Attributes {
                mode: if user.is_some() || owners.group.is_some() {
                    PRIVATE_MODE
                } else {
                    defaults.mode
                },
                user,
                secret: false,
            }
        };
        if let Some(source) = &source.service_account_token {
            return one(self.token(source, private(source.user)));
        }
        if let Some(source) = &source.cluster_trust_bundle {
            return one(self.trust_bundle(source, private(source.user)));
        }
        if let Some(source) = &source.pod_certificate {
            return one(self.pod_certificate(source, place, private(source.user)));
        }
        let (volume, index) = place;
        Err(vec![Problem::manifest(format!(
            "source {index} of projected volume {volume:?} is of no kind that is known here"
        ))])
    }

    fn service_account(&self) -> String {
        match &*self.pod.spec.service_account_name {
            // What admission writes.
            "" => "default".to_owned(),
            name => name.to_owned(),
        }
    }

    fn token(&self, source: &view::TokenSource<'_>, attributes: Attributes) -> Result<Payload, Problem> {
        let spec = TokenSpec {
            service_account: self.service_account(),
            audience: source.audience.to_string(),
            expiration_seconds: source.expiration_seconds.unwrap_or(DEFAULT_EXPIRATION),
        };
        let account = &spec.service_account;
        let problem = |cause, message: String| {
            let message = format!("failed to fetch token: {message}");
            Err(Problem::object(Kind::ServiceAccount, account, false, cause, message))
        };
        let token = match self.objects.token(&spec) {
            Found::Here(token) => token,
            Found::Missing => return problem(Cause::Missing, format!("serviceaccounts {account:?} not found")),
            Found::Unknown => return problem(Cause::Unknown, "not answered yet".to_owned()),
            Found::Unavailable(why) => return problem(Cause::Unreadable, why),
        };
        let mut payload = Payload::default();
        let attributes = Attributes {
            secret: true,
            ..attributes
        };
        payload.add(&source.path, token.read().into_bytes(), attributes);
        Ok(payload)
    }

    fn trust_bundle(&self, source: &view::TrustBundleSource<'_>, attributes: Attributes) -> Result<Payload, Problem> {
        let (spec, name) = if let Some(name) = &source.name {
            (TrustBundleSpec::Named(name.to_string()), name)
        } else if let Some(signer) = &source.signer_name {
            let spec = TrustBundleSpec::Signed {
                signer: signer.to_string(),
                selector: source.label_selector.as_ref().map(selector).transpose()?,
            };
            (spec, signer)
        } else {
            let message = "ClusterTrustBundle projection requires either name or signerName to be set";
            return Err(Problem::manifest(message));
        };
        let problem = |cause, message: String| {
            let kind = Kind::ClusterTrustBundle;
            Err(Problem::object(kind, name, source.optional, cause, message))
        };
        let bundles = match self.objects.trust_bundles(&spec) {
            Found::Here(bundles) => bundles,
            Found::Missing => Vec::new(),
            Found::Unknown => return problem(Cause::Unknown, "ClusterTrustBundle informer has not yet synced".into()),
            Found::Unavailable(why) => {
                return problem(Cause::Unreadable, format!("while getting ClusterTrustBundle: {why}"));
            }
        };
        if bundles.is_empty() && !source.optional {
            let message = match spec {
                TrustBundleSpec::Named(name) => format!(
                    "while getting ClusterTrustBundle: clustertrustbundle.certificates.k8s.io {name:?} not found"
                ),
                TrustBundleSpec::Signed { .. } => {
                    "combination of signerName and labelSelector matched zero ClusterTrustBundles".to_owned()
                }
            };
            return problem(Cause::Missing, message);
        }
        let mut payload = Payload::default();
        payload.add(&source.path, trust::anchors(&bundles).into_bytes(), attributes);
        Ok(payload)
    }

    fn pod_certificate(
        &self,
        source: &view::CertificateSource<'_>,
        (volume, index): (&str, usize),
        attributes: Attributes,
    ) -> Result<Payload, Problem> {
        let spec = PodCertificateSpec {
            volume: volume.to_owned(),
            source: index,
            service_account: self.service_account(),
            signer: source.signer_name.to_string(),
            key_type: source.key_type.to_string(),
            max_expiration_seconds: source.max_expiration_seconds,
            user_annotations: source.user_annotations.clone(),
        };
        let problem = |cause, message: String| {
            let kind = Kind::PodCertificateRequest;
            Err(Problem::object(kind, &spec.signer, false, cause, message))
        };
        let issued: Arc<PodCertificate> = match self.objects.pod_certificate(&spec) {
            Found::Here(issued) => issued,
            Found::Missing => return problem(Cause::Missing, "credential bundle is not issued yet".into()),
            Found::Unknown => return problem(Cause::Unknown, "credential bundle is not issued yet".into()),
            Found::Unavailable(why) => return problem(Cause::Unreadable, why),
        };
        let secret = Attributes {
            secret: true,
            ..attributes
        };
        let bundle = || format!("{}{}", issued.key, issued.chain);
        let mut payload = Payload::default();
        let mut add = |path: &str, content: &dyn Fn() -> String, attributes| {
            if !path.is_empty() {
                payload.add(path, content().into_bytes(), attributes);
            }
        };
        add(&source.credential_bundle_path, &bundle, secret);
        add(&source.key_path, &|| issued.key.clone(), secret);
        add(&source.certificate_chain_path, &|| issued.chain.clone(), attributes);
        Ok(payload)
    }
}

/// The one form of a label selector.
fn selector(selector: &view::Selector) -> Result<LabelSelector, Problem> {
    let equal = |(key, value): (&String, &String)| Requirement {
        key: key.clone(),
        operator: Operator::In,
        values: vec![value.clone()],
    };
    let mut requirements: Vec<_> = selector.match_labels.iter().map(equal).collect();
    for expression in &selector.match_expressions {
        let operator = match &*expression.operator {
            "In" => Operator::In,
            "NotIn" => Operator::NotIn,
            "Exists" => Operator::Exists,
            "DoesNotExist" => Operator::DoesNotExist,
            other => {
                let message = format!("while parsing label selector: {other:?} is not a valid label selector operator");
                return Err(Problem::manifest(message));
            }
        };
        let mut values = expression.values.clone();
        values.sort();
        requirements.push(Requirement {
            key: expression.key.clone(),
            operator,
            values,
        });
    }
    requirements.sort();
    Ok(LabelSelector { requirements })
}
