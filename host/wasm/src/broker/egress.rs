//! Names of the network: which rules cover them, and which addresses they may stand for.

use super::allowed::{Allowed, Reach};
use super::circumstances::Circumstances;
use super::denied::DeniedBecause;
use crate::address::{Origin, host_and_port};
use crate::capability::{NetRule, TcpRule};
use crate::effect::HttpRequest;
use std::net::IpAddr;

fn reach(private: bool, host: &str) -> Reach {
    if host.parse::<IpAddr>().is_ok() {
        Reach::Literal
    } else if private {
        Reach::Private
    } else {
        Reach::Public
    }
}

pub(super) fn connect(
    rules: &[TcpRule],
    circumstances: &Circumstances,
    host: &str,
    port: u16,
) -> Result<Allowed, Option<DeniedBecause>> {
    let reaches = rules.iter().filter_map(|rule| match rule.address.as_str() {
        "@backends" => circumstances.has_backend(host, port).then_some(Reach::Named),
        address => {
            (host_and_port(address)? == (host.to_owned(), port)).then(|| reach(rule.private, host))
        }
    });
    reaches.max().map_or(Err(None), |reach| {
        Ok(Allowed::Egress { reach, ca: None, client_certificate: None })
    })
}

pub(super) fn request(
    rules: &[NetRule],
    circumstances: &Circumstances,
    request: &HttpRequest,
) -> Result<Allowed, Option<DeniedBecause>> {
    let HttpRequest { scheme, host, port, method, .. } = request;
    let asked = Origin { scheme: scheme.clone(), host: host.clone(), port: *port };
    let fits = rules.iter().filter(|rule| method_granted(rule, method)).filter_map(|rule| {
        let reach = match rule.origin.as_str() {
            "@backends" => {
                (scheme == "http" && circumstances.has_backend(host, *port)).then_some(Reach::Named)
            }
            "@public" => (circumstances.public_origin()? == asked).then_some(Reach::Named),
            origin => (Origin::parse(origin)? == asked).then(|| reach(rule.private, host)),
        }?;
        Some((reach, rule))
    });
    let allowed = |(reach, rule): (Reach, &NetRule)| Allowed::Egress {
        reach,
        ca: rule.ca.clone(),
        client_certificate: rule.client_certificate.clone(),
    };
    fits.max_by_key(|(reach, _)| *reach).map(allowed).ok_or(None)
}

fn method_granted(rule: &NetRule, method: &str) -> bool {
    rule.methods.iter().any(|granted| granted.eq_ignore_ascii_case(method))
}
