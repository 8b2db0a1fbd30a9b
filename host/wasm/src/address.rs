//! Names and addresses of the network: how they are written, and which of them lead where a plugin
//! has no business.
//!
//! A name is only half of a decision: what it resolves to is judged too, and the connection is made
//! to that very address.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Scheme, host and port of a URL.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Origin {
    pub(crate) scheme: String,
    /// In lower case, an IPv6 address without brackets.
    pub(crate) host: String,
    pub(crate) port: u16,
}

impl Origin {
    /// Reads a URL and keeps its origin; nothing where it is none, or carries a user name.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let uri: http::Uri = text.parse().ok()?;
        let scheme = uri.scheme_str()?.to_ascii_lowercase();
        let authority = uri.authority()?;
        if authority.as_str().contains('@') {
            return None;
        }
        let port = port_of(authority, &scheme)?;
        Some(Self { scheme, host: plain_host(authority.host()), port })
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bracketed = self.host.contains(':');
        write!(
            f,
            "{}://{}{}{}",
            self.scheme,
            if bracketed { "[" } else { "" },
            self.host,
            if bracketed { "]" } else { "" }
        )?;
        match (self.scheme.as_str(), self.port) {
            ("http", 80) | ("https", 443) => Ok(()),
            (_, port) => write!(f, ":{port}"),
        }
    }
}

/// The port of an authority, or its scheme's own; nothing for a scheme that has none of ours, and
/// for a port that is no number of one.
pub(crate) fn port_of(authority: &http::uri::Authority, scheme: &str) -> Option<u16> {
    let written = authority.as_str().len() > authority.host().len();
    match (authority.port_u16(), scheme) {
        (Some(port), "http" | "https") => Some(port),
        (None, "http") if !written => Some(80),
        (None, "https") if !written => Some(443),
        _ => None,
    }
}

/// Lower case, without the brackets of an IPv6 address and without the dot at the end of an
/// absolute name.
pub(crate) fn plain_host(host: &str) -> String {
    let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    host.strip_suffix('.').unwrap_or(host).to_ascii_lowercase()
}

/// Splits `host:port`; the host is made plain.
pub(crate) fn host_and_port(address: &str) -> Option<(String, u16)> {
    let (host, port) = address.rsplit_once(':')?;
    let port = port.parse().ok()?;
    if host.is_empty() || (host.contains(':') && !host.starts_with('[')) {
        return None;
    }
    Some((plain_host(host), port))
}

/// Where an address leads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum AddressClass {
    /// To the public network.
    Public,
    /// To this machine.
    Loopback,
    /// To the network at hand: RFC 1918, unique local, carrier-grade, reserved ranges.
    Private,
    /// To the link: 169.254/16, `fe80::/10`.
    LinkLocal,
    /// To a cloud's metadata service, which hands out credentials.
    Metadata,
    /// To many, or to none.
    Unusable,
}

impl fmt::Display for AddressClass {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            AddressClass::Public => "a public address",
            AddressClass::Loopback => "a loopback address",
            AddressClass::Private => "a private address",
            AddressClass::LinkLocal => "a link-local address",
            AddressClass::Metadata => "the address of a metadata service",
            AddressClass::Unusable => "not the address of a single machine",
        })
    }
}

/// Says where an address leads, seen through each way to write an IPv4 address as an IPv6 one.
pub(crate) fn class_of(address: IpAddr) -> AddressClass {
    match address {
        IpAddr::V4(address) => class_of_v4(address),
        IpAddr::V6(address) => match embedded_v4(address) {
            Some(inner) => class_of_v4(inner),
            None => class_of_v6(address),
        },
    }
}

fn class_of_v4(address: Ipv4Addr) -> AddressClass {
    let [a, b, c, _] = address.octets();
    // The last one looks public: Azure's WireServer.
    if matches!(
        address.octets(),
        [169, 254, 169, 254]
            | [169, 254, 170, 2 | 23]
            | [192, 0, 0, 192]
            | [100, 100, 100, 200]
            | [168, 63, 129, 16]
    ) {
        AddressClass::Metadata
    } else if a == 127 || a == 0 {
        // 0.0.0.0/8 reaches this machine when one connects to it.
        AddressClass::Loopback
    } else if address.is_link_local() {
        AddressClass::LinkLocal
    } else if address.is_multicast() || address.is_broadcast() {
        AddressClass::Unusable
    } else if address.is_private()
        || (a == 100 && (64..128).contains(&b))
        || (a, b, c) == (192, 0, 0)
        || (a == 198 && (18..20).contains(&b))
        || a >= 240
    {
        AddressClass::Private
    } else {
        AddressClass::Public
    }
}

fn class_of_v6(address: Ipv6Addr) -> AddressClass {
    let [first, ..] = address.segments();
    if address == Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254)
        || address == Ipv6Addr::new(0xfd20, 0xce, 0, 0, 0, 0, 0, 0x254)
    {
        AddressClass::Metadata
    } else if address.is_loopback() || address.is_unspecified() {
        AddressClass::Loopback
    } else if first & 0xffc0 == 0xfe80 {
        AddressClass::LinkLocal
    } else if address.is_multicast() {
        AddressClass::Unusable
    } else if first & 0xfe00 == 0xfc00 || first & 0xffc0 == 0xfec0 {
        AddressClass::Private
    } else {
        AddressClass::Public
    }
}

/// The IPv4 address inside an IPv6 one: mapped, compatible, translated (NAT64, also the local
/// prefix), 6to4 and Teredo's client.
fn embedded_v4(address: Ipv6Addr) -> Option<Ipv4Addr> {
    let from = |high: u16, low: u16| {
        let ([a, b], [c, d]) = (high.to_be_bytes(), low.to_be_bytes());
        Ipv4Addr::new(a, b, c, d)
    };
    match address.segments() {
        [0, 0, 0, 0, 0, 0, 0, 0 | 1] => None,
        [0, 0, 0, 0, 0, 0 | 0xffff, high, low]
        | [0, 0, 0, 0, 0xffff, 0, high, low]
        | [0x64, 0xff9b, 0, 0, 0, 0, high, low]
        | [0x64, 0xff9b, 1, _, _, _, high, low]
        | [0x2002, high, low, ..] => Some(from(high, low)),
        [0x2001, 0, _, _, _, _, high, low] => Some(from(!high, !low)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn class(text: &str) -> AddressClass {
        class_of(text.parse().unwrap())
    }

    #[test]
    fn every_way_to_write_a_private_address_is_seen_through() {
        for (text, expected) in [
            ("127.0.0.1", AddressClass::Loopback),
            ("0.0.0.0", AddressClass::Loopback),
            ("::1", AddressClass::Loopback),
            ("::", AddressClass::Loopback),
            ("::ffff:127.0.0.1", AddressClass::Loopback),
            ("::127.0.0.1", AddressClass::Loopback),
            ("64:ff9b::7f00:1", AddressClass::Loopback),
            ("2002:7f00:1::", AddressClass::Loopback),
            ("10.1.2.3", AddressClass::Private),
            ("172.31.0.1", AddressClass::Private),
            ("100.64.0.1", AddressClass::Private),
            ("fd12:3456::1", AddressClass::Private),
            ("::ffff:192.168.0.1", AddressClass::Private),
            ("169.254.1.1", AddressClass::LinkLocal),
            ("fe80::1", AddressClass::LinkLocal),
            ("169.254.169.254", AddressClass::Metadata),
            ("::ffff:169.254.169.254", AddressClass::Metadata),
            ("64:ff9b::a9fe:a9fe", AddressClass::Metadata),
            ("192.0.0.192", AddressClass::Metadata),
            ("168.63.129.16", AddressClass::Metadata),
            ("::ffff:168.63.129.16", AddressClass::Metadata),
            ("168.63.129.17", AddressClass::Public),
            ("fd00:ec2::254", AddressClass::Metadata),
            ("224.0.0.1", AddressClass::Unusable),
            ("255.255.255.255", AddressClass::Unusable),
            ("ff02::1", AddressClass::Unusable),
            ("1.1.1.1", AddressClass::Public),
            ("2606:4700::1111", AddressClass::Public),
        ] {
            assert_eq!(class(text), expected, "{text}");
        }
    }

    #[test]
    fn an_origin_drops_path_and_own_port_and_refuses_a_user_name() {
        for (text, expected) in [
            ("HTTPS://LB.Internal:443/path?q", "https://lb.internal"),
            ("http://[::1]:8080/", "http://[::1]:8080"),
            ("http://a.example.:80", "http://a.example"),
        ] {
            assert_eq!(Origin::parse(text).unwrap().to_string(), expected);
        }
        for wrong in
            ["lb.internal", "ftp://a", "https://user@a", "https://", "//a", "http://a:99999"]
        {
            assert_eq!(Origin::parse(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn an_address_needs_a_host_and_a_port() {
        assert_eq!(host_and_port("[::1]:80"), Some(("::1".to_owned(), 80)));
        assert_eq!(host_and_port("Shop-1:8080"), Some(("shop-1".to_owned(), 8080)));
        for wrong in ["::1:80", ":80", "a", "a:", "a:70000"] {
            assert_eq!(host_and_port(wrong), None, "{wrong}");
        }
    }
}
