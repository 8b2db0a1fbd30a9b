//! Budgets of one operation: computing time, time by the clock, memory, tables, handles, bytes per
//! call. Each has its own error.

use crate::capability::LimitsRule;
use agente_units::{Size, Span};
use std::time::Duration;
use wasmtime::ResourceLimiter;

/// How often a guest that computes is looked at.
pub(crate) const TICK: Duration = Duration::from_millis(10);

/// Entries of all tables together; a Python interpreter needs about 10,000.
const MAX_TABLE_ELEMENTS: usize = 200_000;

/// Core instances of one component; Python's have about 30.
const MAX_INSTANCES: usize = 200;

/// Memories and tables of one component.
const MAX_MEMORIES: usize = 32;
const MAX_TABLES: usize = 64;

/// Handles that a guest holds at a time.
pub(crate) const MAX_HANDLES: usize = 4096;

/// How much one operation may use up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Memory of the instance, all of its memories together.
    pub memory: Size,
    /// Computing time.
    pub cpu: Span,
    /// Time by the clock.
    pub wall: Span,
    /// What one call may carry between guest and host.
    pub hostcall: Size,
    /// Connections at a time.
    pub connections: u32,
}

impl Default for Limits {
    fn default() -> Self {
        // 64 MiB hold a Python or JavaScript interpreter; 8 MiB refuse both.
        Self {
            memory: Size::mebibytes(64),
            cpu: Span::seconds(2),
            wall: Span::seconds(60),
            hostcall: Size::mebibytes(8),
            connections: 8,
        }
    }
}

impl Limits {
    /// What both a request and a grant permit; what one doesn't set counts as the default.
    pub(crate) fn both(requested: &LimitsRule, granted: &LimitsRule) -> Self {
        let (a, b) = (Self::of(requested), Self::of(granted));
        Self {
            memory: a.memory.min(b.memory),
            cpu: a.cpu.min(b.cpu),
            wall: a.wall.min(b.wall),
            hostcall: a.hostcall.min(b.hostcall),
            connections: a.connections.min(b.connections),
        }
    }

    fn of(rule: &LimitsRule) -> Self {
        let default = Self::default();
        Self {
            memory: rule.memory.unwrap_or(default.memory),
            cpu: rule.cpu.unwrap_or(default.cpu),
            wall: rule.wall.unwrap_or(default.wall),
            hostcall: rule.hostcall.unwrap_or(default.hostcall),
            connections: rule.connections.unwrap_or(default.connections),
        }
    }
}

/// A budget that was used up.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum OverBudget {
    /// Computing time.
    #[error("it used more than {0} of CPU time")]
    Cpu(Span),
    #[error("it needs more than {0} of memory")]
    Memory(Size),
    /// Entries of tables.
    #[error("it needs more than {MAX_TABLE_ELEMENTS} table entries")]
    Tables,
    /// Bytes of one call.
    #[error("it passed more than {0} in one call")]
    Hostcall(Size),
    #[error("it holds more than {MAX_HANDLES} handles")]
    Handles,
}

impl OverBudget {
    /// What to change so that it would suffice.
    pub fn hint(&self) -> Option<String> {
        let (key, value) = match self {
            OverBudget::Cpu(span) => ("cpu", Span::from(span.duration() * 2).to_string()),
            OverBudget::Memory(size) => {
                ("memory", Size::mebibytes(size.bytes() / 1024 / 1024 * 2).to_string())
            }
            OverBudget::Hostcall(size) => {
                ("hostcall", Size::mebibytes(size.bytes() / 1024 / 1024 * 2).to_string())
            }
            OverBudget::Tables | OverBudget::Handles => return None,
        };
        Some(format!(
            "if the plugin needs more, set `limits = {{ {key} = \"{value}\" }}` in plugin.toml \
            and in its grant"
        ))
    }
}

/// Counts memory and tables of one instance.
#[derive(Debug)]
pub(crate) struct MemoryMeter {
    limit: Size,
    memory_bytes: usize,
    table_elements: usize,
}

impl MemoryMeter {
    pub(crate) fn new(limit: Size) -> Self {
        Self { limit, memory_bytes: 0, table_elements: 0 }
    }
}

impl ResourceLimiter for MemoryMeter {
    fn memory_growing(
        &mut self,
        current: usize,
        desired: usize,
        _maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        let total = self.memory_bytes.saturating_sub(current).saturating_add(desired);
        if total as u64 > self.limit.bytes() {
            // A refusal would look like any crash of the guest's allocator; an error names the
            // budget.
            return Err(OverBudget::Memory(self.limit).into());
        }
        self.memory_bytes = total;
        Ok(true)
    }

    fn table_growing(
        &mut self,
        current: usize,
        desired: usize,
        _maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        let total = self.table_elements.saturating_sub(current).saturating_add(desired);
        if total > MAX_TABLE_ELEMENTS {
            return Err(OverBudget::Tables.into());
        }
        self.table_elements = total;
        Ok(true)
    }

    fn instances(&self) -> usize {
        MAX_INSTANCES
    }

    fn tables(&self) -> usize {
        MAX_TABLES
    }

    fn memories(&self) -> usize {
        MAX_MEMORIES
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_is_the_smaller_of_request_and_grant() {
        let requested = LimitsRule {
            memory: Some(Size::mebibytes(256)),
            cpu: Some(Span::seconds(10)),
            ..LimitsRule::default()
        };
        let granted = LimitsRule { memory: Some(Size::mebibytes(128)), ..LimitsRule::default() };
        let limits = Limits::both(&requested, &granted);
        assert_eq!(limits.memory, Size::mebibytes(128));
        assert_eq!(limits.cpu, Limits::default().cpu);
    }

    #[test]
    fn memories_are_counted_together() {
        let mut meter = MemoryMeter::new(Size::mebibytes(1));
        assert!(meter.memory_growing(0, 512 * 1024, None).is_ok());
        assert!(meter.memory_growing(0, 256 * 1024, None).is_ok());
        assert!(meter.memory_growing(256 * 1024, 512 * 1024, None).is_ok());
        let error = meter.memory_growing(0, 64 * 1024, None).unwrap_err();
        assert_eq!(
            error.downcast_ref::<OverBudget>(),
            Some(&OverBudget::Memory(Size::mebibytes(1)))
        );
    }
}
