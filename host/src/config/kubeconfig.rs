//! Reads kubeconfig files, with errors that say what is wrong and never quote what stands in them: they hold keys.

use std::io::ErrorKind;
use std::path::Path;
use std::path::PathBuf;

/// Larger than any kubeconfig: thousands of contexts.
const LARGEST: u64 = 4 << 20;

/// Why a kubeconfig can't be used.
#[derive(Debug, thiserror::Error)]
pub enum KubeconfigError {
    /// There is no such file.
    #[error("unable to read kubeconfig {path}: no such file", path = path.display())]
    Missing {
        /// The file.
        path: PathBuf,
    },
    /// The file can't be read.
    #[error("unable to read kubeconfig {path}: {reason}", path = path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why, in words.
        reason: String,
    },
    /// The file is no kubeconfig.
    #[error("unable to use kubeconfig {path}: {reason}", path = path.display())]
    Invalid {
        /// The file.
        path: PathBuf,
        /// Why, with the line where it is known.
        reason: String,
    },
    /// The files do not lead to a cluster and a user.
    #[error("unable to use kubeconfig {paths}: {reason}")]
    Incomplete {
        /// The files, as a list.
        paths: String,
        /// What is missing.
        reason: String,
    },
}

/// Reads `paths` in their order and merges them as kubectl does: the first to name a thing wins. The current context,
/// its cluster and its user are there afterwards.
pub fn read(paths: &[PathBuf]) -> Result<kube::config::Kubeconfig, KubeconfigError> {
    let mut merged = kube::config::Kubeconfig::default();
    for path in paths {
        let invalid = |reason: String| KubeconfigError::Invalid {
            path: path.clone(),
            reason,
        };
        let text = match text(path) {
            // Of a list, kubectl skips what is not there.
            Err(KubeconfigError::Missing { .. }) if paths.len() > 1 => continue,
            text => text?,
        };
        parse(&text).map_err(invalid)?;
        // Reads the file once more, to have the relative paths in it resolved against its directory.
        let one = kube::config::Kubeconfig::read_from(path)
            .map_err(|_| invalid("it is valid YAML, but no kubeconfig".to_owned()))?;
        merged = merged.merge(one).map_err(|error| invalid(error.to_string()))?;
    }
    complete(&merged).map_err(|reason| {
        let paths: Vec<_> = paths.iter().map(|path| path.display().to_string()).collect();
        KubeconfigError::Incomplete {
            paths: paths.join(":"),
            reason,
        }
    })?;
    Ok(merged)
}

/// The proxy that the present context's cluster asks for.
pub fn proxy(config: &kube::config::Kubeconfig) -> Option<&str> {
    let current = config.current_context.as_deref()?;
    let context = config.contexts.iter().find(|context| context.name == current)?;
    let context = context.context.as_ref()?;
    let mut clusters = config.clusters.iter();
    let named = clusters.find(|cluster| cluster.name == context.cluster)?;
    let url = named.cluster.as_ref()?.proxy_url.as_deref();
    url.filter(|url| !url.is_empty())
}

fn text(path: &Path) -> Result<String, KubeconfigError> {
    let unreadable = |reason: &str| KubeconfigError::Unreadable {
        path: path.to_owned(),
        reason: reason.to_owned(),
    };
    let bytes = super::source::read_at_most(path, LARGEST).map_err(|error| match error.kind() {
        ErrorKind::FileTooLarge => unreadable("it is larger than 4 MiB"),
        ErrorKind::NotFound => KubeconfigError::Missing { path: path.to_owned() },
        _ => unreadable(&super::source::plainly(&error)),
    })?;
    String::from_utf8(bytes).map_err(|_| unreadable("it is not UTF-8 text"))
}

/// Whether `text` is YAML that looks like a kubeconfig.
fn parse(text: &str) -> Result<(), String> {
    let value: serde_yaml::Value = serde_yaml::from_str(text).map_err(|error| match error.location() {
        Some(at) => format!("invalid YAML in line {}, column {}", at.line(), at.column()),
        None => "invalid YAML".to_owned(),
    })?;
    match value {
        serde_yaml::Value::Null => Err("it is empty".to_owned()),
        serde_yaml::Value::Mapping(map) if map.get("kind").is_none_or(|kind| kind == "Config") => Ok(()),
        serde_yaml::Value::Mapping(_) => Err("expected kind Config".to_owned()),
        _ => Err("expected a mapping with clusters, users and contexts".to_owned()),
    }
}

fn complete(config: &kube::config::Kubeconfig) -> Result<(), String> {
    let current = config.current_context.as_deref().filter(|name| !name.is_empty());
    let current = current.ok_or("it names no current-context; set one with `kubectl config use-context`")?;
    let context = config.contexts.iter().find(|context| context.name == current);
    let context = context.and_then(|context| context.context.as_ref());
    let context = context.ok_or(format!("its current-context {current:?} is not among its contexts"))?;
    if !config.clusters.iter().any(|cluster| cluster.name == context.cluster) {
        return Err(format!(
            "context {current:?} names the cluster {:?}, which is not there",
            context.cluster
        ));
    }
    if proxy(config).is_some() {
        return Err(format!(
            "the cluster {:?} has a proxy-url, which is not supported; remove it",
            context.cluster
        ));
    }
    let Some(user) = &context.user else { return Ok(()) };
    let known = config.auth_infos.iter().find(|known| known.name == *user);
    let known = known.ok_or(format!("context {current:?} names the user {user:?}, who is not there"))?;
    match known.auth_info.as_ref().and_then(|info| info.auth_provider.as_ref()) {
        Some(provider) => Err(format!(
            "the user {user:?} has the auth-provider {:?}, which is not supported; name a program as exec, which the cloud's own \
             tool writes, or give a token",
            provider.name
        )),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "apiVersion: v1\nkind: Config\ncurrent-context: c\n\
        clusters: [{name: k, cluster: {server: 'https://127.0.0.1:1'}}]\n\
        users: [{name: u, user: {token: hunter2}}]\ncontexts: [{name: c, context: {cluster: k, user: u}}]\n";

    fn error_of(text: &str) -> String {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("k");
        std::fs::write(&path, text).unwrap();
        let error = read(&[path]).unwrap_err().to_string();
        assert!(!error.contains("hunter2"), "{error}");
        error
    }

    #[test]
    fn a_good_file_is_read_and_files_are_merged() {
        let dir = tempfile::tempdir().unwrap();
        let (first, second) = (dir.path().join("1"), dir.path().join("2"));
        std::fs::write(&first, "kind: Config\ncurrent-context: c\n").unwrap();
        std::fs::write(&second, GOOD).unwrap();
        let merged = read(&[first, dir.path().join("none"), second]).unwrap();
        assert_eq!(merged.current_context.as_deref(), Some("c"));
        assert_eq!(merged.auth_infos.len(), 1);
    }

    #[test]
    fn faults_are_named_and_secrets_are_not() {
        for (text, expected) in [
            ("", "it is empty"),
            ("- hunter2", "expected a mapping with clusters"),
            ("kind: Pod\n", "expected kind Config"),
            ("users:\n  - {token: hunter2\n  x: [", "invalid YAML in line"),
            ("kind: Config\nusers: hunter2\n", "no kubeconfig"),
            ("kind: Config\n", "names no current-context"),
            (
                &GOOD.replace("current-context: c", "current-context: d"),
                "current-context \"d\" is not among",
            ),
            (&GOOD.replace("cluster: k", "cluster: l"), "names the cluster \"l\""),
            (&GOOD.replace("user: u", "user: v"), "names the user \"v\""),
            (
                &GOOD.replace("127.0.0.1:1'", "127.0.0.1:1', proxy-url: 'http://p'"),
                "has a proxy-url",
            ),
            (
                &GOOD.replace(
                    "token: hunter2",
                    "auth-provider: {name: gcp, config: {access-token: hunter2}}",
                ),
                "\"u\" has the auth-provider \"gcp\"",
            ),
        ] {
            let error = error_of(text);
            assert!(error.contains(expected), "{error}");
        }
        let missing = read(&["/nonexistent/k".into()]).unwrap_err().to_string();
        assert_eq!(missing, "unable to read kubeconfig /nonexistent/k: no such file");
    }
}
