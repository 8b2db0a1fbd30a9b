//! The tcp-health plugin
