//! The APIs of pods' certificates and trust bundles, which not every cluster has, and a signer.

use super::test::Test;
use kube::Api;
use kube::api::ApiResource;
use kube::api::DynamicObject;
use kube::api::GroupVersionKind;
use kube::api::Patch;
use kube::api::PatchParams;
use serde_json::json;
use std::time::Duration;

/// The newest version of an API of certificates, if the cluster has it.
pub async fn certificates_api(test: &Test, kind: &str, plural: &str) -> Option<ApiResource> {
    for version in ["v1", "v1beta1"] {
        let resource =
            ApiResource::from_gvk_with_plural(&GroupVersionKind::gvk("certificates.k8s.io", version, kind), plural);
        let all: Api<DynamicObject> = Api::all_with(test.client.clone(), &resource);
        match all.list(&Default::default()).await {
            Ok(_) => return Some(resource),
            Err(kube::Error::Api(status)) if status.code == 404 => {}
            Err(error) => panic!("{error}"),
        }
    }
    None
}

/// A certificate authority: its certificate, and what signs with it.
pub fn authority() -> (String, rcgen::Issuer<'static, rcgen::KeyPair>) {
    let key = rcgen::KeyPair::generate().unwrap();
    let mut params = rcgen::CertificateParams::default();
    params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let certificate = params.self_signed(&key).unwrap().pem();
    (certificate.replace("\r\n", "\n"), rcgen::Issuer::new(params, key))
}

/// A certificate of a pod.
#[derive(Debug)]
pub struct Signed {
    /// The certificate.
    pub pem: String,
    /// From when it is good, when it is to be renewed, until when it is good.
    pub times: [String; 3],
}

/// Answers a request with a certificate of what it asks for, for two hours.
pub async fn sign(requests: &Api<DynamicObject>, request: &DynamicObject) -> Signed {
    let chain = certificate(request);
    let issued = json!({ "status": {
        "conditions": [{
            "type": "Issued", "status": "True", "reason": "Suite", "message": "here it is", "lastTransitionTime": chain.times[0],
        }],
        "certificateChain": chain.pem, "notBefore": chain.times[0], "beginRefreshAt": chain.times[1], "notAfter": chain.times[2],
    }});
    let name = request.metadata.name.as_deref().unwrap();
    requests
        .patch_status(name, &PatchParams::default(), &Patch::Merge(issued))
        .await
        .unwrap();
    chain
}

fn certificate(request: &DynamicObject) -> Signed {
    const HOUR: Duration = Duration::from_secs(3600);
    let stub = serde_json::from_value(request.data["spec"]["stubPKCS10Request"].clone()).unwrap();
    let k8s_openapi::ByteString(stub) = stub;
    let mut asked = rcgen::CertificateSigningRequestParams::from_der(&stub.into()).unwrap();
    // Certificates know whole seconds only.
    let now = jiff::Timestamp::now().as_second();
    let begin = rcgen::date_time_ymd(1970, 1, 1) + Duration::from_secs(now.try_into().unwrap());
    (asked.params.not_before, asked.params.not_after) = (begin, begin + 2 * HOUR);
    asked.params.distinguished_name.push(rcgen::DnType::CommonName, "web");
    let times = [0, 3600, 7200].map(|after| jiff::Timestamp::from_second(now + after).unwrap().to_string());
    Signed {
        pem: asked.signed_by(&authority().1).unwrap().pem().replace("\r\n", "\n"),
        times,
    }
}
