//! Doing what the broker allowed. Nothing here decides.

pub(crate) mod files;
pub(crate) mod http;
pub(crate) mod programs;
pub(crate) mod resolve;
pub(crate) mod secrets;
pub(crate) mod stdio;
pub(crate) mod tcp;
pub(crate) mod tls;
