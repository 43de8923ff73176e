//! Variables that tell a pod of Services.

use super::model::{Service, ServiceLinks};
use std::collections::BTreeMap;

/// The Service of the API server, in the namespace `default`: every pod is told of it.
const API_SERVER: &str = "kubernetes";

impl ServiceLinks {
    /// The variables of the pods in one namespace. `api_server` is the Service `default/kubernetes`; a Service of that
    /// name in the namespace itself takes its place. Services without a cluster IP or port have no variables.
    pub fn new<'a>(api_server: Option<&'a Service>, namespace: impl IntoIterator<Item = &'a Service>) -> Self {
        let mut services = BTreeMap::new();
        if let Some(service) = api_server.filter(|service| has_address(service)) {
            services.insert(API_SERVER, service);
        }
        for service in namespace.into_iter().filter(|service| has_address(service)) {
            services.insert(&service.name, service);
        }
        let mut vars = BTreeMap::new();
        for service in services.into_values() {
            add(&mut vars, service);
        }
        let boxed = |(name, value): (String, String)| (name.into_boxed_str(), value.into_boxed_str());
        Self {
            vars: vars.into_iter().map(boxed).collect(),
        }
    }

    /// The value of a variable.
    pub fn get(&self, name: &str) -> Option<&str> {
        let at = self.vars.binary_search_by(|(key, _)| (**key).cmp(name)).ok()?;
        self.vars.get(at).map(|(_, value)| &**value)
    }

    /// All of them, sorted by name.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.vars.iter().map(|(name, value)| (&**name, &**value))
    }
}

fn has_address(service: &Service) -> bool {
    !matches!(&*service.cluster_ip, "" | "None") && !service.ports.is_empty()
}

fn variable(name: &str) -> String {
    name.replace('-', "_").to_ascii_uppercase()
}

fn add(vars: &mut BTreeMap<String, String>, service: &Service) {
    let prefix = variable(&service.name);
    let ip = &service.cluster_ip;
    let host = if ip.contains(':') {
        format!("[{ip}]")
    } else {
        ip.clone()
    };
    vars.insert(format!("{prefix}_SERVICE_HOST"), ip.clone());
    for (index, port) in service.ports.iter().enumerate() {
        let number = port.port.to_string();
        let protocol = match &*port.protocol {
            "" => "TCP",
            protocol => protocol,
        };
        let url = format!("{}://{host}:{number}", protocol.to_ascii_lowercase());
        if index == 0 {
            vars.insert(format!("{prefix}_SERVICE_PORT"), number.clone());
            vars.insert(format!("{prefix}_PORT"), url.clone());
        }
        if !port.name.is_empty() {
            vars.insert(
                format!("{prefix}_SERVICE_PORT_{}", variable(&port.name)),
                number.clone(),
            );
        }
        // As Docker's container links have them.
        let link = format!("{prefix}_PORT_{number}_{}", protocol.to_ascii_uppercase());
        vars.insert(format!("{link}_PROTO"), protocol.to_ascii_lowercase());
        vars.insert(format!("{link}_PORT"), number);
        vars.insert(format!("{link}_ADDR"), ip.clone());
        vars.insert(link, url);
    }
}
