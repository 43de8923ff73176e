use std::time::Duration;

use proptest::prelude::*;

use super::*;
use crate::websocket::{Timing, Use};

const LIMIT: usize = 1000;
const CHANNELS: usize = 3;

fn lanes() -> Lanes {
    let time = Duration::from_secs(1);
    Lanes::new(&Settings {
        role: Role::Client,
        codec: Codec::Raw { half_close: true },
        channels: vec![Use::Both; CHANNELS],
        message: 400,
        receive: LIMIT,
        send: LIMIT,
        timing: Timing {
            idle: time,
            patience: time,
            cap: time,
        },
    })
}

/// What may happen, in any order.
#[derive(Clone, Debug)]
enum Step {
    Deliver(u8, usize),
    EndIncoming(u8),
    Read(usize),
    Ignore(usize),
    Write(usize, usize),
    Shut(usize),
    Send,
    Close,
}

fn step() -> impl Strategy<Value = Step> {
    let channel = 0..CHANNELS;
    prop_oneof![
        (0u8..5, 0usize..400).prop_map(|(c, n)| Step::Deliver(c, n)),
        (0u8..5).prop_map(Step::EndIncoming),
        channel.clone().prop_map(Step::Read),
        channel.clone().prop_map(Step::Read),
        channel.clone().prop_map(Step::Ignore),
        (channel.clone(), 1usize..2000).prop_map(|(c, n)| Step::Write(c, n)),
        (channel.clone(), 1usize..2000).prop_map(|(c, n)| Step::Write(c, n)),
        channel.prop_map(Step::Shut),
        Just(Step::Send),
        Just(Step::Send),
        Just(Step::Close),
    ]
}

/// What must be true of each channel.
#[derive(Default)]
struct Model {
    delivered: Vec<u8>,
    ended: bool,
    ignored: bool,
    written: Vec<u8>,
    shut: bool,
    sent: Vec<u8>,
    end_sent: bool,
}

proptest! {
    /// Bytes come out as they went in, in order and once; queues keep their bounds; ends come last.
    #[test]
    fn bytes_are_conserved(steps in prop::collection::vec(step(), 0..200)) {
        let waker = Waker::noop();
        let cx = Context::from_waker(waker);
        let mut lanes = lanes();
        let mut models: [Model; CHANNELS] = Default::default();
        let mut closing = false;
        let mut next = 0u8;
        for step in steps {
            match step {
                Step::Deliver(channel, length) => {
                    // As the driver does it: not while a lane is full.
                    if !lanes.has_room() && !closing {
                        continue;
                    }
                    next = next.wrapping_add(1);
                    lanes.deliver(channel, vec![next; length].into());
                    if let Some(model) = models.get_mut(usize::from(channel))
                        && !model.ended && !model.ignored
                    {
                        model.delivered.extend(vec![next; length]);
                    }
                }
                Step::EndIncoming(channel) => {
                    let known = usize::from(channel) < CHANNELS;
                    prop_assert_eq!(lanes.end_incoming(channel), known);
                    if known {
                        models[usize::from(channel)].ended = true;
                    }
                }
                Step::Read(channel) => {
                    let model = &mut models[channel];
                    match lanes.poll_read(channel, &cx) {
                        Poll::Pending => prop_assert!(model.delivered.is_empty() && !model.ended),
                        Poll::Ready(Err(error)) => prop_assert!(false, "{error}"),
                        Poll::Ready(Ok(bytes)) if bytes.is_empty() => {
                            prop_assert!(model.ended && model.delivered.is_empty());
                        }
                        Poll::Ready(Ok(bytes)) => {
                            let expected: Vec<u8> = model.delivered.drain(..bytes.len()).collect();
                            prop_assert_eq!(&bytes[..], &expected[..]);
                        }
                    }
                }
                Step::Ignore(channel) => {
                    lanes.ignore(channel);
                    models[channel].ignored = true;
                    models[channel].delivered.clear();
                }
                Step::Write(channel, length) => {
                    next = next.wrapping_add(1);
                    let model = &mut models[channel];
                    match lanes.poll_write(channel, &vec![next; length], 300, &cx) {
                        Poll::Pending => prop_assert!(lanes.outgoing[channel].queued + PIECE >= LIMIT),
                        Poll::Ready(Err(_)) => prop_assert!(model.shut || closing),
                        Poll::Ready(Ok(written)) => {
                            prop_assert!(!model.shut && !closing);
                            prop_assert!(0 < written && written <= length.min(300));
                            model.written.extend(vec![next; written]);
                        }
                    }
                }
                Step::Shut(channel) => {
                    lanes.shut(channel);
                    models[channel].shut = true;
                }
                Step::Send => if let Some(message) = lanes.next_message() {
                    let data = message.into_data();
                    match lanes.codec().decode(data).unwrap() {
                        crate::websocket::Event::Data(channel, data) => {
                            prop_assert!(!models[usize::from(channel)].end_sent);
                            models[usize::from(channel)].sent.extend_from_slice(&data);
                        }
                        crate::websocket::Event::End(channel) => {
                            let model = &mut models[usize::from(channel)];
                            prop_assert!(model.shut && !model.end_sent);
                            model.end_sent = true;
                        }
                        crate::websocket::Event::Nothing => prop_assert!(false),
                    }
                },
                Step::Close => {
                    lanes.close();
                    closing = true;
                    for model in &mut models {
                        model.ended = true;
                        model.ignored = true;
                        model.delivered.clear();
                    }
                }
            }
            for (lane, model) in lanes.incoming.iter().zip(&models) {
                let queued: usize = lane.pieces.iter().map(Bytes::len).sum();
                prop_assert_eq!(queued, model.delivered.len());
                prop_assert_eq!(lane.held, queued + lane.pieces.len() * PIECE);
                // One message may come on top.
                prop_assert!(lane.held < LIMIT + 400 + PIECE);
            }
            for lane in &lanes.outgoing {
                // The word that ends a channel may come on top.
                prop_assert!(lane.queued <= LIMIT + PIECE);
            }
        }
        // Closing or not, all that was taken goes out.
        while let Some(message) = lanes.next_message() {
            if let crate::websocket::Event::Data(channel, data) = lanes.codec().decode(message.into_data()).unwrap() {
                models[usize::from(channel)].sent.extend_from_slice(&data);
            }
        }
        for (lane, model) in lanes.outgoing.iter().zip(&models) {
            prop_assert_eq!(lane.queued, 0);
            prop_assert_eq!(&model.sent, &model.written);
        }
    }
}

#[test]
fn what_has_come_can_be_read_after_the_end() {
    let cx = Context::from_waker(Waker::noop());
    for fails in [false, true] {
        let mut lanes = lanes();
        lanes.deliver(0, Bytes::from_static(b"x"));
        lanes.over(if fails { Err(Arc::new(Error::GivenUp)) } else { Ok(()) });
        // The first word counts, and nothing comes after it.
        lanes.over(Err(Arc::new(Error::Stalled)));
        lanes.deliver(0, Bytes::from_static(b"late"));
        assert!(matches!(lanes.poll_read(0, &cx), Poll::Ready(Ok(piece)) if piece == "x"));
        match lanes.poll_read(0, &cx) {
            Poll::Ready(Ok(piece)) => assert!(!fails && piece.is_empty()),
            Poll::Ready(Err(error)) => assert!(fails && matches!(*error, Error::GivenUp)),
            Poll::Pending => panic!("it is over"),
        }
        assert!(matches!(lanes.poll_write(0, b"x", 10, &cx), Poll::Ready(Err(_))));
    }
}

/// A client that pings a lot and says little would otherwise have every read buffer kept for the little.
#[test]
fn small_messages_keep_no_large_buffer_alive() {
    let mut lanes = lanes();
    let read = Bytes::from(vec![7; READ_BUFFER]);
    lanes.deliver(0, read.slice(100..200));
    assert!(read.is_unique());
    lanes.deliver(1, read.slice(..READ_BUFFER - 100));
    assert!(!read.is_unique(), "large ones are worth it");
}
