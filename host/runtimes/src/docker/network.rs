//! The network that containers and the balancer share: made with our label if it is absent, never
//! removed.

use super::call::Engine;
use super::labels;
use agente_engine::fault::Fault;
use bollard::models::NetworkCreateRequest;
use bollard::query_parameters::InspectNetworkOptions;
use std::collections::HashMap;

impl Engine {
    /// Whether there is a network of this name.
    pub(crate) async fn has_network(&self, name: &str) -> Result<bool, Fault> {
        match self
            .ask(
                &format!("inspect the network `{name}`"),
                self.client()?.inspect_network(name, None::<InspectNetworkOptions>),
            )
            .await
        {
            Ok(_) => Ok(true),
            Err(error) if error.is_absent() => Ok(false),
            Err(error) => Err(error.fault),
        }
    }

    /// Makes the network if it is absent. One that is there is used as it is, whoever made it.
    pub(crate) async fn ensure_network(&self, name: &str) -> Result<(), Fault> {
        if self.has_network(name).await? {
            return Ok(());
        }
        let request = NetworkCreateRequest {
            name: name.to_owned(),
            driver: Some("bridge".to_owned()),
            labels: Some(HashMap::from([(labels::STORE.to_owned(), self.settings.store.clone())])),
            ..NetworkCreateRequest::default()
        };
        let made = self
            .within(
                self.settings.start_timeout,
                &format!("create the network `{name}`"),
                self.client()?.create_network(request),
            )
            .await;
        match made {
            Ok(_) => Ok(()),
            // Somebody was faster.
            Err(error) if error.is_conflict() => Ok(()),
            Err(error) => Err(error.fault),
        }
    }
}
