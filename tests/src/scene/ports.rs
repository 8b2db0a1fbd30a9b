//! Ports for one scene, from a block that no other scene has.

use std::net::{Ipv4Addr, TcpListener};
use std::sync::atomic::{AtomicU16, Ordering};

/// Where blocks come from: below the ports that the kernel gives out by itself.
const FIRST: u16 = 10_000;
const BLOCK: u16 = 48;
const BLOCKS: u16 = 200;
/// How many ports each service has for its backends.
const PER_SERVICE: u16 = 10;

/// A block of ports. Its first port is held for as long as the block is in use, so that no other
/// scene takes it.
pub struct Ports {
    first: u16,
    _guard: TcpListener,
}

impl Ports {
    /// Takes a block in which every port is free.
    pub fn take() -> Self {
        static NEXT: AtomicU16 = AtomicU16::new(0);
        let begin = std::process::id() % u32::from(BLOCKS);
        for _ in 0..BLOCKS {
            let turn = u32::from(NEXT.fetch_add(1, Ordering::Relaxed));
            let block = u16::try_from((begin * 7 + turn) % u32::from(BLOCKS)).unwrap_or_default();
            let first = FIRST + block * BLOCK;
            let Ok(guard) = TcpListener::bind((Ipv4Addr::LOCALHOST, first)) else { continue };
            if (first + 1..first + BLOCK)
                .all(|port| TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok())
            {
                return Self { first, _guard: guard };
            }
        }
        panic!("no block of {BLOCK} free ports between {FIRST} and {}", FIRST + BLOCKS * BLOCK);
    }

    /// Where NGINX tells what it has loaded.
    pub fn marker(&self) -> u16 {
        self.first + 1
    }

    /// A port that nobody uses.
    pub fn spare(&self) -> u16 {
        self.first + 2
    }

    /// A service's public port.
    pub fn public(&self, service: usize) -> u16 {
        self.first + 4 + small(service)
    }

    /// Where a service runs before it is adopted.
    pub fn by_hand(&self, service: usize) -> u16 {
        self.first + 8 + small(service)
    }

    /// First and last port of a service's backends.
    pub fn backends(&self, service: usize) -> (u16, u16) {
        let first = self.first + 12 + small(service) * PER_SERVICE;
        (first, first + PER_SERVICE - 1)
    }
}

fn small(service: usize) -> u16 {
    assert!(service < 3, "a scene has room for three services");
    u16::try_from(service).unwrap_or_default()
}

/// A port that is free now.
pub fn free_port() -> u16 {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
        .and_then(|listener| listener.local_addr())
        .expect("a free port")
        .port()
}
