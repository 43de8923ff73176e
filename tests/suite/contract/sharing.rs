//! What users rely on does not depend on how many nodes a host has: pods and nodes where all nodes share one watch of pods
//! and one of Nodes, in place of one each.

use super::nodes;
use super::pods;
use super::restart;
use crate::harness::sharing_watches;

macro_rules! shared {
    ($($module:ident::$test:ident,)+) => {
        $(
            #[test]
            fn $test() {
                sharing_watches($module::$test);
            }
        )+
    };
}

shared! {
    pods::a_pod_runs_vk_1399,
    pods::a_deletion_ends_when_the_containers_do_and_the_end_is_told_before_vk_982,
    pods::a_forced_deletion_ends_the_pod_in_the_backend_too,
    pods::a_name_can_be_used_again_at_once_vk_907_1157_867,
    pods::a_pod_that_is_deleted_while_it_is_made_leaves_nothing_behind,
    pods::ends_are_told_as_they_are,
    pods::a_pod_that_vanished_is_made_again_under_its_uid_vk_978_78,
    pods::a_changed_image_restarts_its_container_and_no_other,
    nodes::a_deleted_node_comes_back_vk_886,
    nodes::own_keys_are_repaired_and_those_of_others_left_alone,
    nodes::one_host_runs_many_nodes_of_many_providers_vk_145_251_565,
    restart::pods_outlive_the_host,
    restart::what_was_forced_away_meanwhile_is_swept_up,
    restart::an_api_server_that_is_away_is_waited_for,
}
