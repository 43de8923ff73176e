use super::*;
use crate::config::Flags;
use crate::config::Overlay;
use crate::config::load;

const FILE: &str = r#"apiVersion: outrigger.dev/v1alpha1
kind: HostConfig
cluster: { id: east-1, watchesPerNodeUpTo: 3 }
log: { format: json }
plugins:
  directories: [/lib/a, "/lib/with space"]
  load: path
  allow: [{ name: mock, sha256: "00ff00ff00ff00ff00ff00ff00ff00ff00ff00ff00ff00ff00ff00ff00ff00ff" }]
providers:
  - name: a
    plugin: mock
    path: /lib/a/liboutrigger_mock.so
    sha256: "00ff00ff00ff00ff00ff00ff00ff00ff00ff00ff00ff00ff00ff00ff00ff00ff"
    required: true
    config: { seed: 5, text: "5", list: [a, { b: true }] }
nodes:
  - name: many
    provider: a
    count: 2
    address: "fd00::1"
    port: 0
    labels: { "example.com/zone": "1", on: "off" }
    annotations: { note: "two\nlines: # yes" }
    taints: [{ key: dedicated, value: "true", effect: NoExecute }]
    defaults: { typeLabel: false }
    capacity: { pods: 100, cpu: "1.5" }
    notReadyAfter: never
kubelet: { listen: "::1", verifyClients: false, serverTLSBootstrap: true, certDirectory: /var/lib/x,
  clusterDNS: [10.96.0.10, "fd00::a"], clusterDomain: example.org, resolvConf: /dev/null,
  authentication: { anonymous: { enabled: true }, webhook: { enabled: false, cacheTTL: 1s } },
  authorization: { webhook: { cacheAuthorizedTTL: 2s, cacheUnauthorizedTTL: 3s }, sessionsRequireCreate: false } }
onShutdown: cordon
shutdownTimeout: 1m30s
orphans: { dryRun: true, after: 1h }
events: { enabled: false }
intervals: { ping: 50ms, pingTimeout: 60ms, statusReport: 70ms, statusResend: 80ms }
"#;

fn resolve(text: &str, flags: Flags) -> Resolved {
    let directory = tempfile::tempdir().unwrap();
    let config = directory.path().join("x.yaml");
    std::fs::write(&config, text).unwrap();
    load(&Overlay::new(
        Flags {
            config: Some(config),
            ..flags
        },
        |_| None,
    ))
    .unwrap()
}

fn line<'a>(page: &'a str, start: &str) -> &'a str {
    page.lines()
        .find(|line| line.trim_start().starts_with(start))
        .unwrap_or_default()
}

#[test]
fn the_page_is_a_file_that_gives_the_same_configuration() {
    for (text, flags) in [
        (FILE.to_owned(), Flags::default()),
        (
            FILE.to_owned(),
            Flags {
                provider: Some("mock".to_owned()),
                ..Flags::default()
            },
        ),
    ] {
        let first = resolve(&text, flags);
        let page = first.effective();
        let mut second = resolve(&page, Flags::default()).config;
        // Only where it was written differs.
        for (provider, original) in second.providers.iter_mut().zip(&first.config.providers) {
            provider.positions = original.positions.clone();
        }
        assert_eq!(second, first.config, "{page}");
    }
}

#[test]
fn each_value_names_its_origin() {
    let page = resolve(
        FILE,
        Flags {
            log_level: Some("debug".to_owned()),
            ..Flags::default()
        },
    )
    .effective();
    assert_eq!(
        line(&page, "level:"),
        "  level: debug                               # from flag --log-level"
    );
    assert!(line(&page, "format:").contains("x.yaml:4"), "{page}");
    assert!(line(&page, "- name: many-1").contains("x.yaml:17"), "{page}");
    assert!(line(&page, "typeLabel:").contains("x.yaml:25"), "{page}");
    assert!(line(&page, "taint:").ends_with("# default"), "{page}");
    assert!(line(&page, "kubernetesLabels:").ends_with("# default"), "{page}");
    assert!(
        line(&page, "# certFile").ends_with("each node has a certificate of its own"),
        "{page}"
    );
}

#[test]
fn secrets_of_a_section_are_not_shown() {
    let text = FILE.replace(
        "seed: 5",
        "clientSecret: hunter2, auth: [{apiKey: hunter2}], tokens: {a: hunter2}, shown: yes",
    );
    let page = resolve(&text, Flags::default()).effective();
    assert!(!page.contains("hunter2"), "{page}");
    assert_eq!(page.matches(HIDDEN).count(), 3, "{page}");
    assert_eq!(line(&page, "shown:"), "      shown: yes");
    let text = FILE.replace(
        "seed: 5",
        "auth: {privateKeyPem: hunter2, passphrase: hunter2}, pwd: hunter2, shown: 'https://u:hunter2@host/p@q', \
         many: 'http://a:1,amqp://u:hunter2@b:2', block: '-----BEGIN PRIVATE KEY-----hunter2'",
    );
    let page = resolve(&text, Flags::default()).effective();
    assert!(!page.contains("hunter2"), "{page}");
    assert!(
        line(&page, "shown:").ends_with("https://(not shown)@host/p@q"),
        "{page}"
    );
}
