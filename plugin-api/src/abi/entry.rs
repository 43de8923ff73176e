//! The functions behind the tables. Each is wrapped whole: nothing of the provider runs outside a guard.

use super::{
    Exported,
    guard::guard,
    instance::{Instance, call_of},
    link::HostLink,
    trace,
};
use crate::{Call, Host, Provider, ProviderError, Result, request};
use outrigger_wire::{ABI_MINOR, CallHeader, CapabilityEntry, HostServicesRef, ROption, RSlice, RStr, RVec, code};
use serde::{Serialize, de::DeserializeOwned};
use std::{future::Future, sync::Arc, time::Duration};

/// Decodes the body and runs `work` on the instance. The decoding happens on the plugin's thread.
pub(super) fn start<P, B, F, T>(
    instance: u64,
    header: CallHeader,
    body: RSlice<'_, u8>,
    work: impl FnOnce(Arc<P>, Call, B) -> F + Send + 'static,
) -> u32
where
    P: Provider,
    B: DeserializeOwned + Send,
    F: Future<Output = Result<T>> + Send,
    T: Serialize,
{
    guard(move || {
        // Here and not where the work begins: the caller's time runs while that waits for a thread.
        let call = call_of(header);
        let Some(instance) = Instance::<P>::find(instance) else {
            return code::NOT_FOUND;
        };
        let Some(provider) = instance.provider() else {
            return code::UNAVAILABLE;
        };
        let body = body.to_vec();
        instance.spawn(header, async move {
            let request = decode(&body)?;
            drop(body);
            work(provider, call, request).await
        })
    })
    .unwrap_or(code::PANICKED)
}

fn decode<B: DeserializeOwned>(body: &[u8]) -> Result<B> {
    serde_json::from_slice(body)
        .map_err(|source| ProviderError::invalid("unable to read the host's request").with_source(source))
}

pub(super) extern "C" fn describe<P: Exported>() -> RVec<u8> {
    let described = guard(|| {
        let mut info = P::info();
        info.sdk = env!("CARGO_PKG_VERSION").to_owned();
        info.build = build_text();
        info.config_schema = schemars::schema_for!(P::Config).into();
        info.capabilities = P::CAPABILITIES.iter().map(|id| (*id).to_owned()).collect();
        serde_json::to_vec(&info).unwrap_or_default()
    });
    described.unwrap_or_default().into()
}

/// Blanks what stands in double quotes: serde quotes a text that it did not expect, and in a config that may be a secret.
fn without_values(text: &str) -> String {
    let Some((before, rest)) = text.split_once('"') else {
        return text.to_owned();
    };
    // The text may hold quotes itself: everything up to the last one is taken for the value.
    let after = rest.rsplit_once('"').map_or("", |(_, after)| after);
    format!("{before}(not shown){after}")
}

fn build_text() -> String {
    let profile = if cfg!(debug_assertions) { "debug" } else { "release" };
    format!(
        "abi 1.{ABI_MINOR}, {}-{}, {profile}",
        std::env::consts::ARCH,
        std::env::consts::OS
    )
}

pub(super) extern "C" fn create<P: Exported>(
    services: HostServicesRef,
    host: u64,
    header: CallHeader,
    body: RSlice<'_, u8>,
) -> u64 {
    let link = HostLink::new(services, host);
    let make = move || {
        trace::install(link);
        let body = body.to_vec();
        Instance::<P>::launch(link, header, move || async move {
            let request: request::StartRequest = decode(&body)?;
            let config = serde_json::from_value(request.config).map_err(|source| {
                let reason = without_values(&source.to_string());
                ProviderError::invalid(format!("unable to read provider config: {reason}"))
            })?;
            P::start(config, Host::new(link, request.provider)).await
        })
        .inspect_err(|error| tracing::error!(%error, "unable to make a runtime for the provider"))
    };
    match link.on_thread(|| guard(make)) {
        Ok(Ok(id)) => id,
        // The host hears no more than this; why is in its log.
        Ok(Err(_)) | Err(_) => 0,
    }
}

pub(super) extern "C" fn sync<P: Provider>(instance: u64, header: CallHeader, body: RSlice<'_, u8>) -> u32 {
    start::<P, request::SyncRequest, _, _>(instance, header, body, |provider, call, request| async move {
        provider
            .sync(call, request.pods)
            .await
            .map(|pods| request::PodList { pods })
    })
}

pub(super) extern "C" fn create_pod<P: Provider>(instance: u64, header: CallHeader, body: RSlice<'_, u8>) -> u32 {
    start::<P, _, _, _>(instance, header, body, |provider, call, request| async move {
        provider.create(call, request).await
    })
}

pub(super) extern "C" fn update_pod<P: Provider>(instance: u64, header: CallHeader, body: RSlice<'_, u8>) -> u32 {
    start::<P, _, _, _>(instance, header, body, |provider, call, request| async move {
        provider.update(call, request).await
    })
}

pub(super) extern "C" fn stop_pod<P: Provider>(instance: u64, header: CallHeader, body: RSlice<'_, u8>) -> u32 {
    start::<P, request::StopRequest, _, _>(instance, header, body, |provider, call, request| async move {
        provider
            .stop(call, request.identity, Duration::from_millis(request.grace_ms))
            .await
    })
}

pub(super) extern "C" fn remove_pod<P: Provider>(instance: u64, header: CallHeader, body: RSlice<'_, u8>) -> u32 {
    start::<P, request::PodKey, _, _>(instance, header, body, |provider, call, request| async move {
        provider.remove(call, request.identity).await
    })
}

pub(super) extern "C" fn get_pod<P: Provider>(instance: u64, header: CallHeader, body: RSlice<'_, u8>) -> u32 {
    start::<P, request::PodKey, _, _>(instance, header, body, |provider, call, request| async move {
        provider.get(call, request.identity).await
    })
}

pub(super) extern "C" fn list_pods<P: Provider>(instance: u64, header: CallHeader, body: RSlice<'_, u8>) -> u32 {
    start::<P, serde::de::IgnoredAny, _, _>(instance, header, body, |provider, call, _| async move {
        provider.list(call).await.map(|pods| request::PodList { pods })
    })
}

pub(super) extern "C" fn describe_node<P: Provider>(instance: u64, header: CallHeader, body: RSlice<'_, u8>) -> u32 {
    start::<P, request::NodeKey, _, _>(instance, header, body, |provider, call, request| async move {
        provider.describe_node(call, request.node).await
    })
}

pub(super) extern "C" fn ping<P: Provider>(instance: u64, header: CallHeader, body: RSlice<'_, u8>) -> u32 {
    start::<P, serde::de::IgnoredAny, _, _>(instance, header, body, |provider, call, _| async move {
        provider.ping(call).await
    })
}

pub(super) extern "C" fn shutdown<P: Provider>(instance: u64, header: CallHeader, body: RSlice<'_, u8>) -> u32 {
    start::<P, serde::de::IgnoredAny, _, _>(instance, header, body, |provider, call, _| async move {
        provider.shutdown(call).await
    })
}

pub(super) extern "C" fn cancel<P: Provider>(instance: u64, call: u64) -> u32 {
    guard(|| Instance::<P>::find(instance).map_or(code::NOT_FOUND, |instance| instance.cancel(call)))
        .unwrap_or(code::PANICKED)
}

pub(super) extern "C" fn release<P: Provider>(instance: u64) {
    // A panic in a drop is a line in the log and no more: the instance is gone either way.
    let _ = guard(|| Instance::<P>::release(instance));
}

pub(super) extern "C" fn set_log_level(level: u32) {
    let _ = guard(|| trace::set_level(level));
}

pub(super) extern "C" fn capability<P: Exported>(id: RStr<'_>) -> ROption<CapabilityEntry> {
    guard(|| P::capability(id.as_str())).ok().flatten().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_config_fault_shows_no_value() {
        let fault = serde_json::from_value::<u64>(serde_json::json!("hunter2 \"x\" hunter3")).unwrap_err();
        let text = without_values(&fault.to_string());
        assert_eq!(text, "invalid type: string (not shown), expected u64");
        assert_eq!(without_values("missing field `zone`"), "missing field `zone`");
    }
}
