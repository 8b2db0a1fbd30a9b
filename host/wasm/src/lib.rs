//! Loads plugins, one broker, limits, cache, lock file, adapters per contract version
