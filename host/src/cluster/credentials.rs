//! Credentials that change: on disk, where certificates were rotated or a kubeconfig was written anew, and with the time,
//! where a program gives them.
//!
//! Tokens in files need nothing of this; kube's layers read them again every minute. What a client was built from is
//! watched here, and when it has changed, clients are built from it as at start and take over. What can't be used is
//! reported and changes nothing; so is a kubeconfig that leads to another cluster, where no pod of ours would be known.

use super::{
    Backoff, Clients, ClusterId,
    client::{self, Lent},
    identity,
    raw::chain,
};
use crate::config::ClusterConfig;
use crate::{files, suspend};
use futures::{FutureExt, future::OptionFuture};
use jiff::Timestamp;
use notify::{RecommendedWatcher, RecursiveMode, Watcher};
use sha2::{Digest, Sha256};
use std::{
    collections::BTreeSet,
    path::PathBuf,
    sync::{Arc, OnceLock},
    time::Duration,
};
use tokio::{sync::mpsc, time::Instant};
use tokio_util::sync::CancellationToken;

/// Files that belong together are rarely written in one instant.
const SETTLE: Duration = Duration::from_millis(200);
const RETRY_BASE: Duration = Duration::from_millis(200);
const RETRY_CAP: Duration = Duration::from_secs(10);
/// A program is not run again sooner after it gave credentials, whatever becomes of those, unless they are over before; where it
/// fails, sooner at first.
const LEAST_LENT: Duration = Duration::from_secs(60);
const LENT_RETRY_BASE: Duration = Duration::from_secs(1);

/// Keeps clients in step with the files that they were built from.
pub struct Credentials {
    config: ClusterConfig,
    clients: Clients,
    home: Home,
    state: Seen,
    /// Directories that can't be watched, which is said once.
    blind: BTreeSet<PathBuf>,
    watcher: Option<RecommendedWatcher>,
    changes: mpsc::Receiver<()>,
    /// Without a watcher nobody else has one.
    _changed: mpsc::Sender<()>,
    /// They have changed again while the last change was looked at.
    again: bool,
    /// What a program gave.
    lent: Option<Lent>,
    /// It is not run again before this.
    not_before: Instant,
    lent_backoff: Backoff,
    /// A program that changed files name has failed, and is run again then.
    retry_at: Option<Instant>,
    retry_backoff: Backoff,
    /// What was last said of either.
    said: Said,
}

/// Each fault is told once, however often it is met.
#[derive(Default)]
struct Said {
    of_changes: String,
    of_renewals: String,
}

/// Why credentials are looked at.
enum Cause {
    /// Files may have changed, or what they name may work by now.
    Files,
    /// Those that a program gave are over soon, or were refused.
    Lent,
}

/// The cluster that the host works for, once it knows.
pub type Home = Arc<OnceLock<ClusterId>>;

/// What the files held when they were last read.
#[derive(Debug, PartialEq, Eq)]
struct Seen {
    files: BTreeSet<PathBuf>,
    digest: [u8; 32],
}

impl Credentials {
    /// Begins to watch. `None` where there is nothing to: in a cluster, where kube's layers follow the service account's
    /// files, or on a system that can't tell of changes, which is logged, and where no program gives credentials.
    pub fn build(config: &ClusterConfig, clients: &Clients, home: &Home) -> Option<Self> {
        if config.kubeconfig.is_empty() {
            return None;
        }
        // One note is enough, whatever has changed.
        let (changed, changes) = mpsc::channel(1);
        let _changed = changed.clone();
        let watcher = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
            // Files are read here, which is an event, too. An error may hide a change.
            if event.map_or(true, |event| files::is_change(&event.kind)) {
                let _ = changed.try_send(());
            }
        });
        let watcher = watcher
            .inspect_err(|error| tracing::warn!(%error, "unable to watch files, changed credentials need a restart"))
            .ok();
        if watcher.is_none() && clients.lent().is_none() {
            return None;
        }
        let mut credentials = Self {
            config: config.clone(),
            clients: clients.clone(),
            home: home.clone(),
            state: Seen::of(&config.kubeconfig),
            blind: BTreeSet::new(),
            watcher,
            changes,
            _changed,
            again: false,
            lent: None,
            not_before: Instant::now(),
            lent_backoff: Backoff::new(LENT_RETRY_BASE, LEAST_LENT),
            retry_at: None,
            retry_backoff: Backoff::new(LENT_RETRY_BASE, LEAST_LENT),
            said: Said::default(),
        };
        credentials.borrow(clients);
        credentials.watch();
        Some(credentials)
    }

    /// Watches the directories of the files, and of the links that lead to them: a file that is replaced by another one is
    /// no longer what a watch of itself would see.
    fn watch(&mut self) {
        let Some(watcher) = &mut self.watcher else { return };
        let files = self.state.files.iter();
        let directories: BTreeSet<PathBuf> = files.flat_map(|file| files::directories(file)).collect();
        for directory in directories {
            // A directory of the same name may be another one now.
            match watcher.watch(&directory, RecursiveMode::NonRecursive) {
                Ok(()) => drop(self.blind.remove(&directory)),
                Err(error) => {
                    if self.blind.insert(directory.clone()) {
                        tracing::warn!(directory = %directory.display(), %error,
                            "unable to watch directory, credentials that change there need a restart");
                    }
                }
            }
        }
    }

    /// Runs until shutdown.
    pub async fn run(mut self, shutdown: CancellationToken) {
        let follow = async {
            loop {
                match self.next().await {
                    Cause::Files => {
                        tokio::time::sleep(SETTLE).await;
                        // What was noted meanwhile is read now.
                        let _ = self.changes.try_recv();
                        self.look().await;
                    }
                    Cause::Lent => self.lend().await,
                }
            }
        };
        shutdown.run_until_cancelled(follow).await;
    }

    async fn next(&mut self) -> Cause {
        if std::mem::take(&mut self.again) {
            return Cause::Files;
        }
        let over = over(&self.clients, self.lent.as_ref(), self.not_before);
        let retry = OptionFuture::from(self.retry_at.map(tokio::time::sleep_until));
        tokio::select! {
            Some(()) = self.changes.recv() => Cause::Files,
            Some(()) = retry => {
                self.retry_at = None;
                // As if nobody had looked yet.
                self.state.digest = [0; 32];
                Cause::Files
            }
            () = over => Cause::Lent,
        }
    }

    /// Remembers what these clients were lent.
    fn borrow(&mut self, clients: &Clients) {
        self.lent = clients.lent().cloned();
        let good_for = self.lent.as_ref().and_then(|lent| lent.renew_at).map(until);
        let wait = match good_for {
            // Whoever gives what is over may do so again.
            Some(Duration::ZERO) => self.lent_backoff.next_delay(),
            other => {
                self.lent_backoff.reset();
                // One that keeps what it gave gives the same again until it is over, and each time with less of it left.
                other.unwrap_or(LEAST_LENT).clamp(LENT_RETRY_BASE, LEAST_LENT)
            }
        };
        self.not_before = Instant::now() + wait;
    }

    /// Has the program give others: that of the credentials in use, whatever the files name by now.
    async fn lend(&mut self) {
        let Some(lent) = &self.lent else { return };
        match client::connect_again(lent).await {
            Ok(clients) => {
                self.clients.renew_own(&clients);
                // What was refused is used no more.
                let _ = self.clients.refused().now_or_never();
                self.borrow(&clients);
                self.said.of_renewals.clear();
                tracing::info!("the kubeconfig's credential plugin gave new credentials");
            }
            Err(error) => {
                self.not_before = Instant::now() + self.lent_backoff.next_delay();
                if let Some(error) = news(&mut self.said.of_renewals, &error) {
                    tracing::warn!(error, "unable to renew credentials, keeping the old ones until then");
                }
            }
        }
    }

    async fn look(&mut self) {
        // First the watches, so that what changes behind them is seen.
        self.watch();
        let mut now = Seen::of(&self.config.kubeconfig);
        if now.files != self.state.files {
            self.state.files.clone_from(&now.files);
            self.watch();
            now = Seen::of(&self.config.kubeconfig);
        }
        if now == self.state {
            return;
        }
        self.state = now;
        self.retry_at = None;
        let clients = match self.connect().await {
            Ok(clients) => clients,
            Err(error) => {
                // A program may work the next time, whatever the files say. Other faults are the files' own.
                if matches!(error, client::Error::Exec(_)) {
                    self.retry_at = Some(Instant::now() + self.retry_backoff.next_delay());
                }
                if let Some(error) = news(&mut self.said.of_changes, &error) {
                    tracing::warn!(
                        error,
                        "unable to use the changed credentials, keeping the old ones until then"
                    );
                }
                return;
            }
        };
        self.retry_backoff.reset();
        if self.lead_home(&clients).await {
            self.clients.renew(&clients);
            self.borrow(&clients);
            self.said = Said::default();
            tracing::info!("credentials have changed, going on with the new ones");
        }
    }

    /// Those that the changed files name. A program of theirs that hangs holds up no renewal of what is in use.
    async fn connect(&mut self) -> Result<Clients, client::Error> {
        let config = self.config.clone();
        let mut connecting = Box::pin(client::connect(&config));
        loop {
            tokio::select! {
                connected = &mut connecting => return connected,
                () = over(&self.clients, self.lent.as_ref(), self.not_before) => self.lend().await,
            }
        }
    }

    /// Whether clients lead to the cluster that the host works for. Waits until that can be told, or until files have
    /// changed again.
    async fn lead_home(&mut self, clients: &Clients) -> bool {
        let Some(home) = self.home.get().cloned() else {
            return true;
        };
        let mut backoff = Backoff::new(RETRY_BASE, RETRY_CAP);
        let mut said = false;
        let soon = Instant::now() + LEAST_LENT;
        loop {
            let error = match identity::cluster_id(clients, &self.config).await {
                Ok(there) if there.mark().is_some() && there.mark() == home.mark() => return true,
                // Where nobody could tell so far, the address speaks for the cluster.
                Ok(_) if home.mark().is_none() && clients.server() == self.clients.server() => return true,
                // The account's rights may be on their way, or an API server has just started and knows of none yet.
                Ok(ClusterId::Unknown { reason }) if home.mark().is_some() => reason,
                Ok(there) => {
                    tracing::error!(%home, %there, server = %clients.server(),
                        "the changed kubeconfig leads to another cluster, keeping the old one; \
                         for that cluster start another host, or this one again");
                    return false;
                }
                Err(error) => error.to_string(),
            };
            if !std::mem::replace(&mut said, true) {
                tracing::warn!(server = %clients.server(), %error,
                    "unable to tell which cluster the changed credentials are for, keeping the old ones until then");
            }
            tokio::select! {
                () = tokio::time::sleep(backoff.next_delay()) => {}
                () = over(&self.clients, self.lent.as_ref(), self.not_before) => self.lend().await,
                () = over(clients, clients.lent(), soon) => {
                    // Those that are to be told apart are over themselves: from the beginning.
                    self.state.digest = [0; 32];
                    self.again = true;
                    return false;
                }
                Some(()) = self.changes.recv() => {
                    // Reading a file is noted, too.
                    if Seen::of(&self.config.kubeconfig) != self.state {
                        self.again = true;
                        return false;
                    }
                }
            }
        }
    }
}

/// The fault, if it was not what was said last.
fn news<'a>(said: &'a mut String, error: &client::Error) -> Option<&'a str> {
    let error = chain(error);
    let news = *said != error;
    *said = error;
    news.then_some(said)
}

/// Waits until credentials that a program gave are over soon or were refused, and it may be run again.
///
/// Cancel safe.
async fn over(clients: &Clients, lent: Option<&Lent>, not_before: Instant) {
    let Some(lent) = lent else {
        return std::future::pending().await;
    };
    let aged = async {
        match lent.renew_at {
            Some(at) => suspend::sleep(until(at)).await,
            None => std::future::pending().await,
        }
    };
    tokio::select! {
        () = aged => {}
        () = clients.refused() => {}
    }
    tokio::time::sleep_until(not_before).await;
}

/// Nothing of what is past.
fn until(at: Timestamp) -> Duration {
    at.duration_since(Timestamp::now()).try_into().unwrap_or_default()
}

impl Seen {
    /// Files that can't be read count as empty: that they can be read again is a change, too.
    fn of(kubeconfig: &[PathBuf]) -> Self {
        let mut files: BTreeSet<PathBuf> = kubeconfig.iter().cloned().collect();
        if let Ok(merged) = client::merged(kubeconfig) {
            let users = merged.auth_infos.into_iter().filter_map(|user| user.auth_info);
            let named = users.flat_map(|user| [user.client_certificate, user.client_key]);
            let clusters = merged.clusters.into_iter().filter_map(|cluster| cluster.cluster);
            let authorities = clusters.map(|cluster| cluster.certificate_authority);
            files.extend(named.chain(authorities).flatten().map(PathBuf::from));
        }
        let mut digest = Sha256::new();
        for file in &files {
            digest.update(Sha256::digest(std::fs::read(file).unwrap_or_default()));
        }
        Self {
            files,
            digest: digest.finalize().into(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::raw;
    use serde_json::json;
    use std::time::Instant;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    /// A server that answers with the last word of the Authorization header, and refuses it where it begins with `old`.
    async fn serve(listener: tokio::net::TcpListener) {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let mut head = Vec::new();
                while stream.read_buf(&mut head).await.is_ok_and(|read| read > 0) {
                    if !head.ends_with(b"\r\n\r\n") {
                        continue;
                    }
                    let text = String::from_utf8_lossy(&head).to_lowercase();
                    let token = text.split("authorization: bearer ").nth(1).unwrap_or_default();
                    let token = token.split("\r\n").next().unwrap_or_default();
                    let status = if token.starts_with("old") {
                        "401 Unauthorized"
                    } else {
                        "200 OK"
                    };
                    let answer = format!("HTTP/1.1 {status}\r\ncontent-length: {}\r\n\r\n{token}", token.len());
                    if stream.write_all(answer.as_bytes()).await.is_err() {
                        return;
                    }
                    head.clear();
                }
            });
        }
    }

    fn kubeconfig(port: u16, token: &str) -> String {
        format!(
            "kind: Config\ncurrent-context: c\nclusters: [{{name: k, cluster: {{server: 'http://127.0.0.1:{port}'}}}}]\n\
             users: [{{name: u, user: {{token: {token}}}}}]\ncontexts: [{{name: c, context: {{cluster: k, user: u}}}}]\n"
        )
    }

    /// A kubeconfig whose credentials are what this script prints.
    fn with_program(port: u16, script: &str) -> String {
        let exec = json!({ "apiVersion": "client.authentication.k8s.io/v1", "command": "sh", "args": ["-c", script] });
        kubeconfig(port, "t").replace("{token: t}", &json!({ "exec": exec }).to_string())
    }

    async fn token_in_use(clients: &Clients) -> String {
        let request = raw::get("/whoami").unwrap();
        let reply = raw::send(&clients.status, request, Duration::from_secs(10))
            .await
            .unwrap();
        String::from_utf8(reply.body.to_vec()).unwrap()
    }

    #[tokio::test]
    async fn a_kubeconfig_that_changes_is_taken_and_a_broken_one_is_not() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let server = tokio::spawn(serve(listener));
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("kubeconfig");
        std::fs::write(&path, kubeconfig(port, "first")).unwrap();
        let config = ClusterConfig {
            kubeconfig: vec![path.clone()],
            ..ClusterConfig::default()
        };
        let clients = client::connect(&config).await.unwrap();
        let shutdown = CancellationToken::new();
        let credentials = Credentials::build(&config, &clients, &Home::default()).unwrap();
        let running = tokio::spawn(credentials.run(shutdown.clone()));
        assert_eq!(token_in_use(&clients).await, "first");

        std::fs::write(&path, "users: [").unwrap();
        std::fs::write(dir.path().join("next"), kubeconfig(port, "second")).unwrap();
        std::fs::rename(dir.path().join("next"), &path).unwrap();
        uses(&clients, "second").await;
        // By a link into another directory, in which it changes.
        let elsewhere = tempfile::tempdir().unwrap();
        let real = elsewhere.path().join("kubeconfig");
        std::fs::write(&real, kubeconfig(port, "third")).unwrap();
        std::os::unix::fs::symlink(&real, dir.path().join("link")).unwrap();
        std::fs::rename(dir.path().join("link"), &path).unwrap();
        uses(&clients, "third").await;
        std::fs::write(&real, kubeconfig(port, "fourth")).unwrap();
        uses(&clients, "fourth").await;
        shutdown.cancel();
        running.await.unwrap();
        server.abort();
    }

    /// Clients with what a program has given them.
    struct Lender {
        clients: Clients,
        /// Has the kubeconfig and what counts the runs.
        dir: tempfile::TempDir,
        /// Where [`serve`] listens.
        port: u16,
    }

    impl Lender {
        fn runs(&self) -> usize {
            std::fs::read_dir(self.dir.path().join("runs")).unwrap().count()
        }
    }

    /// Has a program give `answer`, in which `N` is how often it ran before.
    async fn lender(answer: &str, home: &Home) -> (Lender, Credentials) {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        tokio::spawn(serve(listener));
        let dir = tempfile::tempdir().unwrap();
        let runs = dir.path().join("runs");
        std::fs::create_dir(&runs).unwrap();
        let script = format!(
            "n=$(ls {0} | wc -l); touch {0}/$n; cat <<EOF\n{{\"status\": {1}}}\nEOF",
            runs.display(),
            answer.replace('N', "$n")
        );
        let path = dir.path().join("kubeconfig");
        std::fs::write(&path, with_program(port, &script)).unwrap();
        let config = ClusterConfig {
            kubeconfig: vec![path],
            ..ClusterConfig::default()
        };
        let clients = client::connect(&config).await.unwrap();
        let credentials = Credentials::build(&config, &clients, home).unwrap();
        let lender = Lender { clients, dir, port };
        assert_eq!(lender.runs(), 1, "once for all clients");
        (lender, credentials)
    }

    #[tokio::test]
    async fn a_program_that_gives_what_is_nearly_over_is_not_run_all_the_time() {
        let (began, expires) = (tokio::time::Instant::now(), Timestamp::now() + Duration::from_secs(1));
        let answer = format!(r#"{{"token": "t", "expirationTimestamp": "{expires}"}}"#);
        let (_lender, credentials) = lender(&answer, &Home::default()).await;
        let wait = credentials.not_before - began;
        assert!(wait >= LENT_RETRY_BASE, "{wait:?}");
    }

    /// And keeps clients in step with that.
    async fn lent(answer: &str, home: Home) -> Lender {
        let (lender, mut credentials) = lender(answer, &home).await;
        credentials.not_before = tokio::time::Instant::now();
        tokio::spawn(credentials.run(CancellationToken::new()));
        lender
    }

    #[tokio::test]
    async fn what_a_program_gave_is_renewed_when_it_is_over() {
        let lender = lent(SHORT, Home::default()).await;
        uses(&lender.clients, "run-1").await;
    }

    const SHORT: &str = r#"{"token": "run-N", "expirationTimestamp": "2020-01-01T00:00:00Z"}"#;

    #[tokio::test]
    async fn a_file_that_is_not_taken_up_holds_up_no_renewal_and_is_not_taken_up_by_it() {
        let home = Home::default();
        home.set(ClusterId::Read("home".to_owned())).unwrap();
        let lender = lent(SHORT, home).await;
        // Nobody listens there, so it can't be told which cluster it is.
        let elsewhere = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = elsewhere.local_addr().unwrap().port();
        drop(elsewhere);
        std::fs::write(lender.dir.path().join("kubeconfig"), kubeconfig(port, "foreign")).unwrap();
        let (before, deadline) = (lender.runs(), Instant::now() + Duration::from_secs(60));
        while lender.runs() < before + 3 {
            assert!(Instant::now() < deadline, "not renewed any more");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        let token = token_in_use(&lender.clients).await;
        assert!(token.starts_with("run-"), "{token}");
    }

    #[tokio::test]
    async fn what_a_program_gave_is_renewed_when_it_is_refused() {
        let Lender { clients, dir: _dir, .. } =
            lent(r#"{"token": "$([ N = 0 ] && echo old || echo new)"}"#, Home::default()).await;
        let refused = raw::send(&clients.status, raw::get("/whoami").unwrap(), Duration::from_secs(10)).await;
        assert!(matches!(refused, Err(raw::ApiError::Unauthorized(_))), "{refused:?}");
        let deadline = Instant::now() + Duration::from_secs(20);
        let ask = async || raw::send(&clients.leases, raw::get("/whoami").unwrap(), Duration::from_secs(10)).await;
        while ask().await.is_err() {
            assert!(Instant::now() < deadline, "still the old credentials");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    #[tokio::test]
    async fn a_program_that_a_changed_file_names_is_tried_until_it_works() {
        let lender = lent(r#"{"token": "t"}"#, Home::default()).await;
        let kubeconfig = lender.dir.path().join("kubeconfig");
        let good = lender.dir.path().join("good");
        // It works from its second run on.
        let script = format!(
            "[ -e {0} ] || {{ touch {0}; exit 1; }}; echo '{{status: {{token: next}}}}'",
            good.display()
        );
        std::fs::write(&kubeconfig, with_program(lender.port, &script)).unwrap();
        uses(&lender.clients, "next").await;
    }

    #[tokio::test]
    async fn a_program_that_hangs_holds_up_no_renewal() {
        let lender = lent(SHORT, Home::default()).await;
        let started = lender.dir.path().join("started");
        let script = format!("touch {}; sleep 300", started.display());
        std::fs::write(lender.dir.path().join("kubeconfig"), with_program(lender.port, &script)).unwrap();
        let deadline = Instant::now() + Duration::from_secs(50);
        let mut before = None;
        while before.is_none_or(|before| lender.runs() < before + 2) {
            assert!(Instant::now() < deadline, "not renewed any more");
            if before.is_none() && started.exists() {
                before = Some(lender.runs());
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    async fn uses(clients: &Clients, token: &str) {
        let deadline = Instant::now() + Duration::from_secs(20);
        while token_in_use(clients).await != token {
            assert!(Instant::now() < deadline, "still the old credentials");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}
