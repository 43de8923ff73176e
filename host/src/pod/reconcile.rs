//! What to do next for a pod: a pure function of what is true.
//!
//! The controller gathers [`Facts`], asks [`next`], and runs the step. Every step is idempotent and every fact can be
//! found again after a crash at any point, from the API server and from the provider, so there is nothing to remember.
//!
//! ```text
//!             create            update, status            stop            status        remove       delete
//!  (absent) ─────────▶ present ◀────────────▶ present ─────────▶ ended ─────────▶ ended ────────▶ removed ──▶ (gone)
//! ```

use std::time::Duration;

/// The pod in the API server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Api {
    /// It should run.
    Live,
    /// Its end is recorded: the phase is `Succeeded` or `Failed`.
    Finished,
    /// It should go, within a grace period.
    Deleting {
        /// What is left of the grace period.
        grace: Duration,
    },
    /// A list lacked it, together with so many others that the API server may be the one that lost them: see
    /// [`super::orphans`].
    Lost,
    /// The object is gone.
    Gone,
}

/// The pod in the backend, as far as is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Backend {
    /// The provider does not have it, and never had as far as anybody knows.
    Absent,
    /// The provider has it, and something of it may run.
    Present,
    /// The provider has it, and all its containers have ended for good.
    Ended,
    /// The provider had it and has it no more, though nobody asked for that.
    Vanished,
    /// The provider has released it on request.
    Removed,
}

/// Whether the pod may run here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Admission {
    /// It may.
    Accepted,
    /// Not as it is: it waits.
    Held,
    /// The kubelet's admission says no: it fails.
    Rejected,
}

/// All that the next step depends on.
#[derive(Clone, Copy, Debug)]
pub struct Facts {
    pub api: Api,
    pub backend: Backend,
    pub admission: Admission,
    /// The API server's status differs from what it should be.
    pub status_due: bool,
    /// The manifest or the materials have changed since the provider took them, or may have.
    pub update_due: bool,
    /// Something that the pod refers to is missing, or still being read.
    pub wanting: bool,
    /// `activeDeadlineSeconds` have passed.
    pub overdue: bool,
    /// Its phase would be final, but for what still runs of it: a sidecar behind an init container that has failed, a container
    /// for debugging behind those that have done their work.
    pub finishing: bool,
    /// A pod that vanished is made again (`restartPolicy` other than `Never`).
    pub again: bool,
    /// But not yet: it has vanished more than once.
    pub pausing: bool,
    /// Another pod of the same name has not ended yet.
    pub predecessor: bool,
    /// The final DELETE has been accepted; finalizers may keep the object.
    pub deleted: bool,
    /// The API server is taking the object away, which it does in two steps: a status that comes between them has it delete
    /// whatever has the name by then (`deleteWithoutFinalizers` of its registry looks at no UID), the pod's successor perhaps.
    pub forced: bool,
    /// Grace period of a stop that the manifest asks for.
    pub grace: Duration,
    /// The terminal status is in the API server.
    pub end_recorded: bool,
}

/// What to do next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Nothing until something changes.
    Rest,
    /// Have the provider run it.
    Create,
    /// Have the provider take the changed manifest.
    Update,
    /// Have the provider stop its containers.
    Stop { grace: Duration },
    /// Have the provider release it.
    Remove,
    /// Send the status.
    WriteStatus,
    /// Send the final DELETE.
    Delete,
    /// Drop the record: it is gone on both sides.
    Forget,
}

/// A pod that was taken from the API server by force is stopped with the kubelet's least grace period.
const FORCED_GRACE: Duration = Duration::from_secs(1);

/// The next step. `Rest` when nothing is to be done until a fact changes.
pub fn next(facts: &Facts) -> Step {
    match facts.api {
        Api::Gone => match facts.backend {
            Backend::Present => Step::Stop { grace: FORCED_GRACE },
            Backend::Ended => Step::Remove,
            Backend::Absent | Backend::Vanished | Backend::Removed => Step::Forget,
        },
        Api::Lost => match facts.backend {
            Backend::Present | Backend::Ended => Step::Rest,
            Backend::Absent | Backend::Vanished | Backend::Removed => Step::Forget,
        },
        Api::Deleting { grace } => match facts.backend {
            Backend::Present => Step::Stop { grace },
            _ if !facts.end_recorded && !facts.forced => Step::WriteStatus,
            Backend::Ended => Step::Remove,
            _ if facts.deleted => Step::Rest,
            _ => Step::Delete,
        },
        Api::Finished => match facts.backend {
            // Somebody recorded an end while it still runs: an eviction, a deadline.
            Backend::Present => Step::Stop { grace: facts.grace },
            _ if facts.status_due => Step::WriteStatus,
            _ => Step::Rest,
        },
        Api::Live => live(facts),
    }
}

fn live(facts: &Facts) -> Step {
    let write_if_due = if facts.status_due {
        Step::WriteStatus
    } else {
        Step::Rest
    };
    match facts.backend {
        Backend::Present if facts.overdue => Step::Stop { grace: facts.grace },
        // What it has come to is told first: that may show that it is not so.
        Backend::Present if facts.finishing && !facts.status_due => Step::Stop { grace: facts.grace },
        Backend::Present if facts.update_due && !facts.wanting => Step::Update,
        Backend::Present | Backend::Ended => write_if_due,
        // Its end was not recorded before it was released: a write was lost, or its stop found nothing any more.
        Backend::Removed => write_if_due,
        Backend::Vanished if !facts.again || facts.overdue || facts.pausing => write_if_due,
        Backend::Absent | Backend::Vanished => match facts.admission {
            Admission::Held | Admission::Rejected => write_if_due,
            Admission::Accepted if facts.overdue => write_if_due,
            Admission::Accepted if facts.predecessor => Step::Rest,
            Admission::Accepted if facts.wanting => write_if_due,
            Admission::Accepted => Step::Create,
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn facts(api: Api, backend: Backend) -> Facts {
        Facts {
            api,
            backend,
            admission: Admission::Accepted,
            status_due: false,
            update_due: false,
            wanting: false,
            overdue: false,
            finishing: false,
            again: true,
            pausing: false,
            predecessor: false,
            deleted: false,
            forced: false,
            grace: Duration::from_secs(30),
            end_recorded: false,
        }
    }

    const DELETING: Api = Api::Deleting {
        grace: Duration::from_secs(7),
    };

    fn every() -> impl Iterator<Item = Facts> {
        let apis = [Api::Live, Api::Finished, DELETING, Api::Lost, Api::Gone];
        let backends = [
            Backend::Absent,
            Backend::Present,
            Backend::Ended,
            Backend::Vanished,
            Backend::Removed,
        ];
        let admissions = [Admission::Accepted, Admission::Held, Admission::Rejected];
        apis.into_iter().flat_map(move |api| {
            backends.into_iter().flat_map(move |backend| {
                admissions.into_iter().flat_map(move |admission| {
                    (0..1024_u32).map(move |bits| Facts {
                        admission,
                        status_due: bits & 1 != 0,
                        update_due: bits & 2 != 0,
                        overdue: bits & 4 != 0,
                        again: bits & 8 != 0,
                        predecessor: bits & 16 != 0,
                        deleted: bits & 32 != 0,
                        end_recorded: bits & 64 != 0 || api == Api::Finished,
                        wanting: bits & 256 != 0,
                        forced: bits & 512 != 0 && matches!(api, Api::Deleting { .. }),
                        ..facts(api, backend)
                    })
                })
            })
        })
    }

    #[test]
    fn nothing_is_deleted_before_its_end_is_recorded_and_released() {
        for facts in every().filter(|facts| next(facts) == Step::Delete) {
            assert!(facts.end_recorded || facts.forced, "{facts:?}");
            assert!(
                matches!(facts.backend, Backend::Absent | Backend::Vanished | Backend::Removed),
                "{facts:?}"
            );
            assert!(matches!(facts.api, Api::Deleting { .. }), "{facts:?}");
        }
    }

    #[test]
    fn nothing_is_released_while_it_may_run_or_should_run() {
        for facts in every().filter(|facts| next(facts) == Step::Remove) {
            assert_eq!(facts.backend, Backend::Ended, "{facts:?}");
            assert!(matches!(facts.api, Api::Gone | Api::Deleting { .. }), "{facts:?}");
        }
    }

    #[test]
    fn only_a_live_and_accepted_pod_is_created_and_never_beside_its_predecessor() {
        for facts in every().filter(|facts| next(facts) == Step::Create) {
            assert_eq!(facts.api, Api::Live, "{facts:?}");
            assert_eq!(facts.admission, Admission::Accepted, "{facts:?}");
            assert!(!facts.predecessor && !facts.overdue && !facts.wanting, "{facts:?}");
            assert!(
                facts.backend == Backend::Absent || facts.backend == Backend::Vanished && facts.again,
                "{facts:?}"
            );
        }
    }

    #[test]
    fn what_is_missing_holds_changes_and_never_an_end() {
        for facts in every().filter(|facts| facts.wanting) {
            assert_ne!(next(&facts), Step::Update, "{facts:?}");
            if facts.api != Api::Live {
                let supplied = Facts {
                    wanting: false,
                    ..facts
                };
                assert_eq!(next(&facts), next(&supplied), "{facts:?}");
            }
        }
    }

    #[test]
    fn of_what_is_taken_away_by_force_no_status_is_written() {
        for facts in every().filter(|facts| facts.forced) {
            assert_ne!(next(&facts), Step::WriteStatus, "{facts:?}");
        }
    }

    #[test]
    fn a_record_is_dropped_only_when_it_is_gone_on_both_sides_vk_1045() {
        for facts in every().filter(|facts| next(facts) == Step::Forget) {
            assert!(matches!(facts.api, Api::Gone | Api::Lost), "{facts:?}");
            assert!(!matches!(facts.backend, Backend::Present | Backend::Ended), "{facts:?}");
        }
    }

    #[test]
    fn what_the_api_server_may_have_lost_is_left_alone() {
        for facts in every().filter(|facts| facts.api == Api::Lost) {
            assert!(matches!(next(&facts), Step::Rest | Step::Forget), "{facts:?}");
        }
    }

    /// Runs the steps against a model of both sides that does as asked, from every state: it always comes to rest.
    #[test]
    fn every_state_comes_to_rest() {
        for start in every() {
            let mut facts = start;
            let mut path = Vec::new();
            loop {
                let step = next(&facts);
                path.push(step);
                assert!(path.len() < 12, "{start:?}: {path:?}");
                match step {
                    Step::Rest | Step::Forget => break,
                    Step::Create => (facts.backend, facts.status_due) = (Backend::Present, true),
                    Step::Update => (facts.update_due, facts.status_due) = (false, true),
                    Step::Stop { .. } => (facts.backend, facts.status_due) = (Backend::Ended, true),
                    Step::Remove => facts.backend = Backend::Removed,
                    Step::WriteStatus => {
                        facts.status_due = false;
                        let ends = facts.overdue
                            || facts.admission == Admission::Rejected
                            || facts.backend == Backend::Vanished && !facts.again;
                        match facts.api {
                            Api::Deleting { .. } => facts.end_recorded = true,
                            Api::Live if ends => (facts.api, facts.end_recorded) = (Api::Finished, true),
                            _ => {}
                        }
                    }
                    Step::Delete => facts.deleted = true,
                }
            }
        }
    }

    #[test]
    fn the_way_down_stops_then_records_then_releases_then_deletes() {
        let mut facts = facts(DELETING, Backend::Present);
        assert_eq!(
            next(&facts),
            Step::Stop {
                grace: Duration::from_secs(7)
            }
        );
        facts.backend = Backend::Ended;
        assert_eq!(next(&facts), Step::WriteStatus);
        facts.end_recorded = true;
        assert_eq!(next(&facts), Step::Remove);
        facts.backend = Backend::Removed;
        assert_eq!(next(&facts), Step::Delete);
    }

    #[test]
    fn what_would_be_finished_but_for_what_still_runs_is_told_and_then_stopped() {
        let mut facts = Facts {
            finishing: true,
            status_due: true,
            ..facts(Api::Live, Backend::Present)
        };
        assert_eq!(next(&facts), Step::WriteStatus);
        facts.status_due = false;
        assert_eq!(next(&facts), Step::Stop { grace: facts.grace });
    }

    #[test]
    fn a_pod_that_vanished_more_than_once_is_not_made_again_at_once() {
        let mut facts = Facts {
            pausing: true,
            ..facts(Api::Live, Backend::Vanished)
        };
        assert_eq!(next(&facts), Step::Rest);
        facts.status_due = true;
        assert_eq!(next(&facts), Step::WriteStatus);
        facts.pausing = false;
        assert_eq!(next(&facts), Step::Create);
    }
}
