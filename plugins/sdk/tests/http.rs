//! The HTTP client against real sockets that answer in every way.
#![expect(clippy::unwrap_used, reason = "what fails here fails the test")]

use agente_plugin_sdk::http::{HttpError, Request, Response, send};
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::thread;
use std::time::Duration;

/// A server that takes one request, says `answer`, and keeps the connection for `linger`.
fn server(answer: &'static [u8], linger: Duration) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        read_head(&mut stream);
        for piece in answer.chunks(7) {
            stream.write_all(piece).unwrap();
        }
        thread::sleep(linger);
    });
    format!("http://{address}/path?query")
}

fn read_head(stream: &mut TcpStream) -> String {
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") && stream.read(&mut byte).unwrap() == 1 {
        head.push(byte[0]);
    }
    String::from_utf8(head).unwrap()
}

fn ask(answer: &'static [u8]) -> Result<Response, HttpError> {
    send(&Request::get(&server(answer, Duration::ZERO)).unwrap())
}

#[test]
fn a_body_may_be_sized_chunked_or_end_with_the_connection() {
    for answer in [
        b"HTTP/1.1 200 OK\r\nX-Release: r7\r\nContent-Length: 11\r\n\r\nhello world".as_slice(),
        b"HTTP/1.1 200 OK\r\nx-release: r7\r\ntransfer-encoding: chunked\r\n\r\n6\r\nhello \r\n5;x=y\r\nworld\r\n0\r\n\r\n",
        b"HTTP/1.0 200 OK\r\nx-release: r7\r\n\r\nhello world",
        b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nx-release: r7\r\n\r\nhello world",
    ] {
        let response = ask(answer).unwrap();
        assert_eq!((response.status, response.text().as_str(), response.header("X-RELEASE")), (200, "hello world", Some("r7")));
        assert!(!response.truncated);
    }
}

#[test]
fn a_cut_answer_is_never_taken_for_a_whole_one() {
    for answer in [
        b"".as_slice(),
        b"HTTP/1.1 200 OK\r\ncontent-le",
        b"HTTP/1.1 200 OK\r\ncontent-length: 11\r\n\r\nhello",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n6\r\nhello \r\n",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n6\r\nhel",
    ] {
        let error = ask(answer).unwrap_err();
        assert!(matches!(error, HttpError::Ended { .. }), "{error}");
    }
}

#[test]
fn what_is_not_http_is_told_with_its_beginning() {
    let error = ask(b"SSH-2.0-OpenSSH_9.2\r\n\r\n").unwrap_err();
    assert!(
        matches!(error, HttpError::Protocol { .. }) && error.to_string().contains("SSH-2"),
        "{error}"
    );
    let error = ask(b"HTTP/1.1 200 OK\r\ncontent-length: many\r\n\r\n").unwrap_err();
    assert!(error.to_string().contains("`content-length: many`"), "{error}");
    let error = ask(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n").unwrap_err();
    assert!(matches!(error, HttpError::Protocol { .. }), "{error}");
}

#[test]
fn the_body_is_cut_at_its_limit_and_says_so() {
    for answer in [
        b"HTTP/1.1 200 OK\r\ncontent-length: 11\r\n\r\nhello world".as_slice(),
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n6\r\nhello \r\n5\r\nworld\r\n0\r\n\r\n",
        b"HTTP/1.0 200 OK\r\n\r\nhello world",
    ] {
        let mut request = Request::get(&server(answer, Duration::ZERO)).unwrap();
        request.max_body_bytes = 8;
        let response = send(&request).unwrap();
        assert_eq!((response.text().as_str(), response.truncated), ("hello wo", true));
    }
}

#[test]
fn silence_ends_at_the_limit() {
    let limit = Duration::from_millis(200);
    for answer in [b"".as_slice(), b"HTTP/1.1 200 OK\r\ncontent-length: 11\r\n\r\nhello"] {
        let request =
            Request::get(&server(answer, Duration::from_secs(5))).unwrap().timeouts(limit, limit);
        let error = send(&request).unwrap_err();
        assert!(
            matches!(error, HttpError::Timeout { limit: told, .. } if told == limit),
            "{error}"
        );
    }
}

#[test]
fn nobody_there_is_not_a_timeout() {
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let error = send(&Request::get(&format!("http://127.0.0.1:{port}/")).unwrap()).unwrap_err();
    assert!(matches!(error, HttpError::Connect { .. }), "{error}");
}

#[test]
fn a_request_carries_its_method_path_headers_and_body() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let got = thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let head = read_head(&mut stream);
        let mut body = [0; 5];
        stream.read_exact(&mut body).unwrap();
        stream.write_all(b"HTTP/1.1 204 No Content\r\n\r\n").unwrap();
        (head, body)
    });
    let request = Request::new("POST", &format!("http://{address}/a?b=c"))
        .unwrap()
        .header("x-a", "b")
        .body("hello");
    assert_eq!(send(&request).unwrap().status, 204);
    let (head, body) = got.join().unwrap();
    assert_eq!(
        head,
        format!(
            "POST /a?b=c HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\nx-a: \
             b\r\ncontent-length: 5\r\n\r\n"
        )
    );
    assert_eq!(&body, b"hello");
    let smuggled = Request::get(&server(b"", Duration::ZERO)).unwrap().header("x", "y\r\nz: 1");
    assert!(matches!(send(&smuggled), Err(HttpError::Protocol { .. })));
}

#[test]
fn a_url_that_leads_nowhere_is_told_before_anything_is_sent() {
    for bad in ["", "/path", "ftp://host/", "http://", "http://user:pass@host/", "host:80"] {
        assert!(matches!(Request::get(bad), Err(HttpError::BadUrl { .. })), "{bad}");
    }
}
