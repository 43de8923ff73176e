use super::super::{Config, Error};
use super::{CONTROL, FIN, Frame, GOAWAY, HEAD, HEADERS, LARGEST_ID, PING, RST_STREAM, SETTINGS};
use super::{SYN_REPLY, SYN_STREAM, UNIDIRECTIONAL, VERSION, WINDOW_UPDATE};

/// Takes frames from bytes. It keeps nothing of them but where it is in a DATA frame, so bytes may come cut anywhere.
#[derive(Debug)]
pub struct Decoder {
    largest_control: usize,
    most_settings: usize,
    data: Option<Data>,
}

/// A DATA frame of which bytes are outstanding.
#[derive(Debug)]
struct Data {
    id: u32,
    left: usize,
    fin: bool,
}

/// What the next bytes are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step<'a> {
    /// A frame or a piece of one.
    Frame {
        /// The frame.
        frame: Frame<'a>,
        /// How many bytes it took from the beginning of the input: at least one.
        used: usize,
    },
    /// Nothing yet; nothing was used.
    More {
        /// How many bytes the input must have at least: no more than the largest control frame with its head.
        wanted: usize,
    },
}

impl Decoder {
    /// One with the limits of `config`.
    #[must_use]
    pub fn new(config: &Config) -> Decoder {
        Decoder {
            largest_control: config.control_frame,
            most_settings: config.settings,
            data: None,
        }
    }

    /// The first frame of `input`, which begins where the last frame ended.
    ///
    /// # Errors
    ///
    /// [`Error::Protocol`] when a frame is malformed or larger than allowed. There is no way to go on then.
    pub fn decode<'a>(&mut self, input: &'a [u8]) -> Result<Step<'a>, Error> {
        if self.data.is_some() {
            return Ok(self.piece(input, 0));
        }
        let Some((head, payload)) = input.split_first_chunk::<HEAD>() else {
            return Ok(Step::More { wanted: HEAD });
        };
        let [a, b, c, d, flags, l1, l2, l3] = *head;
        let length = usize::from(l1) << 16 | usize::from(l2) << 8 | usize::from(l3);
        if a & CONTROL == 0 {
            let id = u32::from_be_bytes([a, b, c, d]);
            if id == 0 {
                return Err(broken("data came for stream 0"));
            }
            self.data = Some(Data {
                id,
                left: length,
                fin: flags & FIN != 0,
            });
            return Ok(self.piece(payload, HEAD));
        }
        let version = u16::from_be_bytes([a & !CONTROL, b]);
        if version != VERSION {
            return Err(Error::Protocol(
                format!("it speaks version {version} of SPDY, not 3").into(),
            ));
        }
        if length > self.largest_control {
            let most = self.largest_control;
            return Err(Error::Protocol(
                format!("a control frame has {length} bytes, more than {most}").into(),
            ));
        }
        let Some(payload) = payload.get(..length) else {
            return Ok(Step::More { wanted: HEAD + length });
        };
        Ok(Step::Frame {
            frame: self.control(u16::from_be_bytes([c, d]), flags, payload)?,
            used: HEAD + length,
        })
    }

    /// What there is of the DATA frame that has begun, behind `head` bytes that are used too.
    fn piece<'a>(&mut self, input: &'a [u8], head: usize) -> Step<'a> {
        let Some(data) = &mut self.data else {
            return Step::More { wanted: HEAD };
        };
        let bytes = input.get(..data.left).unwrap_or(input);
        if bytes.is_empty() && data.left > 0 && head == 0 {
            return Step::More { wanted: 1 };
        }
        data.left -= bytes.len();
        let last = data.left == 0;
        let frame = Frame::Data {
            id: data.id,
            bytes,
            last,
            fin: last && data.fin,
        };
        if last {
            self.data = None;
        }
        Step::Frame {
            frame,
            used: head + bytes.len(),
        }
    }

    fn control<'a>(&self, kind: u16, flags: u8, payload: &'a [u8]) -> Result<Frame<'a>, Error> {
        let fin = flags & FIN != 0;
        Ok(match kind {
            SYN_STREAM => {
                let (id, rest) = stream(payload)?;
                // The stream that it belongs to, its priority and its credential: nothing here depends on them.
                let block = rest.get(6..).ok_or_else(short)?;
                Frame::SynStream {
                    id,
                    fin,
                    unidirectional: flags & UNIDIRECTIONAL != 0,
                    block,
                }
            }
            SYN_REPLY => {
                let (id, block) = stream(payload)?;
                Frame::SynReply { id, fin, block }
            }
            HEADERS => {
                let (id, block) = stream(payload)?;
                Frame::Headers { id, fin, block }
            }
            RST_STREAM => {
                let (id, status) = pair(payload)?;
                Frame::Reset {
                    id: id & LARGEST_ID,
                    status,
                }
            }
            GOAWAY => {
                let (last, status) = pair(payload)?;
                Frame::GoAway {
                    last: last & LARGEST_ID,
                    status,
                }
            }
            WINDOW_UPDATE => {
                let (id, bytes) = pair(payload)?;
                Frame::WindowUpdate {
                    id: id & LARGEST_ID,
                    bytes: bytes & LARGEST_ID,
                }
            }
            PING => {
                let (id, rest) = number(payload)?;
                if !rest.is_empty() {
                    return Err(broken("a ping is too long"));
                }
                Frame::Ping { id }
            }
            SETTINGS => {
                let (count, entries) = number(payload)?;
                let count = usize::try_from(count).unwrap_or(usize::MAX);
                if count > self.most_settings {
                    return Err(Error::Protocol(
                        format!("it has {count} settings, more than {}", self.most_settings).into(),
                    ));
                }
                if entries.len() != count * 8 {
                    return Err(broken("its settings don't fit their frame"));
                }
                Frame::Settings { count }
            }
            kind => Frame::Unknown { kind },
        })
    }
}

fn broken(why: &'static str) -> Error {
    Error::Protocol(why.into())
}

fn short() -> Error {
    broken("a control frame is too short")
}

fn number(payload: &[u8]) -> Result<(u32, &[u8]), Error> {
    let (number, rest) = payload.split_first_chunk::<4>().ok_or_else(short)?;
    Ok((u32::from_be_bytes(*number), rest))
}

fn stream(payload: &[u8]) -> Result<(u32, &[u8]), Error> {
    let (id, rest) = number(payload)?;
    match id & LARGEST_ID {
        0 => Err(broken("headers came for stream 0")),
        id => Ok((id, rest)),
    }
}

fn pair(payload: &[u8]) -> Result<(u32, u32), Error> {
    let (first, rest) = number(payload)?;
    let (second, rest) = number(rest)?;
    if !rest.is_empty() {
        return Err(broken("a control frame is too long"));
    }
    Ok((first, second))
}
