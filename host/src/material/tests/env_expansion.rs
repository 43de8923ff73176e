//! `$(NAME)` in values, commands and paths.

use super::{World, check_env, gives, holds, show};
use serde_json::{Value, json};

const EXPAND: &str = "third_party/forked/golang/expansion Expand";
const MAKE: &str = "kubelet makeEnvironmentVariables";

/// `A` is one, `EMPTY` is empty; `X` is the value.
fn value(text: &str) -> Value {
    json!({ "env": [
        { "name": "A", "value": "one" }, { "name": "EMPTY", "value": "" }, { "name": "X", "value": text },
        { "name": "LATER", "value": "two" },
    ] })
}

fn x(expected: &'static str) -> [&'static str; 4] {
    ["A=one", "EMPTY=", expected, "LATER=two"]
}

#[test]
fn references_in_values() {
    check_env(vec![
        gives("a reference", EXPAND, value("[$(A)]"), x("X=[one]")),
        gives("two references", EXPAND, value("$(A)$(A)"), x("X=oneone")),
        gives("a reference to an empty value", EXPAND, value("[$(EMPTY)]"), x("X=[]")),
        gives(
            "an unknown name stays as it is",
            EXPAND,
            value("$(B)-$(A)"),
            x("X=$(B)-one"),
        ),
        gives("a later variable is unknown", MAKE, value("$(LATER)"), x("X=$(LATER)")),
        gives("itself is unknown", MAKE, value("$(X)"), x("X=$(X)")),
        gives("two dollars are one", EXPAND, value("$$(A)"), x("X=$(A)")),
        gives("three dollars", EXPAND, value("$$$(A)"), x("X=$one")),
        gives("four dollars", EXPAND, value("$$$$(A)"), x("X=$$(A)")),
        gives(
            "a dollar before something else",
            EXPAND,
            value("$A ${A} $1 $é"),
            x("X=$A ${A} $1 $é"),
        ),
        gives("a dollar at the end", EXPAND, value("cost: 5$"), x("X=cost: 5$")),
        gives("an open reference", EXPAND, value("$(A"), x("X=$(A")),
        gives(
            "an open reference before another",
            EXPAND,
            value("$(A$(A)"),
            x("X=$(A$(A)"),
        ),
        gives("no name", EXPAND, value("$()"), x("X=$()")),
        gives("blanks belong to the name", EXPAND, value("$( A )"), x("X=$( A )")),
        gives(
            "what comes of it is not looked at again",
            EXPAND,
            json!({ "env": [{ "name": "A", "value": "$$(B)" }, { "name": "B", "value": "b" }, { "name": "C", "value": "$(A)" }] }),
            ["A=$(B)", "B=b", "C=$(B)"],
        ),
        gives(
            "a variable of envFrom, and the mark of its Secret",
            MAKE,
            json!({ "envFrom": [{ "secretRef": { "name": "login" } }],
                    "env": [{ "name": "URL", "value": "db://$(user):$(password)@h" }, { "name": "U", "value": "$(URL)" }] }),
            [
                "password=hunter2 [secret]",
                "user=admin [secret]",
                "URL=db://admin:hunter2@h [secret]",
                "U=db://admin:hunter2@h [secret]",
            ],
        ),
        gives(
            "an earlier value of the same name",
            MAKE,
            json!({ "env": [{ "name": "P", "value": "/bin" }, { "name": "P", "value": "$(P):/usr/bin" }] }),
            ["P=/bin:/usr/bin"],
        ),
        gives(
            "a late value",
            "ours: with a kubelet the address is known by then",
            json!({ "env": [
                { "name": "IP", "valueFrom": { "fieldRef": { "fieldPath": "status.podIP" } } },
                { "name": "URL", "value": "http://$(IP):80" }, { "name": "BOTH", "value": "$(URL) $(URL)" },
            ] }),
            [
                "IP=<podIP>",
                "URL=http://<podIP>:80",
                "BOTH=http://<podIP>:80 http://<podIP>:80",
            ],
        ),
        gives(
            "values of objects are not expanded",
            MAKE,
            json!({ "envFrom": [{ "configMapRef": { "name": "refs" } }],
                    "env": [{ "name": "X", "valueFrom": { "configMapKeyRef": { "name": "refs", "key": "REF" } } }] }),
            ["A=one", "REF=$(A)", "X=$(A)"],
        ),
        gives(
            "a variable of a Service",
            MAKE,
            json!({ "env": [{ "name": "API", "value": "https://$(KUBERNETES_SERVICE_HOST)" }] }),
            ["API=https://10.0.0.1"],
        ),
        gives(
            "a container's own before that of a Service",
            MAKE,
            json!({ "envFrom": [{ "prefix": "WEB_SERVICE_", "configMapRef": { "name": "more" } }],
                    "env": [{ "name": "WEB_SERVICE_HOST", "value": "mine" }, { "name": "H", "value": "$(WEB_SERVICE_HOST)" }] }),
            ["H=mine"],
        ),
    ]);
}

fn resolved(container: Value) -> outrigger_plugin::Materials {
    let spec = json!({ "containers": [container] });
    World::new().resolve(&spec).unwrap().materials
}

#[test]
fn commands_see_all_variables() {
    // pkg/kubelet/container ExpandContainerCommandAndArgs
    let materials = resolved(json!({ "name": "app",
        "command": ["/bin/run", "--host=$(WEB_SERVICE_HOST)"],
        "args": ["$(LAST)", "$$(LAST)", "$(NOBODY)", "$(IP)"],
        "env": [{ "name": "IP", "valueFrom": { "fieldRef": { "fieldPath": "status.podIP" } } },
                { "name": "LAST", "value": "z" }] }));
    let command = &materials.commands["app"];
    let all = |values: &[outrigger_plugin::Value]| values.iter().map(show).collect::<Vec<_>>();
    assert_eq!(all(&command.command), ["/bin/run", "--host=10.0.0.20"]);
    assert_eq!(all(&command.args), ["z", "$(LAST)", "$(NOBODY)", "<podIP>"]);
    assert!(!command.secret);
}

#[test]
fn a_command_with_a_secret_in_it_is_marked() {
    let materials = resolved(json!({ "name": "app", "args": ["-p", "$(password)"],
        "envFrom": [{ "secretRef": { "name": "login" } }] }));
    let command = &materials.commands["app"];
    assert_eq!(show(&command.args[1]), "hunter2");
    assert!(command.secret);
}

#[test]
fn a_container_without_a_command_has_none() {
    assert!(resolved(json!({ "name": "app" })).commands.is_empty());
}

#[test]
fn paths_in_volumes() {
    let path = |expression: &str| {
        json!({ "volumeMounts": [{ "name": "v", "mountPath": "/m", "subPathExpr": expression }],
                "env": [{ "name": "A", "value": "a" }, { "name": "EMPTY", "value": "" },
                        { "name": "UP", "value": ".." }, { "name": "ROOT", "value": "/etc" },
                        { "name": "IP", "valueFrom": { "fieldRef": { "fieldPath": "status.podIP" } } }] })
    };
    let source = "pkg/kubelet/container ExpandContainerVolumeMounts, kubelet makeMounts";
    for (expression, expected) in [
        ("$(A)/logs", "a/logs"),
        ("plain", "plain"),
        ("$$(A)", "$(A)"),
        ("$(IP)/x", "<podIP>/x"),
        ("$(KUBERNETES_SERVICE_PORT)", "443"),
    ] {
        let mut container = path(expression);
        container["name"] = json!("app");
        let paths = resolved(container).sub_paths;
        assert_eq!(show(&paths["app"]["/m"]), expected, "{expression}");
    }
    check_env(vec![
        holds("unknown variables", source, path("$(Z)/$(B)"), "missing value for B, Z"),
        holds("an empty variable", source, path("$(EMPTY)"), "missing value for EMPTY"),
        holds(
            "a path from the root",
            source,
            path("$(ROOT)"),
            "error SubPath `/etc` must not be an absolute path",
        ),
        holds(
            "a path that leaves the volume",
            source,
            path("a/$(UP)/b"),
            "unable to provision SubPath `a/../b`: must not contain '..'",
        ),
    ]);
}
