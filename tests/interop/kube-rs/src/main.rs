//! Does with kube-rs what kubectl does, through an API server or straight with a node, for `tests/suite/interop`.
//!
//! ```text
//! interop-kube-rs exec [-i] [-t] POD -- COMMAND...      ends with the command's exit code
//! interop-kube-rs logs POD                              follows the log to its end
//! interop-kube-rs port-forward POD :PORT                prints "Forwarding from ADDRESS -> PORT", goes on until it is killed
//! ```
//!
//! Environment: `KUBECONFIG` and `INTEROP_NAMESPACE`; for a node `INTEROP_NODE`, its address with the port, and
//! `INTEROP_CERTIFICATE` and `INTEROP_KEY`, the files to show it.

mod exec;
mod forward;
mod target;

use std::process::ExitCode;
use target::Target;

/// Whatever goes wrong is shown and ends this.
type Error = Box<dyn std::error::Error + Send + Sync>;

fn main() -> ExitCode {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let outcome = runtime.map_err(Error::from).and_then(|runtime| {
        let outcome = runtime.block_on(run());
        // A read of the terminal that is under way would keep the runtime from ending.
        runtime.shutdown_background();
        outcome
    });
    match outcome.and_then(|code| Ok(u8::try_from(code)?)) {
        Ok(code) => code.into(),
        Err(error) => {
            eprintln!("interop-kube-rs: {error}");
            ExitCode::from(254)
        }
    }
}

async fn run() -> Result<i32, Error> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    let target = Target::new().await?;
    match args[..] {
        ["exec", ref args @ ..] => exec::run(&target, args).await,
        ["logs", pod] => target.follow(pod).await.map(|()| 0),
        ["port-forward", pod, port] => {
            let port = port.strip_prefix(':').unwrap_or(port).parse()?;
            forward::run(target, pod, port).await
        }
        _ => Err("usage: interop-kube-rs exec|logs|port-forward ...".into()),
    }
}
