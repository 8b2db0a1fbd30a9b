//! A small set of kept-alive connections, each used again and again with time to idle in between.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};

use crate::connection::Connection;

/// Idle connections, the one that has idled longest first. It grows to its size before any is used
/// twice.
pub struct Pool {
    size: usize,
    idle: Mutex<Idle>,
}

#[derive(Default)]
struct Idle {
    connections: VecDeque<Connection>,
    /// Connections that belong to the set, idle or in use.
    members: usize,
}

impl Pool {
    /// A pool that keeps this many connections.
    pub fn new(size: usize) -> Self {
        Self { size, idle: Mutex::default() }
    }

    /// A connection to use again; `None` means: open one. What is taken is given back with
    /// [`Pool::give_back`] or written off with [`Pool::write_off`].
    pub fn take(&self) -> Option<Connection> {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        if idle.members >= self.size
            && let Some(connection) = idle.connections.pop_front()
        {
            return Some(connection);
        }
        idle.members += 1;
        None
    }

    /// Keeps a connection for later, unless there are enough.
    pub fn give_back(&self, connection: Connection) {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        if idle.members > self.size {
            idle.members -= 1;
        } else {
            idle.connections.push_back(connection);
        }
    }

    /// Makes room for another connection: this one has ended.
    pub fn write_off(&self) {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        idle.members = idle.members.saturating_sub(1);
    }
}
