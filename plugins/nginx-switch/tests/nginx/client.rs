//! A real client of the public server: one request at a time, from a chosen address, or many to a
//! connection.

use crate::rig::{Nginx, PATIENCE};
use agente_plugin_sdk::http::{Request, Response};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, SocketAddrV4, TcpStream};

/// Asks the public server of a service.
pub fn ask(nginx: &Nginx, scope: &str, path: &str, headers: &[(&str, &str)]) -> Response {
    let mut request = Request::get(&format!("http://{}{path}", scope.replace('/', "."))).unwrap();
    request.headers =
        headers.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    request.total_timeout = PATIENCE;
    let mut stream =
        agente_plugin_sdk::http::Socket::connect("127.0.0.1", nginx.port, PATIENCE).unwrap();
    agente_plugin_sdk::http::over(&mut stream, &request).unwrap()
}

/// Asks for `/` as often as there are users, many to a connection, and tells what each got, in
/// their order. `headers` writes a user's own.
pub fn ask_all(
    nginx: &Nginx,
    scope: &str,
    users: usize,
    mut headers: impl FnMut(usize, &mut String),
) -> Vec<String> {
    // NGINX closes a connection after 1,000 requests; a small batch fits into the buffers of both
    // sides.
    const BATCH: usize = 250;
    const PER_CONNECTION: usize = 2 * BATCH;
    let host = scope.replace('/', ".");
    let mut answers = Vec::with_capacity(users);
    let mut connection: Option<BufReader<TcpStream>> = None;
    for first in (0..users).step_by(BATCH) {
        let last = users.min(first + BATCH);
        let mut requests = String::new();
        for user in first..last {
            requests.push_str("GET / HTTP/1.1\r\nHost: ");
            requests.push_str(&host);
            requests.push_str("\r\n");
            headers(user, &mut requests);
            requests.push_str("\r\n");
        }
        let mut reader = connection.take().unwrap_or_else(|| {
            let stream = TcpStream::connect(("127.0.0.1", nginx.port)).unwrap();
            stream.set_read_timeout(Some(PATIENCE)).unwrap();
            BufReader::new(stream)
        });
        reader.get_mut().write_all(requests.as_bytes()).unwrap();
        answers.extend((first..last).map(|_| read_answer(&mut reader)));
        connection = (!last.is_multiple_of(PER_CONNECTION)).then_some(reader);
    }
    answers
}

/// Asks for `/` from one of the loopback addresses.
pub fn ask_from(nginx: &Nginx, scope: &str, from: Ipv4Addr) -> String {
    let socket = rustix::net::socket(
        rustix::net::AddressFamily::INET,
        rustix::net::SocketType::STREAM,
        None,
    )
    .unwrap();
    rustix::net::bind(&socket, &SocketAddrV4::new(from, 0)).unwrap();
    rustix::net::connect(&socket, &SocketAddrV4::new(Ipv4Addr::LOCALHOST, nginx.port)).unwrap();
    let mut stream = TcpStream::from(socket);
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    write!(
        stream,
        "GET / HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n\r\n",
        scope.replace('/', ".")
    )
    .unwrap();
    read_answer(&mut BufReader::new(stream))
}

fn read_answer(reader: &mut BufReader<TcpStream>) -> String {
    let (mut line, mut length) = (String::new(), 0_usize);
    reader.read_line(&mut line).unwrap();
    assert!(line.starts_with("HTTP/1.1 200 "), "{line:?}");
    loop {
        line.clear();
        assert!(reader.read_line(&mut line).unwrap() > 0, "the answer ended within its head");
        if line.trim_end().is_empty() {
            break;
        }
        if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
            length = value.trim().parse().unwrap();
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).unwrap();
    String::from_utf8(body).unwrap()
}
