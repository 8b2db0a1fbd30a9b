//! Runs backends: local processes with a supervisor, Docker Engine
