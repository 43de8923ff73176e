//! The one table of what may differ between a kubelet's node and ours, each with its reason.

use super::compare::Difference;

/// An allowed difference.
struct Allowed {
    /// In which cases; `*` stands for anything. One that is for one case must be met in it, or it has to go; behind what is
    /// not always met stands a star.
    case: &'static str,
    /// Where; a `*` stands for anything.
    path: &'static str,
    /// Why that is so.
    why: &'static str,
}

const fn allowed(case: &'static str, path: &'static str, why: &'static str) -> Allowed {
    Allowed { case, path, why }
}

#[rustfmt::skip]
const TABLE: &[Allowed] = &[
    // What is the mock's, or a provider's, to know.
    allowed("*", "event.Normal.Pulled*", "the mock pulls nothing"),
    allowed("*", "event.Normal.Created*", "the mock creates and starts in one step"),
    allowed("*", "status.*.user.*", "the mock has no users, and an image's are not known to anybody else"),
    allowed("*", "status.*.volumeMounts*", "a provider does not say what it mounted, and whether recursively"),
    allowed("*", "status.resources*", "a pod's cgroup, which no provider tells; with cgroup v1 the kubelet shows \"no limit\" as a number"),
    allowed("*crashes", "status.*.state.waiting.message", "the mock's own words; the reason is the kubelet's"),
    allowed("sidecar_ends", "event.Normal.Killing*", "providers stop sidecars by themselves, and tell when it has happened"),
    allowed("unready", "event.Warning.Unhealthy*", "the mock probes nothing"),
    allowed("unready", "event.Warning.FieldsIgnored*", "as this event says"),

    // New in 1.37, and not followed yet: what the whole pod has been allocated, beside what each container has.
    allowed("burstable", "status.allocatedResources.*", "to come"),
    allowed("guaranteed", "status.allocatedResources.*", "to come"),
    allowed("unknown_resource", "status.allocatedResources.*", "to come"),

    // Events.
    allowed("*", "event.*.message", "the kubelet changes its words from version to version; its reasons stay"),
    allowed("*", "event.Warning.Mandatory*NotFound*", "virtual-kubelet's own name for it, beside the kubelet's"),
    allowed("*", "event.Warning.Optional*NotFound*", "virtual-kubelet's own; a kubelet is silent"),

    // A provider is asked for a whole pod, so it has none before all that the pod refers to is there. A kubelet makes the
    // sandbox first and the environment of each container then.
    allowed("environment *", "status.conditions[PodReadyToStartContainers].*", "no sandbox before the pod is complete"),
    allowed("environment *", "status.podIP*", "and no address"),

    // The last word on a pod that never ran: a kubelet writes it in two steps, and the conditions are of the first.
    allowed("volume deleted", "status.conditions[ContainersReady].*", "ours are of a pod that has failed, as its phase says"),
    allowed("volume deleted", "status.conditions[Ready].*", "likewise"),
    allowed("init_deleted", "status.conditions[ContainersReady].*", "likewise"),
    allowed("init_deleted", "status.conditions[Ready].*", "likewise"),

    // A kubelet leaves the rest of a refused pod's status empty, and removes even the scheduler's condition.
    allowed("refused *", "status.conditions*", "ours says that it is not ready, for who looks only there"),
    allowed("refused *", "status.hostIP*", "and where it was refused"),

    // Host ports are the provider's to give, who may have an address for each pod: a pod that was bound to a node by hand
    // is not refused for one. The scheduler keeps them apart as on any node.
    allowed("host port", "status.*", "it runs"),
    allowed("host port", "phases", "likewise"),
    allowed("host port", "event.*", "likewise; the mock says that it ignores the port"),

    // Files.
    allowed("as_user", "file all/config/color content", "the command that prints it may not read it, which is right"),

    // The kubelet's port. A call without an upgrade goes on to the container runtime there, whose refusal the kubelet calls
    // its own failure.
    allowed("port commands", "* code", "400 in place of 500: it is the caller's mistake"),
    allowed("port commands", "* body", "says what is missing"),
    allowed("port logs", "* kind", "ours is text/plain where a kubelet says nothing of an empty or short text"),
    allowed("port logs", "GET containerLogs/NS/POD body", "one text for all paths that there are not, where a kubelet has two"),
    allowed("port paths", "GET stats/nothing body", "likewise"),
    allowed("port paths", "GET stats *", "not redirected to /stats/, which has no page either"),
    allowed("port paths", "POST stats/summary *", "a GET; POST is left from clients that are gone since 1.18"),
    allowed("port pods", "metadata.annotations", "a kubelet notes from where and when it read the pod, which others do not see"),
    allowed("port runningpods", "metadata.creationTimestamp", "a kubelet tells only what the runtime does"),
    allowed("port pods", "pod.*", "ours name the kind of each pod, too"),
    allowed("port pods*", "container.*", "a kubelet's list is of the state that it read last, which may be an earlier one"),
    allowed("port pods*", "status.podIP*", "likewise"),
];

/// What is not allowed of these, and what is allowed and not among them, as lines.
pub fn refused(case: &str, differences: &[Difference]) -> Vec<String> {
    let table = || TABLE.iter().filter(|entry| matches(entry.case, case));
    let refused = differences
        .iter()
        .filter(|difference| !table().any(|entry| matches(entry.path, &difference.path)));
    let mut lines: Vec<_> = refused.map(ToString::to_string).collect();
    for entry in table().filter(|entry| entry.case == case) {
        if !differences
            .iter()
            .any(|difference| matches(entry.path, &difference.path))
        {
            lines.push(format!(
                "{}: is the same by now, and may go from the table of differences, which says: {}",
                entry.path, entry.why
            ));
        }
    }
    lines
}

/// Whether a path is what a pattern with stars means.
fn matches(pattern: &str, path: &str) -> bool {
    let Some((start, rest)) = pattern.split_once('*') else {
        return pattern == path;
    };
    let Some(path) = path.strip_prefix(start) else {
        return false;
    };
    let mut ends = path.char_indices().map(|(at, _)| at).chain([path.len()]);
    ends.any(|at| matches(rest, &path[at..]))
}

#[test]
fn stars_stand_for_anything() {
    for (pattern, path, expected) in [
        ("status.phase", "status.phase", true),
        ("status.*.user", "status.containerStatuses[app].user", true),
        ("status.*.user*", "status.containerStatuses[app].user.linux.uid", true),
        ("status.*.user", "status.containerStatuses[app].user.linux.uid", false),
        ("*", "", true),
    ] {
        assert_eq!(matches(pattern, path), expected, "{pattern} {path}");
    }
}
