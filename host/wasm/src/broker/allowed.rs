//! What a decision allows: the effect as it was judged, and what the rules say about how.

use crate::address::{AddressClass, class_of};
use crate::capability::ExecPhase;
use crate::effect::Effect;
use serde::{Deserialize, Serialize};
use std::net::IpAddr;
use std::path::PathBuf;

/// What an allowed effect may reach, from the rules that allowed it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Allowed {
    /// It may be done as it was asked.
    AsAsked,
    /// On this path, with the links on the way followed.
    Path(PathBuf),
    /// With this command.
    Command {
        /// The operator's prefix, then program and arguments.
        argv: Vec<String>,
        /// From which phase on it may run.
        phase: ExecPhase,
    },
    /// At addresses of this reach, trusting these certificate authorities beside the system's.
    Egress {
        /// Which addresses.
        reach: Reach,
        /// A PEM file.
        ca: Option<String>,
        /// A PEM file with what is shown to the server.
        client_certificate: Option<String>,
    },
    /// As this environment variable.
    Variable(String),
}

impl Allowed {
    /// Whether doing it may change something outside.
    pub(crate) fn changes(&self, effect: &Effect) -> bool {
        let writes = matches!(self, Allowed::Command { phase: ExecPhase::Write, .. });
        // Nobody knows what goes over a plain connection.
        writes || effect.changes() || matches!(effect, Effect::Connect { .. })
    }

    /// What both allow.
    pub(super) fn and(self, other: Allowed) -> Allowed {
        match (self, other) {
            (
                Allowed::Egress { reach, ca, client_certificate },
                Allowed::Egress {
                    reach: other,
                    ca: other_ca,
                    client_certificate: other_certificate,
                },
            ) => Allowed::Egress {
                reach: reach.and(other),
                ca: ca.filter(|ca| other_ca.as_ref() == Some(ca)),
                client_certificate: client_certificate
                    .filter(|own| other_certificate.as_ref() == Some(own)),
            },
            // A command, a variable and a path are the grant's, which may say how.
            (_, granted) => granted,
        }
    }
}

/// The addresses that an allowed name may stand for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Reach {
    /// Public ones.
    Public,
    /// Private ones too, but for those that hand out credentials.
    Private,
    /// Those of a backend or of the service's public URL, which the operator wrote down: private
    /// ones too.
    Named,
    /// Exactly the address that the operator wrote down, whatever it is.
    Literal,
}

impl Reach {
    /// What both permit.
    pub(crate) fn and(self, other: Reach) -> Reach {
        self.min(other)
    }

    /// Says what is wrong with an address.
    pub(crate) fn judge(self, address: IpAddr) -> Result<(), AddressClass> {
        let class = class_of(address);
        let permitted = match class {
            AddressClass::Public => true,
            AddressClass::Loopback | AddressClass::Private | AddressClass::LinkLocal => {
                self >= Reach::Private
            }
            AddressClass::Metadata | AddressClass::Unusable => self == Reach::Literal,
        };
        if permitted { Ok(()) } else { Err(class) }
    }
}
