//! The plugin's logic against a real NGINX: everything that a switch must do, and every way in which NGINX may refuse it.

mod drains;
mod drift;
mod refusals;
mod rig;
mod switching;
mod unusable;
mod weights;
