//! Names of a pod, and how it finds others: what is in its files of /etc.

use super::case::Case;
use super::case::is_over;
use super::given;
use super::pair::Pair;
use crate::harness::Shown;
use serde_json::Value;
use serde_json::json;
use std::borrow::Borrow;

const PRINT: &str = "echo hostname $(hostname); cat /etc/resolv.conf; grep -A9 HostAliases /etc/hosts | grep -v '#'";

/// Facts of a line for each: what, and the words behind it.
fn printed(log: &str) -> Vec<(String, String)> {
    let mut aliases = 0;
    let mut all = Vec::new();
    for line in log.lines() {
        let mut words = line.split_whitespace();
        let what = words.next().unwrap_or_default();
        let rest: Vec<_> = words.collect();
        match what {
            "hostname" | "search" => all.push((what.to_owned(), rest.join(" "))),
            "options" => all.push((what.to_owned(), sorted(rest))),
            "nameserver" => all.push((format!("nameserver {}", rest.join(" ")), String::new())),
            address => {
                all.push((format!("alias {aliases}"), format!("{address} {}", rest.join(" "))));
                aliases += 1;
            }
        }
    }
    all
}

/// A kubelet writes options in any order.
fn sorted<T: Ord + Borrow<str>>(mut options: Vec<T>) -> String {
    options.sort();
    options.join(" ")
}

fn shown(shown: &Shown) -> Vec<(String, String)> {
    let names = shown.0.iter().find(|line| !line["hostname"].is_null()).unwrap();
    let list = |value: &Value| -> Vec<String> { serde_json::from_value(value.clone()).unwrap_or_default() };
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let dns = &names["dns"];
    let mut all = vec![("hostname".to_owned(), text(&names["hostname"]))];
    let (searches, options) = (list(&dns["searches"]), list(&dns["options"]));
    if !searches.is_empty() {
        all.push(("search".to_owned(), searches.join(" ")));
    }
    if !options.is_empty() {
        all.push(("options".to_owned(), sorted(options)));
    }
    let servers = list(&dns["nameservers"]).into_iter();
    all.extend(servers.map(|server| (format!("nameserver {server}"), String::new())));
    for (at, alias) in names["hosts"].as_array().unwrap().iter().enumerate() {
        let words = format!("{} {}", text(&alias["ip"]), list(&alias["names"]).join(" "));
        all.push((format!("alias {at}"), words));
    }
    all
}

async fn same(name: &str, spec: Value) {
    // As the kubelet has it.
    let resolv_conf = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(resolv_conf.path(), "nameserver 192.0.2.53\n").unwrap();
    let config = json!({ "kubelet": { "resolvConf": resolv_conf.path() } });
    let Some(pair) = Pair::with(&format!("or_{}", name.replace(' ', "_")), config).await else {
        return;
    };
    let mut spec = spec;
    spec["restartPolicy"] = json!("Never");
    given::same(&pair, name, Case::shell(PRINT, spec, is_over), printed, shown).await;
}

#[tokio::test]
async fn of_an_ordinary_pod() {
    same("names", json!({})).await;
}

#[tokio::test]
async fn of_a_pod_with_all_of_them() {
    let dns = json!({
        "nameservers": ["192.0.2.54"], "searches": ["pod.example", "svc.cluster.local"],
        "options": [{ "name": "ndots", "value": "2" }, { "name": "edns0" }],
    });
    let spec = json!({
        "hostname": "box", "subdomain": "boxes", "setHostnameAsFQDN": true, "dnsConfig": dns,
        "hostAliases": [{ "ip": "192.0.2.7", "hostnames": ["db", "db.example"] }, { "ip": "192.0.2.8", "hostnames": ["mail"] }],
    });
    same("names all", spec).await;
}

#[tokio::test]
async fn of_a_pod_that_asks_as_its_node_does() {
    same("names default", json!({ "dnsPolicy": "Default" })).await;
}

#[tokio::test]
async fn of_a_pod_that_brings_its_own() {
    let spec =
        json!({ "dnsPolicy": "None", "dnsConfig": { "nameservers": ["192.0.2.9"], "searches": ["own.example"] } });
    same("names none", spec).await;
}
