//! Names of the network: which rules cover them, and which addresses they may stand for.

use super::{Allowed, Circumstances, DeniedBecause, method_granted, public_origin};
use crate::address::{AddressClass, Origin, class_of, host_and_port};
use crate::capability::{NetRule, TcpRule};
use std::net::IpAddr;

/// The addresses that an allowed name may stand for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Reach {
    /// Public ones.
    Public,
    /// Private ones too, but for those that hand out credentials.
    Private,
    /// Those of a backend or of the service's public URL, which the operator wrote down: private
    /// ones too.
    Named,
    /// Exactly the address that the operator wrote down, whatever it is.
    Literal,
}

impl Reach {
    /// What both permit.
    pub(super) fn and(self, other: Reach) -> Reach {
        self.min(other)
    }

    /// Says what is wrong with an address.
    pub(super) fn judge(self, address: IpAddr) -> Result<(), AddressClass> {
        let class = class_of(address);
        let permitted = match class {
            AddressClass::Public => true,
            AddressClass::Loopback | AddressClass::Private | AddressClass::LinkLocal => {
                self >= Reach::Private
            }
            AddressClass::Metadata | AddressClass::Unusable => self == Reach::Literal,
        };
        if permitted { Ok(()) } else { Err(class) }
    }
}

fn reach(private: bool, host: &str) -> Reach {
    if host.parse::<IpAddr>().is_ok() {
        Reach::Literal
    } else if private {
        Reach::Private
    } else {
        Reach::Public
    }
}

fn is_backend(circumstances: &Circumstances, host: &str, port: u16) -> bool {
    circumstances.backends.iter().any(|address| {
        host_and_port(address).is_some_and(|backend| backend == (host.to_owned(), port))
    })
}

pub(super) fn connect(
    rules: &[TcpRule],
    circumstances: &Circumstances,
    host: &str,
    port: u16,
) -> Result<Allowed, Option<DeniedBecause>> {
    let reaches = rules.iter().filter_map(|rule| match rule.address.as_str() {
        "@backends" => is_backend(circumstances, host, port).then_some(Reach::Named),
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
    scheme: &str,
    host: &str,
    port: u16,
    method: &str,
) -> Result<Allowed, Option<DeniedBecause>> {
    let asked = Origin { scheme: scheme.to_owned(), host: host.to_owned(), port };
    let fits = rules.iter().filter(|rule| method_granted(rule, method)).filter_map(|rule| {
        let reach = match rule.origin.as_str() {
            "@backends" => {
                (scheme == "http" && is_backend(circumstances, host, port)).then_some(Reach::Named)
            }
            "@public" => (public_origin(circumstances)? == asked).then_some(Reach::Named),
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
