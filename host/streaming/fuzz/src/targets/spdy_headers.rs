//! Inflated blocks of headers. What can be read can be written and is the same again.

use outrigger_streaming::spdy::{Config, Headers};

pub fn run(data: &[u8]) {
    let limits = Config {
        header_count: 8,
        header_field: 100,
        ..Config::default()
    };
    let Ok(headers) = Headers::parse(data, &limits) else {
        return;
    };
    assert!(headers.len() <= limits.header_count);
    for (name, value) in headers.iter() {
        assert!(!name.is_empty() && name.len() <= limits.header_field && value.len() <= limits.header_field);
        assert!(headers.get(name).is_some_and(|first| value.starts_with(first)));
        assert!(headers.get(&name.to_ascii_uppercase()).is_some());
    }
    let block = headers.block();
    assert_eq!(block.len(), data.len());
    assert_eq!(Headers::parse(&block, &limits).ok(), Some(headers));
}
