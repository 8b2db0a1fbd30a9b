//! The whole thing: the real `agente-host` with its shipped plugins, a real NGINX, real processes,
//! and a client that forgives nothing.

#![expect(
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "a test says what it expected and ends"
)]

mod boot;
mod canary;
mod capacity;
mod crash;
mod decisions;
mod deploy;
mod docker;
mod drain;
mod frozen;
mod full_disk;
mod lost_store;
mod measured;
mod metrics;
mod monitoring_examples;
mod nginx_trouble;
mod outages;
mod queries;
mod rollbacks;
mod rolling;
mod stages;
mod store_rules;
mod stuck;
mod third_version;
mod two_services;
mod unprivileged;
mod watching;
