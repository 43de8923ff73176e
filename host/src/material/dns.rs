//! Name resolution by `dnsPolicy` and `dnsConfig`.
//!
//! Source: the kubelet's `dns.Configurer`. One difference: without `kubelet.clusterDNS` a pod that asks for the cluster's
//! resolver is given the node's, as with a kubelet, but without a warning for each pod: most backends bring their own.

use super::{Notice, resolver::Resolver, view};
use outrigger_plugin::Dns;
use std::collections::HashSet;

/// What resolvers read; the rest is cut off, with an event.
const MOST_SERVERS: usize = 3;
const MOST_SEARCHES: usize = 32;
const LONGEST_SEARCH_LINE: usize = 2048;
const LONGEST_DOMAIN: usize = 253;
/// The option by which short names of Services are found.
const CLUSTER_OPTIONS: &str = "ndots:5";

impl Resolver<'_, '_> {
    /// The pod's name resolution.
    pub fn dns(&mut self) -> Dns {
        let spec = &self.pod.spec;
        let context = self.context;
        let none = spec.dns_policy == "None" && self.supports("dnsPolicy.None");
        // In the host's network, names are those of the host unless the pod says otherwise.
        let of_node = spec.dns_policy == "Default" || spec.host_network && spec.dns_policy != "ClusterFirstWithHostNet";
        let mut dns = if none {
            nothing()
        } else if of_node || context.cluster_dns.is_empty() {
            context.node_dns.cloned().unwrap_or_default()
        } else {
            self.of_cluster()
        };
        if let Some(config) = spec.dns_config.as_ref().filter(|_| self.supports("dnsConfig")) {
            merge(&mut dns, config);
        }
        self.limit(&mut dns);
        dns
    }

    fn of_cluster(&self) -> Dns {
        let context = self.context;
        let domain = context.cluster_domain;
        let mut dns = Dns {
            nameservers: context.cluster_dns.iter().map(ToString::to_string).collect(),
            options: vec![CLUSTER_OPTIONS.to_owned()],
            ..nothing()
        };
        dns.searches = context.node_dns.map(|node| node.searches.clone()).unwrap_or_default();
        if !domain.is_empty() {
            let namespace = &self.pod.metadata.namespace;
            let own = [
                format!("{namespace}.svc.{domain}"),
                format!("svc.{domain}"),
                domain.to_owned(),
            ];
            dns.searches.splice(..0, own);
            drop_repeated(&mut dns.searches);
        }
        dns
    }

    fn limit(&mut self, dns: &mut Dns) {
        if dns.nameservers.len() > MOST_SERVERS {
            dns.nameservers.truncate(MOST_SERVERS);
            let message = format!(
                "Nameserver limits were exceeded, some nameservers have been omitted, the applied nameserver line is: {}",
                dns.nameservers.join(" ")
            );
            self.notice(Notice::warning("DNSConfigForming", message));
        }
        let wanted = dns.searches.len();
        dns.searches.truncate(MOST_SEARCHES);
        // Some resolvers end the process at a longer one.
        dns.searches.retain(|domain| domain.len() <= LONGEST_DOMAIN);
        while line_length(&dns.searches) > LONGEST_SEARCH_LINE {
            dns.searches.pop();
        }
        if dns.searches.len() < wanted {
            let message = format!(
                "Search Line limits were exceeded, some search paths have been omitted, the applied search line is: {}",
                dns.searches.join(" ")
            );
            self.notice(Notice::warning("DNSConfigForming", message));
        }
    }
}

fn nothing() -> Dns {
    Dns {
        inherit: false,
        ..Dns::default()
    }
}

fn line_length(domains: &[String]) -> usize {
    let names: usize = domains.iter().map(String::len).sum();
    names + domains.len().saturating_sub(1)
}

fn drop_repeated(list: &mut Vec<String>) {
    let mut seen = HashSet::new();
    list.retain(|item| seen.insert(item.clone()));
}

/// Adds what a pod asks for; an option takes the place of the one of its name.
fn merge(dns: &mut Dns, config: &view::DnsConfig) {
    for (list, more) in [
        (&mut dns.nameservers, &config.nameservers),
        (&mut dns.searches, &config.searches),
    ] {
        list.extend_from_slice(more);
        drop_repeated(list);
    }
    for option in &config.options {
        let text = match option.value.as_deref() {
            None | Some("") => option.name.clone(),
            Some(value) => format!("{}:{value}", option.name),
        };
        set_option(&mut dns.options, text);
    }
}

fn set_option(options: &mut Vec<String>, option: String) {
    let name = |option: &str| option.split(':').next().map(str::to_owned);
    match options.iter_mut().find(|earlier| name(earlier) == name(&option)) {
        Some(earlier) => *earlier = option,
        None => options.push(option),
    }
}

/// Reads a `resolv.conf`: what `kubelet.resolvConf` names. Lines that say nothing of name servers, search domains or
/// options are passed over, as resolvers do; of several lists of domains the last one counts.
pub fn read_resolv_conf(text: &str) -> Dns {
    let mut dns = nothing();
    for line in text.lines() {
        let mut words = line.split_whitespace();
        match words.next() {
            Some("nameserver") => dns.nameservers.extend(words.next().map(str::to_owned)),
            Some("search") => {
                let domains = words.filter(|domain| *domain != ".");
                dns.searches = domains
                    .map(|domain| domain.strip_suffix('.').unwrap_or(domain).to_owned())
                    .collect();
            }
            Some("options") => words.for_each(|option| set_option(&mut dns.options, option.to_owned())),
            _ => {}
        }
    }
    dns
}
