//! Which credentials an image is pulled with.

use super::{Materials, RegistryCredential};

/// The registry of images that name none, and the host that Docker's files know it by.
const DEFAULT_REGISTRY: &str = "docker.io";
const DEFAULT_REGISTRY_HOST: &str = "index.docker.io";

impl Materials {
    /// The credentials to pull an image with, in the order in which to try them; none for an image that has to be public.
    /// `image` is a reference as manifests have it: `nginx`, `quay.io/team/app:1.2`, `host:5000/app@sha256:...`.
    ///
    /// Source: `BasicDockerKeyring.Lookup` of the kubelet, which also takes `localhost/app` for an image of Docker's
    /// registry, and would send that registry's credentials there.
    pub fn credentials<'m>(&'m self, image: &str) -> Vec<&'m RegistryCredential> {
        let repository = repository(image);
        let matching = |credential: &&RegistryCredential| covers(&credential.registry, &repository);
        let found: Vec<_> = self.registries.iter().filter(matching).collect();
        if !found.is_empty() || !repository.starts_with("docker.io/") {
            return found;
        }
        let default = |credential: &&RegistryCredential| credential.registry == DEFAULT_REGISTRY_HOST;
        self.registries.iter().filter(default).collect()
    }
}

/// Host and path of an image, without tag and digest.
fn repository(image: &str) -> String {
    let name = image.split('@').next().unwrap_or(image);
    let last = name.rfind('/').map_or(0, |slash| slash + 1);
    let name = match name[last..].find(':') {
        Some(colon) => &name[..last + colon],
        None => name,
    };
    match name.split_once('/') {
        Some((host, path)) if host.contains(['.', ':']) || host == "localhost" => match host {
            DEFAULT_REGISTRY | DEFAULT_REGISTRY_HOST if !path.contains('/') => format!("docker.io/library/{path}"),
            DEFAULT_REGISTRY_HOST => format!("docker.io/{path}"),
            _ => name.to_owned(),
        },
        Some(_) => format!("docker.io/{name}"),
        None => format!("docker.io/library/{name}"),
    }
}

/// Whether a registry, perhaps with a path, is that of a repository. Labels of the host match one by one; the path has to
/// begin with the registry's.
fn covers(registry: &str, repository: &str) -> bool {
    let split = |place: &str| {
        let (host, path) = place.split_at(place.find('/').unwrap_or(place.len()));
        let (name, port) = host.rsplit_once(':').unwrap_or((host, ""));
        (name.to_owned(), port.to_owned(), path.to_owned())
    };
    let (pattern, pattern_port, prefix) = split(registry);
    let (host, port, path) = split(repository);
    let (patterns, labels) = (pattern.split('.'), host.split('.'));
    pattern_port == port
        && path.starts_with(&prefix)
        && patterns.clone().count() == labels.clone().count()
        && patterns
            .zip(labels)
            .all(|(pattern, label)| matches(pattern.as_bytes(), label.as_bytes()))
}

/// Whether a label matches a pattern with `*`.
fn matches(pattern: &[u8], label: &[u8]) -> bool {
    match (pattern, label) {
        ([], []) => true,
        ([b'*', rest @ ..], _) => (0..=label.len()).any(|taken| matches(rest, &label[taken..])),
        ([one, pattern @ ..], [other, label @ ..]) => one == other && matches(pattern, label),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn materials(registries: &[&str]) -> Materials {
        let credential = |registry: &&str| RegistryCredential {
            registry: (*registry).into(),
            username: (*registry).into(),
            password: String::new(),
        };
        Materials {
            registries: registries.iter().map(credential).collect(),
            ..Materials::default()
        }
    }

    #[test]
    fn an_image_finds_its_credentials() {
        let all = [
            "registry.example:5000",
            "quay.io/team",
            "quay.io",
            "index.docker.io",
            "*.azurecr.io",
            "*",
        ];
        let materials = materials(&all);
        for (image, expected) in [
            ("quay.io/team/app:1", &["quay.io/team", "quay.io"][..]),
            ("quay.io/teams/app", &["quay.io/team", "quay.io"]),
            ("quay.io/other@sha256:00", &["quay.io"]),
            ("registry.example:5000/app:1@sha256:00", &["registry.example:5000"]),
            ("registry.example/app", &[]),
            ("mine.azurecr.io/app", &["*.azurecr.io"]),
            ("a.mine.azurecr.io/app", &[]),
            ("localhost/app", &["*"]),
            ("nginx", &["index.docker.io"]),
            ("library/nginx:1", &["index.docker.io"]),
            ("docker.io/someone/app", &["index.docker.io"]),
            ("index.docker.io/nginx", &["index.docker.io"]),
        ] {
            let found: Vec<_> = materials.credentials(image).iter().map(|one| &*one.username).collect();
            assert_eq!(found, expected, "{image}");
        }
    }

    #[test]
    fn a_pattern_that_gives_up_late_ends_all_the_same() {
        assert!(matches(b"a*b*c*", b"axxbxcyy"));
        assert!(!matches(b"a*b*c", b"axxbxcyy"));
    }
}
