//! The nginx-switch plugin
