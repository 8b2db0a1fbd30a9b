//! What a guest holds: handles of things that the host keeps.

use crate::effect::Handle;

/// An open TCP connection; dropping it closes it.
#[expect(unreachable_pub, reason = "the generated bindings name it again")]
#[derive(Debug)]
pub struct Connection {
    pub(crate) handle: Handle,
}

/// A granted secret.
#[expect(unreachable_pub, reason = "the generated bindings name it again")]
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OpenSecret {
    pub(crate) name: String,
    /// What stands for its value.
    pub(crate) placeholder: String,
}
