//! One HTTP request by `wasi:http`.

use serde_json::Value;
use wasip2::http::outgoing_handler;
use wasip2::http::types::{Fields, IncomingBody, Method, OutgoingBody, OutgoingRequest, Scheme};

pub(crate) fn request(settings: &Value, placeholder: Option<&str>) -> Result<String, String> {
    let fill = |text: &str| text.replace("{secret}", placeholder.unwrap_or_default());
    let headers = Fields::new();
    for (name, value) in settings["headers"].as_object().into_iter().flatten() {
        let value = fill(value.as_str().unwrap_or_default());
        // What an author does for basic authentication.
        let value = match value.strip_prefix("basic:") {
            Some(credentials) => format!("Basic {}", base64(credentials.as_bytes())),
            None => value,
        };
        headers.append(name, value.as_bytes()).map_err(|error| format!("{error:?}"))?;
    }
    let request = OutgoingRequest::new(headers);
    request
        .set_method(&match settings["method"].as_str().unwrap_or("GET") {
            "GET" => Method::Get,
            "HEAD" => Method::Head,
            "POST" => Method::Post,
            other => Method::Other(other.into()),
        })
        .map_err(|()| "method")?;
    let scheme =
        if settings["scheme"].as_str() == Some("https") { Scheme::Https } else { Scheme::Http };
    request.set_scheme(Some(&scheme)).map_err(|()| "scheme")?;
    request.set_authority(settings["authority"].as_str()).map_err(|()| "authority")?;
    request
        .set_path_with_query(Some(settings["target"].as_str().unwrap_or("/")))
        .map_err(|()| "path")?;
    let body = request.body().map_err(|()| "body")?;
    if let Some(text) = settings["body"].as_str() {
        let stream = body.write().map_err(|()| "stream")?;
        stream
            .blocking_write_and_flush(fill(text).as_bytes())
            .map_err(|error| error.to_string())?;
    }
    let future = outgoing_handler::handle(request, None).map_err(|error| error.to_string())?;
    OutgoingBody::finish(body, None).map_err(|error| error.to_string())?;
    future.subscribe().block();
    let response = future
        .get()
        .ok_or("no answer")?
        .map_err(|()| "taken")?
        .map_err(|error| error.to_string())?;
    let status = response.status();
    let body = response.consume().map_err(|()| "consume")?;
    let stream = body.stream().map_err(|()| "stream")?;
    let mut bytes = Vec::new();
    while let Ok(part) = stream.blocking_read(64 * 1024) {
        bytes.extend(part);
    }
    drop(stream);
    let _ = IncomingBody::finish(body);
    Ok(format!("{status} {}", String::from_utf8_lossy(&bytes)))
}

fn base64(bytes: &[u8]) -> String {
    const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::new();
    for part in bytes.chunks(3) {
        let packed = part.iter().fold(0_u32, |word, &byte| word << 8 | u32::from(byte));
        let word = packed << (8 * (3 - part.len()));
        for place in 0..4 {
            let letter = LETTERS[(word >> (18 - 6 * place) & 63) as usize] as char;
            text.push(if place <= part.len() { letter } else { '=' });
        }
    }
    text
}
