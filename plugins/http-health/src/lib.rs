//! The http-health plugin
