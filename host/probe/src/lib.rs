//! The strict open-loop prober
