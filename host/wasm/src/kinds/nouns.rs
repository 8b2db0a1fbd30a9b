//! Nouns of the engine in the contract's words, as several kinds need them.

use crate::bindings::any::agente::types::types as wit;
use agente_engine::route::{Backend, Destination, Slot};
use agente_engine::verdict::Subject;

pub(super) fn write_backend(backend: &Backend) -> wit::Backend {
    write_destination(&Destination::from(backend.clone()))
}

pub(super) fn write_destination(destination: &Destination) -> wit::Backend {
    let Destination { id, address } = destination;
    wit::Backend { id: id.0.clone(), address: address.clone(), labels: Vec::new() }
}

pub(super) fn write_subject(subject: &Subject) -> wit::Subject {
    wit::Subject {
        slot: subject.slot.map_or("", Slot::as_str).to_owned(),
        release: subject.release.map_or(0, |release| release.0),
        backends: subject.backends.iter().map(write_backend).collect(),
        labels: subject.public_url.iter().map(|url| ("url".to_owned(), url.clone())).collect(),
    }
}
