//! Programs and processes of this machine.
