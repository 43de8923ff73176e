//! Logs that are followed.

use super::fake::LOG;
use super::fake::Log;
use super::*;
use http_body_util::BodyExt;
use std::sync::atomic::Ordering;
use tokio::sync::mpsc;

const FOLLOW: &[u8] =
    b"GET /containerLogs/default/web/app?follow=true HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";

/// A log to which a test adds.
fn growing() -> (Fake, mpsc::Sender<String>) {
    let (sender, lines) = mpsc::channel(8);
    let backend = Fake::new(Log::Grows(Arc::new(tokio::sync::Mutex::new(lines))));
    (backend, sender)
}

/// Reads until the connection has brought so much of an answer.
async fn read_until(stream: &mut TlsStream<TcpStream>, text: &str) -> String {
    let mut read = Vec::new();
    let all = async {
        while !String::from_utf8_lossy(&read).contains(text) {
            read.push(stream.read_u8().await.unwrap());
        }
    };
    let in_time = tokio::time::timeout(PATIENCE, all).await;
    let read = String::from_utf8(read).unwrap();
    in_time.unwrap_or_else(|_| panic!("no {text:?} in {read:?}"));
    read
}

#[tokio::test]
async fn lines_come_as_they_are_written_until_the_container_ends() {
    let (backend, log) = growing();
    let asked = Arc::clone(&backend.asked);
    let server = start(backend).await;
    let mut stream = server.connect().await;
    stream.write_all(FOLLOW).await.unwrap();
    log.send("2026-11-23T06:00:00Z first\n".into()).await.unwrap();
    let head = read_until(&mut stream, "first\n").await;
    assert!(head.starts_with("HTTP/1.1 200"), "{head}");
    // In pieces that are no lines, too.
    log.send("2026-11-23T06:0".into()).await.unwrap();
    log.send("0:01Z sec".into()).await.unwrap();
    read_until(&mut stream, "sec").await;
    log.send("ond\n".into()).await.unwrap();
    read_until(&mut stream, "ond\n").await;
    drop(log);
    let mut rest = String::new();
    stream.read_to_string(&mut rest).await.unwrap();
    assert!(rest.ends_with("0\r\n\r\n"), "the answer is whole: {rest:?}");
    assert!(asked.lock().unwrap()[0].follow);
    server.stop().await;
}

#[tokio::test]
async fn a_container_that_says_nothing_has_a_log() {
    let (backend, log) = growing();
    let server = start(backend).await;
    let mut stream = server.connect().await;
    stream.write_all(FOLLOW).await.unwrap();
    let head = read_until(&mut stream, "\r\n\r\n").await;
    assert!(head.starts_with("HTTP/1.1 200"), "{head}");
    log.send("2026-11-23T06:00:00Z at last\n".into()).await.unwrap();
    read_until(&mut stream, "at last\n").await;
    drop((log, stream));
    server.stop().await;
}

#[tokio::test]
async fn a_reader_that_leaves_ends_the_log_while_it_is_silent() {
    let (backend, log) = growing();
    let open = Arc::clone(&backend.open);
    let server = start(backend).await;
    let mut stream = server.connect().await;
    stream.write_all(FOLLOW).await.unwrap();
    log.send("2026-11-23T06:00:00Z first\n".into()).await.unwrap();
    read_until(&mut stream, "first\n").await;
    assert_eq!(open.load(Ordering::SeqCst), 1);
    drop(stream);
    eventually("a log is followed for nobody", || open.load(Ordering::SeqCst) == 0).await;
    server.stop().await;
}

#[tokio::test]
async fn the_tail_of_a_log_that_is_followed_is_the_providers() {
    let backend = Fake::new(Log::Text(LOG));
    let asked = Arc::clone(&backend.asked);
    let server = start(backend).await;
    let reply = server
        .get("/containerLogs/default/web/app?follow=true&tailLines=1")
        .await;
    // This provider did not obey.
    assert_eq!((reply.body.as_str(), reply.whole), ("one\ntwo\nthree\n", true));
    assert_eq!(asked.lock().unwrap()[0].tail, Some(1));
    let reply = server
        .get("/containerLogs/default/web/app?follow=true&limitBytes=5")
        .await;
    assert_eq!((reply.body.as_str(), reply.whole), ("one\nt", true));
    server.stop().await;
}

#[tokio::test(start_paused = true)]
async fn an_answer_is_not_held_open_for_a_provider_that_does_not_say_how_it_ended() {
    for query in ["follow=false", "follow=true"] {
        let backend = Fake::new(Log::Unfinished(LOG));
        let answer = logs::answer(&backend, "default/web/app", Some(query)).await;
        assert_eq!(answer.status().as_u16(), 200);
        let hour = Duration::from_secs(3600);
        let body = tokio::time::timeout(hour, answer.into_body().collect()).await;
        assert!(body.expect("the answer stays open").is_err(), "{query}");
    }
}

/// All of it is held back until the end is known, which is longer than a provider may take to its first byte.
#[tokio::test(start_paused = true)]
async fn a_log_that_comes_slowly_is_no_log_that_was_not_opened() {
    for (log, query, expected) in [
        (Log::Stuck(LOG), "tailLines=1", 200),
        (Log::Stuck(LOG), "sinceTime=2027-01-01T00:00:00Z", 200),
        (Log::Stuck(""), "tailLines=1", 400),
    ] {
        let backend = Fake::new(log);
        let answer = logs::answer(&backend, "default/web/app", Some(query)).await;
        assert_eq!(answer.status().as_u16(), expected, "{query}");
    }
}
