/// Which halves of a stream are still open. Each ends once, by FIN; a stream is over when both have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Halves {
    /// Both sides may send.
    Both,
    /// Our FIN is sent; the peer may send.
    TheirsOnly,
    /// The peer's FIN has come; we may send.
    OursOnly,
    /// Nobody may send: nothing needs to be known about the stream any more.
    Neither,
}

impl Halves {
    /// Ours has ended. `false` if it had before.
    pub(super) fn end_ours(&mut self) -> bool {
        let (next, did) = match *self {
            Halves::Both => (Halves::TheirsOnly, true),
            Halves::OursOnly => (Halves::Neither, true),
            ended => (ended, false),
        };
        *self = next;
        did
    }

    /// The peer's has ended. `false` if it had before.
    pub(super) fn end_theirs(&mut self) -> bool {
        let (next, did) = match *self {
            Halves::Both => (Halves::OursOnly, true),
            Halves::TheirsOnly => (Halves::Neither, true),
            ended => (ended, false),
        };
        *self = next;
        did
    }

    /// Whether the peer may send.
    pub(super) fn theirs(self) -> bool {
        matches!(self, Halves::Both | Halves::TheirsOnly)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_step_of_the_table() {
        use Halves::{Both, Neither, OursOnly, TheirsOnly};
        for (from, ours, theirs) in [
            (Both, (TheirsOnly, true), (OursOnly, true)),
            (TheirsOnly, (TheirsOnly, false), (Neither, true)),
            (OursOnly, (Neither, true), (OursOnly, false)),
            (Neither, (Neither, false), (Neither, false)),
        ] {
            let mut halves = from;
            let did = halves.end_ours();
            assert_eq!((halves, did), ours);
            let mut halves = from;
            let did = halves.end_theirs();
            assert_eq!((halves, did), theirs);
            assert_eq!(from.theirs(), theirs.1);
        }
    }
}
