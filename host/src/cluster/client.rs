//! Clients of the API server, one for each kind of traffic.

use super::Backoff;
use super::Client;
use super::csr::Issued;
use super::exec;
use super::outage::Outage;
use super::raw::chain;
use super::trunk::CONNECTIONS;
use super::trunk::Dial;
use super::trunk::Pings;
use super::trunk::Trunks;
use crate::config::ClusterConfig;
use crate::config::kubeconfig;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::Request;
use http::Response;
use http::Uri;
use hyper_rustls::FixedServerNameResolver;
use hyper_rustls::HttpsConnector;
use hyper_rustls::HttpsConnectorBuilder;
use hyper_util::client::legacy;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use hyper_util::rt::TokioTimer;
use kube::Config;
use kube::client::Body;
use kube::client::ConfigExt;
use kube::config::AuthInfo;
use kube::config::KubeConfigOptions;
use kube::config::Kubeconfig;
use kube::config::KubeconfigError;
use secrecy::ExposeSecret;
use std::io::ErrorKind;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tower::Service;
use tower::ServiceBuilder;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// Sent data that stays unacknowledged this long breaks the connection: watches and pooled connections to a server that
/// vanished without a FIN are noticed before a node lease runs out.
const DEAD_PEER_TIMEOUT: Duration = Duration::from_secs(15);
const KEEPALIVE: Duration = Duration::from_secs(15);
/// Longer than a lease renewal's interval, so that its connection stays.
const POOL_IDLE_TIMEOUT: Duration = Duration::from_secs(45);
/// A program that gave no credentials is run again after so long, at first and at last.
const PROGRAM_RETRY_BASE: Duration = Duration::from_secs(1);
const PROGRAM_RETRY_CAP: Duration = Duration::from_secs(30);
/// Heartbeats under way at a time: a thousand nodes that start together do not open a thousand connections.
const HEARTBEATS: usize = 32;

/// One client for each kind of traffic, each with connections of its own: a flood of pod statuses delays no lease.
///
/// Clones share what [`renew`](Self::renew) changes.
///
/// None limits its rate and none retries: the caller decides, and the API server's priority and fairness does the rest.
/// What is many at a time, pods' statuses, events and [`objects`](Self::objects), shares connections of HTTP/2: where
/// they meet, what is written and read together takes one wake-up and one TLS record, up to a quarter of what a pod costs. The rest has
/// HTTP/1.1 and a connection for each request under way, so that a lease whose renewal finds no answer tries another one.
#[derive(Clone)]
pub struct Clients {
    /// Lists and watches.
    pub watch: Client,
    /// Pod status and pod deletion.
    pub status: Client,
    /// Leases and Node objects: the heartbeats of the nodes.
    pub leases: Client,
    /// Events.
    pub events: Client,
    /// Reviews: who calls a kubelet port, and whether they may.
    pub reviews: Client,
    /// What pods refer to: ConfigMaps, Secrets, tokens, Services.
    pub objects: Trunks,
    outage: Outage,
    /// Their credentials, where a program gave those.
    lent: Option<Lent>,
    server: Uri,
    /// What they were built from. Those that act for a node have the host's.
    origin: Arc<watch::Sender<Config>>,
}

/// Credentials that a program gave for a time.
#[derive(Clone)]
pub(super) struct Lent {
    /// When others are to be had; `None` if they do not say how long they are good.
    pub(super) renew_at: Option<jiff::Timestamp>,
    /// What names the program.
    config: Config,
}

impl Clients {
    /// The API server's address as configured.
    pub fn server(&self) -> &Uri {
        &self.server
    }

    /// Goes on with other clients: their credentials, their connections.
    pub(super) fn renew(&self, other: &Self) {
        self.renew_own(other);
        if !Arc::ptr_eq(&self.origin, &other.origin) {
            self.origin.send_replace(other.origin.borrow().clone());
        }
    }

    /// The same where nothing has changed but the credentials: those who have their own are not told.
    pub(super) fn renew_own(&self, other: &Self) {
        self.watch.replace(&other.watch);
        self.status.replace(&other.status);
        self.leases.replace(&other.leases);
        self.events.replace(&other.events);
        self.reviews.replace(&other.reviews);
        self.objects.replace(&other.objects);
        self.outage.renew(&other.outage);
    }

    /// What is known of their credentials, where a program gave those.
    pub(super) fn lent(&self) -> Option<&Lent> {
        self.lent.as_ref()
    }

    /// Waits until the API server has refused their credentials.
    ///
    /// Cancel safe.
    pub(super) async fn refused(&self) {
        self.outage.refused().await;
    }

    /// What they are built from, and each change of that.
    pub(super) fn origin(&self) -> watch::Receiver<Config> {
        self.origin.subscribe()
    }

    /// Goes nowhere until it is [renewed](Self::renew): every request fails as `client` lets it.
    pub(super) fn suspend(&self, client: &Client) {
        for own in [&self.watch, &self.status, &self.leases, &self.events, &self.reviews] {
            own.replace(client);
        }
    }
}

/// Why no client could be made: faults of the configuration, but for those that [may pass](Self::may_pass).
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A kubeconfig file that can't be opened.
    #[error("unable to read kubeconfig {}: {source}; name a readable file with --kubeconfig", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
    /// A kubeconfig file that is no YAML, or none of a kubeconfig. Its text is not shown: it holds credentials.
    #[error("unable to parse kubeconfig {}{position}: not the YAML of a kubeconfig; check it with `kubectl config view --kubeconfig {}`", path.display(), path.display())]
    Unparsable {
        /// The file.
        path: PathBuf,
        /// `:line:column`, or nothing.
        position: String,
    },
    /// Readable files that do not say how to reach a cluster.
    #[error("unable to use kubeconfig {paths}: {reason}; check it with `kubectl config view`")]
    Incomplete {
        /// The files.
        paths: String,
        /// What is missing.
        reason: String,
    },
    /// No kubeconfig was named, and this process runs in no cluster.
    #[error("unable to use the in-cluster configuration: {0}; outside a cluster name a kubeconfig with --kubeconfig")]
    InCluster(#[source] kube::config::InClusterError),
    /// A kubeconfig that asks for a proxy.
    #[error(
        "unable to reach the API server through a proxy: proxy-url is not supported; remove it from the kubeconfig"
    )]
    Proxy,
    /// A kubeconfig whose user has an `auth-provider`.
    #[error(
        "unable to use the kubeconfig's auth-provider {0:?}: Kubernetes has programs in place of these; \
         name one as exec, which the cloud's own tool writes, or give a token"
    )]
    AuthProvider(String),
    /// A kubeconfig that names a program which gives no credentials.
    #[error("unable to have credentials")]
    Exec(#[from] exec::Error),
    /// Certificates or credentials that can't be used.
    #[error("unable to build a client from the kubeconfig: {0}; check its certificates and credentials")]
    Build(String),
}

impl Error {
    fn build(error: kube::Error) -> Self {
        Self::Build(chain(&error))
    }

    /// Whether it may be otherwise the next time: a program failed, which may need a network that is not there yet.
    pub(super) fn may_pass(&self) -> bool {
        matches!(self, Self::Exec(exec::Error::Failed { .. } | exec::Error::Timeout(_)))
    }
}

/// Builds the clients. Nothing is sent: an API server that is down is no error here.
///
/// # Errors
/// Faults of the configuration, see [`Error`].
pub async fn connect(config: &ClusterConfig) -> Result<Clients, Error> {
    filled(load(&config.kubeconfig).await?).await
}

/// The same, until a program that gives credentials does so: it is run again, as an API server that is away is asked again.
///
/// Cancel safe.
///
/// # Errors
/// Faults of the configuration, see [`Error`].
pub async fn connect_in_the_end(config: &ClusterConfig) -> Result<Clients, Error> {
    let mut backoff = Backoff::new(PROGRAM_RETRY_BASE, PROGRAM_RETRY_CAP);
    let mut said = String::new();
    loop {
        let error = match connect(config).await {
            Err(error) if error.may_pass() => chain(&error),
            outcome => return outcome,
        };
        if error != said {
            tracing::warn!(%error, "unable to start yet, trying again");
            said = error;
        }
        tokio::time::sleep(backoff.next_delay()).await;
    }
}

/// Builds clients once more as those were that were lent these credentials, with others of the same program.
///
/// # Errors
/// The program gave none, or none that can be used.
pub(super) async fn connect_again(lent: &Lent) -> Result<Clients, Error> {
    filled(lent.config.clone()).await
}

async fn filled(config: Config) -> Result<Clients, Error> {
    let mut own = config.clone();
    let given = exec::fill(&mut own.auth_info).await?;
    let mut clients = build(own, None)?;
    clients.lent = given.map(|exec::Given { renew_at }| Lent { renew_at, config });
    Ok(clients)
}

/// Builds clients for the API server of `host`, the clients that the host acts with for itself, with a certificate in place of
/// their credentials; without one, for nobody. Whether that server is away, they know.
///
/// # Errors
/// Faults of the configuration, see [`Error`].
pub(super) fn connect_as(identity: Option<&Issued>, host: &Clients) -> Result<Clients, Error> {
    let mut config = host.origin.borrow().clone();
    config.auth_info = AuthInfo {
        client_certificate_data: identity.map(|issued| STANDARD.encode(&issued.certificate)),
        client_key_data: identity.map(|issued| STANDARD.encode(&issued.key).into()),
        ..AuthInfo::default()
    };
    build(config, Some(host))
}

fn build(config: Config, host: Option<&Clients>) -> Result<Clients, Error> {
    let outage = match host {
        Some(host) => host.outage.of_others(),
        None => Outage::new(client(&config)?),
    };
    let own = || client(&config).map(|client| client.within(&outage));
    let joined = || stack(&config, dial(&config, 1, Pings::OF_REQUESTS)?).map(|client| client.within(&outage));
    Ok(Clients {
        watch: own()?,
        status: joined()?,
        leases: own()?.limited(HEARTBEATS),
        events: joined()?,
        reviews: own()?,
        objects: trunks(&config, &outage)?,
        outage,
        lent: None,
        server: config.cluster_url.clone(),
        origin: host.map_or_else(|| Arc::new(watch::Sender::new(config)), |host| host.origin.clone()),
    })
}

async fn load(paths: &[PathBuf]) -> Result<Config, Error> {
    if paths.is_empty() {
        return Config::incluster().map_err(Error::InCluster);
    }
    let kubeconfig = merged(paths)?;
    if kubeconfig::proxy(&kubeconfig).is_some() {
        return Err(Error::Proxy);
    }
    let config = Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await;
    let mut config = config.map_err(|error| incomplete(paths, &error))?;
    if config.proxy_url.take().is_some() {
        tracing::info!("HTTPS_PROXY is not used: the host needs a direct way to the API server");
    }
    // kube's layers would run its program, and show what that prints.
    if let Some(provider) = &config.auth_info.auth_provider {
        return Err(Error::AuthProvider(provider.name.clone()));
    }
    let token = config.auth_info.token.as_ref();
    if token.is_some_and(|token| !exec::fits_a_header(token.expose_secret())) {
        return Err(Error::Build(
            "the token has a line break or another control character in it".to_owned(),
        ));
    }
    Ok(config)
}

/// The kubeconfig files as one, relative paths in them resolved.
pub(super) fn merged(paths: &[PathBuf]) -> Result<Kubeconfig, Error> {
    let mut merged = Kubeconfig::default();
    for path in paths {
        let next = match Kubeconfig::read_from(path) {
            // Of a list, kubectl skips what is not there.
            Err(KubeconfigError::ReadConfig(error, _)) if paths.len() > 1 && error.kind() == ErrorKind::NotFound => {
                continue;
            }
            next => next,
        };
        let next = next.map_err(|error| match error {
            KubeconfigError::ReadConfig(source, path) => Error::Unreadable { path, source },
            KubeconfigError::Parse(error) => Error::Unparsable {
                path: path.clone(),
                position: error
                    .location()
                    .map(|at| format!(":{}:{}", at.line(), at.column()))
                    .unwrap_or_default(),
            },
            other => incomplete(paths, &other),
        })?;
        merged = merged.merge(next).map_err(|error| incomplete(paths, &error))?;
    }
    Ok(merged)
}

fn incomplete(paths: &[PathBuf], error: &KubeconfigError) -> Error {
    let paths: Vec<_> = paths.iter().map(|path| path.display().to_string()).collect();
    Error::Incomplete {
        paths: paths.join(", "),
        reason: error.to_string(),
    }
}

/// A client with a connection pool of its own. kube's ready-made stack is not used: it logs every failure as an error
/// of its own and retries behind the caller's back.
fn client(config: &Config) -> Result<Client, Error> {
    stack(config, plain(config)?)
}

fn plain(config: &Config) -> Result<legacy::Client<HttpsConnector<HttpConnector>, Body>, Error> {
    let connector = config
        .rustls_https_connector_with_connector(connector())
        .map_err(Error::build)?;
    Ok(legacy::Client::builder(TokioExecutor::new())
        .pool_timer(TokioTimer::new())
        .pool_idle_timeout(POOL_IDLE_TIMEOUT)
        .build(connector))
}

fn trunks(config: &Config, outage: &Outage) -> Result<Trunks, Error> {
    let dial = dial(config, CONNECTIONS, Pings::OF_WATCHES)?;
    Ok(Trunks::new(&stack(config, dial.clone())?.within(outage), &dial))
}

/// So many connections that requests share. kube's connector does not offer HTTP/2.
fn dial(config: &Config, connections: usize, pings: Pings) -> Result<Dial, Error> {
    let plain = plain(config)?;
    let tls = config.rustls_client_config().map_err(Error::build)?;
    let mut builder = HttpsConnectorBuilder::new().with_tls_config(tls).https_or_http();
    // One that is no name was refused just before.
    if let Some(name) = config.tls_server_name.clone().and_then(|name| name.try_into().ok()) {
        builder = builder.with_server_name_resolver(FixedServerNameResolver::new(name));
    }
    let connector = builder.enable_all_versions().wrap_connector(connector());
    Ok(Dial::new(connections, pings, connector, plain))
}

fn connector() -> HttpConnector {
    let mut connector = HttpConnector::new();
    connector.enforce_http(false);
    connector.set_nodelay(true);
    connector.set_connect_timeout(Some(CONNECT_TIMEOUT));
    connector.set_keepalive(Some(KEEPALIVE));
    connector.set_keepalive_interval(Some(KEEPALIVE / 3));
    connector.set_keepalive_retries(Some(3));
    connector.set_tcp_user_timeout(Some(DEAD_PEER_TIMEOUT));
    connector
}

/// What every request passes: the server's address, credentials, headers of the kubeconfig.
fn stack<S, B>(config: &Config, http: S) -> Result<Client, Error>
where
    S: Service<Request<Body>, Response = Response<B>> + Clone + Send + Sync + 'static,
    S::Future: Send,
    S::Error: Into<tower::BoxError>,
    B: http_body::Body<Data = Bytes> + Send + 'static,
    B::Error: Into<tower::BoxError>,
{
    let service = ServiceBuilder::new()
        .layer(config.base_uri_layer())
        .option_layer(config.auth_layer().map_err(Error::build)?)
        .layer(config.extra_headers_layer().map_err(Error::build)?)
        .map_err(Into::<tower::BoxError>::into)
        .service(http);
    Ok(Client::new(service))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    async fn error_of(path: &Path) -> String {
        let config = ClusterConfig {
            kubeconfig: vec![path.to_owned()],
            ..ClusterConfig::default()
        };
        connect(&config).await.err().expect("a fault").to_string()
    }

    async fn error_chain(path: &Path) -> String {
        let config = ClusterConfig {
            kubeconfig: vec![path.to_owned()],
            ..ClusterConfig::default()
        };
        chain(&connect(&config).await.err().expect("a fault"))
    }

    fn file(text: &[u8]) -> tempfile::NamedTempFile {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), text).unwrap();
        file
    }

    #[tokio::test]
    async fn a_missing_kubeconfig_is_named() {
        let error = error_of(Path::new("/nowhere/kubeconfig")).await;
        assert!(
            error.starts_with("unable to read kubeconfig /nowhere/kubeconfig: "),
            "{error}"
        );
        assert!(error.contains("--kubeconfig"), "{error}");
    }

    #[tokio::test]
    async fn broken_yaml_gives_its_position_and_no_secret() {
        let file = file(b"users:\n- name: me\n  user: { token: hunter2\nclusters: ]\n");
        let error = error_of(file.path()).await;
        assert!(error.contains(&format!("{}:", file.path().display())), "{error}");
        assert!(!error.contains("hunter2"), "{error}");
    }

    #[tokio::test]
    async fn a_wrong_type_shows_no_secret() {
        let file = file(b"users: hunter2\n");
        let error = error_of(file.path()).await;
        assert!(error.contains("unable to parse kubeconfig"), "{error}");
        assert!(!error.contains("hunter2"), "{error}");
    }

    #[tokio::test]
    async fn an_empty_kubeconfig_says_what_is_missing() {
        let error = error_of(file(b"").path()).await;
        assert!(error.contains("current context"), "{error}");
    }

    const GOOD: &str = "apiVersion: v1\nkind: Config\ncurrent-context: c\n\
        clusters: [{name: c, cluster: {server: 'http://127.0.0.1:1'}}]\n\
        contexts: [{name: c, context: {cluster: c, user: u}}]\nusers: [{name: u, user: {token: t}}]\n";

    #[tokio::test]
    async fn of_a_list_what_is_not_there_is_skipped() {
        let file = file(GOOD.as_bytes());
        let config = ClusterConfig {
            kubeconfig: vec!["/nowhere/kubeconfig".into(), file.path().to_owned()],
            ..ClusterConfig::default()
        };
        assert_eq!(connect(&config).await.expect("clients").server().port_u16(), Some(1));
    }

    #[tokio::test]
    async fn a_proxy_of_the_kubeconfig_is_refused() {
        let text = GOOD.replace(
            "'http://127.0.0.1:1'",
            "'https://127.0.0.1:1', proxy-url: 'http://127.0.0.1:2'",
        );
        let error = error_of(file(text.as_bytes()).path()).await;
        assert!(error.contains("proxy-url is not supported"), "{error}");
    }

    #[tokio::test]
    async fn an_auth_provider_is_refused_and_not_run() {
        let flag = file(b"");
        let provider = format!(
            "{{auth-provider: {{name: gcp, config: {{cmd-path: sh, cmd-args: '-c \"echo hunter2 >> {}\"'}}}}}}",
            flag.path().display()
        );
        let error = error_of(file(GOOD.replace("{token: t}", &provider).as_bytes()).path()).await;
        assert!(
            error.contains("auth-provider \"gcp\"") && error.contains("exec"),
            "{error}"
        );
        assert!(!error.contains("hunter2"), "{error}");
        assert_eq!(std::fs::read(flag.path()).unwrap(), b"");
    }

    #[tokio::test]
    async fn a_token_that_no_header_can_have_is_refused() {
        let text = GOOD.replace("token: t", r#"token: "hunter2\n""#);
        let error = error_of(file(text.as_bytes()).path()).await;
        assert!(error.contains("line break") && !error.contains("hunter2"), "{error}");
    }

    /// A kubeconfig whose program is this script.
    fn with_program(script: &str) -> tempfile::NamedTempFile {
        let program = serde_json::json!({
            "apiVersion": "client.authentication.k8s.io/v1", "command": "sh", "args": ["-c", script],
        });
        file(GOOD.replace("{token: t}", &format!("{{exec: {program}}}")).as_bytes())
    }

    #[tokio::test]
    async fn a_program_that_fails_is_run_again_and_told_once() {
        let error = error_chain(with_program("exit 3").path()).await;
        assert_eq!(error.matches("credential plugin").count(), 1, "{error}");
        let flag = file(b"");
        let script = format!(
            "[ -s {0} ] || {{ echo ran > {0}; exit 3; }}; echo '{{status: {{token: t}}}}'",
            flag.path().display()
        );
        let kubeconfig = with_program(&script);
        let config = ClusterConfig {
            kubeconfig: vec![kubeconfig.path().to_owned()],
            ..ClusterConfig::default()
        };
        connect_in_the_end(&config).await.expect("clients");
    }

    #[tokio::test]
    async fn clients_are_made_without_a_server() {
        let file = file(GOOD.as_bytes());
        let config = ClusterConfig {
            kubeconfig: vec![file.path().to_owned()],
            ..ClusterConfig::default()
        };
        let clients = connect(&config).await.expect("clients");
        assert_eq!(clients.server().port_u16(), Some(1));
        let error = super::super::raw::send(
            &clients.status,
            super::super::raw::get("/version").unwrap(),
            Duration::from_secs(10),
        )
        .await
        .expect_err("nobody listens there");
        assert_eq!(error.class(), "transport");
        assert!(error.is_retryable());
    }
}
