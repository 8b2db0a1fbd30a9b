//! Local processes, each under a supervisor of its own.
