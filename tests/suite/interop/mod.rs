//! Other people's clients, each as it is: what they do with a pod's streams, through the API server and straight with the
//! node. One file for each client; what is asked of all of them is in `commands`, `logs`, `ports` and `killed`.
//!
//! Every client is a program that is called like kubectl. Those that are none are in `tests/interop`.
//!
//! `OUTRIGGER_SUITE_KUBECTLS` names the minors of kubectl (the two newest without it; `installed` stands for those of this
//! machine), `OUTRIGGER_SUITE_LOG_MIB` how much of a log is followed (32), `OUTRIGGER_SUITE_COPY_MIB` how much is copied (64).

/// The same tests for the clients that this function gives.
macro_rules! matrix {
    ($name:literal, $clients:path) => {
        use crate::interop::field::each;

        #[tokio::test]
        async fn exit_codes_and_both_outputs_arrive_vk_818_791() {
            let scenario = crate::interop::commands::exit_codes;
            each(concat!($name, "_codes"), $clients, scenario).await;
        }

        #[tokio::test]
        async fn much_output_to_a_slow_reader_is_whole() {
            let scenario = crate::interop::commands::much_output;
            each(concat!($name, "_output"), $clients, scenario).await;
        }

        #[tokio::test]
        async fn files_are_copied_both_ways() {
            let scenario = crate::interop::commands::copies;
            each(concat!($name, "_copies"), $clients, scenario).await;
        }

        #[tokio::test]
        async fn a_terminal_changes_its_size() {
            let scenario = crate::interop::commands::terminal;
            each(concat!($name, "_tty"), $clients, scenario).await;
        }

        #[tokio::test]
        async fn a_log_is_followed_to_its_end_however_slowly() {
            let scenario = crate::interop::logs::followed;
            each(concat!($name, "_logs"), $clients, scenario).await;
        }

        #[tokio::test]
        async fn a_hundred_connections_go_to_a_port_vk_170_471() {
            let scenario = crate::interop::ports::parallel;
            each(concat!($name, "_ports"), $clients, scenario).await;
        }

        #[tokio::test]
        async fn a_killed_client_leaves_nothing_behind_vk_1203_1425() {
            let scenario = crate::interop::killed::nothing_is_left;
            each(concat!($name, "_killed"), $clients, scenario).await;
        }
    };
}

mod client;
mod client_go;
mod commands;
mod declared;
mod field;
mod killed;
mod kube_rs;
mod kubectl;
mod logs;
mod ports;
mod python;
