//! Who is at the other end of a connection, as far as TLS and the socket know.
//! Always: a name is here only if the private CA has signed for it. What the peer may do is decided elsewhere.

use std::fmt;
use std::net::SocketAddr;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use x509_parser::prelude::{FromDer, X509Certificate, X509Name};

/// What part a certificate's owner plays; the certificate carries it as organisational unit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// A Controller node.
    Controller,
    /// An Agent's Director.
    Agent,
    /// A Subagent.
    Subagent,
    /// A person or a script.
    User,
}

impl Role {
    /// All roles, in the order of the picture.
    pub const ALL: [Role; 4] = [Role::Controller, Role::Agent, Role::Subagent, Role::User];

    /// The word in the certificate.
    pub fn name(self) -> &'static str {
        match self {
            Role::Controller => "controller",
            Role::Agent => "agent",
            Role::Subagent => "subagent",
            Role::User => "user",
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Role {
    type Err = String;

    fn from_str(name: &str) -> Result<Role, String> {
        Role::ALL
            .into_iter()
            .find(|role| role.name() == name)
            .ok_or_else(|| {
                format!("no such role: {name}; known are controller, agent, subagent and user")
            })
    }
}

/// The peer of a connection; every request carries it in its extensions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeerIdentity {
    /// The common name of the client certificate; none without a certificate.
    pub common_name: Option<String>,
    /// The role in the client certificate; none without a certificate or with a unit we do not know.
    pub role: Option<Role>,
    /// Where the connection comes from.
    pub addr: SocketAddr,
}

impl PeerIdentity {
    /// A peer that has shown no certificate.
    pub(crate) fn unnamed(addr: SocketAddr) -> PeerIdentity {
        PeerIdentity {
            common_name: None,
            role: None,
            addr,
        }
    }

    /// A peer whose certificate has been verified; a name that cannot be read counts as none.
    pub(crate) fn named(addr: SocketAddr, certificate: &[u8]) -> PeerIdentity {
        let Ok((_, certificate)) = X509Certificate::from_der(certificate) else {
            return PeerIdentity::unnamed(addr);
        };
        let subject = certificate.subject();
        let unit = subject
            .iter_organizational_unit()
            .find_map(|unit| unit.as_str().ok());
        PeerIdentity {
            common_name: common_name(subject),
            role: unit.and_then(|unit| unit.parse().ok()),
            addr,
        }
    }
}

fn common_name(subject: &X509Name<'_>) -> Option<String> {
    subject
        .iter_common_name()
        .find_map(|name| name.as_str().ok())
        .map(str::to_owned)
}
