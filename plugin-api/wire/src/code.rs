//! Result codes of calls. Plain numbers: a reader treats one that it does not know as [`INTERNAL`].

/// It worked.
pub const OK: u32 = 0;
/// The pod, container, node or call is unknown.
pub const NOT_FOUND: u32 = 1;
/// Something else with that identity exists.
pub const ALREADY_EXISTS: u32 = 2;
/// The request can't work as it is: repeating it unchanged is of no use.
pub const INVALID: u32 = 3;
/// The provider can't do this at all.
pub const UNSUPPORTED: u32 = 4;
/// Busy: what the host repeats by itself comes again after the given number of milliseconds, not before; its pings, and what a
/// client asks for, come when they come.
pub const RETRY_AFTER: u32 = 5;
/// The backend is away.
pub const UNAVAILABLE: u32 = 6;
/// It took too long.
pub const TIMEOUT: u32 = 7;
/// It was cancelled.
pub const CANCELLED: u32 = 8;
/// Anything else; the detail says what.
pub const INTERNAL: u32 = 9;
/// The plugin's code panicked; the instance must not be used again.
pub const PANICKED: u32 = 10;
