//! The kubelet API of the nodes: who may use it and what it shows.
//!
//! Names and defaults are those of KubeletConfiguration v1beta1 where it has the same setting.

use super::duration::PositiveDuration;
use super::file;
use super::holds::Holds;
use super::holds::check_pair;
use super::resolve::Resolver;
use std::net::IpAddr;
use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::time::Duration;

/// The kubelet API of the nodes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KubeletConfig {
    /// The local address that every node's port is opened on.
    pub listen: IpAddr,
    /// PEM bundle of the authorities whose client certificates say who somebody is; without it none does.
    pub client_ca_file: Option<PathBuf>,
    /// Whether anybody is asked who they are and whether they may. `false` opens pods, logs and sessions to everybody
    /// who reaches the port.
    pub verify_clients: bool,
    /// Who somebody is, besides client certificates.
    pub authentication: Authentication,
    /// What they may.
    pub authorization: Authorization,
    /// What callers are shown.
    pub serving_cert: ServingCert,
    /// Where keys and certificates that the host makes or requests are kept, so that they outlive it; `None` keeps them
    /// in memory.
    pub cert_directory: Option<PathBuf>,
    /// Whether nodes declare `ExtendWebSocketsToKubelet` (KEP-4006): from 1.36 on, API servers then pass WebSockets of
    /// exec, attach and port-forward through, rather than to speak SPDY to the node; older ones take no notice.
    pub extend_web_sockets: bool,
    /// One port for all nodes, each below `/nodes/NAME`, instead of one for each; 0 takes any free one.
    pub shared_listener: Option<u16>,
    /// The cluster's own name servers, for pods with `dnsPolicy: ClusterFirst`; without any, the backend's stay in place.
    pub cluster_dns: Vec<IpAddr>,
    /// The domain that Services are below; may be empty.
    pub cluster_domain: String,
    /// A file like `/etc/resolv.conf` with the name resolution of pods with `dnsPolicy: Default`, read at start; without
    /// one it is the backend's.
    pub resolv_conf: Option<PathBuf>,
}

/// Who callers are that show no client certificate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Authentication {
    /// Whether callers that show nothing are `system:anonymous`, about whom authorization decides; else they get a 401.
    pub anonymous: bool,
    /// Whether bearer tokens are asked about with a TokenReview.
    pub tokens: bool,
    /// How long the answers are remembered.
    pub cache: Duration,
}

/// What callers may, which is asked with a SubjectAccessReview.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Authorization {
    /// How long it is remembered that somebody may.
    pub cache_allowed: Duration,
    /// How long it is remembered that somebody may not.
    pub cache_denied: Duration,
    /// Whether exec, attach, port-forward and run take the verb `create` on `nodes/proxy` whatever the method. A kubelet
    /// is content with `get` for those that begin with a GET, as WebSockets do.
    pub sessions_require_create: bool,
}

/// What callers of the kubelet API are shown.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum ServingCert {
    /// A certificate that each node signs itself.
    #[default]
    SelfSigned,
    /// Each node requests one from the cluster's signer `kubernetes.io/kubelet-serving`, and renews it.
    Requested,
    /// One certificate for all nodes, and its key; both PEM, and read again when they change.
    Files {
        /// The certificate, leaf first.
        cert_file: PathBuf,
        /// Its private key.
        key_file: PathBuf,
    },
}

impl Default for KubeletConfig {
    fn default() -> Self {
        Self {
            listen: IpAddr::V4(Ipv4Addr::UNSPECIFIED),
            client_ca_file: None,
            verify_clients: true,
            authentication: Authentication::default(),
            authorization: Authorization::default(),
            serving_cert: ServingCert::default(),
            cert_directory: None,
            extend_web_sockets: true,
            shared_listener: None,
            cluster_dns: Vec::new(),
            // As nearly every cluster is made.
            cluster_domain: "cluster.local".to_owned(),
            resolv_conf: None,
        }
    }
}

impl Default for Authentication {
    fn default() -> Self {
        Self {
            anonymous: false,
            tokens: true,
            cache: Duration::from_secs(120),
        }
    }
}

impl Default for Authorization {
    fn default() -> Self {
        Self {
            cache_allowed: Duration::from_secs(300),
            cache_denied: Duration::from_secs(30),
            sessions_require_create: true,
        }
    }
}

impl Resolver<'_> {
    pub(super) fn kubelet(&mut self, file: file::Kubelet) -> KubeletConfig {
        let default = KubeletConfig::default();
        let client_ca_file = self.readable("kubelet.clientCAFile", file.client_ca_file, Holds::Authorities);
        let serving_cert = self.serving_cert(file.cert_file, file.key_file, file.server_tls_bootstrap);
        let no_verify_clients = self.overlay.no_verify_clients.clone();
        let verify_clients = no_verify_clients.map(|given| given.map(|no| !no));
        let cert_directory = file.cert_directory.map(|path| self.path(&path));
        if cert_directory.is_some() && (self.written("kubelet.certFile") || self.written("kubelet.keyFile")) {
            self.fault_of(
                "kubelet.certDirectory",
                "nothing is kept there where a certificate is read from certFile and keyFile; leave one of both out"
                    .to_owned(),
            );
        }
        let resolv_conf = self.readable("kubelet.resolvConf", file.resolv_conf, Holds::Text);
        KubeletConfig {
            listen: self.value("kubelet.listen", file.listen, default.listen),
            client_ca_file,
            verify_clients: self.over(
                "kubelet.verifyClients",
                verify_clients,
                file.verify_clients,
                default.verify_clients,
            ),
            authentication: self.authentication(file.authentication),
            authorization: self.authorization(file.authorization),
            serving_cert,
            cert_directory: self.optional("kubelet.certDirectory", cert_directory),
            extend_web_sockets: self.value(
                "kubelet.extendWebSockets",
                file.extend_web_sockets,
                default.extend_web_sockets,
            ),
            shared_listener: self.optional("kubelet.sharedListener", file.shared_listener),
            cluster_dns: self.value("kubelet.clusterDNS", file.cluster_dns, default.cluster_dns),
            cluster_domain: self.value("kubelet.clusterDomain", file.cluster_domain, default.cluster_domain),
            resolv_conf,
        }
    }

    fn authentication(&mut self, file: file::Authentication) -> Authentication {
        let default = Authentication::default();
        let at = |field: &str| format!("kubelet.authentication.{field}");
        let file::TokenWebhook { enabled, cache_ttl } = file.webhook;
        Authentication {
            anonymous: self.value(&at("anonymous.enabled"), file.anonymous.enabled, default.anonymous),
            tokens: self.value(&at("webhook.enabled"), enabled, default.tokens),
            cache: self.lifetime(&at("webhook.cacheTTL"), cache_ttl, default.cache),
        }
    }

    fn authorization(&mut self, file: file::Authorization) -> Authorization {
        let default = Authorization::default();
        let at = |field: &str| format!("kubelet.authorization.{field}");
        let (allowed, denied) = (file.webhook.cache_authorized_ttl, file.webhook.cache_unauthorized_ttl);
        Authorization {
            cache_allowed: self.lifetime(&at("webhook.cacheAuthorizedTTL"), allowed, default.cache_allowed),
            cache_denied: self.lifetime(&at("webhook.cacheUnauthorizedTTL"), denied, default.cache_denied),
            sessions_require_create: self.value(
                &at("sessionsRequireCreate"),
                file.sessions_require_create,
                default.sessions_require_create,
            ),
        }
    }

    fn lifetime(&mut self, path: &str, file: Option<PositiveDuration>, default: Duration) -> Duration {
        self.value(path, file.map(|text| text.0), default)
    }

    fn serving_cert(
        &mut self,
        cert_file: Option<PathBuf>,
        key_file: Option<PathBuf>,
        requested: Option<bool>,
    ) -> ServingCert {
        let cert_file = self.readable("kubelet.certFile", cert_file, Holds::Certificates);
        let key_file = self.readable("kubelet.keyFile", key_file, Holds::Key);
        let requested = self.value("kubelet.serverTLSBootstrap", requested, false);
        if requested && (cert_file.is_some() || key_file.is_some()) {
            self.fault_of(
                "kubelet.serverTLSBootstrap",
                "a certificate is either requested or read from certFile and keyFile, expected one of both".to_owned(),
            );
        }
        match (cert_file, key_file) {
            (Some(cert_file), Some(key_file)) => {
                if let Err(why) = check_pair(&cert_file, &key_file) {
                    let key = key_file.display();
                    self.fault_of("kubelet.keyFile", format!("unable to use {key} with certFile: {why}"));
                }
                ServingCert::Files { cert_file, key_file }
            }
            (None, None) if requested => ServingCert::Requested,
            (None, None) => ServingCert::SelfSigned,
            (cert, _) => {
                let (here, missing) = if cert.is_some() {
                    ("certFile", "keyFile")
                } else {
                    ("keyFile", "certFile")
                };
                if !self.written(&format!("kubelet.{missing}")) {
                    self.fault_of(
                        &format!("kubelet.{here}"),
                        format!("{missing} is missing, expected both or neither"),
                    );
                }
                ServingCert::SelfSigned
            }
        }
    }

    /// The path of a file that can be read, and holds what it should.
    fn readable(&mut self, name: &str, path: Option<PathBuf>, holds: Holds) -> Option<PathBuf> {
        let path = path.map(|path| self.path(&path));
        if let Some(path) = &path
            && let Err(why) = holds.check(path)
        {
            self.fault_of(name, format!("unable to read {}: {why}", path.display()));
        }
        self.optional(name, path)
    }
}
