use super::*;
use std::path::PathBuf;

fn testdata() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("src/config/testdata")
}

fn overlay(file: &Path, flags: Flags) -> Overlay {
    Overlay::new(
        Flags {
            config: Some(file.to_owned()),
            ..flags
        },
        |_| None,
    )
}

/// The faults of `file` as an operator sees them who stands in the directory of the samples.
fn faults(file: &Path, flags: Flags) -> Vec<String> {
    let directory = format!("{}/", testdata().display());
    match load(&overlay(file, flags)) {
        Ok(_) => Vec::new(),
        Err(faults) => faults
            .list()
            .iter()
            .map(|fault| fault.to_string().replace(&directory, ""))
            .collect(),
    }
}

/// Each `NAME.yaml` has the faults in `NAME.expected`, line by line.
#[test]
fn every_bad_file_has_the_expected_faults() {
    let mut seen = 0;
    for entry in std::fs::read_dir(testdata()).unwrap() {
        let file = entry.unwrap().path();
        if file.extension().is_none_or(|extension| extension != "yaml") {
            continue;
        }
        let found = faults(&file, Flags::default()).join("\n") + "\n";
        let expected = file.with_extension("expected");
        if std::env::var_os("OUTRIGGER_WRITE_EXPECTED").is_some() {
            std::fs::write(&expected, &found).unwrap();
        }
        assert_eq!(
            found,
            std::fs::read_to_string(&expected).unwrap_or_default(),
            "{}",
            file.display()
        );
        seen += 1;
    }
    assert!(seen > 20, "only {seen} files in {}", testdata().display());
}

const GOOD: &str = "apiVersion: outrigger.dev/v1alpha1
kind: HostConfig
log: {level: warn}
plugins: {directories: [lib]}
providers:
  - {name: a, plugin: mock, config: {seed: 1}}
  - {name: b, plugin: mock, required: true}
nodes:
  - {name: one, provider: b, notReadyAfter: never}
  - {name: many, provider: a, count: 3, port: 11000}
";

fn with_file(text: &str, flags: Flags, env: &[(&str, &str)]) -> (tempfile::TempDir, Result<Resolved, Faults>) {
    let directory = tempfile::tempdir().unwrap();
    let config = directory.path().join("x.yaml");
    std::fs::write(&config, text).unwrap();
    let value = |name: &str| {
        env.iter()
            .find(|(known, _)| *known == name)
            .map(|(_, value)| (*value).into())
    };
    let resolved = load(&Overlay::new(
        Flags {
            config: Some(config),
            ..flags
        },
        value,
    ));
    (directory, resolved)
}

fn good(flags: Flags, env: &[(&str, &str)]) -> Resolved {
    with_file(GOOD, flags, env).1.unwrap()
}

fn bad(flags: Flags, env: &[(&str, &str)]) -> Vec<String> {
    let faults = with_file(GOOD, flags, env).1.unwrap_err();
    faults.list().iter().map(ToString::to_string).collect()
}

fn text(value: &str) -> Option<String> {
    Some(value.to_owned())
}

#[test]
fn nodes_are_stamped_out_with_their_numbers() {
    let config = good(Flags::default(), &[]).config;
    let nodes: Vec<_> = config
        .nodes
        .iter()
        .map(|node| (node.name.as_str(), node.port, node.provider.as_str()))
        .collect();
    assert_eq!(
        nodes,
        [
            ("one", 10250, "b"),
            ("many-0", 11000, "a"),
            ("many-1", 11001, "a"),
            ("many-2", 11002, "a")
        ]
    );
    assert_eq!(config.nodes[0].not_ready_after, NotReadyAfter::Never);
    assert_eq!(config.nodes[3].provider_id, "outrigger://a/many-2");
    assert_eq!(config.providers[0].config, serde_json::json!({ "seed": 1 }));
    let seed = config.providers[0].positions.nearest("/seed").map(|at| at.to_string());
    assert_eq!(seed, Some("6:38".to_owned()));
}

#[test]
fn the_kubelet_api_is_opened_by_flag_variable_or_file_and_by_nothing_else() {
    let verifies = |flag: bool, env: &[(&str, &str)], line: &str| {
        let flags = Flags {
            no_verify_clients: flag,
            ..Flags::default()
        };
        let resolved = with_file(&format!("{GOOD}{line}"), flags, env).1.unwrap();
        let origin = resolved.origins.of("kubelet.verifyClients").to_string();
        let kind = origin.split(' ').take(2).collect::<Vec<_>>().join(" ");
        (resolved.config.kubelet.verify_clients, kind)
    };
    let (open, closed) = ("kubelet: {verifyClients: false}\n", "kubelet: {verifyClients: true}\n");
    let variable = |value| [("OUTRIGGER_NO_VERIFY_CLIENTS", value)];
    for (flag, env, line, expected, origin) in [
        (false, vec![], "", true, "default"),
        (false, vec![], open, false, "from file"),
        (false, vec![], closed, true, "from file"),
        (true, vec![], closed, false, "from flag"),
        (false, variable("true").to_vec(), closed, false, "from env"),
        (false, variable("false").to_vec(), open, true, "from env"),
    ] {
        assert_eq!(
            verifies(flag, &env, line),
            (expected, origin.to_owned()),
            "{flag} {env:?} {line}"
        );
    }
}

#[test]
fn a_flag_comes_before_a_variable_before_the_file_before_the_default() {
    let level = |flag: Option<&str>, env: &[(&str, &str)]| {
        let resolved = good(
            Flags {
                log_level: flag.map(str::to_owned),
                ..Flags::default()
            },
            env,
        );
        let origin = resolved.origins.of("log.level").to_string();
        (resolved.config.log.level, origin)
    };
    let env = [("OUTRIGGER_LOG_LEVEL", "debug")];
    assert_eq!(
        level(Some("trace"), &env),
        ("trace".into(), "from flag --log-level".into())
    );
    assert_eq!(
        level(None, &env),
        ("debug".into(), "from env OUTRIGGER_LOG_LEVEL".into())
    );
    let (value, origin) = level(None, &[]);
    assert_eq!(value, "warn");
    assert!(
        origin.starts_with("from file ") && origin.ends_with("x.yaml:3"),
        "{origin}"
    );
    let resolved = good(Flags::default(), &[]);
    assert_eq!(resolved.origins.of("log.format"), &Origin::Default);
}

#[test]
fn paths_of_the_file_start_from_the_file() {
    let (directory, resolved) = with_file(GOOD, Flags::default(), &[]);
    assert_eq!(
        resolved.unwrap().config.plugins.directories,
        [directory.path().join("lib")]
    );
    let resolved = good(
        Flags {
            plugin_dirs: vec!["/x".into(), "y".into()],
            ..Flags::default()
        },
        &[],
    );
    assert_eq!(
        resolved.config.plugins.directories,
        [PathBuf::from("/x"), std::env::current_dir().unwrap().join("y")]
    );
}

#[test]
fn a_provider_of_the_file_runs_its_nodes_alone() {
    let resolved = good(
        Flags {
            provider: text("b"),
            nodename: text("renamed"),
            ..Flags::default()
        },
        &[],
    );
    assert_eq!(resolved.config.providers.len(), 1);
    assert!(resolved.config.providers[0].required);
    assert_eq!(resolved.config.nodes.len(), 1);
    assert_eq!(resolved.config.nodes[0].name, "renamed");
    assert_eq!(resolved.config.nodes[0].provider_id, "outrigger://b/renamed");
    assert_eq!(resolved.origins.of("nodes[0].name"), &Origin::Flag("--nodename"));
    assert!(
        resolved
            .origins
            .of("nodes[0].provider")
            .to_string()
            .ends_with("x.yaml:9")
    );
    assert!(
        resolved
            .origins
            .of("providers[0].required")
            .to_string()
            .ends_with("x.yaml:7")
    );

    let resolved = good(Flags::default(), &[("OUTRIGGER_PROVIDER", "a")]);
    assert_eq!(
        resolved
            .config
            .nodes
            .iter()
            .map(|n| n.name.as_str())
            .collect::<Vec<_>>(),
        ["many-0", "many-1", "many-2"]
    );
}

#[test]
fn any_other_provider_is_a_plugin_with_one_node() {
    let plugin = |name: &str, file: bool| {
        let flags = Flags {
            provider: text(name),
            ..Flags::default()
        };
        if file {
            good(flags, &[])
        } else {
            load(&Overlay::new(flags, |_| None)).unwrap()
        }
    };
    for file in [true, false] {
        let resolved = plugin("my_mock", file);
        assert_eq!(resolved.config.providers[0].plugin, "my_mock");
        assert_eq!(resolved.config.providers[0].config, serde_json::json!({}));
        assert_eq!(resolved.config.nodes, [NodeConfig::new("outrigger-my-mock", "my-mock")]);
        assert_eq!(resolved.origins.of("providers[0].plugin"), &Origin::Flag("--provider"));
        assert_eq!(resolved.origins.of("nodes[0].port"), &Origin::Default);
    }
    assert_eq!(plugin("mock", true).config.log.level, "warn");
}

#[test]
fn faults_of_flags_and_variables_name_them() {
    let flags = |change: fn(&mut Flags)| {
        let mut flags = Flags::default();
        change(&mut flags);
        flags
    };
    let several =
        "--nodename: would name 4 nodes; choose a provider with one node by --provider, or name them in the file";
    assert_eq!(bad(flags(|f| f.nodename = text("x")), &[]), [several]);
    let fewer = bad(flags(|f| f.nodename = text("x")), &[("OUTRIGGER_PROVIDER", "a")]);
    assert_eq!(fewer, [several.replace('4', "3")]);
    let found = bad(
        flags(|f| f.log_format = text("jsno")),
        &[("OUTRIGGER_LOG_LEVEL", "lud"), ("OUTRIGGER_KUBECONFIG", "/none/k")],
    );
    assert_eq!(found.len(), 3);
    assert_eq!(
        found[0],
        "OUTRIGGER_KUBECONFIG: unable to read kubeconfig /none/k: no such file"
    );
    assert!(
        found[1].starts_with("OUTRIGGER_LOG_LEVEL: expected off, error"),
        "{found:?}"
    );
    assert_eq!(
        found[2],
        "--log-format: unknown value \"jsno\", expected text or json, did you mean \"json\"?"
    );
    let found = bad(flags(|f| f.provider = text("./libx.so")), &[]);
    assert!(
        found[0].starts_with("--provider: expected a plugin's name"),
        "{found:?}"
    );
    let nothing = load(&Overlay::default()).unwrap_err().to_string();
    assert!(
        nothing.starts_with("--config: missing, expected a configuration file; or name a plugin with --provider\n")
    );
}

#[test]
fn a_provider_without_nodes_is_a_fault() {
    let text = GOOD.replace("provider: b", "provider: a");
    let faults = with_file(
        &text,
        Flags {
            provider: Some("b".to_owned()),
            ..Flags::default()
        },
        &[],
    )
    .1
    .unwrap_err();
    assert_eq!(
        faults.list()[0].to_string(),
        "--provider: no node of the file runs on the provider \"b\""
    );
}

#[test]
fn the_shells_kubeconfig_counts_only_where_nothing_is_said() {
    let kubeconfig = testdata().join("kubeconfig");
    let shell = [("KUBECONFIG", kubeconfig.to_str().unwrap())];
    let resolved = good(Flags::default(), &shell);
    assert_eq!(resolved.config.cluster.kubeconfig, std::slice::from_ref(&kubeconfig));
    assert_eq!(resolved.origins.of("cluster.kubeconfig"), &Origin::Env("KUBECONFIG"));
    let file = format!("{GOOD}cluster: {{kubeconfig: {}}}\n", kubeconfig.display());
    let resolved = with_file(&file, Flags::default(), &[("KUBECONFIG", "/none/k")])
        .1
        .unwrap();
    assert!(
        resolved
            .origins
            .of("cluster.kubeconfig")
            .to_string()
            .ends_with("x.yaml:11")
    );
    assert_eq!(
        bad(Flags::default(), &[("KUBECONFIG", "/none/k")]),
        ["KUBECONFIG: unable to read kubeconfig /none/k: no such file"]
    );
    assert_eq!(
        good(Flags::default(), &[]).config.cluster.kubeconfig,
        Vec::<PathBuf>::new()
    );
}

#[test]
fn what_a_plugin_misses_in_a_section_that_is_not_there_has_a_place() {
    let schema = serde_json::json!({ "required": ["endpoint"] });
    let missing = |provider: &ProviderConfig| {
        let faults = schema::validate(&provider.config, &provider.positions, &schema);
        faults[0].to_string()
    };
    let resolved = good(Flags::default(), &[]);
    assert!(
        missing(&resolved.config.providers[0])
            .ends_with("x.yaml:6:29: providers[0].config.endpoint: missing, expected a value")
    );
    assert!(
        missing(&resolved.config.providers[1])
            .ends_with("x.yaml:7:5: providers[1].config.endpoint: missing, expected a value")
    );
    let resolved = good(
        Flags {
            provider: text("aci"),
            ..Flags::default()
        },
        &[],
    );
    assert_eq!(
        missing(&resolved.config.providers[0]),
        "--provider: config.endpoint: missing, expected a value"
    );
}

#[test]
fn a_file_that_is_not_there_does_not_hide_the_faults_of_flags() {
    let flags = Flags {
        config: Some("/none/x.yaml".into()),
        log_format: text("xml"),
        nodename: text("A"),
        ..Flags::default()
    };
    let faults = load(&Overlay::new(flags, |_| None)).unwrap_err();
    let found: Vec<_> = faults.list().iter().map(ToString::to_string).collect();
    assert_eq!(found.len(), 3, "{found:?}");
    assert_eq!(found[0], "/none/x.yaml: unable to read the file: no such file");
    assert!(found[1].starts_with("--nodename: expected a DNS name"), "{found:?}");
    assert_eq!(found[2], "--log-format: unknown value \"xml\", expected text or json");
}

#[test]
fn nodes_that_share_a_port_need_none_of_their_own() {
    let nodes = "  - {name: one, provider: b}\n  - {name: two, provider: a}\n  - {name: many, provider: a, count: 3, port: 65535}\n";
    let head = GOOD.split_inclusive("nodes:\n").next().unwrap();
    let alone = format!("{head}{nodes}");
    let faults = with_file(&alone, Flags::default(), &[]).1.unwrap_err();
    assert_eq!(faults.list().len(), 2, "{faults:?}");
    let sharing = format!("{alone}kubelet: {{sharedListener: 10250}}\n");
    let faults = with_file(&sharing, Flags::default(), &[]).1.unwrap_err();
    assert_eq!(faults.list().len(), 1, "{faults:?}");
    assert_eq!(faults.list()[0].path, "nodes[2].port");
    // What the effective configuration says of them.
    let any = sharing.replace("65535", "0");
    let config = with_file(&any, Flags::default(), &[]).1.unwrap().config;
    assert_eq!(config.nodes.iter().map(|node| node.port).collect::<Vec<_>>(), [0; 5]);
}
