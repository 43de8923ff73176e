//! Finds what differs and is not allowed to.

use super::case::Case;
use super::course::Facts;
use super::course::Watch;
use super::differences;
use super::pair::OURS;
use super::pair::THEIRS;
use crate::harness::Test;
use std::collections::BTreeSet;
use std::fmt::Display;
use std::fmt::Formatter;
use std::time::Duration;
use tokio::time::Instant;

/// For a kubelet's slower rounds, and events that come after what they are about.
const PATIENCE: Duration = Duration::from_secs(20);
/// Between two looks.
const PAUSE: Duration = Duration::from_millis(100);

/// Something that is not the same; what one side does not have is `None`.
#[derive(Clone, Debug)]
pub struct Difference {
    pub path: String,
    pub kubelet: Option<String>,
    pub ours: Option<String>,
}

impl Display for Difference {
    fn fmt(&self, f: &mut Formatter<'_>) -> std::fmt::Result {
        let show = |value: &Option<String>| {
            value
                .as_ref()
                .map_or("nothing".to_owned(), |value| format!("{value:?}"))
        };
        write!(
            f,
            "{}: kubelet {}, ours {}",
            self.path,
            show(&self.kubelet),
            show(&self.ours)
        )
    }
}

/// All that differs.
pub fn between(kubelet: &Facts, ours: &Facts) -> Vec<Difference> {
    let paths: BTreeSet<_> = kubelet.keys().chain(ours.keys()).collect();
    let differing = paths.into_iter().filter(|path| kubelet.get(*path) != ours.get(*path));
    differing
        .map(|path| Difference {
            path: path.clone(),
            kubelet: kubelet.get(path).cloned(),
            ours: ours.get(path).cloned(),
        })
        .collect()
}

/// Fails with what differs in a case without being allowed to, and with what is allowed and does not differ.
pub fn assert_allowed(case: &str, differences: &[Difference]) {
    let refused = differences::refused(case, differences);
    assert!(
        refused.is_empty(),
        "{case} differs from the kubelet:\n  {}",
        refused.join("\n  ")
    );
}

/// Compares what the API shows of both pods, as soon as that is complete.
pub async fn courses(test: &Test, watch: &Watch, name: &str, case: &Case) {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let kubelet = watch.facts(test, THEIRS, |pod| case.looks_at(pod)).await;
        let ours = watch.facts(test, OURS, |pod| case.looks_at(pod)).await;
        let mut differences = between(&kubelet, &ours);
        let (theirs, our) = (watch.writes(THEIRS), watch.writes(OURS));
        if our > theirs {
            differences.push(Difference {
                path: "writes".to_owned(),
                kubelet: Some(theirs.to_string()),
                ours: Some(our.to_string()),
            });
        }
        if Instant::now() >= deadline || differences::refused(name, &differences).is_empty() {
            println!("{}{}", watch.story(THEIRS), watch.story(OURS));
            println!("{name}: {theirs} writes of a status by the kubelet, {our} by ours");
            return assert_allowed(name, &differences);
        }
        tokio::time::sleep(PAUSE).await;
    }
}
